"""What computes: the two protocols that `cpu` and `gpu` fulfil, and the choice between them.

A `Backend` opens a `Session` over shared inputs and the jobs of M models; the session owns parameters and the moments
of Adam, wherever they live, and works through one whole epoch of every model that is still in training in one call.
`training` owns all decisions (order of rows, learning rate, when to stop).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from scope_ml.errors import BackendUnavailableError
from scope_ml.networks.architecture import Architecture

__all__ = ["Backend", "Device", "Float32Array", "Job", "Session", "open_backend"]

Float32Array = npt.NDArray[np.float32]
Device = Literal["cpu", "gpu", "reference"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a session needs to know of one model.

    Attributes
    ----------
    seed
        Seed of its dropout.
    rows
        (n,) int64 rows of the shared inputs that it is trained on.
    y, weight
        (n, C) float32 labels 0 or 1, and weights as they stand in the loss; 0 where a label does not count.
    validation_rows, validation_y, validation_weight
        The same for the (v,) rows that its validation loss is measured on.
    start
        (P,) float32 first parameters; not changed.
    epsilon, amsgrad
        Of Adam.
    """

    seed: int
    rows: npt.NDArray[np.int64]
    y: Float32Array
    weight: Float32Array
    validation_rows: npt.NDArray[np.int64]
    validation_y: Float32Array
    validation_weight: Float32Array
    start: Float32Array
    epsilon: float
    amsgrad: bool


class Session(Protocol):
    """M models in training; a model is called by its place among the jobs.

    A model's numbers depend neither on which others are asked for in the same call nor on the number of threads.
    """

    def epoch(
        self, models: Sequence[int], orders: Sequence[npt.NDArray[np.int32]], learning_rates: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Train one epoch of each of `models` and return the mean of the losses of its steps.

        Parameters
        ----------
        models
            Which models.
        orders
            For each of them the (steps, batch) positions in `Job.rows`; shapes differ between models.
        learning_rates
            For each of them the learning rate of this epoch.

        Returns
        -------
        ndarray
            (len(models),) float64. A loss that is not finite is returned, not raised.

        Notes
        -----
        Loss of a step: sum over rows and outputs of weight times sigmoid cross-entropy of the logit, over batch * C,
        with the parameters before the step. Dropout of step t (counted by the session from 0 through all epochs of a
        model) as in `draws`. Then one step of Adam with t + 1 (`reference.adam_step`).
        """
        ...

    def validation_losses(self, models: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the (len(models),) float64 loss over all validation rows (over v * C), without dropout."""
        ...

    def keep(self, models: Sequence[int]) -> None:
        """Keep the parameters that these models have now as their best ones."""
        ...

    def kept(self, model: int) -> Float32Array:
        """Return a copy of the (P,) float32 parameters kept last (at first: `Job.start`)."""
        ...


class Backend(Protocol):
    """A way to train."""

    def open(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> Session:
        """Return a session.

        Parameters
        ----------
        architecture
            Of all models.
        x
            (N, k) float32 features, shared by all models; not used without dense branch.
        images
            (N, 26, 26, 1) float32 dm-dt images; None without that branch.
        jobs
            One for each model.
        """
        ...


#: Room and class of each backend; the class is called with ``n_threads=``.
_BACKENDS = {
    "cpu": ("scope_ml.networks.cpu", "CpuBackend"),
    "gpu": ("scope_ml.networks.gpu", "GpuBackend"),
    "reference": ("scope_ml.networks.reference_backend", "ReferenceBackend"),
}


def open_backend(device: str, *, n_threads: int = 1) -> Backend:
    """Return the backend of a device; `reference` is the slow one that defines the others.

    Raises
    ------
    BackendUnavailableError
        If there is no such device here.
    """
    if device not in _BACKENDS:
        raise BackendUnavailableError(f"device={device!r} is not one of {', '.join(_BACKENDS)}; give device=cpu")
    room, name = _BACKENDS[device]
    return cast(Backend, getattr(import_module(room), name)(n_threads=n_threads))
