"""`cupy` without a GPU: arrays are NumPy's, and kernels are the very CUDA C sources compiled by g++ (`emulation.hpp`).

Stricter than CuPy: the type of every argument must be the one in the kernel's signature, records are refused, and no
kernel may write before or after an array, beyond the shared memory asked for, or pass a barrier alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
GUARD = 4096
FILL = 0xA5
ELEMENTS = {
    "double": np.float64, "double2": np.float64, "float": np.float32, "float2": np.float32, "int": np.int32,
    "unsigned int": np.uint32, "Window": np.int32, "Task": np.uint8, "Span": np.uint8, "Peak": np.uint8, "Band": np.uint8,
}  # fmt: skip


class Array(np.ndarray):
    """An array "on the device"."""

    def get(self, *, out, blocking):
        assert not blocking
        assert out.base is not None
        assert out.shape == self.shape
        out[...] = self


class Event:
    """Marks what has been started so far."""

    def __init__(self, *, disable_timing):
        assert disable_timing
        self.recorded = False

    def record(self):
        self.recorded = True

    def synchronize(self):
        assert self.recorded


def _allocate(shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.names:
        raise ValueError(f"Unsupported type {dtype}")
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 2 * GUARD, FILL, dtype=np.uint8)
    return memory[GUARD : GUARD + size].view(dtype).reshape(shape).view(Array)


def _asarray(array):
    copy = _allocate(array.shape, array.dtype)
    copy[...] = array
    return copy


def _owner(array):
    while array.base is not None:
        array = array.base
    return array


class Kernel:
    """A compiled kernel; called as CuPy's are."""

    def __init__(self, code, name, folder, defines):
        self.name = name
        self.max_dynamic_shared_size_bytes = 48 * 1024
        signature = re.search(rf"\n{name}\(([^)]*)\)", code, re.DOTALL).group(1)
        self.parameters = [" ".join(parameter.split()) for parameter in signature.split(",")]
        self.types = [re.sub(r"\bconst\b|\w+$", "", re.sub(r"\*\s*$", "* x", p)).strip() for p in self.parameters]
        numbered = [f"{kind} a{i}" for i, kind in enumerate(self.types)]
        wrapper = (
            f'extern "C" void emulate(int gx, int gy, int block, int shared, {", ".join(numbered)}) {{\n'
            f"  run_grid(gx, gy, block, shared, [=] {{ {name}({', '.join(f'a{i}' for i in range(len(numbered)))}); }});\n}}\n"
        )
        text = '#include "emulation.hpp"\n' + code.replace("extern __shared__", "extern") + wrapper
        command = [
            "g++",
            "-std=c++17",
            "-O1",
            "-U_FORTIFY_SOURCE",
            "-ffp-contract=off",
            "-fPIC",
            "-shared",
            "-w",
            f"-I{HERE}",
            *defines,
        ]
        key = hashlib.sha256(
            "\0".join([text, (HERE / "emulation.hpp").read_text(), *command[:-1], *defines]).encode()
        ).hexdigest()
        library = folder / f"{key[:32]}.so"
        if not library.exists():
            source = library.with_suffix(".cpp")
            source.write_text(text)
            done = subprocess.run(
                [*command, "-o", str(library), str(source)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        self.function = ctypes.CDLL(str(library)).emulate

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        assert shared_mem <= self.max_dynamic_shared_size_bytes, "more shared memory than was asked for"
        assert len(grid) == 2
        assert 0 < grid[1] <= 65535
        assert len(arguments) == len(self.types)
        values = []
        for parameter, kind, value in zip(self.parameters, self.types, arguments, strict=True):
            if kind.endswith("*"):
                assert value.dtype == ELEMENTS[kind.rstrip("* ")], f"{self.name}: {parameter} got {value.dtype}"
                assert isinstance(value, Array)
                assert value.flags.c_contiguous
                values.append(ctypes.c_void_p(value.ctypes.data))
            else:
                assert kind == "int", parameter
                assert isinstance(value, np.int32), f"{self.name}: {parameter} got {type(value)}"
                values.append(ctypes.c_int(int(value)))
        self.function(grid[0], grid[1], block[0], shared_mem, *values)
        for parameter, value in zip(self.parameters, arguments, strict=True):
            if isinstance(value, Array):
                memory = _owner(value)
                clean = (memory[:GUARD] == FILL).all() and (memory[-GUARD:] == FILL).all()
                assert clean, f"{self.name} wrote outside of {parameter}"


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CompileException(Exception):  # noqa: N818
    """As CuPy's."""


def make_cupy(folder, memory):
    """Return a module that stands for `cupy`; ``memory["free"]`` is what the device has left."""

    class RawModule:
        def __init__(self, *, code, options, backend):
            assert backend == "nvrtc"
            assert options[0] == "--std=c++17"
            self.code, self.defines = code, options[1:]

        def get_function(self, name):
            return Kernel(self.code, name, folder, self.defines)

    def empty(shape, dtype):
        if np.dtype(dtype).itemsize * np.prod(shape) > memory["free"]:
            raise OutOfMemoryError
        return _allocate((shape,) if isinstance(shape, int) else shape, dtype)

    cupy = types.ModuleType("cupy")
    cupy.asarray, cupy.empty, cupy.RawModule = _asarray, empty, RawModule
    cupy.asnumpy = lambda array: np.array(array, subok=False)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)
    cupy.cuda = types.SimpleNamespace(
        Event=Event,
        # Larger than asked for, as CuPy's is.
        alloc_pinned_memory=lambda size: bytearray(b"\x03" * (size + 512)),
        Device=lambda: types.SimpleNamespace(mem_info=(memory["free"], 2 * memory["free"])),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: memory["devices"], CUDARuntimeError=RuntimeError),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        compiler=types.SimpleNamespace(CompileException=CompileException),
    )
    return cupy


def _forget():
    """Drop the modules that know the emulated device."""
    for name in [
        name for name in sys.modules if re.match(r"scope_ml\.(kernels\.(gpu($|\.)|\w+\.gpu$)|networks\.gpu)", name)
    ]:
        module = sys.modules.pop(name)
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and getattr(sys.modules[parent], child, None) is module:
            delattr(sys.modules[parent], child)


@pytest.fixture(scope="module")
def emulated_memory():
    """What the emulated device has: change it in a test, and change it back."""
    return {"free": 1 << 30, "devices": 1}


@pytest.fixture(scope="module", autouse=True)
def emulated_cupy(request, emulated_memory, tmp_path_factory):
    """Put the stand-in where `import cupy` finds it."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    # Compiled once for all runs where pytest keeps a cache.
    cache = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp("gpu_emulation") if cache is None else Path(cache.mkdir("gpu_emulation"))
    before = sys.modules.get("cupy")
    _forget()
    sys.modules["cupy"] = make_cupy(folder, emulated_memory)
    yield
    _forget()
    if before is None:
        del sys.modules["cupy"]
    else:
        sys.modules["cupy"] = before
