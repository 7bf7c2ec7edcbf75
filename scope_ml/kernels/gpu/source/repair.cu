// Second part of `harmonics`: the marked frequencies once more, in float64, one after the other by a whole block.
// SPAN: frequencies looked through by a block.

// Sums over the block of a few values of each thread, for the first one: GROUP of them at a time, each by halves.
#define GROUP 16

static __device__ void block_sums(double *values, int n_values, double *pool) {
    const int thread = threadIdx.x;
    for (int first = 0; first < n_values; first += GROUP) {
        const int n = min(GROUP, n_values - first);
        for (int v = 0; v < n; v++) pool[v * THREADS + thread] = values[first + v];
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            for (int i = thread; i < n * half; i += THREADS) {
                const int place = i / half * THREADS + i % half;
                pool[place] += pool[place + half];
            }
            __syncthreads();
        }
        if (thread == 0) {
            for (int v = 0; v < n; v++) values[first + v] = pool[v * THREADS];
        }
        __syncthreads();
    }
}

// Sums of one band over the block, added to `fit`, and what its constant takes added to `constants`, both of the first
// thread: it alone solves the equations, whose long arrays would otherwise go through memory for every thread.
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
    block_sums((double *)&own, sizeof(own) / sizeof(double), pool);
    if (threadIdx.x != 0) return;
    UNROLL
    for (int m = 0; m < ORDERS; m++) {
        if (m < HARMONICS) {
            fit.yc[m] += own.yc[m];
            fit.ys[m] += own.ys[m];
        }
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
    __shared__ double pool[GROUP * THREADS];
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
        if (threadIdx.x != 0) continue;
        normal_equations(fit, matrix, right);
        values[task.out + marked[item]] = statistic(explained(matrix, right, SINGULAR, true), task);
    }
}
