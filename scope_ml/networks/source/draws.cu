// What all kernels share. Put before every other source. No header is included anywhere: the run-time compiler has none.
//
// Models in training are called by their place `a` in the launch; `models[a]` is their place in the session, by which
// parameters, labels and all other state are found.

#define BRANCH_RATE 0.25
#define HEAD_RATE 0.4

// `draws.fmix32` and `draws.dropout_key`.
static __device__ __forceinline__ unsigned int fmix32(unsigned int h) {
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    return h ^ (h >> 16);
}

static __device__ __forceinline__ unsigned int dropout_key(unsigned int seed, unsigned int step, unsigned int layer) {
    const unsigned int k = fmix32(fmix32(seed + 0x9E3779B9u) ^ step);
    return fmix32((k + 0x85EBCA77u) ^ layer);
}

// `draws.kept_units` for one unit; `limit` is `draws.limit`.
static __device__ __forceinline__ bool is_kept(unsigned int key, unsigned int index, unsigned int limit) {
    return fmix32(key ^ (index * 0x9E3779B1u)) >= limit;
}

#define LIMIT(rate) ((unsigned int)((rate) * 4294967296.0))
#define SCALE(rate) ((float)(1.0 / (1.0 - (rate))))

// `gpu.LAYOUT` on the host, int by int.
struct Layout {
    int parameters;  // of a model
    int first;       // layouts in the flat vector: kernel of the first hidden layer,
    int second;      // of the second,
    int images;      // first kernel of the dm-dt branch,
    int head;        // kernel of the head
    int features;
    int rows;   // of the longest part of any model
    int batch;  // rows of a step
    int order;  // from one model's order of rows to the next; 0 where they share one
    int begin;  // of this step in the order
    int step;   // of this epoch
    int block;  // rows of a block of `images`
};

// Layout of row b of the batch in the model's part.
static __device__ __forceinline__ int position_of(const Layout &layout, const int *order, int a, int b) {
    return order[(long long)a * layout.order + layout.begin + b];
}

// Row of the inputs of row b of the batch.
static __device__ __forceinline__ long long row_of(const Layout &layout, const int *order, const int *rows, int a, int model,
                                                   int b) {
    return rows[(long long)model * layout.rows + position_of(layout, order, a, b)];
}
