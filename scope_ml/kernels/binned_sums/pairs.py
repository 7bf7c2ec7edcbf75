"""Two neighbouring frequencies in one update: half the work of the innermost loop of `table`.

From one trial frequency to the next a point moves on by ``step * time`` cycles, which is 0.1 at most with ten samples a
peak: 0, 1 or 2 of 20 bins. So the cell of a point in a table of 3 planes, its bin at the first frequency by the number
of bins moved, tells its bins at both, and the sums at both frequencies follow from the table's (bins modulo K):

    S_first[b] = c0[b] + c1[b] + c2[b],    S_second[b] = c0[b] + c1[b - 1] + c2[b - 2]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from scope_ml.kernels.binned_sums.table import (
    DEFAULT_BINS,
    FLOATS,
    GROUP,
    LANES,
    WORDS,
    address,
    index,
    pair_adder,
    same,
    splat,
    square_shares,
    sum_lanes,
    word_adder,
)
from scope_ml.kernels.phase_bins.cpu import fill_bins

__all__ = [
    "MOST_MOVED",
    "N_PLANES",
    "add_pair_to_pairs",
    "add_to_pairs",
    "add_to_pairs_default",
    "can_join",
    "fill_cells",
    "join_pairs",
    "take_pair",
]

#: Most bins that a point may move on from one frequency to the next.
MOST_MOVED = 2
N_PLANES = MOST_MOVED + 1
#: Bytes of bins that are made and joined at a time: half of the first cache.
JOINED = 16384

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_SHORTS = ir.VectorType(_I16, 16)

add_to_pairs = word_adder(GROUP // 2, None, _I16)
add_to_pairs_default = word_adder(GROUP // 2, N_PLANES * DEFAULT_BINS, _I16)
add_pair_to_pairs = pair_adder(GROUP // 2, _I16)


def _short(value: int) -> ir.Constant:
    return ir.Constant(_SHORTS, [value] * 16)


@intrinsic
def join_pairs(typing_context: Any, bins: Any, n_bytes: Any, n_bins: Any) -> Any:
    """Turn the first `n_bytes` phase bins, a multiple of 32, two by two into cells of 16 bits, in place.

    The cell of the bins (a, b) is ``a + n_bins * moved`` with ``moved = (b - a) modulo n_bins``, at most `MOST_MOVED`:
    a point that moves by just that may seem to pass one more edge by the rounding of its phase.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        base = address(context, builder, signature.args[0], args[0])
        undefined = ir.Constant(_SHORTS, ir.Undefined)
        single = builder.insert_element(undefined, builder.trunc(args[2], _I16), ir.Constant(_I32, 0))
        count = builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(_I32, 16), [0] * 16))
        minimum = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_SHORTS, [_SHORTS, _SHORTS]), "llvm.umin.v16i16"
        )
        with cgutils.for_range(builder, builder.lshr(args[1], index(5)), intp=_I64) as loop:
            place = builder.gep(base, [builder.shl(loop.index, index(5))])
            place = builder.bitcast(place, _SHORTS.as_pointer())
            both = builder.load(place, align=1)
            # Little endian: the first of two neighbouring bytes is the low one.
            first = builder.and_(both, _short(255))
            moved = builder.sub(builder.lshr(both, _short(8)), first)
            moved = builder.call(minimum, [moved, builder.add(moved, count)])
            moved = builder.call(minimum, [moved, _short(MOST_MOVED)])
            builder.store(builder.add(first, builder.mul(moved, count)), place, align=1)
        return context.get_dummy_value()

    return types.void(bins, types.int64, types.int64), generate


@intrinsic
def take_pair(typing_context: Any, table: Any, offset: Any, n_bins: Any, shift: Any, mean: Any) -> Any:
    """Return what `table.take_row` does for the first and for the second frequency of a pair; zero the table.

    The table starts at word `offset` and has ``3 * n_bins`` words, `n_bins` a multiple of `LANES`.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        base = builder.gep(address(context, builder, signature.args[0], args[0]), [args[1]])
        planes = [builder.gep(base, [builder.mul(args[2], index(moved))]) for moved in range(N_PLANES)]
        shift_by, mean_of = splat(builder, args[3]), splat(builder, args[4])
        totals = [cgutils.alloca_once_value(builder, same(FLOATS, 0.0)) for _ in range(4)]

        def load(moved: int, place: ir.Value) -> ir.Value:
            return builder.load(builder.bitcast(builder.gep(planes[moved], [place]), WORDS.as_pointer()), align=8)

        def count_in(which: int, words: ir.Value) -> None:
            shares = square_shares(builder, words, shift_by, mean_of)
            for total, share in zip(totals[2 * which : 2 * which + 2], shares, strict=True):
                builder.store(builder.fadd(builder.load(total), share), total)

        def take(place: ir.Value, before: list[ir.Value]) -> None:
            stayed, by_one, by_two = (load(moved, place) for moved in range(N_PLANES))
            count_in(0, builder.add(builder.add(stayed, by_one), by_two))
            count_in(1, builder.add(builder.add(stayed, before[0]), before[1]))

        take(index(0), [_wrapped(builder, load, moved, args[2]) for moved in (1, 2)])
        n_vectors = builder.lshr(args[2], index(LANES.bit_length() - 1))
        with cgutils.for_range_slice(builder, index(1), n_vectors, index(1), intp=_I64) as (number, _):
            place = builder.mul(number, index(LANES))
            take(place, [load(moved, builder.sub(place, index(moved))) for moved in (1, 2)])
        with cgutils.for_range(builder, builder.mul(n_vectors, index(N_PLANES)), intp=_I64) as loop:
            place = builder.gep(base, [builder.mul(loop.index, index(LANES))])
            builder.store(same(WORDS, 0), builder.bitcast(place, WORDS.as_pointer()), align=8)
        sums = [sum_lanes(builder, builder.load(total)) for total in totals]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float64, 4)(table, types.int64, types.int64, types.uint64, types.float64), generate


def _wrapped(builder: ir.IRBuilder, load: Any, moved: int, n_bins: ir.Value) -> ir.Value:
    """Return the words of a plane from ``-moved`` on: those before the first stand at its end."""
    places = [LANES - moved + lane for lane in range(LANES)]
    last = load(moved, builder.sub(n_bins, index(LANES)))
    return builder.shuffle_vector(last, load(moved, index(0)), ir.Constant(ir.VectorType(_I32, LANES), places))


def can_join(cycles: float, n_bins: int) -> bool:
    """Return whether no point moves by more than `MOST_MOVED` bins when the last one moves by `cycles`.

    The margin is for rounding: a grid of ten samples a peak moves the last point by just 2 of 20 bins.
    """
    return cycles * n_bins <= MOST_MOVED * (1.0 + 1e-9)


@njit("void(float64[::1], float64, float64, int64, boolean, uint8[:, ::1])", nogil=True, cache=True, boundscheck=False)
def fill_cells(
    time: NDArray[np.float64], frequency: float, step: float, n_bins: int, is_paired: bool, bins: NDArray[np.uint8]
) -> None:
    """Fill the first rows of `bins` with the bins of a block of frequencies, or with the cells of their pairs.

    Parameters
    ----------
    time
        Times from the first epoch [d], float64 (n_obs,).
    frequency, step, n_bins
        As in `phase_bins.cpu.fill_bins`.
    is_paired
        Whether to join the bins; only where `can_join` says so.
    bins
        uint8 (at least n_obs, a multiple of 32).
    """
    if not is_paired:
        fill_bins(time, frequency, step, n_bins, bins[: time.size])
        return
    rows = max(1, JOINED // bins.shape[1])
    for first in range(0, time.size, rows):
        part = time[first : first + rows]
        cells = bins[first : first + part.size]
        fill_bins(part, frequency, step, n_bins, cells)
        join_pairs(cells, cells.size, n_bins)
