"""Training on the CPU: each thread has one model at a time and works through a whole epoch of it in one compiled call.

Nothing of a model's arithmetic depends on which thread has it, on how many there are, or on the other models.
Implements `backends.Backend`. May import architecture, backends and the engine's rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Float32Array, Job
from scope_ml.networks.cpu_dense import places_of
from scope_ml.networks.cpu_network import (
    BLOCK,
    Plan,
    Room,
    Targets,
    data_of,
    empty_room,
    epoch,
    logits,
    loss,
    padded,
    read_only,
)
from scope_ml.networks.cpu_products import Moments
from scope_ml.networks.lanes import zeros_aligned

__all__ = ["CpuBackend"]


class CpuBackend:
    """Trains on `n_threads` threads."""

    def __init__(self, *, n_threads: int = 1) -> None:
        self.n_threads = n_threads

    def open(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> CpuSession:
        """Return a session; see `backends.Backend`."""
        return CpuSession(architecture, x, images, jobs, n_threads=self.n_threads)


class CpuSession:
    """M models in training; see `backends.Session`."""

    def __init__(
        self,
        architecture: Architecture,
        x: Float32Array,
        images: Float32Array | None,
        jobs: Sequence[Job],
        *,
        n_threads: int,
    ) -> None:
        self._architecture = architecture
        self._places = places_of(architecture)
        self._data = data_of(x if architecture.dense_branch else None, images if architecture.dmdt_branch else None)
        self._jobs = jobs
        self._training = [_targets(job.rows, job.y, job.weight) for job in jobs]
        self._held_out = [_targets(job.validation_rows, job.validation_y, job.validation_weight) for job in jobs]
        self._n_steps = [0] * len(jobs)
        self._parameters = self._state()
        for row, job in zip(self._parameters, jobs, strict=True):
            row[: architecture.n_parameters] = job.start
        self._kept = [job.start.copy() for job in jobs]
        self._first, self._second = self._state(), self._state()
        # Of no use without AMSGrad.
        self._largest = self._state() if any(job.amsgrad for job in jobs) else np.empty((len(jobs), 0), np.float32)
        self._n_threads = n_threads
        self._n_rows = 0
        self._rooms: SimpleQueue[Room] = SimpleQueue()

    def epoch(
        self, models: Sequence[int], orders: Sequence[npt.NDArray[np.int32]], learning_rates: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Train one epoch of each of `models` and return the mean of the losses of its steps."""
        self._make_rooms(max((order.shape[1] for order in orders), default=0))

        def train(place: int, room: Room) -> float:
            model, order = models[place], np.ascontiguousarray(orders[place], np.int32)
            job = self._jobs[model]
            moments = Moments(self._parameters[model], self._first[model], self._second[model], self._largest[model])
            plan = Plan(job.seed, self._n_steps[model], learning_rates[place], job.epsilon, job.amsgrad)
            mean = epoch(self._places, self._data, self._training[model], order, moments, room, plan)
            self._n_steps[model] += order.shape[0]
            return float(mean)

        return self._map(train, len(models))

    def validation_losses(self, models: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the (len(models),) float64 loss over all validation rows, without dropout."""
        self._make_rooms(0)

        def measure(place: int, room: Room) -> float:
            model = models[place]
            targets = self._held_out[model]
            out = np.empty((targets.rows.size, 1, self._places.n_outputs), np.float32)
            logits(self._places, self._data, self._parameters[model : model + 1], room, targets.rows, out)
            return float(loss(targets, out.reshape(-1)))

        return self._map(measure, len(models))

    def keep(self, models: Sequence[int]) -> None:
        """Keep the parameters that these models have now as their best ones."""
        for model in models:
            self._kept[model][:] = self._parameters[model][: self._architecture.n_parameters]

    def kept(self, model: int) -> Float32Array:
        """Return a copy of the (P,) float32 parameters kept last (at first: `Job.start`)."""
        return self._kept[model].copy()

    def _state(self) -> Float32Array:
        """Return (M, P) float32 zeros, each row at the beginning of a line of the cache."""
        length = padded(self._architecture.n_parameters)
        return zeros_aligned(len(self._jobs) * length).reshape(-1, length)

    def _make_rooms(self, n_rows: int) -> None:
        """Have a room for each thread that holds batches of `n_rows` rows."""
        n_rows = max(n_rows, BLOCK)
        if n_rows > self._n_rows:
            self._n_rows, self._rooms = n_rows, SimpleQueue()
            for _ in range(self._n_threads):
                self._rooms.put(empty_room(self._architecture, n_rows))

    def _map(self, work: Callable[[int, Room], float], n: int) -> npt.NDArray[np.float64]:
        """Return ``work(place, room)`` of the places 0 to n - 1, each with a room of its own."""

        def in_a_room(place: int) -> float:
            room = self._rooms.get()
            try:
                return work(place, room)
            finally:
                self._rooms.put(room)

        if self._n_threads == 1 or n < 2:
            return np.array([in_a_room(place) for place in range(n)], dtype=np.float64)
        with ThreadPoolExecutor(min(self._n_threads, n), thread_name_prefix="scope") as pool:
            return np.array(list(pool.map(in_a_room, range(n))), dtype=np.float64)


def _targets(rows: npt.NDArray[np.int64], y: Float32Array, weight: Float32Array) -> Targets:
    return Targets(rows=read_only(rows, np.int64), y=read_only(y, np.float32), weight=read_only(weight, np.float32))
