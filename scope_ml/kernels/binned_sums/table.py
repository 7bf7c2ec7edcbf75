"""Tables of phase bins, one for each of `GROUP` frequencies, and the innermost loops over them, as LLVM code.

A point goes into one cell of each table: an index is loaded and a number added in memory, two instructions, nothing
else (numba alone adds index checks and address arithmetic). Neighbouring updates go to different tables, so none waits
for the one before, and the tables of a group stay in the first cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "DEFAULT_BINS",
    "FLOATS",
    "GROUP",
    "LANES",
    "WORDS",
    "add_pair_to_rows",
    "add_to_rows",
    "add_to_rows_default",
    "address",
    "index",
    "pair_adder",
    "same",
    "splat",
    "square_shares",
    "sum_lanes",
    "take_row",
    "word_adder",
]

#: Frequencies whose tables are filled together: 32 rows of 20 words are 5 KiB.
GROUP = 32
#: Bins for which the addresses of the tables are constants, a fifth faster.
DEFAULT_BINS = 20
#: Words handled together when a row is read; rows are padded to a multiple of it.
LANES = 4

_I16, _I32, _I64, _F64 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType()
WORDS, FLOATS = ir.VectorType(_I64, LANES), ir.VectorType(_F64, LANES)
_PAIR = ir.VectorType(_F64, 2)
#: 2^52 as a number and as its bits: an integer below it, put into the low bits, is read back as 2^52 plus itself.
_MAGIC, _MAGIC_BITS = float(1 << 52), 0x4330000000000000


def index(value: int) -> ir.Constant:
    """Return a 64-bit constant."""
    return ir.Constant(_I64, value)


def address(context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> ir.Value:
    """Return the address of the first element of an array."""
    return context.make_array(kind)(context, builder, value).data


def splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return a vector of `LANES` copies."""
    kind = ir.VectorType(value.type, LANES)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    places = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), places)


def same(kind: ir.VectorType, value: float) -> ir.Constant:
    """Return a constant vector of `LANES` copies."""
    return ir.Constant(kind, [value] * LANES)


def sum_lanes(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """Return the sum of a vector of `LANES`."""
    lanes = [builder.extract_element(vector, ir.Constant(_I32, lane)) for lane in range(LANES)]
    return builder.fadd(builder.fadd(lanes[0], lanes[1]), builder.fadd(lanes[2], lanes[3]))


def word_adder(n_tables: int, length: int | None, cell: ir.IntType) -> Any:
    """Return ``add(table, length, bins, offset, word)``, which adds one point to `n_tables` tables.

    Parameters
    ----------
    n_tables
        Tables that stand one behind the other, uint64 (n_tables * length,).
    length
        Words of a table where it is always the same; None to take it from the call.
    cell
        Type of the indices, which stand one behind the other from byte `offset` of `bins` on (a contiguous uint8
        array); each must be below `length`.
    """

    def add(typing_context: Any, table: Any, table_length: Any, bins: Any, offset: Any, word: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            target = address(context, builder, signature.args[0], args[0])
            source = builder.gep(address(context, builder, signature.args[2], args[2]), [args[3]])
            source = builder.bitcast(source, cell.as_pointer())
            step = args[1] if length is None else index(length)
            for k in range(n_tables):
                place = builder.load(builder.gep(source, [index(k)]), align=1)
                place = builder.gep(target, [builder.zext(place, _I64)])
                builder.store(builder.add(builder.load(place), args[4]), place)
                target = builder.gep(target, [step])
            return context.get_dummy_value()

        return types.void(table, types.int64, bins, types.int64, types.uint64), generate

    return intrinsic(add)


add_to_rows = word_adder(GROUP, None, ir.IntType(8))
add_to_rows_default = word_adder(GROUP, DEFAULT_BINS, ir.IntType(8))


def pair_adder(n_tables: int, cell: ir.IntType) -> Any:
    """Return ``add(table, length, bins, offset, weight, product)``: `word_adder` for pairs of float64.

    The tables are float64 (n_tables * length * 2,).
    """

    def add(typing_context: Any, table: Any, length: Any, bins: Any, offset: Any, weight: Any, product: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            target = builder.bitcast(address(context, builder, signature.args[0], args[0]), _PAIR.as_pointer())
            source = builder.gep(address(context, builder, signature.args[2], args[2]), [args[3]])
            source = builder.bitcast(source, cell.as_pointer())
            pair = ir.Constant(_PAIR, ir.Undefined)
            for place, value in enumerate(args[4:]):
                pair = builder.insert_element(pair, value, ir.Constant(_I32, place))
            for k in range(n_tables):
                place = builder.load(builder.gep(source, [index(k)]), align=1)
                place = builder.gep(target, [builder.zext(place, _I64)])
                builder.store(builder.fadd(builder.load(place, align=8), pair), place, align=8)
                target = builder.gep(target, [args[1]])
            return context.get_dummy_value()

        return types.void(table, types.int64, bins, types.int64, types.float64, types.float64), generate

    return intrinsic(add)


add_pair_to_rows = pair_adder(GROUP, ir.IntType(8))


def _to_float(builder: ir.IRBuilder, words: ir.Value) -> ir.Value:
    """Return integers below 2^52 as float64."""
    bits = builder.bitcast(builder.or_(words, same(WORDS, _MAGIC_BITS)), FLOATS)
    return builder.fsub(bits, same(FLOATS, _MAGIC))


def square_shares(builder: ir.IRBuilder, words: ir.Value, shift: ir.Value, mean: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return ``(s - n * mean)^2 / n`` of each of `LANES` bins, 0 for empty ones, and 1 for those that are not empty.

    A word holds the count n above its bit `shift` and the sum s, below 2^52, under it.
    """
    zero, one = same(FLOATS, 0.0), same(FLOATS, 1.0)
    mask = builder.sub(builder.shl(same(WORDS, 1), shift), same(WORDS, 1))
    count = _to_float(builder, builder.lshr(words, shift))
    apart = builder.fsub(_to_float(builder, builder.and_(words, mask)), builder.fmul(count, mean))
    is_filled = builder.fcmp_ordered(">", count, zero)
    share = builder.fdiv(builder.fmul(apart, apart), builder.select(is_filled, count, one))
    return share, builder.select(is_filled, one, zero)


@intrinsic
def take_row(typing_context: Any, table: Any, offset: Any, length: Any, shift: Any, mean: Any) -> Any:
    """Return ``sum (s - n * mean)^2 / n`` over the filled bins of a row, and how many are filled; zero the row.

    The row starts at word `offset` of the table and has `length` words, a multiple of `LANES`.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        base = builder.gep(address(context, builder, signature.args[0], args[0]), [args[1]])
        shift_by, mean_of = splat(builder, args[3]), splat(builder, args[4])
        totals = [cgutils.alloca_once_value(builder, same(FLOATS, 0.0)) for _ in range(2)]
        n_vectors = builder.lshr(args[2], index(LANES.bit_length() - 1))
        with cgutils.for_range(builder, n_vectors, intp=_I64) as loop:
            place = builder.gep(base, [builder.mul(loop.index, index(LANES))])
            place = builder.bitcast(place, WORDS.as_pointer())
            words = builder.load(place, align=8)
            builder.store(same(WORDS, 0), place, align=8)
            shares = square_shares(builder, words, shift_by, mean_of)
            for total, share in zip(totals, shares, strict=True):
                builder.store(builder.fadd(builder.load(total), share), total)
        sums = [sum_lanes(builder, builder.load(total)) for total in totals]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float64, 2)(table, types.int64, types.int64, types.uint64, types.float64), generate
