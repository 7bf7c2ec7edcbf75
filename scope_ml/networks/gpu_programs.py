"""The kernels of `gpu`, specialised for an architecture.

May import the architecture and `kernels.gpu.device`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scope_ml.kernels.gpu.device import Program
from scope_ml.networks.architecture import DENSE_UNITS, Architecture

__all__ = ["IMAGE_PARAMETERS", "Programs", "n_tiles", "programs_of"]

SOURCES = str(Path(__file__).with_name("source"))

#: Parameters of the dm-dt branch, which follow one another.
IMAGE_PARAMETERS = 2489
#: Lines of a tile of `products`, and its columns by mode.
TILE_LINES = 64
TILE_COLUMNS = {1: 64, 2: 32, 3: 32, 4: 64, 5: 64}
THREADS = 128
WIDE_THREADS = 256
#: Floats of shared memory of the dm-dt branch forward and back (``source/images.cu``).
FORWARD_FLOATS, BACK_FLOATS = 12825, 16450
#: Blocks of the dm-dt branch back at once on a multiprocessor: as many as its shared memory lets in.
BACK_BLOCKS = 3


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The kernels of a network; `products` by mode and whether in training, `images` and `head` by the latter."""

    products: dict[tuple[int, int], Program]
    images: tuple[Program, Program]
    images_back: Program
    add_parts: Program
    head: tuple[Program, Program]
    adam: Program


def programs_of(architecture: Architecture, *, amsgrad: bool) -> Programs:
    """Return the kernels of an architecture."""
    head = (
        ("JOINED", architecture.n_joined),
        ("DENSE", int(architecture.dense_branch)),
        ("OUTPUTS", architecture.n_outputs),
    )
    back = (("TRAIN", 1), ("BLOCKS", BACK_BLOCKS))
    return Programs(
        products={(mode, train): _product(mode, train) for mode in TILE_COLUMNS for train in (0, 1)},
        images=(_images("images_forward", 0), _images("images_forward", 1)),
        images_back=_program("images_back", ("images", "images_back"), back, THREADS, 4 * BACK_FLOATS),
        add_parts=_program("add_parts", ("images", "images_back"), back, THREADS),
        head=(
            _program("head", ("head",), (*head, ("TRAIN", 0)), THREADS),
            _program("head", ("head",), (*head, ("TRAIN", 1)), THREADS),
        ),
        adam=_program("adam", ("adam",), (("AMSGRAD", int(amsgrad)),), WIDE_THREADS),
    )


def n_tiles(mode: int, n_lines: int) -> int:
    """Return the blocks that a product of `n_lines` lines needs for one model."""
    columns = DENSE_UNITS[1] if mode in (2, 3) else DENSE_UNITS[0]
    return -(-n_lines // TILE_LINES) * (columns // TILE_COLUMNS[mode])


def _product(mode: int, train: int) -> Program:
    # Dropout stands in the first mode alone.
    columns, train = TILE_COLUMNS[mode], train if mode == 1 else 1
    return _program("products", ("products",), (("MODE", mode), ("TRAIN", train), ("TILE_J", columns)), 2 * columns)


def _images(name: str, train: int) -> Program:
    return _program(name, ("images",), (("TRAIN", train),), THREADS, 4 * FORWARD_FLOATS)


def _program(
    name: str, sources: tuple[str, ...], defines: tuple[tuple[str, int | str], ...], threads: int, shared: int = 0
) -> Program:
    return Program(
        sources=("draws", *sources),
        name=name,
        defines=(*defines, ("THREADS", threads)),
        per_block=threads,
        shared=shared,
        folder=SOURCES,
    )
