// Best local maxima and moments of periodograms in a buffer. `scan` looks at spans of SPAN values, `collect` takes what
// it found of a whole task: exactly the `wanted` highest maxima (ties: those of lowest frequency). `choose` takes the
// peaks of a light curve from them.
//
// THREADS (256 or more for `collect`), SPAN, MOST_SPANS (of a task). Task as for the statistic, but: real[0] is 1 or -1, what makes a larger value the better one;
// whole[0] values before the first that counts (0 or 1), whole[1] values after the last, whole[2] first span,
// whole[3] grid index of the first value.

struct Span {
    double sum, squares;
    int count;
    unsigned int best;  // key of its highest maximum, 0 without one
};

struct Window {
    int first, last;  // grid indices left out, both included
};

// Larger values have larger keys; 0 is the key of none.
static __device__ unsigned int key_of(float value) {
    const unsigned int bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static __device__ float value_of(unsigned int key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

static __device__ bool counts(const Task &task, int x, const Window *windows, int n_windows) {
    if (x < task.whole[0] || x >= task.count - task.whole[1]) return false;
    const int index = task.whole[3] + x;
    for (int w = 0; w < n_windows; w++) {
        if (index >= windows[w].first && index <= windows[w].last) return false;
    }
    return true;
}

// Key of value x if it is a maximum that counts, else 0. The ends of the buffer are ends of the grid, for a value
// before the first that counts or after the last is there wherever the grid goes on.
static __device__ unsigned int maximum(const Task &task, int x, const float *own, const Window *windows, int n_windows) {
    if (x >= task.count || !counts(task, x, windows, n_windows)) return 0u;
    const float sign = (float)task.real[0], value = sign * own[x];
    if (x > 0 && !(value > sign * own[x - 1])) return 0u;
    if (x + 1 < task.count && !(value >= sign * own[x + 1])) return 0u;
    return key_of(value);
}

extern "C" __global__ void __launch_bounds__(THREADS)
scan(const Task *tasks, const float *values, const Window *windows, int n_windows, Span *spans) {
    __shared__ double sums[THREADS], squares[THREADS];
    __shared__ int number[THREADS];
    __shared__ unsigned int keys[THREADS];
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * SPAN;
    if (base >= task.count) return;
    const float *own = values + task.out;
    const Window *excluded = windows + (long long)task.row * n_windows;
    const int thread = threadIdx.x;
    double sum = 0.0, square = 0.0;
    int count = 0;
    unsigned int best = 0u;
    for (int x = base + thread; x < min(base + SPAN, task.count); x += THREADS) {
        if (!counts(task, x, excluded, n_windows)) continue;
        const double value = own[x];
        sum += value;
        square += value * value;
        count++;
        best = max(best, maximum(task, x, own, excluded, n_windows));
    }
    sums[thread] = sum, squares[thread] = square, number[thread] = count, keys[thread] = best;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            sums[thread] += sums[thread + half];
            squares[thread] += squares[thread + half];
            number[thread] += number[thread + half];
            keys[thread] = max(keys[thread], keys[thread + half]);
        }
        __syncthreads();
    }
    if (thread == 0) {
        Span found;
        found.sum = sums[0], found.squares = squares[0], found.count = number[0], found.best = keys[0];
        spans[task.whole[2] + blockIdx.x] = found;
    }
}

// What a block shares while it looks for the key of a given rank, byte by byte.
struct Pick {
    unsigned int histogram[256];  // of the byte at hand; then of that byte or a larger one
    unsigned int prefix;          // leading bytes of the key
    int rank;                     // its rank among the keys that begin so
    int above;                    // keys higher than it
    int tied;                     // keys equal to it
};

static __device__ void start_pick(Pick &pick, int rank) {
    __syncthreads();
    if (threadIdx.x == 0) pick.prefix = 0u, pick.rank = rank, pick.above = 0;
    __syncthreads();
}

static __device__ void clear_histogram(Pick &pick) {
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += THREADS) pick.histogram[b] = 0u;
    __syncthreads();
}

static __device__ void count_key(Pick &pick, unsigned int key, int shift) {
    const bool begins_so = shift == 24 || (key >> (shift + 8)) == (pick.prefix >> (shift + 8));
    if (key != 0u && begins_so) atomicAdd(&pick.histogram[(key >> shift) & 255u], 1u);
}

// The byte of the key of rank `rank`, from the histogram; 0 where there are not so many keys. Needs 256 threads or more.
static __device__ void pick_byte(Pick &pick, int shift) {
    const int b = threadIdx.x;
    for (int reach = 1; reach < 256; reach *= 2) {
        __syncthreads();
        const unsigned int beyond = b + reach < 256 ? pick.histogram[b + reach] : 0u;
        __syncthreads();
        if (b < 256) pick.histogram[b] += beyond;
    }
    __syncthreads();
    const int rank = pick.rank;
    const int from_here = b < 256 ? (int)pick.histogram[b] : 0;
    const int from_next = b < 255 ? (int)pick.histogram[b + 1] : 0;
    __syncthreads();
    if (b < 256 && from_next <= rank && (from_here > rank || b == 0)) {
        pick.prefix |= (unsigned int)b << shift;
        pick.rank = rank - from_next;
        pick.above += from_next;
        pick.tied = from_here - from_next;
    }
    __syncthreads();
}

// How many threads before this one have a flag; `total` gets how many there are.
static __device__ int rank_in_block(bool flag, int *pool, int *total) {
    const int thread = threadIdx.x;
    pool[thread] = flag;
    __syncthreads();
    for (int reach = 1; reach < THREADS; reach *= 2) {
        const int before = thread >= reach ? pool[thread - reach] : 0;
        __syncthreads();
        pool[thread] += before;
        __syncthreads();
    }
    const int inclusive = pool[thread];
    *total = pool[THREADS - 1];
    __syncthreads();
    return inclusive - flag;
}

extern "C" __global__ void __launch_bounds__(THREADS)
collect(const Task *tasks, const float *values, const Window *windows, int n_windows, const Span *all_spans, int wanted,
        Peak *peaks, int *n_found, double *moments) {
    __shared__ Pick pick;
    __shared__ int n_taken, active[MOST_SPANS];
    __shared__ double sums[THREADS], squares[THREADS];
    __shared__ int number[THREADS];
    const Task task = tasks[blockIdx.x];
    const float *own = values + task.out;
    const Window *excluded = windows + (long long)task.row * n_windows;
    const Span *spans = all_spans + task.whole[2];
    const int n_spans = (task.count + SPAN - 1) / SPAN;
    const int thread = threadIdx.x;

    double sum = 0.0, square = 0.0;
    int count = 0;
    for (int s = thread; s < n_spans; s += THREADS) {
        sum += spans[s].sum;
        square += spans[s].squares;
        count += spans[s].count;
    }
    sums[thread] = sum, squares[thread] = square, number[thread] = count;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            sums[thread] += sums[thread + half];
            squares[thread] += squares[thread + half];
            number[thread] += number[thread + half];
        }
        __syncthreads();
    }
    if (thread == 0) {
        moments[3 * blockIdx.x] = number[0];
        moments[3 * blockIdx.x + 1] = sums[0];
        moments[3 * blockIdx.x + 2] = squares[0];
    }

    // The wanted-th highest of the spans' best is at most the wanted-th highest of all: other spans hold none of those.
    start_pick(pick, wanted - 1);
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram(pick);
        for (int s = thread; s < n_spans; s += THREADS) count_key(pick, spans[s].best, shift);
        pick_byte(pick, shift);
    }
    const unsigned int least = max(pick.prefix, 1u);

    int n_active = 0;
    for (int s = thread; s - thread < n_spans; s += THREADS) {
        const bool is_active = s < n_spans && spans[s].best >= least;
        int n_more;
        const int place = n_active + rank_in_block(is_active, number, &n_more);
        if (is_active) active[place] = s;
        n_active += n_more;
    }
    __syncthreads();
    // The block goes through the active spans THREADS values at a time, in order.
    const int n_values = n_active * SPAN;
    start_pick(pick, wanted - 1);
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram(pick);
        for (int i = thread; i < n_values; i += THREADS) {
            count_key(pick, maximum(task, active[i / SPAN] * SPAN + i % SPAN, own, excluded, n_windows), shift);
        }
        pick_byte(pick, shift);
    }
    const unsigned int lowest = max(pick.prefix, 1u);
    const int n_above = pick.above, room = wanted - n_above;
    // Nearly always all of the lowest fit in, and their order does not matter.
    const bool all_fit = pick.prefix == 0u || pick.tied <= room;
    if (thread == 0) n_taken = 0;
    __syncthreads();

    int tied = 0;
    for (int i = thread; i - thread < n_values; i += THREADS) {
        const int x = i < n_values ? active[i / SPAN] * SPAN + i % SPAN : task.count;
        const unsigned int key = maximum(task, x, own, excluded, n_windows);
        int place = -1;
        if (key > lowest || (all_fit && key == lowest)) place = atomicAdd(&n_taken, 1);
        if (!all_fit) {
            int n_equal;
            const int rank = tied + rank_in_block(key == lowest, number, &n_equal);
            if (key == lowest && rank < room) place = n_above + rank;
            tied += n_equal;
        }
        if (place >= 0) {
            Peak peak;
            peak.value = own[x];
            peak.index = task.whole[3] + x;
            peaks[(long long)blockIdx.x * wanted + place] = peak;
        }
    }
    __syncthreads();
    if (thread == 0) n_found[blockIdx.x] = all_fit ? n_taken : wanted;
}

// The best distinct peaks of each light curve: what `peaks.reference.select_distinct` takes, from the candidates of all
// its pieces, first_piece[row] to first_piece[row + 1]. A candidate too close to a peak taken gets index -1.
extern "C" __global__ void __launch_bounds__(THREADS)
choose(const int *first_piece, Peak *peaks, const int *n_found, int wanted, int n_peaks, int sign, int separation,
       Peak *chosen) {
    __shared__ unsigned int keys[THREADS];
    __shared__ int places[THREADS];  // grid index
    const int thread = threadIdx.x, row = blockIdx.x;
    int last = -1;
    for (int rank = 0; rank < n_peaks; rank++) {
        unsigned int best = 0u;
        int place = -1;
        for (int piece = first_piece[row]; piece < first_piece[row + 1]; piece++) {
            for (int i = thread; i < n_found[piece]; i += THREADS) {
                Peak &peak = peaks[(long long)piece * wanted + i];
                if (peak.index < 0) continue;
                if (last >= 0 && abs(peak.index - last) < separation) {
                    peak.index = -1;
                    continue;
                }
                const unsigned int key = key_of(sign * peak.value);
                if (key > best || (key == best && peak.index < place)) best = key, place = peak.index;
            }
        }
        keys[thread] = best, places[thread] = place;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (thread < half) {
                const unsigned int other = keys[thread + half];
                if (other > keys[thread] || (other == keys[thread] && other > 0u && places[thread + half] < places[thread])) {
                    keys[thread] = other, places[thread] = places[thread + half];
                }
            }
            __syncthreads();
        }
        best = keys[0], last = places[0];
        __syncthreads();
        if (thread == 0) {
            Peak taken;
            taken.value = best > 0u ? sign * value_of(best) : 0.0f;
            taken.index = last;
            chosen[(long long)row * n_peaks + rank] = taken;
        }
    }
}
