// Second part of `images`: from the derivative by the means to those by the branch's parameters. A block adds up its rows in
// registers, thread by thread in a fixed order, and writes its sums to `parts`; `add_parts` adds the blocks'.

// What a thread adds up: some entries of the pointwise kernels alone, of the depthwise kernels its share of the pixels.
struct Sums {
    float w22[8], b22, k22[9];
    float w21[4], b21, k21[9];
    float w12[2], b12, k12[9];
    float w11[C1], b11[C1], k11[9];
};

// Depthwise kernel of a channel: its pixels `slice`, `slice` + n_slices, ...
static __device__ __forceinline__ void add_depthwise(const float *from, const float *back, int side, int slice,
                                                     int n_slices, float *sums) {
    for (int p = slice; p < side * side; p += n_slices) {
        const float *corner = from + p / side * (side + 2) + p % side;
        const float gradient = back[p];
#pragma unroll
        for (int t = 0; t < 9; t++) sums[t] += corner[t / 3 * (side + 2) + t % 3] * gradient;
    }
}

// Derivative by the input of a depthwise layer at (y, x): `back` is a plane of side `side`.
static __device__ __forceinline__ float depthwise_back(const float *back, const float *kernel, int channels, int side,
                                                       int y, int x) {
    float sum = 0.0f;
#pragma unroll
    for (int t = 0; t < 9; t++) {
        const int from_y = y - t / 3, from_x = x - t % 3;
        const bool inside = from_y >= 0 && from_y < side && from_x >= 0 && from_x < side;
        if (inside) sum += back[from_y * side + from_x] * kernel[t * channels];
    }
    return sum;
}

// Derivative by the input channels `first` to `first` + 7 of a pointwise product, at a pixel.
static __device__ __forceinline__ void pointwise_back(const float *back, const float *kernel, int n_pixels, int p,
                                                      int first, float *to) {
    float sums[8] = {};
    for (int o = 0; o < C2; o++) {
        const float gradient = back[o * n_pixels + p];
#pragma unroll
        for (int u = 0; u < 8; u++) sums[u] += gradient * kernel[(first + u) * C2 + o];
    }
#pragma unroll
    for (int u = 0; u < 8; u++) to[(first + u) * n_pixels + p] = sums[u];
}

static __device__ __forceinline__ void second_block_back(float *shared, const float *by_means, Sums &sums) {
    const float *own = shared + OWN;
    const int thread = threadIdx.x, c = thread % C2, part = thread / C2;
    for (int e = thread; e < C2 * N_4; e += THREADS) {
        const float value = by_means[e / N_4] / N_4;
        // What is above 0 was kept.
        shared[C22 + e] = shared[C22 + e] > 0.0f ? value * (TRAIN ? SCALE(BRANCH_RATE) : 1.0f) : 0.0f;
    }
    __syncthreads();
    for (int p = 0; p < N_4; p++) {
        const float gradient = shared[C22 + c * N_4 + p];
        sums.b22 += gradient;
#pragma unroll
        for (int u = 0; u < 8; u++) sums.w22[u] += shared[D22 + (part * 8 + u) * N_4 + p] * gradient;
    }
    for (int e = thread; e < N_4 * 4; e += THREADS) {
        pointwise_back(shared + C22, own + W22, N_4, e % N_4, e / N_4 * 8, shared + G22);
    }
    __syncthreads();
    add_depthwise(shared + C21 + c * N_3, shared + G22 + c * N_4, SIDE_4, part, THREADS / C2, sums.k22);
    __syncthreads();
    for (int e = thread; e < C2 * N_3; e += THREADS) {
        const int of = e / N_3, p = e % N_3;
        const float value = depthwise_back(shared + G22 + of * N_4, own + K22 + of, C2, SIDE_4, p / SIDE_3, p % SIDE_3);
        shared[C21 + e] = shared[C21 + e] > 0.0f ? value : 0.0f;
    }
    __syncthreads();
    for (int p = 0; p < N_3; p++) {
        const float gradient = shared[C21 + c * N_3 + p];
        sums.b21 += gradient;
#pragma unroll
        for (int u = 0; u < 4; u++) sums.w21[u] += shared[D21 + (part * 4 + u) * N_3 + p] * gradient;
    }
    for (int e = thread; e < N_3 * 2; e += THREADS) {
        pointwise_back(shared + C21, own + W21, N_3, e % N_3, e / N_3 * 8, shared + G21);
    }
    __syncthreads();
    const int c1 = thread % C1;
    add_depthwise(shared + POOLED + c1 * N_P, shared + G21 + c1 * N_3, SIDE_3, thread / C1, THREADS / C1, sums.k21);
}

static __device__ __forceinline__ void first_block_back(float *shared, unsigned int chosen, Sums &sums) {
    const float *own = shared + OWN;
    const int thread = threadIdx.x, c1 = thread % C1, part = thread / C1;
    float gradient[C1];
    if (thread < N_P) {
#pragma unroll
        for (int c = 0; c < C1; c++) {
            const float value = depthwise_back(shared + G21 + c * N_3, own + K21 + c, C1, SIDE_3, thread / SIDE_P,
                                               thread % SIDE_P);
            gradient[c] = shared[POOLED + c * N_P + thread] > 0.0f ? value * (TRAIN ? SCALE(BRANCH_RATE) : 1.0f) : 0.0f;
        }
    }
    __syncthreads();
    // POOLED and G21 now hold one pixel of every window: its gradients and its values, window by window.
    float *back = shared + POOLED, *values = shared + G21;
#pragma unroll 1
    for (int q = 0; q < 4; q++) {
        if (thread < N_P) {
            const int y = thread / SIDE_P * 2 + q / 2, x = thread % SIDE_P * 2 + q % 2;
            float seen[9], own_gradient[C1];
            window(shared + D11, y, x, seen);
#pragma unroll
            for (int c = 0; c < C1; c++) {
                own_gradient[c] = (chosen >> (2 * c) & 3u) == (unsigned int)q ? gradient[c] : 0.0f;
                back[thread * (C1 + 1) + c] = own_gradient[c];
            }
#pragma unroll 4
            for (int i = 0; i < C1; i++) {
                values[thread * (C1 + 1) + i] = second_sum(own, seen, i);
                const float4 *weight = (const float4 *)(own + W12 + i * C1);
                float sum = 0.0f;
#pragma unroll
                for (int g = 0; g < C1 / 4; g++) {
                    const float4 four = weight[g];
                    sum += own_gradient[4 * g] * four.x;
                    sum += own_gradient[4 * g + 1] * four.y;
                    sum += own_gradient[4 * g + 2] * four.z;
                    sum += own_gradient[4 * g + 3] * four.w;
                }
                shared[G12 + i * STRIDE_12 + y * SIDE_2 + x] = sum;
            }
        }
        __syncthreads();
        for (int w = 0; w < N_P; w++) {
            const float of_window = back[w * (C1 + 1) + c1];
            sums.b12 += of_window;
            sums.w12[0] += values[w * (C1 + 1) + part * 2] * of_window;
            sums.w12[1] += values[w * (C1 + 1) + part * 2 + 1] * of_window;
        }
        __syncthreads();
    }
    const float weight = own[W11 + c1], bias = own[B11 + c1];
    for (int p = part; p < N_2; p += THREADS / C1) {
        const float own_gradient = shared[G12 + c1 * STRIDE_12 + p];
        float seen[9];
        window(shared + D11, p / SIDE_2, p % SIDE_2, seen);
#pragma unroll
        for (int t = 0; t < 9; t++) sums.k12[t] += fmaxf(seen[t] * weight + bias, 0.0f) * own_gradient;
    }
    for (int e = thread; e < N_1; e += THREADS) {
        const int y = e / SIDE_1, x = e % SIDE_1;
        const float spatial = shared[D11 + e];
        float total = 0.0f;
#pragma unroll
        for (int c = 0; c < C1; c++) {
            float value = depthwise_back(shared + G12 + c * STRIDE_12, own + K12 + c, C1, SIDE_2, y, x);
            value = spatial * own[W11 + c] + own[B11 + c] > 0.0f ? value : 0.0f;
            sums.w11[c] += spatial * value;
            sums.b11[c] += value;
            total += own[W11 + c] * value;
        }
        const float *corner = shared + IMAGE + y * 26 + x;
#pragma unroll
        for (int t = 0; t < 9; t++) sums.k11[t] += corner[t / 3 * 26 + t % 3] * total;
    }
    __syncthreads();
}

// Sum over the threads of a group, first thread `offset`, one after `step` others; every thread of the block calls it.
static __device__ __forceinline__ void write_sums(float *pool, const float *own, int n, int n_owners, int first,
                                                  float *part) {
    const int thread = threadIdx.x;
    for (int v = 0; v < n; v++) pool[v * THREADS + thread] = own[v];
    __syncthreads();
    for (int e = thread; e < n * n_owners; e += THREADS) {
        float sum = 0.0f;
        for (int t = e % n_owners; t < THREADS; t += n_owners) sum += pool[e / n_owners * THREADS + t];
        part[first + e] = sum;
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
images_back(const int *layouts, const int *models, const unsigned int *seeds, const int *steps, const int *order,
            const int *rows, const float *images, const float *parameters, const float *by_means, float *parts) {
    extern __shared__ __align__(16) unsigned char pool[];
    float *shared = (float *)pool;
    const Layout layout = *(const Layout *)layouts;
    const int a = blockIdx.y, model = models[a], thread = threadIdx.x;
    const unsigned int first_key = dropout_key(seeds[model], steps[model] + layout.step, 2u);
    const unsigned int second_key = dropout_key(seeds[model], steps[model] + layout.step, 3u);
    take_parameters(layout, parameters, model, shared);
    Sums sums = {};
    const int end = min(((int)blockIdx.x + 1) * layout.block, layout.batch);
    for (int b = blockIdx.x * layout.block; b < end; b++) {
        unsigned int chosen;
        first_block(image_of(layout, order, rows, images, a, model, b), shared, first_key, b, chosen);
        __syncthreads();
        second_block(shared, second_key, b);
        second_block_back(shared, by_means + ((long long)a * layout.batch + b) * C2, sums);
        __syncthreads();
        first_block_back(shared, chosen, sums);
    }
    // In the order of the flat vector.
    float *part = parts + ((long long)a * gridDim.x + blockIdx.x) * N_OWN;
    float *room = shared + OWN;
    __syncthreads();
    write_sums(room, sums.k11, 9, 1, 0, part);
    write_sums(room, sums.w11, C1, 1, 9, part);
    write_sums(room, sums.b11, C1, 1, 25, part);
    write_sums(room, sums.k12, 9, C1, 41, part);
    write_sums(room, sums.k21, 9, C1, 457, part);
    write_sums(room, sums.k22, 9, C2, 1145, part);
    const int c1 = thread % C1, part1 = thread / C1, c2 = thread % C2, part2 = thread / C2;
    for (int u = 0; u < 2; u++) part[185 + (part1 * 2 + u) * C1 + c1] = sums.w12[u];
    for (int u = 0; u < 4; u++) part[601 + (part2 * 4 + u) * C2 + c2] = sums.w21[u];
    for (int u = 0; u < 8; u++) part[1433 + (part2 * 8 + u) * C2 + c2] = sums.w22[u];
    if (part1 == 0) part[441 + c1] = sums.b12;
    if (part2 == 0) {
        part[1113 + c2] = sums.b21;
        part[2457 + c2] = sums.b22;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
add_parts(const int *layouts, const int *models, int n_parts, const float *parts, float *gradients) {
    const Layout layout = *(const Layout *)layouts;
    const int a = blockIdx.y, p = blockIdx.x * THREADS + threadIdx.x;
    if (p >= N_OWN) return;
    float sum = 0.0f;
    for (int part = 0; part < n_parts; part++) sum += parts[((long long)a * n_parts + part) * N_OWN + p];
    gradients[(long long)models[a] * layout.parameters + layout.images + p] = sum;
}
