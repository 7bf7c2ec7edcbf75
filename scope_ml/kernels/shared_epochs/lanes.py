"""Vector code of the group search: one source a lane, one row of lanes an exposure.

numba keeps sums of rows in memory, so this function writes LLVM's intermediate code; LLVM cuts the vectors to what the
machine has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["SUM_LANES", "add_bin"]

#: Sources whose sums are formed together: eight AVX2 registers.
SUM_LANES = 64

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()


def _vector(element: ir.Type, n_lanes: int) -> ir.VectorType:
    return ir.VectorType(element, n_lanes)


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: ir.IRBuilder, value: ir.Value, n_lanes: int) -> ir.Value:
    """Return a vector with `value` in all lanes."""
    undefined = ir.Constant(_vector(value.type, n_lanes), ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, undefined, ir.Constant(_vector(_I32, n_lanes), [0] * n_lanes))


def _bytes_of(kind: ir.Type) -> int:
    if isinstance(kind, ir.VectorType):
        return int(kind.count) * _bytes_of(kind.element)
    return 4 if isinstance(kind, ir.FloatType) else int(kind.width) // 8


def _place(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    offset = builder.mul(index, ir.Constant(_I64, _bytes_of(kind)))
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _load(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(_place(builder, address, index, kind), align=1)


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, index: ir.Value) -> None:
    builder.store(value, _place(builder, address, index, value.type), align=1)


def _address(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value) -> ir.Value:
    return builder.ptrtoint(context.make_array(kind)(context, builder, array).data, _I64)


def _slot(builder: ir.IRBuilder, kind: ir.VectorType) -> ir.Value:
    """Return a place for a vector that is 0; LLVM makes registers of it."""
    slot = cgutils.alloca_once(builder, kind)
    builder.store(_constant(kind, 0), slot)
    return slot


@intrinsic
def add_bin(
    typing_context: Any, rows: Any, present: Any, order: Any, threshold: Any, bounds: Any, first: Any, out: Any
) -> Any:
    """Add ``sum**2 / count`` of the phase bin whose entries begin at ``bounds[first]`` to `out`, float32 (64,).

    `rows` holds the values of all exposures and then their deviations, float32 (2 * n_epochs, 64); `present`, (n_epochs,
    64), counts in bytes or in 16 bits.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        places = [_address(context, builder, signature.args[i], args[i]) for i in (0, 1, 2, 3, 4, 6)]
        values, row_counts, entries, edges, limits, target = places
        n_epochs = cgutils.unpack_tuple(builder, context.make_array(present)(context, builder, args[1]).shape)[0]
        sums, counts = _vector(_F32, SUM_LANES), _vector(ir.IntType(present.dtype.bitwidth), SUM_LANES)
        total, count = _slot(builder, sums), _slot(builder, counts)
        ends = [_load(builder, limits, builder.add(args[5], ir.Constant(_I64, i)), _I64) for i in range(4)]
        for begin, end, side in zip(ends, ends[1:], ("", ">=", "<"), strict=False):
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(_I64, 1), intp=_I64) as (index, _):
                exposure = builder.zext(_load(builder, entries, index, _I32), _I64)
                value = _load(builder, values, exposure, sums)
                here = _load(builder, row_counts, exposure, counts)
                if side:
                    edge = _splat(builder, _load(builder, edges, index, _F32), SUM_LANES)
                    deviation = _load(builder, values, builder.add(exposure, n_epochs), sums)
                    inside = builder.fcmp_ordered(side, deviation, edge)
                    value = builder.select(inside, value, _constant(sums, 0))
                    here = builder.select(inside, here, _constant(counts, 0))
                builder.store(builder.fadd(builder.load(total), value), total)
                builder.store(builder.add(builder.load(count), here), count)
        number, ones = builder.uitofp(builder.load(count), sums), _constant(sums, 1)
        number = builder.select(builder.fcmp_ordered(">", number, ones), number, ones)
        square = builder.fmul(builder.load(total), builder.load(total))
        zero = ir.Constant(_I64, 0)
        before = _load(builder, target, zero, sums)
        _store(builder, builder.fadd(before, builder.fdiv(square, number)), target, zero)
        return context.get_dummy_value()

    return types.void(rows, present, order, threshold, bounds, types.int64, out), generate
