"""The model of an ensemble: members of one class and algorithm, trained with different seeds, that score together.

May import `algorithms`, `calibration` and below; `ensemble` makes bundles of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ModelError
from scope_ml.models.algorithms import algorithm
from scope_ml.models.calibration import Calibration
from scope_ml.models.inputs import Float32Array, Inputs, Model

__all__ = ["EnsembleModel", "Member", "load_ensemble"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of an ensemble, its seed and its calibration."""

    seed: int
    model: Model
    calibration: Calibration | None = None

    @property
    def file_name(self) -> str:
        """Return the name of its file in the ensemble's folder."""
        return f"member_{self.seed}{Path(self.model.file_name).suffix}"

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 calibrated score of each row."""
        raw = self.model.predict(inputs)
        return raw if self.calibration is None else self.calibration.apply(raw)


class EnsembleModel:
    """Members that score together: the mean of their calibrated scores, and their spread as its uncertainty.

    Lakshminarayanan, Pritzel & Blundell 2017, arXiv:1612.01474: members that differ in their seed alone, and the mean of
    their probabilities.

    Parameters
    ----------
    algorithm_name
        Algorithm of all members.
    members
        Two or more.
    """

    file_name: ClassVar[str] = "member_<seed>"

    def __init__(self, algorithm_name: str, members: Sequence[Member]) -> None:
        self.algorithm_name = algorithm_name
        self.members = tuple(members)
        self.needs_images = any(member.model.needs_images for member in self.members)

    def predict(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 mean of the members' calibrated scores."""
        return mean(self._scores(inputs))

    def predict_spread(self, inputs: Inputs) -> Float32Array:
        """Return the (n,) float32 standard deviation of the members' calibrated scores (0 where they agree)."""
        return spread(self._scores(inputs))

    def _scores(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        return np.stack([member.predict(inputs) for member in self.members])

    def save(self, folder: Path) -> Path:
        """Write a file ``member_<seed>`` for each member into `folder`; return the first one's path."""
        for member in self.members:
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as own:
                member.model.save(Path(own)).rename(folder / member.file_name)
        return folder / self.members[0].file_name

    def importance(self, features: tuple[str, ...]) -> dict[str, float]:
        """Return the mean of what the members know, largest first."""
        return mean_shares([member.model.importance(features) for member in self.members])

    def facts(self) -> dict[str, Any]:
        """Return what is needed to load the members."""
        members = [
            {
                "seed": member.seed,
                "file": member.file_name,
                "calibration": None if member.calibration is None else member.calibration.to_json(),
                "facts": member.model.facts(),
            }
            for member in self.members
        ]
        return {"algorithm": self.algorithm_name, "members": members}


def mean(scores: npt.NDArray[np.float32]) -> Float32Array:
    """Return the (n,) float32 mean of calibrated scores (members, n)."""
    return np.asarray(scores.mean(axis=0, dtype=np.float64), dtype=np.float32)


def spread(scores: npt.NDArray[np.float32]) -> Float32Array:
    """Return the (n,) float32 standard deviation of calibrated scores (members, n), that of a sample."""
    return np.asarray(scores.std(axis=0, ddof=1, dtype=np.float64), dtype=np.float32)


def mean_shares(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of the shares of features, largest first; empty where none are known."""
    names = sorted({name for shares in several for name in shares})
    found = {name: float(np.mean([shares.get(name, 0.0) for shares in several])) for name in names}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def load_ensemble(folder: Path, *, n_threads: int, facts: Mapping[str, Any]) -> EnsembleModel:
    """Read the members from `folder`.

    Raises
    ------
    ModelError
        If a file is missing or cannot be read, or `facts` are not those of an ensemble.
    """
    try:
        name = str(facts["algorithm"])
        plain = [(int(one["seed"]), str(one["file"]), one["calibration"], one["facts"]) for one in facts["members"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder} does not say what its ensemble is made of ({error!r}); fetch the bundle again"
        ) from error
    outside = [file for _, file, _, _ in plain if Path(file).name != file]
    if outside:
        raise ModelError(f"{folder} names a member outside its folder: {outside[0]!r}; do not trust this bundle")
    load = algorithm(name).load
    members = [
        Member(
            seed=seed,
            model=load(folder / file, n_threads=n_threads, facts=own),
            calibration=Calibration.from_json(calibration),
        )
        for seed, file, calibration, own in plain
    ]
    return EnsembleModel(name, members)
