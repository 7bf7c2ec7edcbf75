// The dm-dt branch, forward and back: a block takes a few rows of one model one after the other, an image at a time in
// shared memory. What costs less to compute again than to keep is computed again: the first convolution's output
// (one product a value), and in `images_back` the whole way forward.
//
// Images lie plane by plane. In the first block a thread has one window of the pool, its four pixels and all channels;
// the gradient of a pool goes to one pixel of four, so its thread knows all of it.
//
// TRAIN: 0 without dropout. ROWS of `Layout` is how many rows of the batch a block takes.

#define N_IMAGE 676      // 26 x 26
#define SIDE_1 24        // first depthwise
#define SIDE_2 22        // second
#define SIDE_P 11        // after the pool
#define SIDE_3 9
#define SIDE_4 7
#define C1 16
#define C2 32
#define N_1 (SIDE_1 * SIDE_1)
#define N_2 (SIDE_2 * SIDE_2)
#define N_P (SIDE_P * SIDE_P)
#define N_3 (SIDE_3 * SIDE_3)
#define N_4 (SIDE_4 * SIDE_4)

// The branch's parameters, in the order of the flat vector; the wide ones first here, where they are aligned.
#define W12 0
#define W21 256
#define W22 768
#define K11 1792
#define W11 1801
#define B11 1817
#define K12 1833
#define B12 1977
#define K21 1993
#define B21 2137
#define K22 2169
#define B22 2457
#define N_OWN 2489

// Where a parameter of the flat vector lies here.
static __device__ __forceinline__ int moved(int p) {
    if (p < 41) return K11 + p;              // first depthwise, pointwise, bias
    if (p < 185) return K12 + p - 41;
    if (p < 441) return W12 + p - 185;
    if (p < 457) return B12 + p - 441;
    if (p < 601) return K21 + p - 457;
    if (p < 1113) return W21 + p - 601;
    if (p < 1145) return B21 + p - 1113;
    if (p < 1433) return K22 + p - 1145;
    if (p < 2457) return W22 + p - 1433;
    return B22 + p - 2457;
}

// Shared memory, in floats. `SPARE` is used again by what no longer needs it.
#define OWN 0
#define IMAGE 2492
#define D11 (IMAGE + N_IMAGE)
#define POOLED (D11 + N_1)                   // C1 x N_P; going back, a pixel's gradients by window
#define D21 (POOLED + N_P * (C1 + 1))
#define C21 (D21 + C1 * N_3)
#define D22 (C21 + C2 * N_3)
#define C22 (D22 + C2 * N_4)
#define FORWARD_FLOATS (C22 + C2 * N_4)
#define G22 (C22 + C2 * N_4)                 // by the second depthwise of block 2
#define G21 (G22 + C2 * N_4)                 // by the first; then a pixel's values by window
#define BACK_FLOATS (G21 + N_P * (C1 + 1))
#define G12 D21                              // by the second depthwise of block 1: over D21 to G22
#define STRIDE_12 (N_2 + 1)

// Values of the 3 x 3 window, of the first convolution's depthwise sums, at a pixel of the second.
static __device__ __forceinline__ void window(const float *sums, int y, int x, float *values) {
#pragma unroll
    for (int t = 0; t < 9; t++) values[t] = sums[(y + t / 3) * SIDE_1 + x + t % 3];
}

// Second depthwise sum of a channel, from the first convolution computed again.
static __device__ __forceinline__ float second_sum(const float *own, const float *values, int channel) {
    const float weight = own[W11 + channel], bias = own[B11 + channel];
    float sum = 0.0f;
#pragma unroll
    for (int t = 0; t < 9; t++) sum += own[K12 + t * C1 + channel] * fmaxf(values[t] * weight + bias, 0.0f);
    return sum;
}

// Block 1 of the branch: `chosen` gets which pixel of the window each channel's pool took, two bits each.
static __device__ __forceinline__ void first_block(const float *image, float *shared, unsigned int key, int b,
                                                   unsigned int &chosen) {
    const float *own = shared + OWN;
    const int thread = threadIdx.x;
    for (int e = thread; e < N_IMAGE; e += THREADS) shared[IMAGE + e] = image[e];
    __syncthreads();
    for (int e = thread; e < N_1; e += THREADS) {
        const float *corner = shared + IMAGE + e / SIDE_1 * 26 + e % SIDE_1;
        float sum = 0.0f;
#pragma unroll
        for (int t = 0; t < 9; t++) sum += own[K11 + t] * corner[t / 3 * 26 + t % 3];
        shared[D11 + e] = sum;
    }
    __syncthreads();
    chosen = 0u;
    if (thread >= N_P) return;
    const int y0 = thread / SIDE_P * 2, x0 = thread % SIDE_P * 2;
    float best[C1];
#pragma unroll 1
    for (int q = 0; q < 4; q++) {
        const int y = y0 + q / 2, x = x0 + q % 2;
        float values[9], sums[C1] = {};
        window(shared + D11, y, x, values);
#pragma unroll 4
        for (int i = 0; i < C1; i++) {
            const float spatial = second_sum(own, values, i);
            const float4 *weight = (const float4 *)(own + W12 + i * C1);
#pragma unroll
            for (int g = 0; g < C1 / 4; g++) {
                const float4 four = weight[g];
                sums[4 * g] += spatial * four.x;
                sums[4 * g + 1] += spatial * four.y;
                sums[4 * g + 2] += spatial * four.z;
                sums[4 * g + 3] += spatial * four.w;
            }
        }
#pragma unroll
        for (int c = 0; c < C1; c++) {
            float value = fmaxf(sums[c] + own[B12 + c], 0.0f);
#if TRAIN
            const int index = ((b * SIDE_2 + y) * SIDE_2 + x) * C1 + c;
            value = is_kept(key, index, LIMIT(BRANCH_RATE)) ? value * SCALE(BRANCH_RATE) : 0.0f;
#endif
            if (q == 0 || value > best[c]) {
                best[c] = value;
                chosen = (chosen & ~(3u << (2 * c))) | (unsigned int)q << (2 * c);
            }
        }
    }
#pragma unroll
    for (int c = 0; c < C1; c++) shared[POOLED + c * N_P + thread] = best[c];
}

// Depthwise sums of `channels` planes of side `side` + 2.
static __device__ __forceinline__ void depthwise(const float *from, const float *kernel, float *to, int channels, int side) {
    for (int e = threadIdx.x; e < channels * side * side; e += THREADS) {
        const int c = e / (side * side), p = e % (side * side);
        const float *corner = from + c * (side + 2) * (side + 2) + p / side * (side + 2) + p % side;
        float sum = 0.0f;
#pragma unroll
        for (int t = 0; t < 9; t++) sum += kernel[t * channels + c] * corner[t / 3 * (side + 2) + t % 3];
        to[e] = sum;
    }
}

// Eight outputs of a pointwise product to C2 channels at a pixel: relu of the sums and the bias.
static __device__ __forceinline__ void pointwise(const float *from, const float *kernel, const float *bias, int channels,
                                                 int n_pixels, int p, int group, float *sums) {
#pragma unroll
    for (int u = 0; u < 8; u++) sums[u] = 0.0f;
    for (int i = 0; i < channels; i++) {
        const float value = from[i * n_pixels + p];
        const float4 low = *(const float4 *)(kernel + i * C2 + group * 8);
        const float4 high = *(const float4 *)(kernel + i * C2 + group * 8 + 4);
        sums[0] += value * low.x;
        sums[1] += value * low.y;
        sums[2] += value * low.z;
        sums[3] += value * low.w;
        sums[4] += value * high.x;
        sums[5] += value * high.y;
        sums[6] += value * high.z;
        sums[7] += value * high.w;
    }
#pragma unroll
    for (int u = 0; u < 8; u++) sums[u] = fmaxf(sums[u] + bias[group * 8 + u], 0.0f);
}

// Block 2 of the branch, from POOLED to C22.
static __device__ __forceinline__ void second_block(float *shared, unsigned int key, int b) {
    const float *own = shared + OWN;
    const int thread = threadIdx.x;
    float sums[8];
    depthwise(shared + POOLED, own + K21, shared + D21, C1, SIDE_3);
    __syncthreads();
    for (int e = thread; e < N_3 * 4; e += THREADS) {
        pointwise(shared + D21, own + W21, own + B21, C1, N_3, e % N_3, e / N_3, sums);
#pragma unroll
        for (int u = 0; u < 8; u++) shared[C21 + (e / N_3 * 8 + u) * N_3 + e % N_3] = sums[u];
    }
    __syncthreads();
    depthwise(shared + C21, own + K22, shared + D22, C2, SIDE_4);
    __syncthreads();
    for (int e = thread; e < N_4 * 4; e += THREADS) {
        const int p = e % N_4, group = e / N_4;
        pointwise(shared + D22, own + W22, own + B22, C2, N_4, p, group, sums);
#pragma unroll
        for (int u = 0; u < 8; u++) {
            const int c = group * 8 + u;
#if TRAIN
            if (!is_kept(key, (b * N_4 + p) * C2 + c, LIMIT(BRANCH_RATE))) sums[u] = 0.0f;
            sums[u] *= SCALE(BRANCH_RATE);
#endif
            shared[C22 + c * N_4 + p] = sums[u];
        }
    }
    __syncthreads();
}

static __device__ __forceinline__ const float *image_of(const Layout &layout, const int *order, const int *rows,
                                                        const float *images, int a, int model, int b) {
    return images + row_of(layout, order, rows, a, model, b) * N_IMAGE;
}

static __device__ __forceinline__ void take_parameters(const Layout &layout, const float *parameters, int model,
                                                       float *shared) {
    const float *mine = parameters + (long long)model * layout.parameters + layout.images;
    for (int p = threadIdx.x; p < N_OWN; p += THREADS) shared[OWN + moved(p)] = mine[p];
}

// Means over the image, (models, batch, C2).
extern "C" __global__ void __launch_bounds__(THREADS)
images_forward(const int *layouts, const int *models, const unsigned int *seeds, const int *steps, const int *order,
               const int *rows, const float *images, const float *parameters, float *means) {
    extern __shared__ __align__(16) unsigned char pool[];
    float *shared = (float *)pool;
    const Layout layout = *(const Layout *)layouts;
    const int a = blockIdx.y, model = models[a], thread = threadIdx.x;
    const unsigned int first_key = dropout_key(seeds[model], steps[model] + layout.step, 2u);
    const unsigned int second_key = dropout_key(seeds[model], steps[model] + layout.step, 3u);
    take_parameters(layout, parameters, model, shared);
    const int end = min(((int)blockIdx.x + 1) * layout.block, layout.batch);
    for (int b = blockIdx.x * layout.block; b < end; b++) {
        unsigned int chosen;
        first_block(image_of(layout, order, rows, images, a, model, b), shared, first_key, b, chosen);
        __syncthreads();
        second_block(shared, second_key, b);
        if (thread < C2) {
            float sum = 0.0f;
            for (int p = 0; p < N_4; p++) sum += shared[C22 + thread * N_4 + p];
            means[((long long)a * layout.batch + b) * C2 + thread] = sum / N_4;
        }
        __syncthreads();
    }
}
