"""Words of the vector code in which the conditional entropy is counted: 64 trial frequencies as lanes of one byte.

numba cannot express byte lanes, so `counting` and `entries` write LLVM's intermediate code with these functions; LLVM
cuts the vectors of 32 bytes to what the machine has.
"""

from __future__ import annotations

import platform
from typing import Any, TypeAlias

from llvmlite import binding, ir
from numba.core import cgutils, config

__all__ = [
    "BYTES",
    "HALVES",
    "HAS_SHUFFLE",
    "I8",
    "I64",
    "LANES",
    "WIDTH",
    "WORDS",
    "Builder",
    "add_sticky",
    "array_address",
    "broadcast",
    "call_bytes",
    "load",
    "look_up",
    "row_address",
    "segment_index",
    "splat",
    "store",
]

#: Frequencies counted together: two AVX2 registers.
LANES = 64
#: Lanes of a vector.
WIDTH = 32
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES = ir.VectorType(I8, WIDTH)
HALVES = ir.VectorType(I16, WIDTH // 2)
WORDS = ir.VectorType(I32, WIDTH // 2)

Builder: TypeAlias = ir.IRBuilder


def _has_shuffle() -> bool:
    """Whether numba compiles for a machine with AVX2; it may have been told to compile for another than this one."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if config.CPU_FEATURES is not None:
        return "+avx2" in config.CPU_FEATURES.split(",")
    return bool(binding.get_host_cpu_features().get("avx2", False))


HAS_SHUFFLE = _has_shuffle()


def splat(value: int) -> ir.Constant:
    """Return 32 bytes of one value."""
    return ir.Constant(BYTES, [value & 0xFF] * WIDTH)


def load(builder: Builder, address: ir.Value, offset: int = 0, kind: ir.Type = BYTES) -> ir.Value:
    """Read a value at ``address + offset``, an integer, aligned or not."""
    place = builder.add(address, ir.Constant(I64, offset))
    return builder.load(builder.inttoptr(place, kind.as_pointer()), align=1)


def store(builder: Builder, value: ir.Value, address: ir.Value, offset: int = 0) -> None:
    """Write a value at ``address + offset``, an integer, aligned or not."""
    place = builder.add(address, ir.Constant(I64, offset))
    builder.store(value, builder.inttoptr(place, value.type.as_pointer()), align=1)


def row_address(builder: Builder, address: ir.Value, index: ir.Value, n_bytes: int) -> ir.Value:
    """Return the address of row `index` of rows of `n_bytes`."""
    return builder.add(address, builder.mul(index, ir.Constant(I64, n_bytes)))


def array_address(context: Any, builder: Builder, kind: Any, array: ir.Value) -> ir.Value:
    """Return the address of an array's first element, as an integer; `kind` is its numba type."""
    return builder.ptrtoint(context.make_array(kind)(context, builder, array).data, I64)


def call_bytes(builder: Builder, name: str, *operands: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic of byte vectors: (bytes, ...) -> bytes."""
    kind = ir.FunctionType(BYTES, [BYTES] * len(operands))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def broadcast(builder: Builder, byte: ir.Value) -> ir.Value:
    """Return a vector with `byte` in all lanes."""
    undefined = ir.Constant(BYTES, ir.Undefined)
    single = builder.insert_element(undefined, byte, ir.Constant(I32, 0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(I32, WIDTH), [0] * WIDTH))


def add_sticky(builder: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    """Return sums of bytes that stick at 255: PADDUSB."""
    return call_bytes(builder, "llvm.uadd.sat.v32i8", left, right)


def look_up(builder: Builder, table: ir.Value, index: ir.Value) -> ir.Value:
    """Return ``table[index & 15]``, or 0 where bit 7 of the index is set: VPSHUFB, two tables of 16 bytes side by side."""
    return call_bytes(builder, "llvm.x86.avx2.pshuf.b", table, index)


def segment_index(builder: Builder, value: ir.Value, base: ir.Value) -> ir.Value:
    """Return ``value - base`` where that is 0 to 15 (in the low 4 bits), and bit 7 set where it is not."""
    return add_sticky(builder, builder.sub(value, base), splat(0x70))
