// Weighted least-squares fit of HARMONICS sinusoids with a constant for each band: Lomb-Scargle and multi-harmonic
// analysis of variance. Sums of w exp(i m phase), m to 2 * HARMONICS, and of w y exp(i h phase) make the normal
// equations; weights add up to one, y has no weighted mean in any band and unit variance.
//
// A thread does LANES frequencies, THREADS grid steps apart: sine and cosine come from the phase at the first of them,
// and turn by the same angle to each of the others. float32 sums, float64 solution. A frequency at which the sums do
// not carry the solution (a pivot below WEAK: phases bunched together, as at one cycle a day) is marked by -1 and done
// again in float64 by `repair`.
//
// SINGULAR: pivot below which a column counts as explained by the others, in `repair`.
// HARMONICS, THREADS, LANES, BANDS: 1 for several bands, LONG: 1 for thousands of points, whose sums go to float64
// after each tile. STATISTIC: 0 power, 1 F.
// Task: real[0] factor of F, real[1] least share unexplained, whole[0] first of the light curve's bands in `bands`, whole[1] how many.

#define ORDERS (2 * HARMONICS)
#define SIZE (2 * HARMONICS)
#define TRIANGLE (SIZE * (SIZE + 1) / 2)
#define FOLDED (BANDS || LONG)
#define WEAK 0.05
// The matrix of many harmonics is too long for registers.
#if HARMONICS <= 3
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("unroll 1")
#endif
#define AT(row, column) ((row) * ((row) + 1) / 2 + (column))

struct Band {
    double weight;
    int end;  // one past its last point, from the first of the light curve
    int unused;
};

template <typename Real> struct Fit {
    Real yc[HARMONICS], ys[HARMONICS];  // signal
    Real c[ORDERS], s[ORDERS];          // window
};

#if LONG
typedef double Wide;
#else
typedef float Wide;
#endif

// Normal matrix element of columns a >= b (cosine, sine of the first harmonic, then of the second, ...).
template <typename Real> static __device__ __forceinline__ double raw_product(const Fit<Real> &fit, int a, int b) {
    const int j = a / 2, h = b / 2;  // counted from zero
    const bool sine_a = a % 2, sine_b = b % 2;
    const double sum_c = fit.c[j + h + 1], sum_s = fit.s[j + h + 1];
    const double gap_c = j == h ? 1.0 : (double)fit.c[j - h - (j > h)], gap_s = j == h ? 0.0 : (double)fit.s[j - h - (j > h)];
    if (sine_a && sine_b) return 0.5 * (gap_c - sum_c);
    if (sine_a) return 0.5 * (sum_s + gap_s);
    if (sine_b) return 0.5 * (sum_s - gap_s);
    return 0.5 * (sum_c + gap_c);
}

template <typename Real> static __device__ __forceinline__ double first_order(const Fit<Real> &fit, int a) {
    return a % 2 ? fit.s[a / 2] : fit.c[a / 2];
}

// Cholesky factor in place; the explained share of the variance, or -1 where a pivot is below `least` and there is a
// better way. Without one, a column that the others explain is left out; Lomb-Scargle has no power there.
static __device__ __forceinline__ double explained(double *matrix, double *right, double least, bool last_resort) {
    double share = 0.0, determinant = 1.0;
    bool weak = false;
UNROLL
    for (int a = 0; a < SIZE; a++) {
UNROLL
        for (int b = 0; b <= a; b++) {
            double value = matrix[AT(a, b)];
UNROLL
            for (int c = 0; c < b; c++) value -= matrix[AT(a, c)] * matrix[AT(b, c)];
            if (b < a) {
                value *= matrix[AT(b, b)];
            } else {
                weak = weak || !(value > least);
                determinant *= value;
                value = value > least ? rsqrt(value) : 0.0;  // the inverse of the diagonal
            }
            matrix[AT(a, b)] = value;
        }
        double rest = right[a];
UNROLL
        for (int c = 0; c < a; c++) rest -= matrix[AT(a, c)] * right[c];
        right[a] = rest * matrix[AT(a, a)];
        share += right[a] * right[a];
    }
    if (weak && !last_resort) return -1.0;
    if (STATISTIC == 0 && last_resort && !(determinant > 1e-14)) return 0.0;
    return fmin(share, 1.0);
}

static __device__ __forceinline__ float statistic(double share, const Task &task) {
#if STATISTIC == 0
    return (float)share;
#else
    return share < 0.0 ? -1.0f : (float)(task.real[0] * share / fmax(1.0 - share, task.real[1]));
#endif
}

static __device__ __forceinline__ void add_point(Fit<float> &fit, float weight, float signal, float cosine, float sine) {
#if HARMONICS == 1
    const float product = weight * cosine;
    fit.yc[0] += signal * cosine;
    fit.ys[0] += signal * sine;
    fit.c[0] += product;
    fit.s[0] += weight * sine;
    fit.c[1] += product * cosine;  // turned into that of twice the phase at the end
    fit.s[1] += product * sine;
#else
    float c = cosine, s = sine;
#pragma unroll
    for (int m = 0; m < ORDERS; m++) {
        if (m < HARMONICS) {
            fit.yc[m] += signal * c;
            fit.ys[m] += signal * s;
        }
        fit.c[m] += weight * c;
        fit.s[m] += weight * s;
        const float turned = c * cosine - s * sine;
        s = s * cosine + c * sine;
        c = turned;
    }
#endif
}

#if FOLDED
struct Folded {
    Fit<Wide> total;
    Wide own[SIZE];         // first orders of the band at hand
    Wide constants[TRIANGLE];  // what the bands' constants take from the normal matrix
};

static __device__ __forceinline__ void fold(Fit<float> &fit, Folded &folded, bool ends_band, double band_weight) {
#pragma unroll
    for (int m = 0; m < ORDERS; m++) {
        if (m < HARMONICS) {
            folded.total.yc[m] += fit.yc[m], fit.yc[m] = 0.0f;
            folded.total.ys[m] += fit.ys[m], fit.ys[m] = 0.0f;
            folded.own[2 * m] += fit.c[m], folded.own[2 * m + 1] += fit.s[m];
        }
        folded.total.c[m] += fit.c[m], fit.c[m] = 0.0f;
        folded.total.s[m] += fit.s[m], fit.s[m] = 0.0f;
    }
    if (!ends_band) return;
    const Wide inverse = (Wide)(1.0 / band_weight);
#pragma unroll
    for (int a = 0; a < SIZE; a++) {
#pragma unroll
        for (int b = 0; b <= a; b++) folded.constants[AT(a, b)] += folded.own[a] * folded.own[b] * inverse;
    }
#pragma unroll
    for (int a = 0; a < SIZE; a++) folded.own[a] = 0;
}
#endif

template <typename Real> static __device__ __forceinline__ double solve(Fit<Real> &fit, const Real *constants) {
    double matrix[TRIANGLE], right[SIZE];
#if HARMONICS == 1
    fit.c[1] = 2 * fit.c[1] - 1;
    fit.s[1] = 2 * fit.s[1];
#endif
UNROLL
    for (int a = 0; a < SIZE; a++) {
        right[a] = a % 2 ? fit.ys[a / 2] : fit.yc[a / 2];
UNROLL
        for (int b = 0; b <= a; b++) {
            const double taken = constants ? (double)constants[AT(a, b)] : first_order(fit, a) * first_order(fit, b);
            matrix[AT(a, b)] = raw_product(fit, a, b) - taken;
        }
    }
    return explained(matrix, right, WEAK, false);
}

extern "C" __global__ void __launch_bounds__(THREADS)
harmonics(const Task *tasks, const double *time, const float2 *strength, const double2 *, const Band *bands,
          float *values) {
    __shared__ uint4 tile[THREADS];
    __shared__ float2 turn[THREADS];
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * (THREADS * LANES);
    if (base >= task.count) return;

    const unsigned int thread = threadIdx.x;
    const double frequency = task.frequency + base * task.step;
    Fit<float> fits[LANES] = {};
#if FOLDED
    Folded folded[LANES] = {};
    const Band *band = bands + task.whole[0];
#endif
    for (int begin = 0; begin < task.n_points; begin += THREADS) {
        const int length = min(THREADS, task.n_points - begin);
        __syncthreads();
        if ((int)thread < length) {
            uint4 point = phases(time[task.point + begin + thread], frequency, task.step);
            float2 angle;
            sincospif((int)point.z * 4.656612873077393e-10f, &angle.y, &angle.x);
            const float2 own = strength[task.point + begin + thread];
            point.z = __float_as_uint(own.x);
            point.w = __float_as_uint(own.y);
            tile[thread] = point;
            turn[thread] = angle;
        }
        __syncthreads();
        int i = 0;
#if FOLDED
        while (i < length) {
            const int stop = min(length, band->end - begin);
#else
        const int stop = length;
        {
#endif
            for (; i < stop; i++) {
                const uint4 point = tile[i];
                const float2 angle = turn[i];
                float sine, cosine;
                __sincosf((int)(point.x + thread * point.y) * 1.4629180792671596e-9f, &sine, &cosine);
#pragma unroll
                for (int j = 0; j < LANES; j++) {
                    add_point(fits[j], __uint_as_float(point.z), __uint_as_float(point.w), cosine, sine);
                    const float turned = cosine * angle.x - sine * angle.y;
                    sine = sine * angle.x + cosine * angle.y;
                    cosine = turned;
                }
            }
#if FOLDED
            const bool ends_band = begin + i == band->end;
#pragma unroll
            for (int j = 0; j < LANES; j++) fold(fits[j], folded[j], ends_band, band->weight);
            if (ends_band && begin + i < task.n_points) band++;
#endif
        }
    }
#pragma unroll
    for (int j = 0; j < LANES; j++) {
        const int k = base + j * THREADS + (int)thread;
#if FOLDED
        const double share = solve<Wide>(folded[j].total, folded[j].constants);
#else
        const double share = solve<float>(fits[j], (const float *)0);
#endif
        if (k < task.count) values[task.out + k] = statistic(share, task);
    }
}
