// Sums of magnitudes in phase bins: analysis of variance and phase dispersion. A thread does LANES frequencies; the
// word of a bin holds count << shift | sum of magnitudes, which are integers. Words of lane j and bin b lie at
// (j * PHASE_BINS + b) * THREADS + thread: in the thread's own bank, no atomics. After at most `chunk` points, before
// anything overflows, the words go to registers.
//
// PHASE_BINS, THREADS, BLOCKS (at once on a multiprocessor), LANES, LONG: 1 for more than 4095 points (sums of 64 bits, counts of 32).
// STATISTIC: 0 between-bins sum to F, 1 to phase dispersion.
// Task: real[0] sum of squares about the mean, real[1] sum of the residuals squared over the points (what rounding
// the mean to an integer left), real[2] factor, real[3] least share within bins; whole[0] mean, whole[1] shift,
// whole[2] chunk. `inverse[n]` is 1 / n.

#if LONG
typedef unsigned long long Sum;
#define COUNT(sums, j, b) sums.count[j][b]
#define COUNTS_PER_WORD 1
#else
typedef unsigned int Sum;
#define COUNT(sums, j, b) ((sums.count[j][(b) / 2] >> (16 * ((b) & 1))) & 0xffffu)
#define COUNTS_PER_WORD 2
#endif

struct Sums {
    Sum sum[LANES][PHASE_BINS];
    unsigned int count[LANES][(PHASE_BINS + COUNTS_PER_WORD - 1) / COUNTS_PER_WORD];
};

static __device__ void take_words(Sums &sums, unsigned int *column, int shift) {
    const unsigned int mask = (1u << shift) - 1u;
#pragma unroll
    for (int j = 0; j < LANES; j++) {
#pragma unroll
        for (int b = 0; b < PHASE_BINS; b++) {
            const unsigned int word = column[(j * PHASE_BINS + b) * THREADS];
            column[(j * PHASE_BINS + b) * THREADS] = 0u;
            sums.sum[j][b] += word & mask;
#if LONG
            sums.count[j][b] += word >> shift;
#else
            sums.count[j][b / 2] += (word >> shift) << (16 * (b & 1));
#endif
        }
    }
}

static __device__ void add_point(uint4 point, unsigned int thread, unsigned int *column) {
    unsigned int phase = point.x + thread * point.y;
    unsigned int place[LANES], word[LANES];
#pragma unroll
    for (int j = 0; j < LANES; j++) {
        place[j] = __umulhi(phase, PHASE_BINS) * THREADS + j * (PHASE_BINS * THREADS);
        phase += point.z;
    }
    // All loads before all stores: the lanes' words differ, which the compiler cannot know.
#pragma unroll
    for (int j = 0; j < LANES; j++) word[j] = column[place[j]];
#pragma unroll
    for (int j = 0; j < LANES; j++) column[place[j]] = word[j] + point.w;
}

static __device__ float statistic(const Sums &sums, int j, const Task &task, const double *inverse) {
    double between = -task.real[1];
#pragma unroll
    for (int b = 0; b < PHASE_BINS; b++) {
        const unsigned int count = COUNT(sums, j, b);
        const double residual = (double)((long long)sums.sum[j][b] - (long long)count * task.whole[0]);
        between += residual * residual * inverse[count];
    }
    between = fmax(between, 0.0);
#if STATISTIC == 0
    const double within = fmax(task.real[0] - between, task.real[3] * task.real[0]);
    return task.real[0] > 0.0 ? (float)(task.real[2] * between / within) : 0.0f;
#else
    int filled = 0;
#pragma unroll
    for (int b = 0; b < PHASE_BINS; b++) filled += COUNT(sums, j, b) > 0u;
    const int freedom = task.n_points - filled;
    const double within = fmax(task.real[0] - between, 0.0);
    return freedom > 0 && task.real[0] > 0.0 ? (float)(within * (task.n_points - 1) / (task.real[0] * freedom)) : 1.0f;
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
variance(const Task *tasks, const double *time, const unsigned int *magnitude, const double *inverse, float *values) {
    extern __shared__ __align__(16) unsigned char pool[];
    uint4 *tile = (uint4 *)pool;
    unsigned int *counters = (unsigned int *)(tile + THREADS);
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * (THREADS * LANES);
    if (base >= task.count) return;

    const unsigned int thread = threadIdx.x;
    const int shift = task.whole[1];
    unsigned int *column = counters + thread;
    Sums sums = {};
    for (int b = 0; b < LANES * PHASE_BINS; b++) column[b * THREADS] = 0u;

    const double frequency = task.frequency + base * task.step;
    int room = task.whole[2];
    for (int begin = 0; begin < task.n_points; begin += THREADS) {
        const int length = min(THREADS, task.n_points - begin);
        __syncthreads();
        if ((int)thread < length) {
            uint4 point = phases(time[task.point + begin + thread], frequency, task.step);
            point.w = magnitude[task.point + begin + thread] + (1u << shift);
            tile[thread] = point;
        }
        __syncthreads();
        int i = 0;
        while (i < length) {
            const int stop = min(length, i + room);
            room -= stop - i;
            for (; i < stop; i++) add_point(tile[i], thread, column);
            if (room == 0) {
                take_words(sums, column, shift);
                room = task.whole[2];
            }
        }
    }
    take_words(sums, column, shift);
#pragma unroll
    for (int j = 0; j < LANES; j++) {
        const int k = base + j * THREADS + (int)thread;
        if (k < task.count) values[task.out + k] = statistic(sums, j, task, inverse);
    }
}
