"""The one room that speaks to CuPy: memory, compiled kernels, launches, errors.

Importing it needs CuPy (ImportError without) and a GPU that works (BackendUnavailableError without).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import cupy
import numpy as np
from numpy.typing import DTypeLike, NDArray

from scope_ml.errors import BackendUnavailableError

__all__ = [
    "DeviceArray",
    "Download",
    "Program",
    "download",
    "empty",
    "free_bytes",
    "launch",
    "require_device",
    "start_download",
    "upload",
    "upload_together",
]

#: An array in the memory of the device; CuPy has no types.
DeviceArray: TypeAlias = Any

SOURCES = str(Path(__file__).with_name("source"))
#: Bytes at a multiple of which each of several arrays begins that are copied together.
ALIGNMENT = 256
#: Shared memory that a block gets without asking.
STATIC_SHARED = 48 * 1024


@dataclass(frozen=True, kw_only=True)
class Program:
    """A kernel: sources put one after the other, and the macros that specialise them.

    Attributes
    ----------
    sources
        Names of files in `folder`, without ending.
    name
        Function.
    defines
        Macros; THREADS is the size of a block.
    per_block
        Values that a block computes.
    shared
        Bytes of dynamic shared memory per block.
    folder
        Where the sources lie.
    """

    sources: tuple[str, ...]
    name: str
    defines: tuple[tuple[str, int | str], ...]
    per_block: int
    shared: int = 0
    folder: str = SOURCES

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return int(dict(self.defines)["THREADS"])


def require_device() -> None:
    """Do nothing if there is a GPU that can be used.

    Raises
    ------
    BackendUnavailableError
        If the driver finds none.
    """
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailableError(f"no GPU can be used here ({error}); set machine.device=cpu") from error
    if count == 0:
        raise BackendUnavailableError("no GPU was found here; set machine.device=cpu")


@cache
def _kernel(program: Program) -> Any:
    """Compile a kernel for the device at hand, or take it from CuPy's cache on disk."""
    code = "\n".join(Path(program.folder, f"{source}.cu").read_text() for source in program.sources)
    options = ("--std=c++17", *(f"-D{name}={value}" for name, value in program.defines))
    try:
        kernel = cupy.RawModule(code=code, options=options, backend="nvrtc").get_function(program.name)
        if program.shared > STATIC_SHARED:
            kernel.max_dynamic_shared_size_bytes = program.shared
    except (cupy.cuda.compiler.CompileException, ImportError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise BackendUnavailableError(
            f"the kernel '{program.name}' cannot be compiled for this GPU ({first});"
            " install CUDA's run-time compiler with: pip install 'scope_ml[gpu]', or set machine.device=cpu"
        ) from error
    return kernel


def launch(program: Program, grid: tuple[int, int], arguments: Sequence[Any]) -> None:
    """Start a kernel on a grid of blocks; integers become 32-bit ones. Does not wait for it."""
    values = tuple(np.int32(value) if isinstance(value, int) else value for value in arguments)
    _kernel(program)(grid, (program.threads,), values, shared_mem=program.shared)


def upload(array: NDArray[Any]) -> DeviceArray:
    """Return a copy on the device, records as bytes; one element at least, so that it has an address."""
    filled = np.ascontiguousarray(array) if array.size else np.zeros(1, dtype=array.dtype)
    return cupy.asarray(filled.view(np.uint8) if filled.dtype.names else filled)


def upload_together(*arrays: NDArray[Any]) -> tuple[DeviceArray, ...]:
    """Return flat copies on the device, as `upload` does: one transfer for all, each of which costs as much as a launch."""
    filled = [np.ascontiguousarray(array) if array.size else np.zeros(1, dtype=array.dtype) for array in arrays]
    ends = np.cumsum([-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in filled])
    staged = np.zeros(int(ends[-1]), dtype=np.uint8)
    begins = [0, *ends[:-1].tolist()]
    for begin, array in zip(begins, filled, strict=True):
        staged[begin : begin + array.nbytes] = array.reshape(-1).view(np.uint8)
    whole = cupy.asarray(staged)
    return tuple(
        whole[begin : begin + array.nbytes].view(np.uint8 if array.dtype.names else array.dtype)
        for begin, array in zip(begins, filled, strict=True)
    )


def empty(size: int, dtype: DTypeLike) -> DeviceArray:
    """Return new memory on the device, (size,).

    Raises
    ------
    BackendUnavailableError
        If the device has too little left.
    """
    try:
        return cupy.empty(max(size, 1), dtype=dtype)
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise BackendUnavailableError(
            f"the GPU has too little free memory for {size} values of {np.dtype(dtype).itemsize} bytes;"
            " free some, or set machine.device=cpu"
        ) from error


def download(array: DeviceArray) -> NDArray[Any]:
    """Return a copy on the host, once everything started before is done."""
    copied: NDArray[Any] = cupy.asnumpy(array)
    return copied


@dataclass(frozen=True)
class Download:
    """Copies to the host under way."""

    arrays: tuple[NDArray[Any], ...]
    event: Any

    def wait(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays once they are there; what was started on the device later does not matter."""
        self.event.synchronize()
        return self.arrays


def _pinned(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return host memory that the device can write to while the host does other things, (size,)."""
    memory = cupy.cuda.alloc_pinned_memory(size * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype=dtype, count=size)


def start_download(*arrays: DeviceArray) -> Download:
    """Start copying flat arrays to the host; does not wait."""
    copies = tuple(_pinned(array.size, array.dtype) for array in arrays)
    for array, copy in zip(arrays, copies, strict=True):
        array.get(out=copy, blocking=False)
    event = cupy.cuda.Event(disable_timing=True)
    event.record()
    return Download(copies, event)


def free_bytes() -> int:
    """Return how much memory of the device can still be taken, CuPy's idle blocks included."""
    free, _ = cupy.cuda.Device().mem_info
    return int(free) + int(cupy.get_default_memory_pool().free_bytes())


require_device()
