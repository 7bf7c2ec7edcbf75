"""Prepared data on disk, for many processes at once: arrays that are mapped into memory, so that all share one copy.

The folder is a temporary one of a sweep; it is removed with the sweep, or by the next one if that was killed.
May import `models` and below.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.machine import is_running
from scope_ml.errors import OutputError
from scope_ml.models.distributions import Distributions
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, TrainingSet
from scope_ml.models.inputs import Inputs
from scope_ml.models.preparation import Preparation
from scope_ml.stages.training_inputs import PreparedData
from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["MappedData", "load_prepared", "save_prepared", "shared_folder"]

PREFIX = "scope-ml-sweep-"

#: What is known of the data besides its arrays.
FACTS_FILE = "facts.json"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Yield a temporary folder, with the process's number in its name; those of killed processes are removed."""
    parent = Path(tempfile.gettempdir())
    for path in parent.glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def save_prepared(prepared: PreparedData, folder: Path) -> None:
    """Write prepared data and the labels of all classes into the folder of its name.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    data, target = prepared.data, folder / prepared.name
    arrays: dict[str, npt.NDArray[Any]] = {
        "x": data.inputs.x,
        "group": data.group,
        "part": data.part,
        "y": np.ascontiguousarray(prepared.dataset.y.T),
        "known": np.ascontiguousarray(prepared.dataset.known.T),
    }
    if data.inputs.images is not None:
        arrays["images"] = data.inputs.images
    if prepared.dataset.weight is not None:
        arrays["weight"] = prepared.dataset.weight
    facts = {
        "tags": list(prepared.dataset.tags),
        "preparation": data.preparation.to_json(),
        "features": data.features.to_json(),
        "distributions": None if data.distributions is None else data.distributions.to_json(),
        "warnings": list(data.warnings),
    }
    try:
        target.mkdir()
        for name, array in arrays.items():
            np.save(target / f"{name}.npy", array, allow_pickle=False)
        (target / FACTS_FILE).write_text(json.dumps(facts, allow_nan=False))
    except OSError as error:
        raise OutputError(
            f"cannot write the prepared data into {target}: {error.strerror}; set TMPDIR to a folder with room"
        ) from error


class MappedData:
    """Prepared data as a worker sees it; fulfils `sweep_units.WorkData`."""

    def __init__(
        self,
        data: TrainingSet,
        tags: tuple[str, ...],
        y: npt.NDArray[np.int8],
        known: npt.NDArray[np.bool_],
        weight: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._data = data
        self._place = {tag: place for place, tag in enumerate(tags)}
        self._y = y
        self._known = known
        self._weight = weight

    @property
    def data(self) -> TrainingSet:
        """Return the prepared features."""
        return self._data

    def labels(self, spec: ClassSpec) -> ClassLabels:
        """Return the labels of one class."""
        place = self._place[spec.tag]
        return ClassLabels(spec=spec, y=self._y[place], known=self._known[place], weight=self._weight)


def load_prepared(folder: Path) -> MappedData:
    """Map what `save_prepared` wrote into memory."""
    facts = json.loads((folder / FACTS_FILE).read_text())
    distributions = facts["distributions"]
    data = TrainingSet(
        inputs=Inputs(
            x=_mapped(folder / "x.npy"),
            images=_mapped(folder / "images.npy") if (folder / "images.npy").is_file() else None,
        ),
        preparation=Preparation.from_json(facts["preparation"]),
        features=FeatureRecord.from_json(facts["features"]),
        group=_mapped(folder / "group.npy"),
        part=_mapped(folder / "part.npy"),
        distributions=None if distributions is None else Distributions.from_json(distributions),
        warnings=tuple(facts["warnings"]),
    )
    weight = _mapped(folder / "weight.npy") if (folder / "weight.npy").is_file() else None
    return MappedData(data, tuple(facts["tags"]), _mapped(folder / "y.npy"), _mapped(folder / "known.npy"), weight)


def _mapped(path: Path) -> npt.NDArray[Any]:
    # Copied on writing: the pages stay shared, and compiled code that asks for writable arrays takes them.
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
