"""Sixteen float32 numbers as one value inside numba functions: what the kernels of `cpu_products` and `cpu_images` do.

A value of this kind lives in registers of the machine (one of AVX-512, two of AVX2, four of NEON), so that a kernel can
say which numbers stay there. Every operation is rounded as IEEE 754 says, multiply-add once: the sums of a kernel are
taken in the order in which it is written, whatever the width of the registers. May import nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

__all__ = [
    "INNER", "LANES", "OUTER", "add", "at_least_zero", "dropped", "fma", "larger", "load", "mul", "over_root", "splat",
    "spread", "store", "where_equal", "where_positive", "zeros_aligned",
]  # fmt: skip

LANES = 16

#: Options of compiled functions that Python calls, and of those that only such functions call.
OUTER = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}
INNER = {**OUTER, "no_cpython_wrapper": True}

#: Multipliers of the hash of `draws`, and of a unit's index.
FIRST_FACTOR, SECOND_FACTOR, INDEX_FACTOR = 0x85EBCA6B, 0xC2B2AE35, 0x9E3779B1

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_Generate = Callable[[Any, ir.IRBuilder, Any, Any], Any]


class _Lanes(types.Type):  # type: ignore[misc]
    """Numba's type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes(float32 x 16)")


_LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def zeros_aligned(n: int) -> NDArray[np.float32]:
    """Return (n,) float32 zeros that begin with a line of the cache (64 bytes)."""
    memory = np.zeros(n + LANES, dtype=np.float32)
    first = -memory.ctypes.data % 64 // 4
    return memory[first : first + n]


def _all(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _words(value: int) -> ir.Constant:
    return ir.Constant(_WORDS, [value] * LANES)


def _splat(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """Return a vector with `value` in all lanes."""
    nothing = ir.Constant(kind, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, nothing, _words(0))


def _call(builder: ir.IRBuilder, name: str, values: list[ir.Value]) -> ir.Value:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), values)


def _address(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
    """Return the address of ``args[0].flat[args[1]]``; nobody checks that it is inside."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> tuple[Any, _Generate]:
    """Return ``array.flat[index : index + 16]``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        place = builder.bitcast(_address(context, builder, signature, args), _VECTOR.as_pointer())
        return builder.load(place, align=4)

    return _LANES(array, types.int64), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> tuple[Any, _Generate]:
    """Write `value` to ``array.flat[index : index + 16]``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        place = builder.bitcast(_address(context, builder, signature, args), _VECTOR.as_pointer())
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, _LANES), generate


@intrinsic
def spread(typing_context: Any, array: Any, index: Any) -> tuple[Any, _Generate]:
    """Return ``array.flat[index]`` in all lanes."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _splat(builder, builder.load(_address(context, builder, signature, args), align=4), _VECTOR)

    return _LANES(array, types.int64), generate


@intrinsic
def splat(typing_context: Any, value: Any) -> tuple[Any, _Generate]:
    """Return the float32 `value` in all lanes."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], _VECTOR)

    return _LANES(types.float32), generate


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> tuple[Any, _Generate]:
    """Return ``a * b + c``, rounded once."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _call(builder, "fma", list(args))

    return _LANES(_LANES, _LANES, _LANES), generate


@intrinsic
def add(typing_context: Any, a: Any, b: Any) -> tuple[Any, _Generate]:
    """Return ``a + b``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return _LANES(_LANES, _LANES), generate


@intrinsic
def mul(typing_context: Any, a: Any, b: Any) -> tuple[Any, _Generate]:
    """Return ``a * b``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return _LANES(_LANES, _LANES), generate


@intrinsic
def at_least_zero(typing_context: Any, a: Any) -> tuple[Any, _Generate]:
    """Return relu: 0 where `a` is less, else `a`, NaN too."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", _all(0.0), args[0]), _all(0.0), args[0])

    return _LANES(_LANES), generate


@intrinsic
def larger(typing_context: Any, a: Any, b: Any) -> tuple[Any, _Generate]:
    """Return the larger one of `a` and `b`; `b` where either is NaN."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return _LANES(_LANES, _LANES), generate


@intrinsic
def where_positive(typing_context: Any, a: Any, value: Any) -> tuple[Any, _Generate]:
    """Return `value` where ``a > 0``, else 0."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], _all(0.0)), args[1], _all(0.0))

    return _LANES(_LANES, _LANES), generate


@intrinsic
def where_equal(typing_context: Any, a: Any, b: Any, value: Any, other: Any) -> tuple[Any, _Generate]:
    """Return `value` where ``a == b``, else `other`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], args[3])

    return _LANES(_LANES, _LANES, _LANES, _LANES), generate


@intrinsic
def over_root(typing_context: Any, a: Any, b: Any, c: Any) -> tuple[Any, _Generate]:
    """Return ``a / (sqrt(b) + c)``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.fdiv(args[0], builder.fadd(_call(builder, "sqrt", [args[1]]), args[2]))

    return _LANES(_LANES, _LANES, _LANES), generate


@intrinsic
def dropped(typing_context: Any, value: Any, key: Any, index: Any, limit: Any, scale: Any) -> tuple[Any, _Generate]:
    """Return dropout of units ``index`` to ``index + 15``: 0 where the hash (`draws`) is below `limit`, else scaled."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        first = builder.mul(args[2], ir.Constant(_I32, INDEX_FACTOR))
        lanes = ir.Constant(_WORDS, [lane * INDEX_FACTOR & 0xFFFFFFFF for lane in range(LANES)])
        h = builder.xor(builder.add(_splat(builder, first, _WORDS), lanes), _splat(builder, args[1], _WORDS))
        h = builder.xor(h, builder.lshr(h, _words(16)))
        h = builder.mul(h, _words(FIRST_FACTOR))
        h = builder.xor(h, builder.lshr(h, _words(13)))
        h = builder.mul(h, _words(SECOND_FACTOR))
        h = builder.xor(h, builder.lshr(h, _words(16)))
        is_dropped = builder.icmp_unsigned("<", h, _splat(builder, args[3], _WORDS))
        return builder.select(is_dropped, _all(0.0), builder.fmul(args[0], _splat(builder, args[4], _VECTOR)))

    return _LANES(_LANES, types.uint32, types.uint32, types.uint32, types.float32), generate
