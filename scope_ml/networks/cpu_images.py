"""The convolution branch for one dm-dt image, forwards and backwards, in numba on `lanes`.

Channels are innermost, so that 16 of them are one value of `lanes`; all that one image makes on its way stays in a core's
own cache. Every array of an image lies at a fixed place in one work array, and all weights of the branch, as the loops
want them, in another (`pack`). The way back is in `cpu_images_back`.
May import lanes, cpu_products and the numbers of `architecture` and `draws`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.networks.architecture import BRANCH_DROPOUT, IMAGE_SIZE
from scope_ml.networks.cpu_products import FLOATS, Matrix, copy_transposed, product
from scope_ml.networks.draws import limit, scale
from scope_ml.networks.lanes import (
    INNER,
    add,
    at_least_zero,
    dropped,
    fma,
    larger,
    load,
    mul,
    splat,
    spread,
    store,
)

__all__ = ["FIVE", "FLOATS", "MEANS", "N_PACKED", "N_WORK", "PIXELS", "forward", "pack", "windows"]

LIMIT, SCALE = np.uint32(limit(BRANCH_DROPOUT)), scale(BRANCH_DROPOUT)

#: Sides of the image, and of what each convolution gives; the second is pooled before the third.
SIDE, SIDE_1, SIDE_2, POOLED, SIDE_3, SIDE_4 = IMAGE_SIZE, 24, 22, 11, 9, 7

#: Work of one image: what each convolution takes (`IN`), its sums over windows (`WINDOWS`), its outputs; then gradients.
IN_1 = 0
OUT_1 = IN_1 + SIDE_1**2
WINDOWS_2 = OUT_1 + SIDE_1**2 * 16
OUT_2 = WINDOWS_2 + SIDE_2**2 * 16
IN_3 = OUT_2 + SIDE_2**2 * 16
WINDOWS_3 = IN_3 + POOLED**2 * 16
OUT_3 = WINDOWS_3 + SIDE_3**2 * 16
WINDOWS_4 = OUT_3 + SIDE_3**2 * 32
OUT_4 = WINDOWS_4 + SIDE_4**2 * 32
#: The 32 means, forwards; and the derivatives by them, backwards.
MEANS = OUT_4 + SIDE_4**2 * 32
#: Derivatives: by a convolution's outputs, by its sums over windows (without and with a rim of two zeros), by its input.
BACK_OUT = MEANS + 32
BACK_WINDOWS = BACK_OUT + SIDE_2**2 * 16
RIM_2 = BACK_WINDOWS + SIDE_2**2 * 16
RIM_3 = RIM_2 + (SIDE_2 + 4) ** 2 * 16
RIM_4 = RIM_3 + (SIDE_3 + 4) ** 2 * 16
BACK_IN = RIM_4 + (SIDE_4 + 4) ** 2 * 32
N_WORK = BACK_IN + SIDE_1**2 * 16

#: Weights: the first convolution's window (9, room for 16), pointwise weights and biases; the others' as in the flat
#: vector; then their windows turned by half a turn, and their pointwise weights transposed.
FIRST_WINDOW, FIRST_WEIGHTS, FIRST_BIASES, OTHERS = 0, 16, 32, 48
WINDOW_2, WEIGHTS_2, BIASES_2 = OTHERS, OTHERS + 144, OTHERS + 400
WINDOW_3, WEIGHTS_3, BIASES_3 = OTHERS + 416, OTHERS + 560, OTHERS + 1072
WINDOW_4, WEIGHTS_4, BIASES_4 = OTHERS + 1104, OTHERS + 1392, OTHERS + 2416
N_OTHERS = 2448
TURNED = OTHERS + N_OTHERS
TRANSPOSED_2 = TURNED + N_OTHERS
TRANSPOSED_3 = TRANSPOSED_2 + 256
TRANSPOSED_4 = TRANSPOSED_3 + 512
#: Thirty-two zeros.
ZEROS = TRANSPOSED_4 + 1024
N_PACKED = ZEROS + 32
THREE, FIVE = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 5)
KEYS = types.uint32[::1]
PIXELS = types.Array(types.float32, 1, "C", readonly=True)


@njit(types.void(FLOATS, types.int64, FLOATS), **INNER)
def pack(parameters: NDArray[np.float32], at: int, packed: NDArray[np.float32]) -> None:
    """Write the branch's weights, which begin at `at` in the flat vector, into `packed` (N_PACKED,)."""
    for i in range(9):
        packed[FIRST_WINDOW + i] = parameters[at + i]
    for i in range(32):
        packed[FIRST_WEIGHTS + i] = parameters[at + 9 + i]
    for i in range(N_OTHERS):
        packed[OTHERS + i] = parameters[at + 41 + i]
    for place, channels in ((WINDOW_2, 16), (WINDOW_3, 16), (WINDOW_4, 32)):
        for i in range(9):
            for c in range(channels):
                packed[place + N_OTHERS + i * channels + c] = packed[place + (8 - i) * channels + c]
    copy_transposed(Matrix(packed, TRANSPOSED_2, 16, 1), Matrix(packed, WEIGHTS_2, 16, 1), 16, 16)
    copy_transposed(Matrix(packed, TRANSPOSED_3, 16, 1), Matrix(packed, WEIGHTS_3, 32, 1), 16, 32)
    copy_transposed(Matrix(packed, TRANSPOSED_4, 32, 1), Matrix(packed, WEIGHTS_4, 32, 1), 32, 32)


@njit(types.void(FLOATS, types.int64, FLOATS, types.int64, FLOATS, types.int64, THREE), **INNER)
def windows(
    source: NDArray[np.float32],
    at: int,
    kernel: NDArray[np.float32],
    kernel_at: int,
    out: NDArray[np.float32],
    out_at: int,
    shape: tuple[int, int, int],
) -> None:
    """Write the sums over 3 x 3 windows of each channel; `shape` is the sides of input and output, and channels."""
    width, side, channels = shape
    for c in range(0, channels, 16):
        k, s = kernel_at + c, channels
        k0, k1, k2 = load(kernel, k), load(kernel, k + s), load(kernel, k + 2 * s)
        k3, k4, k5 = load(kernel, k + 3 * s), load(kernel, k + 4 * s), load(kernel, k + 5 * s)
        k6, k7, k8 = load(kernel, k + 6 * s), load(kernel, k + 7 * s), load(kernel, k + 8 * s)
        row = width * channels
        for y in range(side):
            p, o = at + y * row + c, out_at + y * side * channels + c
            u, v, w = load(source, p), load(source, p + row), load(source, p + 2 * row)
            # Sums that want two more columns, and one more.
            late = fma(k6, w, fma(k3, v, mul(k0, u)))
            p += channels
            u, v, w = load(source, p), load(source, p + row), load(source, p + 2 * row)
            soon, late = fma(k7, w, fma(k4, v, fma(k1, u, late))), fma(k6, w, fma(k3, v, mul(k0, u)))
            for _ in range(side):
                p += channels
                u, v, w = load(source, p), load(source, p + row), load(source, p + 2 * row)
                store(out, o, fma(k8, w, fma(k5, v, fma(k2, u, soon))))
                soon, late = fma(k7, w, fma(k4, v, fma(k1, u, late))), fma(k6, w, fma(k3, v, mul(k0, u)))
                o += channels


@njit(types.void(PIXELS, types.int64, FLOATS, FLOATS), **INNER)
def _first(images: NDArray[np.float32], at: int, packed: NDArray[np.float32], work: NDArray[np.float32]) -> None:
    """Write the outputs of the first convolution, whose input is the image itself."""
    for y in range(SIDE_1):
        # Columns 0 to 15 and 8 to 23.
        for x in range(0, 16, 8):
            total = mul(spread(packed, FIRST_WINDOW), load(images, at + y * SIDE + x))
            for k in range(1, 9):
                pixels = load(images, at + (y + k // 3) * SIDE + x + k % 3)
                total = fma(spread(packed, FIRST_WINDOW + k), pixels, total)
            store(work, IN_1 + y * SIDE_1 + x, total)
    weights, biases = load(packed, FIRST_WEIGHTS), load(packed, FIRST_BIASES)
    for p in range(SIDE_1**2):
        store(work, OUT_1 + p * 16, at_least_zero(fma(spread(work, IN_1 + p), weights, biases)))


@njit(types.void(FLOATS, FIVE, FLOATS, types.int64, types.int64), **INNER)
def _points(
    work: NDArray[np.float32],
    shape: tuple[int, int, int, int, int],
    packed: NDArray[np.float32],
    weights_at: int,
    biases_at: int,
) -> None:
    """Write a convolution's outputs from its sums over windows; `shape` is both places, points, channels in and out."""
    at, out_at, n_points, n_in, n_out = shape
    product(
        Matrix(work, out_at, n_out, 1),
        Matrix(packed, biases_at, 0, 1),
        Matrix(work, at, n_in, 1),
        Matrix(packed, weights_at, n_out, 1),
        (n_points, n_in, n_out),
        True,
    )


@njit(types.void(FLOATS, types.boolean, types.uint32, types.uint32), **INNER)
def _pool(work: NDArray[np.float32], training: bool, key: int, first: int) -> None:
    """Write the largest of each 2 x 2 outputs of the second convolution, after dropout in training."""
    for y in range(POOLED):
        for x in range(POOLED):
            p = (2 * y * SIDE_2 + 2 * x) * 16
            best = splat(np.float32(0.0))
            for shift in (0, 16, SIDE_2 * 16, SIDE_2 * 16 + 16):
                value = load(work, OUT_2 + p + shift)
                if training:
                    value = dropped(value, key, np.uint32(first + np.uint32(p + shift)), LIMIT, SCALE)
                    store(work, OUT_2 + p + shift, value)
                best = larger(best, value)
            store(work, IN_3 + (y * POOLED + x) * 16, best)


@njit(types.void(FLOATS, types.boolean, types.uint32, types.uint32), **INNER)
def _mean(work: NDArray[np.float32], training: bool, key: int, first: int) -> None:
    """Write the means of the outputs of the last convolution, after dropout in training."""
    for c in range(0, 32, 16):
        total = splat(np.float32(0.0))
        for p in range(c, SIDE_4**2 * 32, 32):
            value = load(work, OUT_4 + p)
            if training:
                value = dropped(value, key, np.uint32(first + np.uint32(p)), LIMIT, SCALE)
                store(work, OUT_4 + p, value)
            total = add(total, value)
        store(work, MEANS + c, mul(total, splat(np.float32(1.0 / SIDE_4**2))))


@njit(types.void(PIXELS, types.int64, FLOATS, FLOATS, KEYS, types.int64), **INNER)
def forward(
    images: NDArray[np.float32],
    at: int,
    packed: NDArray[np.float32],
    work: NDArray[np.float32],
    keys: NDArray[np.uint32],
    row: int,
) -> None:
    """Write all that the image ``images[at : at + 676]`` makes into `work`; the result is the 32 at `MEANS`.

    Parameters
    ----------
    images
        float32, flat.
    at
        Where the image begins.
    packed, work
        Weights (`pack`), float32 (N_PACKED,); work space, float32 (N_WORK,).
    keys
        uint32 keys of the two dropouts; none: no dropout.
    row
        Which row of the batch it is, for dropout.
    """
    training = keys.size > 0
    key_1 = keys[0] if training else np.uint32(0)
    key_2 = keys[1] if training else np.uint32(0)
    _first(images, at, packed, work)
    windows(work, OUT_1, packed, WINDOW_2, work, WINDOWS_2, (SIDE_1, SIDE_2, 16))
    _points(work, (WINDOWS_2, OUT_2, SIDE_2**2, 16, 16), packed, WEIGHTS_2, BIASES_2)
    _pool(work, training, key_1, np.uint32(row * (SIDE_2**2 * 16)))
    windows(work, IN_3, packed, WINDOW_3, work, WINDOWS_3, (POOLED, SIDE_3, 16))
    _points(work, (WINDOWS_3, OUT_3, SIDE_3**2, 16, 32), packed, WEIGHTS_3, BIASES_3)
    windows(work, OUT_3, packed, WINDOW_4, work, WINDOWS_4, (SIDE_3, SIDE_4, 32))
    _points(work, (WINDOWS_4, OUT_4, SIDE_4**2, 32, 32), packed, WEIGHTS_4, BIASES_4)
    _mean(work, training, key_2, np.uint32(row * (SIDE_4**2 * 32)))
