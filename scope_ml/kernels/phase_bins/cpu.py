"""Phase bins by integer accumulators, 32 consecutive frequencies at a time, in portable vector code.

A phase is held as V = n_bins * 2^24 * phase in 32 bits, so that bin edges are multiples of 2^24 and the bin is V's top
byte. The next group of 32 frequencies is one addition and one minimum away: V + D and V + D - M (M the whole cycle)
differ by the wrap, and as unsigned numbers the smaller one is always right.

Error budget, in cycles: D is off by 2^-25 / n_bins at most and added ``1.5 * n_bins`` times at most before the next start
(0.75 * 2^-24), a start keeps 26 bits (2^-26, always downwards) and its lanes 28; together 2^-24 to within 6 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["GROUP", "MAX_BINS", "MAX_BLOCK", "block_size", "empty_block", "fill_bins"]

#: Frequencies that are advanced together: the bytes of one AVX2 register.
GROUP = 32
#: Twice the whole cycle, 2 * n_bins * 2^24, has to stay below 2^32.
MAX_BINS = 64
#: Longest block, in frequencies: a multiple of 64.
MAX_BLOCK = 960
#: Bytes of a block of bins that stay in a core's own cache (512 KiB or more on most machines since 2017).
CACHE_BYTES = 448 * 1024

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_I32, 8)
#: Which of four consecutive frequencies each of the four vectors holds.
ORDER = (0, 2, 1, 3)


def block_size(n_obs: int) -> int:
    """Return how many frequencies to bin at a time for a light curve of `n_obs` points: 320 to 960.

    Odd multiples of 64 only: rows a power of two apart would fall on the same few lines of the cache. Not fewer than
    320, though long light curves then leave the cache: the start of a block would cost more than that.
    """
    lines = CACHE_BYTES // max(n_obs, 1) // 64
    lines -= 1 - lines % 2
    return 64 * min(max(lines, 5), MAX_BLOCK // 64)


def empty_block(n_obs: int) -> NDArray[np.uint8]:
    """Return an uninitialised uint8 (n_obs, block) for `fill_bins`, aligned to lines of the cache (64 bytes)."""
    block = block_size(n_obs)
    memory = np.empty(n_obs * block + 64, dtype=np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + n_obs * block].reshape(n_obs, block)


def _splat(builder: ir.IRBuilder, word: ir.Value) -> ir.Value:
    """Return a vector with `word` in all 8 lanes."""
    single = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), word, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, ir.Constant(_WORDS, ir.Undefined), ir.Constant(_WORDS, [0] * 8))


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_WORDS, [value] * 8)


def _top_bytes(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    """Interleave the top bytes of four vectors: byte ``4 * i + ORDER[j]`` is that of lane i of vector j."""
    halves = [
        builder.or_(builder.lshr(low, _constant(16)), builder.and_(high, _constant(0xFFFF0000)))
        for low, high in (vectors[:2], vectors[2:])
    ]
    even = builder.and_(builder.lshr(halves[0], _constant(8)), _constant(0x00FF00FF))
    return builder.or_(even, builder.and_(halves[1], _constant(0xFF00FF00)))


@intrinsic
def _advance(typing_context: Any, bins: Any, offset: Any, n_groups: Any, starts: Any, place: Any, n_bins: Any) -> Any:
    """Write the bins of ``32 * n_groups`` frequencies of one point at ``bins.flat[offset:]``.

    ``starts.flat[place:]`` holds the first phase and its growth by one frequency in 2^-32 cycles, then its growth by 32
    frequencies in 2^-24 / n_bins cycles.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        array, table = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 3))
        address = builder.add(builder.ptrtoint(array.data, _I64), args[1])
        words = [builder.gep(table.data, [builder.add(args[4], ir.Constant(_I64, i))]) for i in range(3)]
        first, step, advance = (_splat(builder, builder.load(word)) for word in words)
        count = _splat(builder, builder.trunc(args[5], _I32))
        wrapped = builder.sub(advance, builder.shl(count, _constant(24)))
        minimum = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_WORDS, [_WORDS, _WORDS]), "llvm.umin.v8i32"
        )
        states = []
        for j in range(4):
            lanes = ir.Constant(_WORDS, [4 * i + ORDER[j] for i in range(8)])
            phase = builder.add(first, builder.mul(step, lanes))
            scaled = builder.mul(builder.lshr(phase, _constant(6)), count)
            state = cgutils.alloca_once(builder, _WORDS)
            builder.store(builder.lshr(scaled, _constant(2)), state)
            states.append(state)
        with cgutils.for_range(builder, args[2], intp=_I64) as loop:
            values = [builder.load(state) for state in states]
            target = builder.add(address, builder.mul(loop.index, ir.Constant(_I64, GROUP)))
            builder.store(_top_bytes(builder, values), builder.inttoptr(target, _WORDS.as_pointer()), align=1)
            for value, state in zip(values, states, strict=True):
                builder.store(builder.call(minimum, [builder.add(value, advance), builder.add(value, wrapped)]), state)
        return context.get_dummy_value()

    return types.void(bins, types.int64, types.int64, starts, types.int64, types.int64), generate


@njit("int64(float64, float64)", nogil=True, cache=True, inline="always")
def _fixed(cycles: float, scale: float) -> int:
    """Return the fraction of `cycles` in units of 1 / scale, rounded: 0 to scale."""
    return int((cycles - np.floor(cycles)) * scale + 0.5)


@njit("void(float64[:], float64, float64, int64, uint8[:, ::1])", nogil=True, cache=True, boundscheck=False)
def fill_bins(time: NDArray[np.float64], frequency: float, step: float, n_bins: int, out: NDArray[np.uint8]) -> None:
    """Fill ``out[i, k]`` with the phase bin of point i at ``frequency + k * step``.

    Parameters
    ----------
    time
        Times from the first epoch [d], float64 (n_obs,), not negative.
    frequency, step
        First frequency and step [1/d], not negative.
    n_bins
        Bins of a cycle, 1 to 64.
    out
        uint8 (n_obs, block), block a multiple of 32; `block_size` gives a good one.
    """
    block = out.shape[1]
    span = GROUP * min(32, 3 * n_bins // 2)
    starts = np.empty((time.size, 3), np.uint32)
    for i in range(time.size):
        starts[i, 1] = _fixed(time[i] * step, 4294967296.0)
        starts[i, 2] = _fixed(time[i] * step * GROUP, n_bins * 16777216.0)
    for k in range(0, block, span):
        n_groups = min(span, block - k) // GROUP
        # Apart from the loop below, so that the processor need not wait for these long conversions.
        for i in range(time.size):
            starts[i, 0] = _fixed(time[i] * (frequency + k * step), 4294967296.0)
        for i in range(time.size):
            _advance(out, i * block + k, n_groups, starts, 3 * i, n_bins)
