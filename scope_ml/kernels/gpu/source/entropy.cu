// Conditional entropy. A thread counts four frequencies, as the four bytes of one word for each phase bin; word b of
// thread t lies at b * THREADS + t, always in the thread's own bank, and nobody else writes there. The points come by
// rising magnitude bin, so that only one magnitude bin is counted at a time; at its end c ln c of its cells is added
// up and the counts go to those of the phase bins. The sums are integers in units of 2^-shift, modulo 2^32: exact, and
// equal for equal counts in any order.
//
// PHASE_BINS, THREADS, BLOCKS (at once on a multiprocessor), COUNTER: 8 where no magnitude bin has more than 255 points; 16 and 32: a magnitude bin comes in
// runs of at most 255 points, and counts of 16 or 32 bits are kept beside the bytes.
// A run is coded 2 * end + (1 if it ends a magnitude bin). Task: real[0] scale of the result, whole[0] first run,
// whole[1] place of c ln c in `table`.

#define LANES 4
#if COUNTER == 32
#define FIELDS LANES
#define SPREAD(counts, word)                                                                                          \
    counts[0] += (word) & 255u, counts[1] += ((word) >> 8) & 255u, counts[2] += ((word) >> 16) & 255u,                 \
        counts[3] += (word) >> 24
#define LANE(counts, j) counts[j]
#else
#define FIELDS 2
#define SPREAD(counts, word) counts[0] += (word) & 0x00ff00ffu, counts[1] += ((word) >> 8) & 0x00ff00ffu
#define LANE(counts, j) ((counts[(j) & 1] >> (16 * ((j) >> 1))) & 0xffffu)
#endif

struct Counts {
    unsigned int of_bin[PHASE_BINS][FIELDS];
#if COUNTER > 8
    unsigned int of_cell[PHASE_BINS][FIELDS];
#endif
    unsigned int cells[LANES];  // sum of c ln c over the cells
};

static __device__ void end_run(Counts &counts, unsigned int *column, const unsigned int *near, const unsigned int *table,
                               bool ends_bin) {
#pragma unroll
    for (int b = 0; b < PHASE_BINS; b++) {
        unsigned int word = column[b * THREADS];
        column[b * THREADS] = 0u;
#if COUNTER == 8
        SPREAD(counts.of_bin[b], word);
        counts.cells[0] += near[word & 255u];
        counts.cells[1] += near[(word >> 8) & 255u];
        counts.cells[2] += near[(word >> 16) & 255u];
        counts.cells[3] += near[word >> 24];
#else
        SPREAD(counts.of_cell[b], word);
        if (ends_bin) {
#pragma unroll
            for (int j = 0; j < LANES; j++) counts.cells[j] += table[LANE(counts.of_cell[b], j)];
#pragma unroll
            for (int f = 0; f < FIELDS; f++) {
                counts.of_bin[b][f] += counts.of_cell[b][f];
                counts.of_cell[b][f] = 0u;
            }
        }
#endif
    }
}

static __device__ void count_point(uint4 point, unsigned int thread, unsigned char *bytes) {
    unsigned int phase = point.x + thread * point.y;
    unsigned int place[LANES];
    unsigned char count[LANES];
#pragma unroll
    for (int j = 0; j < LANES; j++) {
        place[j] = __umulhi(phase, PHASE_BINS) * (THREADS * 4u) + j;
        phase += point.z;
    }
    // All loads before all stores: the four bytes differ, which the compiler cannot know.
#pragma unroll
    for (int j = 0; j < LANES; j++) count[j] = bytes[place[j]];
#pragma unroll
    for (int j = 0; j < LANES; j++) bytes[place[j]] = count[j] + 1;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conditional_entropy(const Task *tasks, const double *time, const int *runs, const unsigned int *tables, float *values) {
    extern __shared__ __align__(16) unsigned char pool[];
    uint4 *tile = (uint4 *)pool;
    unsigned int *near = (unsigned int *)(tile + THREADS);
    unsigned int *counters = near + 256;
    const Task task = tasks[blockIdx.y];
    const int base = blockIdx.x * (THREADS * LANES);
    if (base >= task.count) return;

    const unsigned int thread = threadIdx.x;
    const unsigned int *table = tables + task.whole[1];
    unsigned int *column = counters + thread;
    unsigned char *bytes = (unsigned char *)column;
    Counts counts = {};
    for (int b = 0; b < PHASE_BINS; b++) column[b * THREADS] = 0u;
    for (int c = thread; c < 256; c += THREADS) near[c] = c <= task.n_points ? table[c] : 0u;

    const double frequency = task.frequency + base * task.step;
    const int *run = runs + task.whole[0];
    int code = *run;
    for (int begin = 0; begin < task.n_points; begin += THREADS) {
        const int length = min(THREADS, task.n_points - begin);
        __syncthreads();
        if ((int)thread < length) tile[thread] = phases(time[task.point + begin + thread], frequency, task.step);
        __syncthreads();
        int i = 0;
        while (i < length) {
            const int stop = min(length, (code >> 1) - begin);
            for (; i < stop; i++) count_point(tile[i], thread, bytes);
            if (begin + i == code >> 1) {
                end_run(counts, column, near, table, code & 1);
                if (begin + i < task.n_points) code = *++run;
            }
        }
    }
#pragma unroll
    for (int j = 0; j < LANES; j++) {
        unsigned int entropy = 0u - counts.cells[j];
#pragma unroll
        for (int b = 0; b < PHASE_BINS; b++) entropy += table[LANE(counts.of_bin[b], j)];
        const int k = base + j * THREADS + (int)thread;
        if (k < task.count) values[task.out + k] = (float)(max((int)entropy, 0) * task.real[0]);
    }
}
