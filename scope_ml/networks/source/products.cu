// Matrix products of the dense branch, for each model: out[i][j] = sum over k of A(i, k) B(k, j), in the order of k.
//
// MODE  out                                     A             B
// 1     first hidden layer, relu and dropout    features      first kernel
// 2     second hidden layer, relu               hidden        second kernel
// 3     derivative by second kernel and bias    hidden^T, 1   back
// 4     derivative by the first layer's sums    back          second kernel^T
// 5     derivative by first kernel and bias     features^T, 1 back
//
// A block does TILE_I x TILE_J values of one model, a thread 8 x 4 of them. In modes 3 and 5 the line after the last is
// that of a feature that is always 1: the bias lies behind its kernel.
//
// TILE_J, THREADS = TILE_J * 2, TRAIN: 0 without dropout.

#define TILE_I 64
#define DEPTH 16
#define STRIDE_A (TILE_I + 4)
#define STRIDE_B (TILE_J + 4)
#define HIDDEN 256
#define OUT 32

#if MODE == 1 || MODE == 4
#define N_J HIDDEN
#else
#define N_J OUT
#endif
#if MODE == 5
#undef N_J
#define N_J HIDDEN
#endif

extern "C" __global__ void __launch_bounds__(THREADS)
products(const int *layouts, const int *models, const unsigned int *seeds, const int *steps, const int *order,
         const int *rows, const float *x, float *parameters, const float *hidden, const float *back, float *out) {
    __shared__ __align__(16) float tile_a[DEPTH * STRIDE_A];
    __shared__ __align__(16) float tile_b[DEPTH * STRIDE_B];
    __shared__ long long row[TILE_I];
    const Layout layout = *(const Layout *)layouts;
    const int a = blockIdx.y, model = models[a], thread = threadIdx.x;
    const int tiles_j = N_J / TILE_J;
    const int i0 = (int)blockIdx.x / tiles_j * TILE_I, j0 = (int)blockIdx.x % tiles_j * TILE_J;
    const float *own = parameters + (long long)model * layout.parameters;
    const long long line = (long long)a * layout.batch;
#if MODE == 1 || MODE == 2 || MODE == 4
    const int n_i = layout.batch;
#elif MODE == 3
    const int n_i = HIDDEN + 1;
#else
    const int n_i = layout.features + 1;
#endif
#if MODE == 1
    const int n_k = layout.features;
    for (int i = thread; i < TILE_I; i += THREADS) {
        row[i] = i0 + i < n_i ? row_of(layout, order, rows, a, model, i0 + i) * layout.features : 0;
    }
#elif MODE == 2
    const int n_k = HIDDEN;
#elif MODE == 4
    const int n_k = OUT;
#else
    const int n_k = layout.batch;
#endif
    float sum[8][4] = {};
    const int ti = thread / (TILE_J / 4) * 8, tj = thread % (TILE_J / 4) * 4;
    for (int k0 = 0; k0 < n_k; k0 += DEPTH) {
        __syncthreads();
#if MODE == 5
        for (int k = thread; k < DEPTH; k += THREADS) {
            row[k] = k0 + k < n_k ? row_of(layout, order, rows, a, model, k0 + k) * layout.features : 0;
        }
        __syncthreads();
#endif
        for (int e = thread; e < DEPTH * TILE_I; e += THREADS) {
#if MODE == 3 || MODE == 5
            const int i = e % TILE_I, k = e / TILE_I;
#else
            const int i = e / DEPTH, k = e % DEPTH;
#endif
            float value = 0.0f;
            if (i0 + i < n_i && k0 + k < n_k) {
#if MODE == 1
                value = x[row[i] + k0 + k];
#elif MODE == 2
                value = hidden[(line + i0 + i) * HIDDEN + k0 + k];
#elif MODE == 3
                value = i0 + i < HIDDEN ? hidden[(line + k0 + k) * HIDDEN + i0 + i] : 1.0f;
#elif MODE == 4
                value = back[(line + i0 + i) * OUT + k0 + k];
#else
                value = i0 + i < layout.features ? x[row[k] + i0 + i] : 1.0f;
#endif
            }
            tile_a[k * STRIDE_A + i] = value;
        }
        for (int e = thread; e < DEPTH * TILE_J; e += THREADS) {
#if MODE == 4
            const int j = e / DEPTH, k = e % DEPTH;
#else
            const int j = e % TILE_J, k = e / TILE_J;
#endif
            float value = 0.0f;
            if (k0 + k < n_k) {
#if MODE == 1
                value = own[layout.first + (k0 + k) * HIDDEN + j0 + j];
#elif MODE == 2
                value = own[layout.second + (k0 + k) * OUT + j0 + j];
#elif MODE == 3
                value = back[(line + k0 + k) * OUT + j0 + j];
#elif MODE == 4
                value = own[layout.second + (j0 + j) * OUT + k0 + k];
#else
                value = back[(line + k0 + k) * HIDDEN + j0 + j];
#endif
            }
            tile_b[k * STRIDE_B + j] = value;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            const float4 low = *(const float4 *)(tile_a + k * STRIDE_A + ti);
            const float4 high = *(const float4 *)(tile_a + k * STRIDE_A + ti + 4);
            const float4 of_b = *(const float4 *)(tile_b + k * STRIDE_B + tj);
            const float left[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int i = 0; i < 8; i++) {
                sum[i][0] += left[i] * of_b.x;
                sum[i][1] += left[i] * of_b.y;
                sum[i][2] += left[i] * of_b.z;
                sum[i][3] += left[i] * of_b.w;
            }
        }
    }
#if MODE == 1 && TRAIN
    const unsigned int key = dropout_key(seeds[model], steps[model] + layout.step, 1u);
#endif
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int at_i = i0 + ti + i, at_j = j0 + tj + j;
            if (at_i >= n_i) continue;
            float value = sum[i][j];
#if MODE == 1
            value = fmaxf(value + own[layout.first + layout.features * HIDDEN + at_j], 0.0f);
#if TRAIN
            value = is_kept(key, at_i * HIDDEN + at_j, LIMIT(BRANCH_RATE)) ? value * SCALE(BRANCH_RATE) : 0.0f;
#endif
            out[(line + at_i) * HIDDEN + at_j] = value;
#elif MODE == 2
            out[(line + at_i) * OUT + at_j] = fmaxf(value + own[layout.second + HIDDEN * OUT + at_j], 0.0f);
#elif MODE == 3
            out[(long long)model * layout.parameters + layout.second + at_i * OUT + at_j] = value;
#elif MODE == 4
            const float unit = hidden[(line + at_i) * HIDDEN + at_j];
            out[(line + at_i) * HIDDEN + at_j] = unit > 0.0f ? value * SCALE(BRANCH_RATE) : 0.0f;
#else
            out[(long long)model * layout.parameters + layout.first + at_i * HIDDEN + at_j] = value;
#endif
        }
    }
}
