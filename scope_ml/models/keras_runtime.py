"""Keras on TensorFlow, quietly: the one place where both are imported, and networks that only Keras knows.

Our own network needs neither (see `networks`); Keras is for those of others and for comparison. A network's file is
Keras's own ``.keras`` (a zip of JSON and HDF5, no pickle, read in safe mode), rewritten without dates so that the same
network gives the same bytes.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from scope_ml.errors import BackendUnavailableError, ModelError
from scope_ml.models.inputs import Float32Array, Inputs

__all__ = ["KerasModel", "Runtime", "read_keras", "start", "write_keras"]

#: The oldest date that a zip can hold, given to every member.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)

#: Rows scored at once without and with images. The size is always the same (the last block is padded): matrix
#: products then take the same path through the CPU for a row whatever other rows there are.
BLOCK_ROWS = 4096
IMAGE_BLOCK_ROWS = 512


class Runtime(NamedTuple):
    """The two modules."""

    keras: ModuleType
    tf: ModuleType


def start(*, n_threads: int = 0) -> Runtime:
    """Import Keras and TensorFlow: on the CPU, deterministic, without their log lines.

    Parameters
    ----------
    n_threads
        Threads of one operation, 0 for one per core. TensorFlow takes this once per process: the first call decides.

    Raises
    ------
    BackendUnavailableError
        If they are not installed, or Keras was told to use something else than TensorFlow.
    """
    return _start(n_threads) if not _started else _started[0]


_started: list[Runtime] = []


def _start(n_threads: int) -> Runtime:
    # Both must stand in the environment before the import, which reads them once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras
        import tensorflow as tf
    except ImportError as error:
        raise BackendUnavailableError(
            f"Keras's engine and networks of others need tensorflow and keras ({error}); pip install 'scope_ml[train]',"
            " or use engine=batched"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise BackendUnavailableError(
            f"keras uses {keras.backend.backend()!r}, we need tensorflow; set KERAS_BACKEND=tensorflow"
        )
    tf.get_logger().setLevel(logging.ERROR)
    try:
        # The networks are small: a GPU would be slower and must not be taken from others.
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    except RuntimeError:
        # Somebody used TensorFlow in this process before us; its devices and threads stay as they are.
        logging.getLogger(__name__).debug("TensorFlow was started before; its threads stay as they are")
    tf.config.experimental.enable_op_determinism()
    _started.append(Runtime(keras=keras, tf=tf))
    return _started[0]


def write_keras(network: Any, path: Path) -> None:
    """Write a network to `path`; the same network gives the same bytes."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".keras-") as folder:
        dated = Path(folder) / "network.keras"
        with warnings.catch_warnings():
            # TensorFlow's variables do not take NumPy 2's `copy` keyword; Keras asks for arrays in this way.
            warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
            network.save(dated, include_optimizer=False)
        path.write_bytes(_reproducible(dated.read_bytes()))


def _reproducible(content: bytes) -> bytes:
    """Return the zip without what differs from one run to the next: dates, and addresses of objects in memory."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            if name == "metadata.json":
                data = json.dumps({k: v for k, v in json.loads(data).items() if k != "date_saved"}).encode()
            if name == "config.json":
                data = json.dumps(_renumber(json.loads(data), {})).encode()
            new.writestr(zipfile.ZipInfo(name, date_time=ZIP_DATE), data, compress_type=zipfile.ZIP_STORED)
    return target.getvalue()


def _renumber(value: Any, numbers: dict[int, int]) -> Any:
    """Return a Keras configuration whose ``shared_object_id`` (a memory address) count from 1 in order of appearance."""
    if isinstance(value, list):
        return [_renumber(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _renumber(item, numbers) for key, item in value.items()}
    if isinstance(plain.get("shared_object_id"), int):
        plain["shared_object_id"] = numbers.setdefault(plain["shared_object_id"], len(numbers) + 1)
    return plain


def read_keras(path: Path, *, n_threads: int = 0) -> Any:
    """Read a network, in safe mode: a file that holds code is refused.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or not a network that safe mode reads.
    """
    if not zipfile.is_zipfile(path):
        what = "not a .keras file" if path.exists() else "missing"
        raise ModelError(f"{path} is {what}; save or fetch the model again")
    keras = start(n_threads=n_threads).keras
    try:
        # Keras goes by the name's ending, which the file of an ensemble's member has not got.
        with tempfile.TemporaryDirectory(prefix="keras-") as folder:
            named = shutil.copy(path, Path(folder) / "network.keras")
            return keras.saving.load_model(named, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} cannot be read as a Keras model: {str(error).strip().splitlines()[0]}") from error


class KerasModel:
    """A network of another architecture than ours, scored with by Keras; its first output is the score.

    Parameters
    ----------
    network
        A model of Keras whose inputs are called ``features`` (n, k) or ``dmdt`` (n, 26, 26, 1), one or both.

    Raises
    ------
    ModelError
        If its inputs are called otherwise.
    """

    file_name: ClassVar[str] = "model.keras"

    def __init__(self, network: Any) -> None:
        self.network = network
        self.input_names = tuple(str(tensor.name) for tensor in network.inputs)
        if not self.input_names or set(self.input_names) - {"features", "dmdt"}:
            raise ModelError(f"the network's inputs are {', '.join(self.input_names)}; they must be features and dmdt")
        self.needs_images = "dmdt" in self.input_names

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 score of each row.

        Raises
        ------
        ModelError
            If the network needs images that are not there, or a feature is missing (NaN).
        """
        if self.needs_images and inputs.images is None:
            raise ModelError("this network needs dm-dt images (column dmdt), which the table does not have")
        if not np.isfinite(inputs.x).all():
            raise ModelError(
                "a network cannot take missing features; prepare them with impute=by_feature or another fill"
            )
        size = IMAGE_BLOCK_ROWS if self.needs_images else BLOCK_ROWS
        scores = np.empty(len(inputs), dtype=np.float32)
        for start in range(0, len(inputs), size):
            block = inputs.take(slice(start, start + size))
            columns = {"features": block.x, "dmdt": block.images}
            tensors = [_padded(columns[name], size) for name in self.input_names]
            answer = self.network(tensors[0] if len(tensors) == 1 else tensors, training=False)
            scores[start : start + len(block)] = np.asarray(answer)[: len(block), 0]
        return scores

    def save(self, folder: Path) -> Path:
        """Write ``model.keras`` into `folder` and return its path; the same network gives the same bytes."""
        path = folder / self.file_name
        write_keras(self.network, path)
        return path

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return nothing: a network does not know the importance of its inputs (see `importance.permutation`)."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return which inputs it has."""
        return {"dense_branch": "features" in self.input_names, "dmdt_branch": self.needs_images}


def _padded(block: Float32Array | None, size: int) -> Float32Array:
    """Return the block with rows of zeros up to `size`."""
    assert block is not None
    missing = size - block.shape[0]
    if missing == 0:
        return np.ascontiguousarray(block)
    return np.concatenate([block, np.zeros((missing, *block.shape[1:]), dtype=np.float32)])
