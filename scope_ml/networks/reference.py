"""What the engines compute, said plainly: forward, loss, gradients by hand, Adam; over NumPy or CuPy, M models at once.

Every function takes the array module `xp` and works in the dtype of the parameters, so that float64 can check float32.
Arrays have the model axis first, then the row of the batch. Where values of a 2 x 2 pool are equal the first one, row
by row, is taken and gets the gradient; where a relu's output is 0 its gradient is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scope_ml.networks.architecture import KERNEL_SIZE, POOL_SIZE, Architecture
from scope_ml.networks.draws import dropout_key, kept_units, scale

__all__ = ["adam_rate", "adam_step", "dropout_masks", "logits", "loss", "loss_and_gradients", "sigmoid"]

#: Decay of Adam's first and second moment (Kingma & Ba 2015, arXiv:1412.6980).
BETA_1, BETA_2 = 0.9, 0.999

CONVOLUTIONS = ("dmdt_convolution_1_1", "dmdt_convolution_1_2", "dmdt_convolution_2_1", "dmdt_convolution_2_2")

#: Kept units by number of the dropout layer, each (M, B, ...) bool.
Masks = Mapping[int, Any]


def dropout_masks(
    xp: Any, architecture: Architecture, seeds: Sequence[int], steps: Sequence[int], n_rows: int
) -> dict[int, Any]:
    """Return which units each model keeps at its step, by number of the layer: (M, n_rows, ...) bool arrays."""
    masks = {}
    for layer in architecture.dropouts:
        keys = [dropout_key(seed, step, layer.number) for seed, step in zip(seeds, steps, strict=True)]
        masks[layer.number] = kept_units(xp, xp.asarray(keys, dtype=xp.uint32), (n_rows, *layer.shape), layer.rate)
    return masks


def logits(
    xp: Any, architecture: Architecture, parameters: Any, x: Any, images: Any = None, masks: Masks | None = None
) -> Any:
    """Return the logits of M models.

    Parameters
    ----------
    xp
        NumPy or CuPy.
    architecture
        Of all models.
    parameters
        (M, P).
    x
        (B, k) features, or (M, B, k) where each model has rows of its own.
    images
        (B, 26, 26, 1) or (M, B, 26, 26, 1); None without that branch.
    masks
        `dropout_masks`; None: no dropout, as in scoring.

    Returns
    -------
    array
        (M, B, C).
    """
    return _forward(xp, architecture, parameters, (x, images), masks)["logit"]


def sigmoid(xp: Any, z: Any) -> Any:
    """Return the score of a logit, without overflow for any finite one."""
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1.0, small) / (1.0 + small)


def loss(xp: Any, z: Any, y: Any, weight: Any) -> Any:
    """Return the (M,) loss: weighted sigmoid cross-entropy of (M, B, C) logits, summed, over B * C."""
    entropy = xp.maximum(z, 0) - z * y + xp.log1p(xp.exp(-xp.abs(z)))
    return (weight * entropy).sum(axis=(1, 2)) / (z.shape[1] * z.shape[2])


def loss_and_gradients(
    xp: Any,
    architecture: Architecture,
    parameters: Any,
    inputs: tuple[Any, Any],
    targets: tuple[Any, Any],
    masks: Masks | None,
) -> tuple[Any, Any]:
    """Return the loss of each model and its derivative by every parameter.

    Parameters
    ----------
    xp, architecture, parameters, masks
        As in `logits`.
    inputs
        Features and images, as in `logits`.
    targets
        Labels and weights, each (M, B, C).

    Returns
    -------
    tuple
        (M,) losses and (M, P) gradients.
    """
    kept = _forward(xp, architecture, parameters, inputs, masks)
    y, weight = targets
    z = kept["logit"]
    gradients = xp.zeros_like(parameters)
    views = architecture.views(gradients)
    weights = architecture.views(parameters)
    back = weight * (sigmoid(xp, z) - y) / (z.shape[1] * z.shape[2])
    back = _dense_back(xp, views, weights, "logit", kept["head_dense"], back)
    back = _dense_back(xp, views, weights, "head_dense", kept["head_dropout"], back * (kept["head_dense"] > 0))
    back = _drop(xp, architecture, masks, "head_dropout", back)
    if architecture.dense_branch:
        width = kept["features_dense_2"].shape[-1]
        own = back[..., :width] * (kept["features_dense_2"] > 0)
        own = _dense_back(xp, views, weights, "features_dense_2", kept["features_dropout"], own)
        own = _drop(xp, architecture, masks, "features_dropout", own) * (kept["features_dense_1"] > 0)
        _dense_back(xp, views, weights, "features_dense_1", inputs[0], own)
        back = back[..., width:]
    if architecture.dmdt_branch:
        _images_back(xp, architecture, (views, weights), kept, masks, back)
    return loss(xp, z, y, weight), gradients


def adam_rate(learning_rate: Any, step: Any) -> Any:
    """Return the float32 factor of Adam's quotient at `step` (from 1): the learning rate with both biases corrected.

    In float32, as Keras has it: there the rounding of 0.999 alone makes the first factors smaller by 7e-6. The powers
    are those of the rounded decays, taken in float64 and rounded, which does not depend on the machine. Numbers or NumPy
    arrays.
    """
    one, rate = np.float32(1.0), np.asarray(learning_rate, dtype=np.float32)
    decays = [np.power(np.float64(np.float32(beta)), np.asarray(step, dtype=np.float64)) for beta in (BETA_1, BETA_2)]
    first, second = (np.asarray(decay, dtype=np.float32) for decay in decays)
    return rate * np.sqrt(one - second) / (one - first)


def adam_step(
    xp: Any, parameters: Any, gradients: Any, moments: tuple[Any, Any, Any], rates: Any, epsilons: Any, amsgrad: Any
) -> None:
    """Move the parameters by one step of Adam, as Keras does it, in place.

    ``p -= rate * m / (sqrt(v) + epsilon)``: epsilon stands outside the root and its bias correction.

    Parameters
    ----------
    xp
        NumPy or CuPy.
    parameters, gradients
        (M, P).
    moments
        First and second moment and the largest second moment so far, each (M, P); changed in place.
    rates, epsilons, amsgrad
        (M,) `adam_rate` of each model, its epsilon, and whether the largest second moment counts (AMSGrad).
    """
    first, second, largest = moments
    first += (gradients - first) * xp.asarray(1.0 - BETA_1, dtype=parameters.dtype)
    second += (gradients * gradients - second) * xp.asarray(1.0 - BETA_2, dtype=parameters.dtype)
    xp.maximum(largest, second, out=largest)
    used = xp.where(amsgrad[:, None], largest, second)
    parameters -= rates[:, None] * first / (xp.sqrt(used) + epsilons[:, None])


def _forward(
    xp: Any, architecture: Architecture, parameters: Any, inputs: tuple[Any, Any], masks: Masks | None
) -> dict[str, Any]:
    """Return the output of every layer by its name."""
    weights = architecture.views(parameters)
    out: dict[str, Any] = {}
    branches = []
    if architecture.dense_branch:
        out["features_dense_1"] = xp.maximum(_dense(xp, weights, "features_dense_1", inputs[0]), 0)
        out["features_dropout"] = _drop(xp, architecture, masks, "features_dropout", out["features_dense_1"])
        out["features_dense_2"] = xp.maximum(_dense(xp, weights, "features_dense_2", out["features_dropout"]), 0)
        branches.append(out["features_dense_2"])
    if architecture.dmdt_branch:
        _images_forward(xp, architecture, weights, inputs[1], masks, out)
        branches.append(out["dmdt_dropout_2"].mean(axis=(2, 3), dtype=parameters.dtype))
    joined = branches[0] if len(branches) == 1 else xp.concatenate(branches, axis=-1)
    out["head_dropout"] = _drop(xp, architecture, masks, "head_dropout", joined)
    out["head_dense"] = xp.maximum(_dense(xp, weights, "head_dense", out["head_dropout"]), 0)
    out["logit"] = _dense(xp, weights, "logit", out["head_dense"])
    return out


def _dense(xp: Any, weights: dict[str, Any], name: str, values: Any) -> Any:
    return xp.matmul(values, weights[f"{name}/kernel"]) + weights[f"{name}/bias"][:, None, :]


def _dense_back(xp: Any, views: dict[str, Any], weights: dict[str, Any], name: str, values: Any, back: Any) -> Any:
    """Write the gradients of a dense layer whose input was `values`; return the derivative by that input."""
    views[f"{name}/kernel"][...] = xp.matmul(xp.swapaxes(values, -1, -2), back)
    views[f"{name}/bias"][...] = back.sum(axis=1)
    return xp.matmul(back, xp.swapaxes(weights[f"{name}/kernel"], -1, -2))


def _drop(xp: Any, architecture: Architecture, masks: Masks | None, name: str, values: Any) -> Any:
    """Return `values` after a dropout layer; its derivative is the same function of the derivative."""
    if masks is None:
        return values
    layer = next(layer for layer in architecture.dropouts if layer.name == name)
    return xp.where(masks[layer.number], values * xp.asarray(scale(layer.rate), dtype=values.dtype), 0)


def _images_forward(
    xp: Any, architecture: Architecture, weights: dict[str, Any], images: Any, masks: Masks | None, out: dict[str, Any]
) -> None:
    """Add the outputs of the dm-dt branch up to its second dropout to `out`, and the input of each convolution."""
    values = images if images.ndim == 5 else images[None]
    for number, name in enumerate(CONVOLUTIONS):
        out[f"{name}/input"] = values
        out[f"{name}/depthwise"] = _depthwise(xp, values, weights[f"{name}/depthwise"])
        values = (
            xp.matmul(out[f"{name}/depthwise"], weights[f"{name}/pointwise"])
            + weights[f"{name}/bias"][:, None, None, None]
        )
        values = out[name] = xp.maximum(values, 0)
        if number == 1:
            values = out["dmdt_dropout_1"] = _drop(xp, architecture, masks, "dmdt_dropout_1", values)
            values = _windows(values).max(axis=-2)
        if number == 3:
            out["dmdt_dropout_2"] = _drop(xp, architecture, masks, "dmdt_dropout_2", values)


def _images_back(
    xp: Any,
    architecture: Architecture,
    slots: tuple[dict[str, Any], dict[str, Any]],
    kept: dict[str, Any],
    masks: Masks | None,
    back: Any,
) -> None:
    """Write the gradients of the dm-dt branch; `back` is (M, B, 32), by the means over the image."""
    views, weights = slots
    shape = kept["dmdt_dropout_2"].shape
    back = xp.broadcast_to((back / (shape[2] * shape[3]))[:, :, None, None, :], shape)
    back = _drop(xp, architecture, masks, "dmdt_dropout_2", back)
    for number, name in reversed(list(enumerate(CONVOLUTIONS))):
        back = back * (kept[name] > 0)
        views[f"{name}/bias"][...] = back.sum(axis=(1, 2, 3))
        flat = (*back.shape[:1], -1)
        spatial = kept[f"{name}/depthwise"]
        views[f"{name}/pointwise"][:, 0, 0] = xp.matmul(
            xp.swapaxes(spatial.reshape(*spatial.shape[:1], -1, spatial.shape[-1]), -1, -2),
            back.reshape(*flat, back.shape[-1]),
        )
        back = xp.matmul(back, xp.swapaxes(weights[f"{name}/pointwise"], -1, -2))
        values = kept[f"{name}/input"]
        views[f"{name}/depthwise"][..., 0] = _depthwise_gradient(xp, values, back)
        if number == 0:
            return
        back = _depthwise_back(xp, values.shape, weights[f"{name}/depthwise"], back)
        if number == 2:
            back = _drop(xp, architecture, masks, "dmdt_dropout_1", _pool_back(xp, kept["dmdt_dropout_1"], back))


def _shifts(shape: tuple[int, ...]) -> list[tuple[int, int, tuple[slice, slice]]]:
    """Return, for each place of the 3 x 3 window, the part of an image (..., y, x, channel) that it sees."""
    height, width = shape[-3] - KERNEL_SIZE + 1, shape[-2] - KERNEL_SIZE + 1
    return [(i, j, (slice(i, i + height), slice(j, j + width))) for i in range(KERNEL_SIZE) for j in range(KERNEL_SIZE)]


def _depthwise(xp: Any, values: Any, kernel: Any) -> Any:
    """Return (M, B, y - 2, x - 2, channel): each channel correlated with its own window."""
    total = 0.0
    for i, j, (rows, columns) in _shifts(values.shape):
        total = total + values[:, :, rows, columns] * kernel[:, None, None, None, i, j, :, 0]
    return total


def _depthwise_gradient(xp: Any, values: Any, back: Any) -> Any:
    """Return (M, 3, 3, channel): the derivative by the windows."""
    shifts = _shifts(values.shape)
    sums = [(values[:, :, rows, columns] * back).sum(axis=(1, 2, 3)) for _, _, (rows, columns) in shifts]
    return xp.stack(sums, axis=1).reshape(back.shape[0], KERNEL_SIZE, KERNEL_SIZE, -1)


def _depthwise_back(xp: Any, shape: tuple[int, ...], kernel: Any, back: Any) -> Any:
    """Return the derivative by the input, of the given shape."""
    total = xp.zeros(shape, dtype=back.dtype)
    for i, j, (rows, columns) in _shifts(shape):
        total[:, :, rows, columns] += back * kernel[:, None, None, None, i, j, :, 0]
    return total


def _windows(values: Any) -> Any:
    """Return (M, B, y / 2, x / 2, 4, channel): the values of each pool, row by row."""
    n_models, n_rows, height, width, channels = values.shape
    split = values.reshape(n_models, n_rows, height // POOL_SIZE, POOL_SIZE, width // POOL_SIZE, POOL_SIZE, channels)
    return split.swapaxes(3, 4).reshape(n_models, n_rows, height // POOL_SIZE, width // POOL_SIZE, -1, channels)


def _pool_back(xp: Any, values: Any, back: Any) -> Any:
    """Return the derivative by the input of the pool: all of it at the first of the largest values of each window."""
    chosen = _windows(values).argmax(axis=-2)
    spread = xp.where(xp.arange(POOL_SIZE**2)[:, None] == chosen[..., None, :], back[..., None, :], 0)
    n_models, n_rows, height, width, channels = values.shape
    split = spread.reshape(n_models, n_rows, height // POOL_SIZE, width // POOL_SIZE, POOL_SIZE, POOL_SIZE, channels)
    return split.swapaxes(3, 4).reshape(values.shape)
