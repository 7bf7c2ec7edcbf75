// CUDA C on one thread of a CPU: the threads of a block are fibres that change places at barriers. Put before a kernel
// source. Arithmetic is that of the source; special functions are as inaccurate as the device's may be.
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

struct float2 { float x, y; };
struct alignas(16) double2 { double x, y; };
struct uint2 { unsigned int x, y; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct Place { unsigned int x = 0, y = 0, z = 0; };
static Place threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

using std::floor; using std::fma; using std::fmax; using std::fmin;
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned int max(unsigned int a, unsigned int b) { return a > b ? a : b; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline unsigned int __umulhi(unsigned int a, unsigned int b) { return (uint64_t)a * b >> 32; }
static inline unsigned int __float_as_uint(float x) { unsigned int u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned int u) { float x; memcpy(&x, &u, 4); return x; }
static inline double __longlong_as_double(long long i) { double x; memcpy(&x, &i, 8); return x; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
static inline void sincospi(double x, double *s, double *c) { *s = std::sin(M_PI * x); *c = std::cos(M_PI * x); }
static inline void sincospif(float x, float *s, float *c) { *s = std::sin(M_PI * x); *c = std::cos(M_PI * x); }
// CUDA C Programming Guide: absolute error of __sinf 2^-21.41, of __cosf 2^-21.19 for x in [-pi, pi].
static inline float blurred(double x, float at, unsigned int salt) {
    unsigned int hash = (__float_as_uint(at) ^ salt) * 2654435761u;
    hash = (hash ^ hash >> 15) * 2246822519u;
    return (float)(x + ((double)(hash >> 8) / 8388608.0 - 1.0) * 4.2e-7);
}
static inline void fast_sincosf(float x, float *s, float *c) {
    *s = blurred(std::sin((double)x), x, 1u);
    *c = blurred(std::cos((double)x), x, 77u);
}
#define __sincosf fast_sincosf  // glibc has the name
template <typename T> static inline T atomicAdd(T *place, T value) { T old = *place; *place += value; return old; }

static const int POOL = 232448, STACK = 1 << 16;
alignas(16) unsigned char pool[POOL];

// Fibres start by setcontext and change places by longjmp, which asks nothing of the kernel.
struct Fibre { ucontext_t context; jmp_buf here; std::vector<char> stack; bool started, done; };
static jmp_buf scheduler;
static std::vector<Fibre> fibres;
static std::function<void()> body;
static int current, n_waiting;
static unsigned int turn = 1;

static void enter() {
    body();
    fibres[current].done = true;
    _longjmp(scheduler, 1);
}
static void __syncthreads() {
    n_waiting++;
    if (!_setjmp(fibres[current].here)) _longjmp(scheduler, 1);
}
static void go_on(Fibre &fibre) {
    if (_setjmp(scheduler)) return;
    if (fibre.started) _longjmp(fibre.here, 1);
    fibre.started = true;
    setcontext(&fibre.context);
}
static void fail(const char *why) { fprintf(stderr, "emulation: %s\n", why); abort(); }

static void run_grid(int grid_x, int grid_y, int block, int shared, std::function<void()> kernel) {
    if (block & (block - 1)) fail("a block is a power of two here");
    if (shared > POOL) fail("more shared memory than a block can have");
    body = kernel;
    gridDim = {(unsigned)grid_x, (unsigned)grid_y, 1};
    blockDim = {(unsigned)block, 1, 1};
    if ((int)fibres.size() != block) {
        fibres.clear();
        fibres.resize(block);
        for (auto &fibre : fibres) fibre.stack.resize(STACK);
    }
    for (int y = 0; y < grid_y; y++) for (int x = 0; x < grid_x; x++) {
        blockIdx = {(unsigned)x, (unsigned)y, 0};
        memset(pool, 0xA5, POOL);
        for (auto &fibre : fibres) {
            getcontext(&fibre.context);
            fibre.context.uc_stack.ss_sp = fibre.stack.data();
            fibre.context.uc_stack.ss_size = STACK;
            fibre.context.uc_link = nullptr;
            fibre.started = fibre.done = false;
            makecontext(&fibre.context, enter, 0);
        }
        for (int n_done = 0; n_done < block;) {
            n_waiting = n_done = 0;
            // In another order every time: what depends on the order of threads, for want of a barrier, shows.
            turn = turn * 1664525u + 1013904223u;
            for (int i = 0; i < block; i++) {
                current = (i * (turn >> 8 | 1u) + (turn >> 20)) % block;
                if (!fibres[current].done) {
                    threadIdx = {(unsigned)current, 0, 0};
                    go_on(fibres[current]);
                }
                n_done += fibres[current].done;
            }
            if (n_waiting && n_done) fail("a barrier that not all threads reach");
        }
        for (int i = shared; i < POOL; i++) if (pool[i] != 0xA5) fail("write beyond the shared memory asked for");
    }
}
