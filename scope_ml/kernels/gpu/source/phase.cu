// Phases of points as 32-bit fractions of a cycle, which wrap around by themselves.

#define CYCLE 4294967296.0

// Fraction of time * frequency cycles; the product is exact, whatever its size. (The compiler may not fuse its rounded
// part into what follows.)
static __device__ double turns(double time, double frequency) {
    const double product = __dmul_rn(time, frequency);
    return product - floor(product) + fma(time, frequency, -product);
}

static __device__ unsigned int fixed_point(double cycles) {
    return (unsigned int)(long long)floor(cycles * CYCLE);
}

// Phase of a point at the first frequency of a block, its advance from one thread to the next, and from one of a
// thread's frequencies to the next: start + thread * advance + j * leap wraps around by itself. Restarted from float64
// in each block, it is good to THREADS * 2^-33 cycles.
static __device__ uint4 phases(double time, double frequency, double step) {
    uint4 phase;
    phase.x = fixed_point(turns(time, frequency));
    phase.y = fixed_point(turns(time, step) + 0.5 / CYCLE);
    phase.z = fixed_point(turns(time, step * THREADS) + 0.5 / CYCLE);
    phase.w = 0u;
    return phase;
}
