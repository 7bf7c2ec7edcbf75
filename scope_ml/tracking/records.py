"""The records that runs and registry speak of: a bundle on disk, a model that MLflow keeps, a registered version.

Plain data, no MLflow. May import `core` and `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUNDLE_FOLDER", "LoggedModel", "ModelRecord", "ModelVersion", "registered_name"]

#: Name of the folder inside an MLflow model that holds the bundle.
BUNDLE_FOLDER = "bundle"


def registered_name(tag: str, algorithm: str) -> str:
    """Return the name in the registry: ``scope-rrlyr-xgb``."""
    return f"scope-{tag}-{algorithm}"


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One trained bundle: where it is, what it is, how good, made from what.

    Attributes
    ----------
    folder
        Folder of the bundle.
    tag, algorithm, seed
        Which of the models it is.
    digest
        Digest of the bundle's content.
    features
        Names of its inputs, in order.
    threshold
        Score above which a source counts as a member.
    validation, test
        Average precision (PR-AUC) on these parts of the split; None where it is not defined.
    data_digest, split_digest, config_digest, key
        Digests of the training table, the split, the science configuration, and of all that decides the training.
    """

    folder: Path
    tag: str
    algorithm: str
    seed: int
    digest: str
    features: tuple[str, ...]
    threshold: float
    validation: float | None
    test: float | None
    data_digest: str
    split_digest: str
    config_digest: str
    key: str

    @property
    def name(self) -> str:
        """Return the name in the registry."""
        return registered_name(self.tag, self.algorithm)

    @property
    def run_name(self) -> str:
        """Return the name of its run: ``rrlyr-xgb-seed42``."""
        return f"{self.tag}-{self.algorithm}-seed{self.seed}"

    def tags(self) -> dict[str, str]:
        """Return what runs, logged models and versions are tagged with."""
        return {
            "scope.tag": self.tag,
            "scope.algorithm": self.algorithm,
            "scope.seed": str(self.seed),
            "scope.bundle_digest": self.digest,
            "scope.data_digest": self.data_digest,
            "scope.split_digest": self.split_digest,
            "scope.config_digest": self.config_digest,
            "scope.validation_average_precision": _number(self.validation),
            "scope.test_average_precision": _number(self.test),
        }


@dataclass(frozen=True, kw_only=True)
class LoggedModel:
    """A bundle that MLflow keeps with a run."""

    model_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version in the registry.

    Attributes
    ----------
    name, version, aliases
        As in MLflow.
    tag, algorithm, seed, digest, data_digest, split_digest, validation, test
        As in `ModelRecord`, read from the version's tags.
    reason
        Why it became champion or challenger, or stayed neither.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    tag: str
    algorithm: str
    seed: int | None
    digest: str
    data_digest: str
    split_digest: str
    validation: float | None
    test: float | None
    reason: str

    @classmethod
    def from_tags(cls, name: str, version: int, aliases: tuple[str, ...], tags: Mapping[str, str]) -> ModelVersion:
        """Return the record of a version from what the registry says about it."""
        seed = tags.get("scope.seed", "")
        return cls(
            name=name,
            version=version,
            aliases=aliases,
            tag=tags.get("scope.tag", ""),
            algorithm=tags.get("scope.algorithm", ""),
            seed=int(seed) if seed.isdigit() else None,
            digest=tags.get("scope.bundle_digest", ""),
            data_digest=tags.get("scope.data_digest", ""),
            split_digest=tags.get("scope.split_digest", ""),
            validation=_parsed(tags.get("scope.validation_average_precision", "")),
            test=_parsed(tags.get("scope.test_average_precision", "")),
            reason=tags.get("scope.promotion", ""),
        )


def _number(value: float | None) -> str:
    return "undefined" if value is None or not math.isfinite(value) else repr(float(value))


def _parsed(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
