// Second part of `harmonics`: the marked frequencies once more, in float64, one after the other by a whole block.
// SPAN: frequencies looked through by a block.

static __device__ double block_sum(double value, double *pool) {
    pool[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) pool[threadIdx.x] += pool[threadIdx.x + half];
        __syncthreads();
    }
    const double total = pool[0];
    __syncthreads();
    return total;
}

// Sums of one band over the block, added to `fit`, and what its constant takes added to `constants`.
static __device__ void add_band(const Task &task, const double *time, const double2 *exact, int begin, const Band &band,
                                double frequency, double *pool, Fit<double> &fit, double *constants) {
    Fit<double> own = {};
    for (int i = begin + threadIdx.x; i < band.end; i += THREADS) {
        const double2 strength = exact[task.point + i];
        double sine, cosine;
        sincospi(2.0 * turns(time[task.point + i], frequency), &sine, &cosine);
        double c = cosine, s = sine;
        UNROLL
        for (int m = 0; m < ORDERS; m++) {
            if (m < HARMONICS) {
                own.yc[m] += strength.y * c;
                own.ys[m] += strength.y * s;
            }
            own.c[m] += strength.x * c;
            own.s[m] += strength.x * s;
            const double turned = c * cosine - s * sine;
            s = s * cosine + c * sine;
            c = turned;
        }
    }
    UNROLL
    for (int m = 0; m < ORDERS; m++) {
        if (m < HARMONICS) {
            fit.yc[m] += block_sum(own.yc[m], pool);
            fit.ys[m] += block_sum(own.ys[m], pool);
        }
        own.c[m] = block_sum(own.c[m], pool);
        own.s[m] = block_sum(own.s[m], pool);
        fit.c[m] += own.c[m];
        fit.s[m] += own.s[m];
    }
    UNROLL
    for (int a = 0; a < SIZE; a++) {
        UNROLL
        for (int b = 0; b <= a; b++) constants[AT(a, b)] += first_order(own, a) * first_order(own, b) / band.weight;
    }
}

static __device__ void sum_bands(const Task &task, const double *time, const double2 *exact, const Band *bands,
                                 double frequency, double *pool, Fit<double> &fit, double *constants) {
    int begin = 0;
    for (int b = 0; b < task.whole[1]; b++) {
        const Band band = bands[task.whole[0] + b];
        add_band(task, time, exact, begin, band, frequency, pool, fit, constants);
        begin = band.end;
    }
}

// What the constants take from the normal matrix becomes the matrix.
static __device__ void normal_equations(const Fit<double> &fit, double *matrix, double *right) {
    UNROLL
    for (int a = 0; a < SIZE; a++) {
        right[a] = a % 2 ? fit.ys[a / 2] : fit.yc[a / 2];
        UNROLL
        for (int b = 0; b <= a; b++) matrix[AT(a, b)] = raw_product(fit, a, b) - matrix[AT(a, b)];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
repair(const Task *tasks, const double *time, const float2 *, const double2 *exact, const Band *bands, float *values) {
    __shared__ double pool[THREADS];
    __shared__ int marked[SPAN];
    __shared__ int n_marked;
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * SPAN;
    if (base >= task.count) return;
    if (threadIdx.x == 0) n_marked = 0;
    __syncthreads();
    for (int k = base + threadIdx.x; k < min(base + SPAN, task.count); k += THREADS) {
        if (values[task.out + k] < 0.0f) marked[atomicAdd(&n_marked, 1)] = k;
    }
    __syncthreads();
    for (int item = 0; item < n_marked; item++) {
        const double frequency = task.frequency + marked[item] * task.step;
        Fit<double> fit = {};
        double matrix[TRIANGLE] = {}, right[SIZE];
        sum_bands(task, time, exact, bands, frequency, pool, fit, matrix);
        normal_equations(fit, matrix, right);
        const double share = explained(matrix, right, SINGULAR, true);
        if (threadIdx.x == 0) values[task.out + marked[item]] = statistic(share, task);
    }
}
