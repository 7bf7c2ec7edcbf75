"""What goes into a model: prepared features, optional images, labels and weights; and what every model can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from scope_ml.core.protocols import RunLogger
from scope_ml.errors import DataError

__all__ = ["DMDT_SHAPE", "Float32Array", "Inputs", "IntArray", "Model", "Part", "TrainTask"]

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

#: Pixels of a dm-dt image: magnitude difference by time difference.
DMDT_SHAPE = (26, 26)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Inputs of a model for n light curves.

    Attributes
    ----------
    x
        (n, k) float32 prepared features.
    images
        (n, 26, 26, 1) float32 dm-dt images, or None.

    Raises
    ------
    DataError
        If shapes or dtypes are others.
    """

    x: Float32Array
    images: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check shapes once."""
        if self.x.ndim != 2 or self.x.dtype != np.float32:
            raise DataError(f"model inputs must be a float32 matrix, got {self.x.dtype} of shape {self.x.shape}")
        if self.images is not None and self.images.shape != (len(self), *DMDT_SHAPE, 1):
            raise DataError(f"dm-dt images must have shape ({len(self)}, 26, 26, 1), got {self.images.shape}")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, rows: npt.NDArray[np.int64] | slice) -> Inputs:
        """Return the inputs of some rows."""
        return Inputs(x=self.x[rows], images=None if self.images is None else self.images[rows])


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a split, for training: inputs, (n,) labels 0 or 1 and (n,) weights, float32."""

    inputs: Inputs
    y: Float32Array
    weight: Float32Array


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """One model to be trained on rows of `Inputs` that many models share.

    Attributes
    ----------
    tag
        Class of the model.
    rows, y, weight
        (m,) int64 rows to train on, their labels 0 or 1 and their weights above 0, float32.
    group
        (m,) star of each of `rows`: what a division of them must keep together.
    validation_rows, validation_y, validation_weight
        The same of the rows that say when to stop.
    settings
        The algorithm's settings, no null left (`algorithms.settle`).
    seed
        Seed of everything that is drawn.
    log
        Is told the course of the training.
    start
        Folder of a bundle whose model is trained on, or None. Its features were found to be those of the inputs.
    watched
        Whether the log is told ``val_loss`` of each step (round, epoch) as it is done; networks always tell. A
        `ScopeError` that the log raises ends this training alone.
    """

    tag: str
    rows: IntArray
    y: Float32Array
    weight: Float32Array
    group: npt.NDArray[Any]
    validation_rows: IntArray
    validation_y: Float32Array
    validation_weight: Float32Array
    settings: Any
    seed: int
    log: RunLogger
    start: Path | None = None
    watched: bool = False

    def parts(self, inputs: Inputs) -> tuple[Part, Part]:
        """Return the training and the validation part as inputs of their own."""
        training = Part(inputs=inputs.take(self.rows), y=self.y, weight=self.weight)
        held_out = inputs.take(self.validation_rows)
        return training, Part(inputs=held_out, y=self.validation_y, weight=self.validation_weight)


class Model(Protocol):
    """A fitted model of any algorithm."""

    file_name: ClassVar[str]
    needs_images: bool

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score in [0, 1] of each row; rows do not influence each other."""
        ...

    def save(self, folder: Path) -> Path:
        """Write the model's one file, `file_name`, into `folder` and return its path."""
        ...

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return the importance that the model itself knows, by feature; empty where it knows none."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what loading needs besides the file, and what is worth keeping; JSON-able, {} where there is nothing."""
        ...
