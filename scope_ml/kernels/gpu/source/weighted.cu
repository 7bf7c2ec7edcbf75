// Weighted sums of magnitudes in phase bins: phase-folded weighted signal and box least squares. A thread does one
// frequency; the pair (weight, weight * residual) of bin b lies at b * THREADS + thread. float32 sums: the weights add
// up to one and the residuals have no mean.
//
// BINS, THREADS, STATISTIC: 0 weighted signal, 1 box least squares.
// Task: weighted signal: real[0] factor of the result; box least squares: whole[0], whole[1] shortest and longest box [bins].

static __device__ float statistic(const float2 *column, const Task &task) {
#if STATISTIC == 0
    float signal = 0.0f;
#pragma unroll 4
    for (int b = 0; b < BINS; b++) {
        const float2 sum = column[b * THREADS];
        if (sum.x > 0.0f) signal += sum.y * sum.y / sum.x;
    }
    return (float)(signal * task.real[0]);
#else
    float best = 0.0f;
    for (int start = 0; start < BINS; start++) {
        float inside = 0.0f, signal = 0.0f;
        int bin = start;
        for (int width = 1; width <= task.whole[1]; width++) {
            const float2 sum = column[bin * THREADS];
            inside += sum.x;
            signal += sum.y;
            bin = bin + 1 == BINS ? 0 : bin + 1;
            const float product = inside * (1.0f - inside);
            if (width >= task.whole[0] && inside > 0.0f && product > 1e-6f) {
                best = fmaxf(best, signal * signal / product);
            }
        }
    }
    return fminf(best, 1.0f);
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS)
weighted(const Task *tasks, const double *time, const float2 *strength, float *values) {
    extern __shared__ __align__(16) unsigned char pool[];
    uint4 *tile = (uint4 *)pool;
    float2 *column = (float2 *)(tile + THREADS) + threadIdx.x;
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * THREADS;
    if (base >= task.count) return;

    const unsigned int thread = threadIdx.x;
    for (int b = 0; b < BINS; b++) column[b * THREADS] = make_float2(0.0f, 0.0f);
    const double frequency = task.frequency + base * task.step;
    for (int begin = 0; begin < task.n_points; begin += THREADS) {
        const int length = min(THREADS, task.n_points - begin);
        __syncthreads();
        if ((int)thread < length) {
            uint4 point = phases(time[task.point + begin + thread], frequency, task.step);
            const float2 own = strength[task.point + begin + thread];
            point.z = __float_as_uint(own.x);
            point.w = __float_as_uint(own.y);
            tile[thread] = point;
        }
        __syncthreads();
        for (int i = 0; i < length; i++) {
            const uint4 point = tile[i];
            const unsigned int place = __umulhi(point.x + thread * point.y, BINS) * THREADS;
            float2 sum = column[place];
            sum.x += __uint_as_float(point.z);
            sum.y += __uint_as_float(point.w);
            column[place] = sum;
        }
    }
    const int k = base + (int)thread;
    if (k < task.count) values[task.out + k] = statistic(column, task);
}
