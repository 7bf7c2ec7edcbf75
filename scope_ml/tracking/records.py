"""The records that runs and registry speak of: a bundle on disk, a model that MLflow keeps, a registered version.

Plain data, no MLflow. May import `registry_history`, `core` and `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scope_ml.tracking.registry_history import HISTORY_TAG, REASON_TAG, Promotion, iso_time, read_history

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
        Which of the models it is; the seed of an ensemble is None.
    digest
        Digest of the bundle's content.
    features
        Names of its inputs, in order.
    images
        Whether it takes a dm-dt image too.
    members
        Seeds of an ensemble; empty for a single model.
    threshold
        Score above which a source counts as a member.
    validation, test
        Average precision (PR-AUC) on these parts of the split; None where it is not defined.
    validation_interval, test_interval
        Ends of their intervals, None where not known.
    data_digest, split_digest, config_digest, key
        Digests of the training table, the split, the science configuration, and of all that decides the training.
    """

    folder: Path
    tag: str
    algorithm: str
    seed: int | None
    digest: str
    features: tuple[str, ...]
    threshold: float
    validation: float | None
    test: float | None
    data_digest: str
    split_digest: str
    config_digest: str
    key: str
    validation_interval: tuple[float, float] | None = None
    test_interval: tuple[float, float] | None = None
    images: bool = False
    members: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Return the name in the registry."""
        return registered_name(self.tag, self.algorithm)

    @property
    def run_name(self) -> str:
        """Return the name of its run: ``rrlyr-xgb-seed42``, ``rrlyr-xgb-ensemble``."""
        return f"{self.tag}-{self.algorithm}-{'ensemble' if self.seed is None else f'seed{self.seed}'}"

    def tags(self) -> dict[str, str]:
        """Return what runs, logged models and versions are tagged with."""
        return {
            "scope.tag": self.tag,
            "scope.algorithm": self.algorithm,
            "scope.seed": "ensemble" if self.seed is None else str(self.seed),
            "scope.bundle_digest": self.digest,
            "scope.data_digest": self.data_digest,
            "scope.split_digest": self.split_digest,
            "scope.config_digest": self.config_digest,
            "scope.validation_average_precision": _number(self.validation),
            "scope.test_average_precision": _number(self.test),
            **_ends("scope.validation_average_precision", self.validation_interval),
            **_ends("scope.test_average_precision", self.test_interval),
            **({"scope.members": ",".join(map(str, self.members))} if self.members else {}),
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
    tag, algorithm, seed, digest, data_digest, split_digest, validation, test, validation_interval, test_interval, members
        As in `ModelRecord`, read from the version's tags.
    reason
        Why it became champion or challenger, or stayed neither.
    history
        The times it became champion, oldest first.
    created
        When it was registered, as ISO 8601 in UTC; "" where not known.
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
    validation_interval: tuple[float, float] | None = None
    test_interval: tuple[float, float] | None = None
    members: tuple[int, ...] = ()
    history: tuple[Promotion, ...] = field(default=(), compare=False)
    created: str = field(default="", compare=False)

    @property
    def made_of(self) -> str:
        """Return what it is in words: ``seed 3``, ``ensemble of 10``."""
        if self.members:
            return f"ensemble of {len(self.members)}"
        return "unknown" if self.seed is None else f"seed {self.seed}"

    @classmethod
    def from_tags(
        cls,
        name: str,
        version: int,
        aliases: tuple[str, ...],
        tags: Mapping[str, str],
        *,
        created_ms: int | None = None,
    ) -> ModelVersion:
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
            reason=tags.get(REASON_TAG, ""),
            validation_interval=_interval(tags, "scope.validation_average_precision"),
            test_interval=_interval(tags, "scope.test_average_precision"),
            members=tuple(int(seed) for seed in tags.get("scope.members", "").split(",") if seed.strip().isdigit()),
            history=read_history(tags.get(HISTORY_TAG, "")),
            created="" if created_ms is None else iso_time(created_ms / 1000.0),
        )


def _number(value: float | None) -> str:
    return "undefined" if value is None or not math.isfinite(value) else repr(float(value))


def _ends(name: str, interval: tuple[float, float] | None) -> dict[str, str]:
    return {} if interval is None else {f"{name}_low": _number(interval[0]), f"{name}_high": _number(interval[1])}


def _interval(tags: Mapping[str, str], name: str) -> tuple[float, float] | None:
    low, high = (_parsed(tags.get(f"{name}_{end}", "")) for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def _parsed(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
