"""Sums of table entries over counts, for 64 byte lanes: what ``c ln c`` is made of. x86 with AVX2 only.

A table of 16 entries of three bytes is looked up by PSHUFB, byte by byte, and the bytes are summed apart. Without AVX2
these functions do nothing and must not be called.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scope_ml.kernels.conditional_entropy.lanes import (
    BYTES,
    HALVES,
    HAS_SHUFFLE,
    I8,
    I64,
    LANES,
    WIDTH,
    WORDS,
    Builder,
    array_address,
    broadcast,
    load,
    look_up,
    row_address,
    segment_index,
    splat,
    store,
)

__all__ = ["add_digits", "add_pairs"]


class _DigitSums:
    """Sums of 24-bit table entries for 64 lanes, byte by byte, in 16 bits: no more than 257 entries a lane.

    Of each pair of lanes the odd one is summed apart; the even one is what the sum of the pairs has more than that.
    """

    def __init__(self, builder: Builder, table: ir.Value) -> None:
        """Start at zero; `table` is the address of three planes of 32 bytes: low, middle and high bytes."""
        self.builder = builder
        self.slots = [[[cgutils.alloca_once(builder, HALVES) for _ in "po"] for _ in range(3)] for _ in range(2)]
        for slot in (slot for half in self.slots for plane in half for slot in plane):
            builder.store(ir.Constant(HALVES, [0] * (WIDTH // 2)), slot)
        self.turn(table)

    def turn(self, table: ir.Value) -> None:
        """Take entries from another table from now on."""
        self.planes = [load(self.builder, table, 32 * plane) for plane in range(3)]

    def add(self, half: int, index: ir.Value) -> None:
        """Add the entries of 32 lanes."""
        builder = self.builder
        for plane, (pairs, odd) in zip(self.planes, self.slots[half], strict=True):
            digits = builder.bitcast(look_up(builder, plane, index), HALVES)
            builder.store(builder.add(builder.load(pairs), digits), pairs)
            high = builder.lshr(digits, ir.Constant(HALVES, [8] * (WIDTH // 2)))
            builder.store(builder.add(builder.load(odd), high), odd)

    def finish(self, sums: ir.Value) -> None:
        """Put the bytes together and add them to `sums`: 16 even lanes, 16 odd ones, and so the second half."""
        builder = self.builder
        for half, planes in enumerate(self.slots):
            totals: list[Any] = [None, None]
            for plane, (pairs, odd) in enumerate(planes):
                odd_sum = builder.load(odd)
                shifted = builder.shl(odd_sum, ir.Constant(HALVES, [8] * (WIDTH // 2)))
                for parity, part in enumerate((builder.sub(builder.load(pairs), shifted), odd_sum)):
                    wide = builder.shl(builder.zext(part, WORDS), ir.Constant(WORDS, [8 * plane] * (WIDTH // 2)))
                    totals[parity] = wide if plane == 0 else builder.add(totals[parity], wide)
            for parity, total in enumerate(totals):
                offset = (half * 2 + parity) * 64
                store(builder, builder.add(load(builder, sums, offset, WORDS), total), sums, offset)


@intrinsic
def add_digits(typing_context: Any, cells: Any, n_bins: Any, digits: Any, n_segments: Any, sums: Any) -> Any:
    """Add ``table[count]`` over the first `n_bins` rows of `cells` to `sums`, uint32 (64,), for each lane.

    The table's 24-bit entries stand in `digits`, uint8 (16, 3, 32): segment of 16 counts, byte (lowest first), entries
    twice. Counts must be below ``16 * n_segments``. Lane 32 h + 2 i + p is summed at 32 h + 16 p + i.
    """

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        if not HAS_SHUFFLE:
            return context.get_dummy_value()
        source, table, target = (array_address(context, builder, signature.args[i], args[i]) for i in (0, 2, 4))
        total = _DigitSums(builder, table)
        single = builder.icmp_signed("==", args[3], ir.Constant(I64, 1))
        with builder.if_else(single) as (one, several):
            with one, cgutils.for_range(builder, args[1], intp=I64) as loop:
                for half in range(2):
                    total.add(half, load(builder, row_address(builder, source, loop.index, LANES), half * WIDTH))
            with several, cgutils.for_range(builder, args[3], intp=I64) as segment:
                total.turn(row_address(builder, table, segment.index, 96))
                base = broadcast(builder, builder.trunc(builder.mul(segment.index, ir.Constant(I64, 16)), I8))
                with cgutils.for_range(builder, args[1], intp=I64) as loop:
                    for half in range(2):
                        count = load(builder, row_address(builder, source, loop.index, LANES), half * WIDTH)
                        total.add(half, segment_index(builder, count, base))
        total.finish(target)
        return context.get_dummy_value()

    return types.void(cells, types.int64, digits, types.int64, sums), generate


@intrinsic
def add_pairs(
    typing_context: Any, bins: Any, lane: Any, splits: Any, first: Any, last: Any, steps: Any, sums: Any
) -> Any:
    """Add ``table[count]`` of the magnitude bins `first` to ``last - 1`` to `sums`, for bins of up to 16 points.

    Each point is compared with those before it in its magnitude bin, and as k of them share its phase bin it adds
    ``table[k + 1] - table[k]``: cheaper than 20 counters where points are few. `steps`, uint8 (3, 32), holds these
    differences like a segment of `add_digits`. Magnitude bin m has the rows ``splits[m]`` to ``splits[m + 1] - 1`` of
    `bins`; the lanes are the columns from `lane` on. 257 rows together at most.
    """

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        if not HAS_SHUFFLE:
            return context.get_dummy_value()
        start, bounds, table, target = (
            array_address(context, builder, signature.args[i], args[i]) for i in (0, 2, 5, 6)
        )
        start = builder.add(start, args[1])
        stride = cgutils.unpack_tuple(builder, context.make_array(signature.args[0])(context, builder, args[0]).shape)[
            1
        ]
        total = _DigitSums(builder, table)
        before = [cgutils.alloca_once(builder, BYTES) for _ in range(2)]
        with cgutils.for_range_slice(builder, args[3], args[4], ir.Constant(I64, 1), intp=I64) as (mag_bin, _):
            bound = row_address(builder, bounds, mag_bin, 8)
            low, high = (load(builder, bound, 8 * i, I64) for i in range(2))
            first = builder.add(start, builder.mul(low, stride))
            with cgutils.for_range(builder, builder.sub(high, low), intp=I64) as point:
                here = builder.add(first, builder.mul(point.index, stride))
                own = [load(builder, here, half * WIDTH) for half in range(2)]
                for slot in before:
                    builder.store(splat(0), slot)
                with cgutils.for_range(builder, point.index, intp=I64) as other:
                    there = builder.add(first, builder.mul(other.index, stride))
                    for half, slot in enumerate(before):
                        same = builder.icmp_unsigned("==", own[half], load(builder, there, half * WIDTH))
                        builder.store(builder.sub(builder.load(slot), builder.sext(same, BYTES)), slot)
                for half, slot in enumerate(before):
                    total.add(half, builder.load(slot))
        total.finish(target)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(bins, integer, splits, integer, integer, steps, sums), generate
