"""Training on an NVIDIA GPU: all models at once, a step of every one of them in about ten launches.

The kernels (``source/*.cu``) find a model's parameters, rows and labels by its place in the session, so that models of
different length and with different rows are trained side by side, and one that stops leaves nothing to be moved. All sums
are taken in an order that depends on nothing but the model's own numbers: the same model comes out bit for bit whatever
is trained beside it. Dropout is that of `draws`; results are those of `reference` up to the rounding of float32 sums.

Implements `backends.Backend`. May import architecture, backends, draws, reference, and `kernels.gpu.device`, the one room that
speaks to CuPy. Importing it needs CuPy and a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scope_ml.errors import BackendUnavailableError
from scope_ml.networks.architecture import CONVOLUTION_FILTERS, DENSE_UNITS, Architecture
from scope_ml.networks.backends import Float32Array, Job
from scope_ml.networks.reference import adam_rate

try:
    from scope_ml.kernels.gpu.device import DeviceArray, download, empty, free_bytes, launch, upload
    from scope_ml.networks import gpu_programs as programs
except ImportError as error:
    raise BackendUnavailableError(
        f"training on a GPU needs CuPy ({error}): pip install 'scope_ml[gpu]', or set machine.device=cpu"
    ) from error

__all__ = ["LAYOUT", "GpuBackend"]

#: `Layout` of ``source/draws.cu``.
LAYOUT = (
    "parameters",
    "first",
    "second",
    "images",
    "head",
    "features",
    "rows",
    "batch",
    "order",
    "begin",
    "step",
    "block",
)

#: Share of the free memory that the buffers of a step may take.
SHARE = 0.5
#: Most models of a launch: blocks in the second direction of a grid.
MOST_MODELS = 65535
#: Validation rows looked at together.
HELD_OUT_ROWS = 1024
#: Rows of a block of the dm-dt branch at the least, and blocks of a batch at the most.
IMAGE_ROWS, IMAGE_BLOCKS = 4, 64


class GpuBackend:
    """Trains on the first GPU; threads of the host are not needed."""

    def __init__(self, *, n_threads: int = 1) -> None:
        self.n_threads = n_threads

    def open(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> GpuSession:
        """Return a session; see `backends.Backend`.

        Raises
        ------
        BackendUnavailableError
            If the device has too little memory.
        """
        return GpuSession(architecture, x, images, jobs)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The training or the validation rows of all models, on the device.

    Attributes
    ----------
    length
        Of the longest.
    rows, labels, weights
        (M, length) int32, and float32 (M, length, C); 0 behind a shorter one's end.
    """

    length: int
    rows: DeviceArray
    labels: DeviceArray
    weights: DeviceArray


@dataclass(frozen=True, kw_only=True)
class _Buffers:
    """What a step needs for each of its models: outputs of layers, derivatives by them."""

    hidden: DeviceArray
    dense: DeviceArray
    means: DeviceArray
    back_hidden: DeviceArray
    back_dense: DeviceArray
    back_means: DeviceArray
    parts: DeviceArray


class GpuSession:
    """M models in training; see `backends.Session`."""

    def __init__(
        self, architecture: Architecture, x: Float32Array, images: Float32Array | None, jobs: Sequence[Job]
    ) -> None:
        self._architecture = architecture
        self._jobs = tuple(jobs)
        self._programs = programs.programs_of(architecture, amsgrad=any(job.amsgrad for job in jobs))
        self._x = upload(np.ascontiguousarray(x if architecture.dense_branch else x[:0], dtype=np.float32))
        given = images if architecture.dmdt_branch and images is not None else np.empty(0, np.float32)
        self._images = upload(np.ascontiguousarray(given, dtype=np.float32))
        self._training = _part([(job.rows, job.y, job.weight) for job in jobs])
        self._held_out = _part([(job.validation_rows, job.validation_y, job.validation_weight) for job in jobs])
        self._seeds = upload(np.array([job.seed & 0xFFFFFFFF for job in jobs], dtype=np.uint32))
        self._epsilons = upload(np.array([job.epsilon for job in jobs], dtype=np.float32))
        self._amsgrad = upload(np.array([job.amsgrad for job in jobs], dtype=np.int32))
        start = np.stack([np.asarray(job.start, dtype=np.float32) for job in jobs])
        self._parameters, self._kept = upload(start), upload(start)
        self._gradients, self._first, self._second = (upload(np.zeros_like(start)) for _ in range(3))
        self._largest = upload(np.zeros_like(start)) if any(job.amsgrad for job in jobs) else self._second
        self._n_steps = np.zeros(len(jobs), dtype=np.int64)

    def epoch(
        self, models: Sequence[int], orders: Sequence[npt.NDArray[np.int32]], learning_rates: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """Train one epoch of each of `models` and return the mean of the losses of its steps."""
        losses = upload(np.zeros(len(self._jobs)))
        steps = upload(self._n_steps.astype(np.int32))
        for places in self._groups([order.shape for order in orders]):
            chosen = np.array([models[place] for place in places], dtype=np.int32)
            own_rates = [learning_rates[place] for place in places]
            self._train(chosen, [orders[place] for place in places], own_rates, steps, losses)
        lengths = np.array([order.shape[0] for order in orders], dtype=np.int64)
        which = np.asarray(models, dtype=np.int64)
        self._n_steps[which] += lengths
        mean: npt.NDArray[np.float64] = download(losses)[which] / lengths
        return mean

    def validation_losses(self, models: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the (len(models),) float64 loss over all validation rows, without dropout."""
        losses = upload(np.zeros(len(self._jobs)))
        part = self._held_out
        order = upload(np.arange(part.length, dtype=np.int32))
        batch = min(part.length, HELD_OUT_ROWS)
        begins = np.arange(0, part.length, batch)
        table = self._layouts(part, batch, len(begins))
        table[:, LAYOUT.index("begin")] = begins
        table[:, LAYOUT.index("batch")] = np.minimum(batch, part.length - begins)
        table[:, LAYOUT.index("block")] = [_block_rows(int(size)) for size in table[:, LAYOUT.index("batch")]]
        layouts = upload(table)
        for first in range(0, len(models), self._n_together(batch)):
            chosen = np.array(models[first : first + self._n_together(batch)], dtype=np.int32)
            on_device, buffers = upload(chosen), self._buffers(chosen.size, batch)
            for number in range(len(begins)):
                common = (layouts[number], on_device, self._seeds, on_device, order)
                self._forward(common, part, buffers, (chosen.size, int(table[number, LAYOUT.index("batch")])), 0)
                self._head(common, part, buffers, chosen.size, losses, 0)
        n_values = [self._jobs[model].validation_y.size for model in models]
        sums: npt.NDArray[np.float64] = download(losses)[np.asarray(models, dtype=np.int64)]
        return sums / np.array(n_values, dtype=np.float64)

    def keep(self, models: Sequence[int]) -> None:
        """Keep the parameters that these models have now as their best ones."""
        if len(models):
            which = upload(np.asarray(models, dtype=np.int64))
            self._kept[which] = self._parameters[which]

    def kept(self, model: int) -> Float32Array:
        """Return a copy of the (P,) float32 parameters kept last (at first: `Job.start`)."""
        return download(self._kept[model])

    def _groups(self, shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Yield the places of models that are trained together: of one batch, the longest epochs first."""
        for batch in sorted({shape[1] for shape in shapes}):
            same = [place for place, shape in enumerate(shapes) if shape[1] == batch]
            same.sort(key=lambda place: -shapes[place][0])
            n_together = self._n_together(batch)
            for first in range(0, len(same), n_together):
                yield same[first : first + n_together]

    def _train(
        self,
        models: npt.NDArray[np.int32],
        orders: list[npt.NDArray[np.int32]],
        learning_rates: list[float],
        steps: DeviceArray,
        losses: DeviceArray,
    ) -> None:
        """Start an epoch of models that have the same batch; return at once."""
        lengths = np.array([order.shape[0] for order in orders])
        n_steps, batch = int(lengths[0]), orders[0].shape[1]
        padded = np.zeros((models.size, n_steps, batch), dtype=np.int32)
        for own, order in zip(padded, orders, strict=True):
            own[: len(order)] = order
        number = self._n_steps[models][:, None] + np.arange(1, n_steps + 1)
        corrected = adam_rate(np.asarray(learning_rates)[:, None], number)
        table = self._layouts(self._training, batch, n_steps)
        table[:, LAYOUT.index("order")] = n_steps * batch
        table[:, LAYOUT.index("begin")] = np.arange(n_steps) * batch
        table[:, LAYOUT.index("step")] = np.arange(n_steps)
        layouts, order, rates = upload(table), upload(padded), upload(corrected)
        on_device, buffers = upload(models), self._buffers(models.size, batch)
        for step in range(n_steps):
            n_models = int(np.count_nonzero(lengths > step))
            common = (layouts[step], on_device, self._seeds, steps, order)
            self._forward(common, self._training, buffers, (n_models, batch), 1)
            self._head(common, self._training, buffers, n_models, losses, 1)
            self._back(common, buffers, (n_models, batch))
            moments = (self._gradients, self._first, self._second, self._largest, self._parameters)
            arguments = (
                on_device,
                self._architecture.n_parameters,
                n_steps,
                step,
                rates,
                self._epsilons,
                self._amsgrad,
            )
            adam = self._programs.adam
            launch(adam, (-(-self._architecture.n_parameters // adam.per_block), n_models), (*arguments, *moments))

    def _forward(
        self, common: tuple[DeviceArray, ...], part: _Part, buffers: _Buffers, size: tuple[int, int], train: int
    ) -> None:
        """Start both branches of `size` models and rows."""
        n_models, batch = size
        if self._architecture.dense_branch:
            inputs = (*common, part.rows, self._x, self._parameters, buffers.hidden, buffers.back_dense)
            for mode, out in ((1, buffers.hidden), (2, buffers.dense)):
                program = self._programs.products[mode, train]
                launch(program, (programs.n_tiles(mode, batch), n_models), (*inputs, out))
        if self._architecture.dmdt_branch:
            blocks = -(-batch // _block_rows(batch))
            inputs = (*common, part.rows, self._images, self._parameters, buffers.means)
            launch(self._programs.images[train], (blocks, n_models), inputs)

    def _head(
        self,
        common: tuple[DeviceArray, ...],
        part: _Part,
        buffers: _Buffers,
        n_models: int,
        losses: DeviceArray,
        train: int,
    ) -> None:
        """Start the head, its loss and its gradients."""
        inputs = (*common, part.labels, part.weights, self._parameters, buffers.dense, buffers.means)
        outputs = (self._gradients, buffers.back_dense, buffers.back_means, losses)
        launch(self._programs.head[train], (1, n_models), (*inputs, *outputs))

    def _back(self, common: tuple[DeviceArray, ...], buffers: _Buffers, size: tuple[int, int]) -> None:
        """Start the gradients of both branches."""
        n_models, batch = size
        rows = self._training.rows
        if self._architecture.dense_branch:
            inputs = (*common, rows, self._x, self._parameters, buffers.hidden)
            for mode, back, out in (
                (3, buffers.back_dense, self._gradients),
                (4, buffers.back_dense, buffers.back_hidden),
                (5, buffers.back_hidden, self._gradients),
            ):
                program = self._programs.products[mode, 1]
                n_i = {3: DENSE_UNITS[0] + 1, 4: batch, 5: self._architecture.n_features + 1}[mode]
                launch(program, (programs.n_tiles(mode, n_i), n_models), (*inputs, back, out))
        if self._architecture.dmdt_branch:
            blocks = -(-batch // _block_rows(batch))
            inputs = (*common, rows, self._images, self._parameters, buffers.back_means, buffers.parts)
            launch(self._programs.images_back, (blocks, n_models), inputs)
            add = self._programs.add_parts
            grid = (-(-programs.IMAGE_PARAMETERS // add.per_block), n_models)
            launch(add, grid, (common[0], common[1], blocks, buffers.parts, self._gradients))

    def _layouts(self, part: _Part, batch: int, n: int) -> npt.NDArray[np.int32]:
        """Return `n` lines of `LAYOUT` without order, begin and step."""
        architecture = self._architecture
        starts = {slot.name: slot.start for slot in architecture.slots}
        values = {
            "parameters": architecture.n_parameters,
            "first": starts.get("features_dense_1/kernel", 0),
            "second": starts.get("features_dense_2/kernel", 0),
            "images": starts.get("dmdt_convolution_1_1/depthwise", 0),
            "head": starts["head_dense/kernel"],
            "features": architecture.n_features,
            "rows": part.length,
            "batch": batch,
            "block": _block_rows(batch),
        }
        return np.tile(np.array([values.get(name, 0) for name in LAYOUT], dtype=np.int32), (n, 1))

    def _sizes(self, batch: int) -> dict[str, int]:
        """Return the floats of each buffer for one model."""
        dense, images = int(self._architecture.dense_branch), int(self._architecture.dmdt_branch)
        return {
            "hidden": batch * DENSE_UNITS[0] * dense,
            "dense": batch * DENSE_UNITS[1] * dense,
            "means": batch * CONVOLUTION_FILTERS[1] * images,
            "back_hidden": batch * DENSE_UNITS[0] * dense,
            "back_dense": batch * DENSE_UNITS[1] * dense,
            "back_means": batch * CONVOLUTION_FILTERS[1] * images,
            "parts": -(-batch // _block_rows(batch)) * programs.IMAGE_PARAMETERS * images,
        }

    def _buffers(self, n_models: int, batch: int) -> _Buffers:
        return _Buffers(**{name: empty(n_models * size, np.float32) for name, size in self._sizes(batch).items()})

    def _n_together(self, batch: int) -> int:
        """Return how many models may be trained together."""
        per_model = 4 * (sum(self._sizes(batch).values()) + self._training.length)
        return max(1, min(MOST_MODELS, int(SHARE * free_bytes() / per_model)))


def _block_rows(batch: int) -> int:
    """Return how many rows a block of the dm-dt branch takes: a number that depends on the batch alone."""
    return max(IMAGE_ROWS, -(-batch // IMAGE_BLOCKS))


def _part(given: list[tuple[npt.NDArray[np.int64], Float32Array, Float32Array]]) -> _Part:
    length, n_outputs = max(len(rows) for rows, _, _ in given), given[0][1].shape[1]
    rows = np.zeros((len(given), length), dtype=np.int32)
    labels, weights = (np.zeros((len(given), length, n_outputs), dtype=np.float32) for _ in range(2))
    for i, (own_rows, y, weight) in enumerate(given):
        rows[i, : len(own_rows)], labels[i, : len(y)], weights[i, : len(weight)] = own_rows, y, weight
    return _Part(length=length, rows=upload(rows), labels=upload(labels), weights=upload(weights))
