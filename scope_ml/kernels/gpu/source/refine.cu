// Third part of `harmonics`, on top of `repair`: peaks moved to the best fit near them, in float64. The steps are those of
// `kernels/refine.py`: `fit_near` and `move_peaks` first over TRIALS frequencies about the point of the grid, then over
// three about where that led.
//
// Task: frequency, step of the grid, real[0] and real[1] spacings of the trials, whole[0], whole[1] as in `harmonics`;
// `out` is the peak's place in `chosen` and `centres`. TRIALS is odd.

static __device__ double fit_share(const Task &task, const double *time, const double2 *exact, const Band *bands,
                                   double frequency, double *pool) {
    Fit<double> fit = {};
    double matrix[TRIANGLE] = {}, right[SIZE];
    sum_bands(task, time, exact, bands, frequency, pool, fit, matrix);
    if (threadIdx.x != 0) return 0.0;
    normal_equations(fit, matrix, right);
    return fmax(explained(matrix, right, SINGULAR, true), 0.0);
}

// Block (task, trial): how much a fit explains at a trial frequency.
extern "C" __global__ void __launch_bounds__(THREADS)
fit_near(const Task *tasks, const double *time, const float2 *, const double2 *exact, const Band *bands,
         const Peak *chosen, const double *centres, int stage, double *shares) {
    __shared__ double pool[GROUP * THREADS];
    const Task task = tasks[blockIdx.x];
    const int index = chosen[task.out].index;
    if (index < 0) return;
    const double centre = stage == 0 ? task.frequency + index * task.step : centres[task.out];
    const double frequency = centre + ((int)blockIdx.y - (int)gridDim.y / 2) * task.real[stage == 0 ? 0 : 1];
    const double share = fit_share(task, time, exact, bands, frequency, pool);
    if (threadIdx.x == 0) shares[task.out * TRIALS + blockIdx.y] = share;
}

// Place of the vertex of the parabola through three values, in steps from the middle one.
static __device__ double vertex(const double *share) {
    const double curvature = share[0] - 2.0 * share[1] + share[2];
    return curvature < 0.0 ? 0.5 * (share[0] - share[2]) / curvature : 0.0;
}

// A thread for each task: the peak to the best trial; NaN where there is no peak.
extern "C" __global__ void __launch_bounds__(THREADS)
move_peaks(const Task *tasks, int n_tasks, const Peak *chosen, int stage, double *shares, double *centres) {
    const int item = blockIdx.x * THREADS + threadIdx.x;
    if (item >= n_tasks) return;
    const Task task = tasks[item];
    const int index = chosen[task.out].index;
    double *share = shares + task.out * TRIALS;
    if (index < 0) {
        centres[task.out] = __longlong_as_double(0x7ff8000000000000ll);
    } else if (stage == 0) {
        int top = 0;
        for (int trial = 1; trial < TRIALS; trial++) top = share[trial] > share[top] ? trial : top;
        const bool inside = top > 0 && top < TRIALS - 1;
        const double moved = top - TRIALS / 2 + (inside ? vertex(share + top - 1) : 0.0);
        centres[task.out] = task.frequency + index * task.step + moved * task.real[0];
        share[TRIALS - 1] = inside;  // the second stage leaves it alone
    } else if (share[TRIALS - 1] != 0.0) {
        centres[task.out] += fmin(fmax(vertex(share), -1.0), 1.0) * task.real[1];
    }
}
