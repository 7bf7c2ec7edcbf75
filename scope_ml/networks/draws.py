"""All that is random in a network's training: first parameters, the order of rows, dropped units.

Dropout is counter-based: whether a unit is dropped follows from (seed, step, layer, index of the unit) by a hash of
32-bit integers, the finaliser of MurmurHash3 (Appleby 2011). So it does not depend on the order in which models and
rows are worked through, on threads, or on the device; any engine can compute it where it needs it.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.networks.architecture import Architecture

__all__ = ["dropout_key", "epoch_order", "fmix32", "initial_parameters", "kept_units", "limit", "scale"]

#: Multiplier of a unit's index: 2^32 over the golden ratio, a prime.
INDEX_FACTOR = 0x9E3779B1
_MASK = 0xFFFFFFFF


def fmix32(h: int) -> int:
    """Return the finaliser of MurmurHash3 of a 32-bit integer."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & _MASK
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _MASK
    return h ^ (h >> 16)


def dropout_key(seed: int, step: int, layer: int) -> int:
    """Return the 32-bit key of one dropout layer at one step.

    Parameters
    ----------
    seed
        Seed of the model.
    step
        Step of the model since its training began, from 0, counted through all epochs.
    layer
        `Dropout.number`.
    """
    key = fmix32(((seed & _MASK) + 0x9E3779B9) & _MASK)
    key = fmix32(key ^ (step & _MASK))
    return fmix32(((key + 0x85EBCA77) & _MASK) ^ layer)


def limit(rate: float) -> int:
    """Return the bound of the hash below which a unit is dropped: ``floor(rate * 2^32)``."""
    return int(rate * 2**32)


def scale(rate: float) -> np.float32:
    """Return the factor of the units that are kept."""
    return np.float32(1.0 / (1.0 - rate))


def kept_units(xp: Any, keys: npt.NDArray[np.uint32], shape: tuple[int, ...], rate: float) -> npt.NDArray[np.bool_]:
    """Return which units are kept.

    Parameters
    ----------
    xp
        NumPy or CuPy.
    keys
        (M,) uint32 `dropout_key` of each model, an array of `xp`.
    shape
        Rows of the batch, then the shape of one row.
    rate
        Share that is dropped.

    Returns
    -------
    ndarray
        (M, ...shape) bool of `xp`.
    """
    index = xp.arange(prod(shape), dtype=xp.uint32) * xp.uint32(INDEX_FACTOR)
    h = keys[:, None] ^ index[None, :]
    h ^= h >> xp.uint32(16)
    h *= xp.uint32(0x85EBCA6B)
    h ^= h >> xp.uint32(13)
    h *= xp.uint32(0xC2B2AE35)
    h ^= h >> xp.uint32(16)
    kept: npt.NDArray[np.bool_] = (h >= xp.uint32(limit(rate))).reshape(-1, *shape)
    return kept


def initial_parameters(architecture: Architecture, seed: int) -> npt.NDArray[np.float32]:
    """Return the (P,) float32 first parameters: Glorot & Bengio's (2010) uniform distribution, biases 0.

    Fans are counted as Keras counts them: of a kernel (..., i, o), i and o times the size of the window.
    """
    rng = np.random.default_rng([seed, 2])
    parameters = np.zeros(architecture.n_parameters, dtype=np.float32)
    for slot in architecture.slots:
        if len(slot.shape) == 1:
            continue
        window = prod(slot.shape[:-2])
        bound = sqrt(6.0 / (window * (slot.shape[-2] + slot.shape[-1])))
        parameters[slot.start : slot.stop] = rng.uniform(-bound, bound, size=slot.stop - slot.start)
    return parameters


def epoch_order(rng: np.random.Generator, n_rows: int, batch_size: int, max_steps: int) -> npt.NDArray[np.int32]:
    """Return the rows of an epoch, shuffled, as (steps, batch) int32; the last batch is filled up from the first.

    Parameters
    ----------
    rng
        Of the model, ``default_rng([seed, 1])``; one permutation is drawn from it an epoch.
    n_rows
        Rows of the model's training part; the order holds 0 to ``n_rows - 1``.
    batch_size
        Rows of a step that are wished for; more are taken where an epoch would have more than `max_steps`.
    max_steps
        Most steps of an epoch.
    """
    wanted = min(batch_size, n_rows)
    batch = max(wanted, -(-n_rows // max_steps))
    steps = -(-n_rows // batch)
    return np.resize(rng.permutation(n_rows).astype(np.int32), (steps, batch))
