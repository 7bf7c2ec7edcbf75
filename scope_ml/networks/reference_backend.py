"""The backend made of `reference`: slow, for tests of the others and of what drives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scope_ml.networks import reference
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Float32Array, Job

__all__ = ["ReferenceBackend", "ReferenceSession"]


class ReferenceBackend:
    """Trains one model after the other with NumPy."""

    def __init__(self, *, n_threads: int = 1) -> None:
        self.n_threads = n_threads

    def open(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> ReferenceSession:
        """Return a session (see `backends.Backend.open`)."""
        return ReferenceSession(architecture, x, images, jobs)


class ReferenceSession:
    """Fulfils `backends.Session`, in the dtype of `Job.start`."""

    def __init__(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> None:
        self.architecture = architecture
        self.x, self.images, self.jobs = x, images, tuple(jobs)
        self.parameters = np.stack([job.start for job in jobs])
        self.moments = tuple(np.zeros_like(self.parameters) for _ in range(3))
        self.steps = [0] * len(jobs)
        self._kept = self.parameters.copy()

    def epoch(
        self, models: Sequence[int], orders: Sequence[npt.NDArray[np.int32]], learning_rates: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Train one epoch of each model (see `backends.Session.epoch`)."""
        given = zip(models, orders, learning_rates, strict=True)
        # What is not a number is an answer here, not an accident.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array([self._epoch(model, order, rate) for model, order, rate in given])

    def _epoch(self, model: int, order: npt.NDArray[np.int32], learning_rate: float) -> float:
        job, own = self.jobs[model], slice(model, model + 1)
        parameters = self.parameters[own]
        first, second, largest = (moment[own] for moment in self.moments)
        epsilon = np.array([job.epsilon], dtype=parameters.dtype)
        total = 0.0
        for places in order:
            masks = reference.dropout_masks(np, self.architecture, [job.seed], [self.steps[model]], len(places))
            targets = (job.y[None, places], job.weight[None, places])
            inputs = self._inputs(job.rows[places])
            losses, gradients = reference.loss_and_gradients(np, self.architecture, parameters, inputs, targets, masks)
            self.steps[model] += 1
            rate = np.array([reference.adam_rate(learning_rate, self.steps[model])], dtype=parameters.dtype)
            moments = (first, second, largest)
            reference.adam_step(np, parameters, gradients, moments, rate, epsilon, np.array([job.amsgrad]))
            total += float(losses[0])
        return total / len(order)

    def _inputs(self, rows: npt.NDArray[np.int64]) -> tuple[Float32Array, Float32Array | None]:
        return self.x[rows], None if self.images is None else self.images[rows]

    def validation_losses(self, models: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the validation losses (see `backends.Session.validation_losses`)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array([self._validation_loss(model) for model in models])

    def _validation_loss(self, model: int) -> float:
        job = self.jobs[model]
        x, images = self._inputs(job.validation_rows)
        z = reference.logits(np, self.architecture, self.parameters[model : model + 1], x, images)
        return float(reference.loss(np, z, job.validation_y[None], job.validation_weight[None])[0])

    def keep(self, models: Sequence[int]) -> None:
        """Keep the parameters of now (see `backends.Session.keep`)."""
        self._kept[list(models)] = self.parameters[list(models)]

    def kept(self, model: int) -> Float32Array:
        """Return what was kept last (see `backends.Session.kept`)."""
        kept: Float32Array = self._kept[model].copy()
        return kept
