// The head of the network, its loss and its gradients: a block for each model, TILE rows of the batch at a time.
//
// JOINED: units that enter (32 of each branch), DENSE, IMAGES: which branches, OUTPUTS: logits, TRAIN: 0 for the loss
// alone, without dropout.

#define TILE 32
#define HIDDEN 16
#define BRANCH 32
#define N_HEAD ((JOINED + 1) * HIDDEN)
#define N_LOGIT ((HIDDEN + 1) * OUTPUTS)

extern "C" __global__ void __launch_bounds__(THREADS)
head(const int *layouts, const int *models, const unsigned int *seeds, const int *steps, const int *order,
     const float *labels, const float *weights, const float *parameters, const float *dense, const float *means,
     float *gradients, float *back_dense, float *back_means, double *losses) {
    __shared__ float joined[TILE * (JOINED + 1)], units[TILE * (HIDDEN + 1)], back[TILE * (HIDDEN + 1)];
    __shared__ float logits[TILE * (OUTPUTS + 1)];
    __shared__ float own[N_HEAD + N_LOGIT], gradient[TRAIN ? N_HEAD + N_LOGIT : 1];
    __shared__ double pool[THREADS];
    const Layout layout = *(const Layout *)layouts;
    const int a = blockIdx.y, model = models[a], thread = threadIdx.x;
    const float *mine = parameters + (long long)model * layout.parameters + layout.head;
    for (int e = thread; e < N_HEAD + N_LOGIT; e += THREADS) {
        own[e] = mine[e];
        if (TRAIN) gradient[e] = 0.0f;
    }
    const float *kernel = own, *bias = own + JOINED * HIDDEN;
    const float *last = own + N_HEAD, *last_bias = last + HIDDEN * OUTPUTS;
    const unsigned int key = TRAIN ? dropout_key(seeds[model], steps[model] + layout.step, 4u) : 0u;
    const float share = 1.0f / ((float)layout.batch * OUTPUTS);
    double loss = 0.0;
    for (int begin = 0; begin < layout.batch; begin += TILE) {
        const int n = min(TILE, layout.batch - begin);
        __syncthreads();
        for (int e = thread; e < TILE * JOINED; e += THREADS) {
            const int r = e / JOINED, c = e % JOINED;
            const long long line = ((long long)a * layout.batch + begin + r) * BRANCH;
            float value = 0.0f;
            if (r < n) {
                value = DENSE && c < BRANCH ? dense[line + c] : means[line + c - DENSE * BRANCH];
                if (TRAIN) {
                    const bool kept = is_kept(key, (begin + r) * JOINED + c, LIMIT(HEAD_RATE));
                    value = kept ? value * SCALE(HEAD_RATE) : 0.0f;
                }
            }
            joined[r * (JOINED + 1) + c] = value;
        }
        __syncthreads();
        for (int e = thread; e < TILE * HIDDEN; e += THREADS) {
            const int r = e / HIDDEN, u = e % HIDDEN;
            float sum = 0.0f;
            for (int c = 0; c < JOINED; c++) sum += joined[r * (JOINED + 1) + c] * kernel[c * HIDDEN + u];
            units[r * (HIDDEN + 1) + u] = fmaxf(sum + bias[u], 0.0f);
        }
        __syncthreads();
        for (int e = thread; e < TILE * OUTPUTS; e += THREADS) {
            const int r = e / OUTPUTS, c = e % OUTPUTS;
            float z = 0.0f;
            for (int u = 0; u < HIDDEN; u++) z += units[r * (HIDDEN + 1) + u] * last[u * OUTPUTS + c];
            z += last_bias[c];
            float derivative = 0.0f;
            if (r < n) {
                const int position = position_of(layout, order, a, begin + r);
                const long long at = ((long long)model * layout.rows + position) * OUTPUTS + c;
                const float y = labels[at], weight = weights[at];
                const float small = expf(-fabsf(z)), score = (z >= 0.0f ? 1.0f : small) / (1.0f + small);
                loss += (double)(weight * (fmaxf(z, 0.0f) - z * y + log1pf(small)));
                derivative = weight * (score - y) * share;
            }
            logits[r * (OUTPUTS + 1) + c] = derivative;
        }
        if (!TRAIN) continue;
        __syncthreads();
        // Every entry of a gradient has one thread, which adds the rows in their order.
        for (int e = thread; e < N_LOGIT; e += THREADS) {
            const int u = e / OUTPUTS, c = e % OUTPUTS;
            float sum = 0.0f;
            for (int r = 0; r < TILE; r++) {
                sum += (u < HIDDEN ? units[r * (HIDDEN + 1) + u] : 1.0f) * logits[r * (OUTPUTS + 1) + c];
            }
            gradient[N_HEAD + e] += sum;
        }
        for (int e = thread; e < TILE * HIDDEN; e += THREADS) {
            const int r = e / HIDDEN, u = e % HIDDEN;
            float sum = 0.0f;
            for (int c = 0; c < OUTPUTS; c++) sum += logits[r * (OUTPUTS + 1) + c] * last[u * OUTPUTS + c];
            back[r * (HIDDEN + 1) + u] = units[r * (HIDDEN + 1) + u] > 0.0f ? sum : 0.0f;
        }
        __syncthreads();
        for (int e = thread; e < N_HEAD; e += THREADS) {
            const int c = e / HIDDEN, u = e % HIDDEN;
            float sum = 0.0f;
            for (int r = 0; r < TILE; r++) {
                sum += (c < JOINED ? joined[r * (JOINED + 1) + c] : 1.0f) * back[r * (HIDDEN + 1) + u];
            }
            gradient[e] += sum;
        }
        for (int e = thread; e < n * JOINED; e += THREADS) {
            const int r = e / JOINED, c = e % JOINED;
            const long long line = ((long long)a * layout.batch + begin + r) * BRANCH;
            float sum = 0.0f;
            for (int u = 0; u < HIDDEN; u++) sum += back[r * (HIDDEN + 1) + u] * kernel[c * HIDDEN + u];
            const bool kept = is_kept(key, (begin + r) * JOINED + c, LIMIT(HEAD_RATE));
            sum = kept ? sum * SCALE(HEAD_RATE) : 0.0f;
            if (DENSE && c < BRANCH) {
                back_dense[line + c] = dense[line + c] > 0.0f ? sum : 0.0f;
            } else {
                back_means[line + c - DENSE * BRANCH] = sum;
            }
        }
    }
    pool[thread] = loss;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) pool[thread] += pool[thread + half];
        __syncthreads();
    }
    if (thread == 0) losses[model] += TRAIN ? pool[0] / ((double)layout.batch * OUTPUTS) : pool[0];
    if (TRAIN) {
        float *found = gradients + (long long)model * layout.parameters + layout.head;
        for (int e = thread; e < N_HEAD + N_LOGIT; e += THREADS) found[e] = gradient[e];
    }
}
