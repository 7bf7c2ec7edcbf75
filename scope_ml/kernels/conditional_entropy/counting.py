"""Counts of phase bins in 64 byte lanes, without a scatter.

Two ways:

* *shuffle* (x86 with AVX2): one PSHUFB turns the bins of 32 frequencies into one-hot nibbles of two bins, one PADDB
  adds them: an instruction a bin and point for 32 frequencies. A nibble overflows after 15 points, so they are moved to
  byte counters that often.
* *compare* (any machine): one comparison and one subtraction a bin and point.

Both leave the same bytes in `cells`, uint8 (64 bins, 64 lanes); counters stick at 255, which callers take as overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scope_ml.kernels.conditional_entropy.lanes import (
    BYTES,
    HAS_SHUFFLE,
    I8,
    I64,
    LANES,
    WIDTH,
    Builder,
    add_sticky,
    array_address,
    broadcast,
    call_bytes,
    load,
    look_up,
    row_address,
    segment_index,
    splat,
    store,
)

__all__ = [
    "add_saturated",
    "count_compare",
    "count_first",
    "count_high",
    "count_last",
    "count_low",
    "count_second",
    "largest",
]


@dataclass(frozen=True)
class _Nibbles:
    """Pairs of bins ``first``, ``first + 1`` and so on of a segment of 16 bins, a nibble each.

    `below` and `above`: whether there are bins of other segments on that side, that must count for nothing.
    """

    first: int
    n_counters: int
    below: bool
    above: bool
    chunk: int = 15

    def index(self, builder: Builder, bins: ir.Value, base: ir.Value) -> ir.Value:
        if self.below and self.above:
            return segment_index(builder, bins, base)
        # One instruction is enough at the ends: bins below wrap to 240 and more, bins above pass 127.
        return builder.sub(bins, base) if self.below else add_sticky(builder, bins, splat(0x70))

    def count(self, builder: Builder, counter: ir.Value, index: ir.Value, place: int) -> ir.Value:
        pair = self.first // 2 + place
        table = [1 if i == 2 * pair else 16 if i == 2 * pair + 1 else 0 for i in range(16)]
        return builder.add(counter, look_up(builder, ir.Constant(BYTES, table * 2), index))

    def spread(self, builder: Builder, counter: ir.Value) -> list[ir.Value]:
        return [builder.and_(counter, splat(0x0F)), builder.lshr(counter, splat(4))]


@dataclass(frozen=True)
class _Compare:
    """Four bins from the base, a byte each."""

    first: int = 0
    n_counters: int = 4
    chunk: int = 255

    def index(self, builder: Builder, bins: ir.Value, base: ir.Value) -> ir.Value:
        return builder.sub(bins, base)

    def count(self, builder: Builder, counter: ir.Value, index: ir.Value, place: int) -> ir.Value:
        equal = builder.icmp_unsigned("==", index, splat(place))
        return builder.sub(counter, builder.sext(equal, BYTES))

    def spread(self, builder: Builder, counter: ir.Value) -> list[ir.Value]:
        return [counter]


#: How eight neighbouring phase bins or fewer are counted.
_Slice: TypeAlias = _Nibbles | _Compare


def _count_chunk(
    builder: Builder, plan: _Slice, row: ir.Value, stride: ir.Value, n_rows: ir.Value, base: ir.Value
) -> list[list[ir.Value]]:
    """Return the counters of at most `plan.chunk` points: one list per half of the lanes."""
    slots = [[cgutils.alloca_once(builder, BYTES) for _ in range(plan.n_counters)] for _ in range(2)]
    for slot in (*slots[0], *slots[1]):
        builder.store(splat(0), slot)
    with cgutils.for_range(builder, n_rows, intp=I64) as loop:
        here = builder.add(row, builder.mul(loop.index, stride))
        for half in range(2):
            index = plan.index(builder, load(builder, here, half * WIDTH), base)
            for place, slot in enumerate(slots[half]):
                builder.store(plan.count(builder, builder.load(slot), index, place), slot)
    return [[builder.load(slot) for slot in half] for half in slots]


def _count_rows(builder: Builder, plan: _Slice, args: list[ir.Value]) -> None:
    """Write the counts of a slice: rows in chunks, counters into `cells`; see `_counter` for the arguments."""
    bins, stride, n_rows, base, cells = args
    bases = broadcast(builder, builder.trunc(base, I8))
    target = builder.add(row_address(builder, cells, base, LANES), ir.Constant(I64, plan.first * LANES))
    n_bins = plan.n_counters * len(plan.spread(builder, splat(0)))
    for place in range(2 * n_bins):
        store(builder, splat(0), target, place * WIDTH)
    length = ir.Constant(I64, plan.chunk)
    n_chunks = builder.udiv(builder.add(n_rows, ir.Constant(I64, plan.chunk - 1)), length)
    with cgutils.for_range(builder, n_chunks, intp=I64) as loop:
        start = builder.mul(loop.index, length)
        left = builder.sub(n_rows, start)
        n_here = builder.select(builder.icmp_signed("<", left, length), left, length)
        row = builder.add(bins, builder.mul(start, stride))
        for half, counters in enumerate(_count_chunk(builder, plan, row, stride, n_here, bases)):
            spread = [cell for counter in counters for cell in plan.spread(builder, counter)]
            for place, cell in enumerate(spread):
                offset = place * LANES + half * WIDTH
                store(builder, add_sticky(builder, load(builder, target, offset), cell), target, offset)


def _counter(plan: _Slice) -> Callable[..., None]:
    """Return the function ``(bins, offset, stride, n_rows, base, cells)`` that counts a slice.

    It counts the bytes ``bins[offset + i * stride + lane]`` of rows i below `n_rows` for the 64 lanes, those that equal
    ``base + plan.first`` and the following ones, into rows of `cells` of the same numbers.
    """

    @intrinsic
    def count(typing_context: Any, bins: Any, offset: Any, stride: Any, n_rows: Any, base: Any, cells: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            if HAS_SHUFFLE or isinstance(plan, _Compare):
                first = builder.add(array_address(context, builder, signature.args[0], args[0]), args[1])
                target = array_address(context, builder, signature.args[5], args[5])
                _count_rows(builder, plan, [first, args[2], args[3], args[4], target])
            return context.get_dummy_value()

        return types.void(bins, *[types.int64] * 4, cells), generate

    counter: Callable[..., None] = count
    return counter


count_compare = _counter(_Compare())
#: Any 8 bins of a segment that starts at `base`: its first and its second half.
count_low = _counter(_Nibbles(first=0, n_counters=4, below=True, above=True))
count_high = _counter(_Nibbles(first=8, n_counters=4, below=True, above=True))
#: The 20 bins of the default: 0 to 7, 8 to 15 (base 0) and 16 to 19 (base 16), with an instruction less each.
count_first = _counter(_Nibbles(first=0, n_counters=4, below=False, above=True))
count_second = _counter(_Nibbles(first=8, n_counters=4, below=False, above=True))
count_last = _counter(_Nibbles(first=0, n_counters=2, below=True, above=False))


@intrinsic
def add_saturated(typing_context: Any, cells: Any, n_bins: Any, total: Any) -> Any:
    """Add the first `n_bins` rows of `cells` to those of `total`; sums stick at 255."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        source = array_address(context, builder, signature.args[0], args[0])
        target = array_address(context, builder, signature.args[2], args[2])
        with cgutils.for_range(builder, args[1], intp=I64) as loop:
            here, there = (row_address(builder, place, loop.index, LANES) for place in (source, target))
            for offset in (0, WIDTH):
                total_now = add_sticky(builder, load(builder, here, offset), load(builder, there, offset))
                store(builder, total_now, there, offset)
        return context.get_dummy_value()

    return types.void(cells, types.int64, total), generate


@intrinsic
def largest(typing_context: Any, cells: Any, n_bins: Any) -> Any:
    """Return the largest byte of the first `n_bins` rows of `cells`."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        source = array_address(context, builder, signature.args[0], args[0])
        slot = cgutils.alloca_once(builder, BYTES)
        builder.store(splat(0), slot)
        with cgutils.for_range(builder, args[1], intp=I64) as loop:
            here = row_address(builder, source, loop.index, LANES)
            top = call_bytes(builder, "llvm.umax.v32i8", load(builder, here), load(builder, here, WIDTH))
            builder.store(call_bytes(builder, "llvm.umax.v32i8", builder.load(slot), top), slot)
        kind = ir.FunctionType(I8, [BYTES])
        reduce = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.umax.v32i8")
        return builder.zext(builder.call(reduce, [builder.load(slot)]), I64)

    return types.int64(cells, types.int64), generate
