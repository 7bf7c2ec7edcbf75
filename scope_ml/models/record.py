"""All that a bundle knows about its model, without the model: readable without TensorFlow or XGBoost.

On disk (see `bundle`) the record is ``bundle.json`` with its parts ``preparation.json``, ``importance.json``,
``distributions.json`` and ``curves.json``. Reports, the registry and comparisons read records only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import build, to_plain
from scope_ml.core.provenance import code_digest, code_version, digest_file, git_commit
from scope_ml.errors import ModelError, ModelNotFoundError, ScopeError
from scope_ml.models.algorithms import configure
from scope_ml.models.calibration import Calibration
from scope_ml.models.distributions import Distributions
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.intervals import SplitMetrics
from scope_ml.models.preparation import Preparation
from scope_ml.taxonomy.classes import ClassSpec

__all__ = ["BUNDLE_FILE", "BundleRecord", "Provenance", "read_record", "write_record"]

#: Version of the bundle's layout; a newer one is refused. Version 1 had no calibration, members and distributions.
BUNDLE_VERSION = 2

BUNDLE_FILE = "bundle.json"
PREPARATION_FILE = "preparation.json"
IMPORTANCE_FILE = "importance.json"
DISTRIBUTIONS_FILE = "distributions.json"

#: Which code made the bundle. It is no part of the bundle's digest: a commit that changes no result changes no model.
ORIGIN_FILE = "origin.json"

#: Packages whose code decides what a training makes of its inputs.
TRAINING_CODE = ("core", "features", "datasets", "networks", "models")

CURVES_FILE = "curves.json"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a model was made from: digests only, no path and no time.

    Attributes
    ----------
    data_digest, split_digest, config_digest
        What went in; part of the bundle's digest.
    code_version, git_commit, code_digest
        The code that made it; `code_digest` is that of the packages `TRAINING_CODE`. Kept beside the bundle.
    """

    data_digest: str = ""
    split_digest: str = ""
    config_digest: str = ""
    code_version: str = field(default_factory=code_version)
    git_commit: str = field(default_factory=git_commit)
    code_digest: str = field(default_factory=lambda: code_digest(*TRAINING_CODE))


@dataclass(frozen=True, kw_only=True)
class BundleRecord:
    """What is known about a trained model.

    Attributes
    ----------
    spec
        The class, with its settings at training time.
    algorithm
        The algorithm's settings as trained with: no null is left (`algorithms.settle`).
    features, preparation
        What goes in.
    threshold
        Score, calibrated where it is, from which a light curve counts as of the class.
    seed
        Seed of the training; None for an ensemble.
    members
        Seeds of the models that an ensemble is made of; empty for a single model.
    calibration
        Makes probabilities of the model's scores; None: scores are as the algorithm gives them, or an ensemble's members
        are calibrated each for itself.
    model_facts
        What the model said of itself (`inputs.Model.facts`) and needs to be loaded.
    metrics
        `SplitMetrics` of ``train``, ``val`` and ``test``.
    importance
        Share per feature by method: ``gain`` (trees), ``permutation`` (loss of validation average precision).
    counts
        Rows and stars used, for the report: per split, and left out as uncertain or by the balance.
    distributions
        How the features are distributed over the training part, and the scores over validation and test part; None
        for bundles of version 1.
    warnings
        One line each for what was not as asked: features without values, a calibration that could not be fitted.
    provenance
        What it was made from.
    """

    spec: ClassSpec
    algorithm: Any
    features: FeatureRecord
    preparation: Preparation
    threshold: float
    seed: int | None
    members: tuple[int, ...] = ()
    calibration: Calibration | None = None
    model_facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, SplitMetrics] = field(default_factory=dict)
    importance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    distributions: Distributions | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of its score column, ``<tag>_<algorithm>``."""
        return f"{self.spec.tag}_{self.algorithm.name}"


def write_record(record: BundleRecord, folder: Path, model_files: Sequence[str]) -> None:
    """Write the record's files into `folder`, where the model's files already lie; no NaN can get into them."""
    curves = {part: metrics.curves for part, metrics in record.metrics.items()}
    origin = asdict(record.provenance)
    inputs = {name: origin.pop(name) for name in ("data_digest", "split_digest", "config_digest")}
    _write_json(folder / ORIGIN_FILE, origin)
    _write_json(folder / PREPARATION_FILE, record.preparation.to_json(), indent=None)
    _write_json(folder / IMPORTANCE_FILE, {name: dict(shares) for name, shares in record.importance.items()})
    _write_json(folder / CURVES_FILE, curves, indent=None)
    files = [*model_files, PREPARATION_FILE, IMPORTANCE_FILE, CURVES_FILE]
    if record.distributions is not None:
        _write_json(folder / DISTRIBUTIONS_FILE, record.distributions.to_json(), indent=None)
        files.append(DISTRIBUTIONS_FILE)
    plain = {
        "schema_version": BUNDLE_VERSION,
        "name": record.name,
        "class": to_plain(record.spec),
        "algorithm": to_plain(record.algorithm),
        "features": record.features.to_json(),
        "preparation_digest": record.preparation.digest,
        "threshold": record.threshold,
        "calibration": None if record.calibration is None else record.calibration.to_json(),
        "seed": record.seed,
        "members": list(record.members),
        "metrics": {part: metrics.to_json() for part, metrics in record.metrics.items()},
        "counts": dict(record.counts),
        "provenance": inputs,
        "warnings": list(record.warnings),
        "model_facts": dict(record.model_facts),
        "model_files": list(model_files),
        "files": {name: digest_file(folder / name) for name in files},
    }
    _write_json(folder / BUNDLE_FILE, plain)


def read_record(folder: Path) -> BundleRecord:
    """Read the record of a bundle's folder, after a check that all its files are there and unchanged.

    Raises
    ------
    ModelNotFoundError
        If there is no bundle in `folder`.
    ModelError
        If a file is missing, changed or cannot be read; the message names it.
    """
    folder = Path(folder)
    if not (folder / BUNDLE_FILE).is_file():
        raise ModelNotFoundError(f"{folder} holds no model bundle (no {BUNDLE_FILE} in it); train or fetch one first")
    plain = _read_json(folder / BUNDLE_FILE)
    version = plain.get("schema_version")
    if not isinstance(version, int) or version > BUNDLE_VERSION:
        raise ModelError(
            f"{folder / BUNDLE_FILE} has layout {version}, this scope_ml knows {BUNDLE_VERSION}; update scope_ml"
        )
    try:
        check_files(folder, plain["files"])
        curves = _read_json(folder / CURVES_FILE)
        preparation = Preparation.from_json(_read_json(folder / PREPARATION_FILE), where=str(folder / PREPARATION_FILE))
        return BundleRecord(
            spec=build(ClassSpec, plain["class"], "class"),
            algorithm=configure(plain["algorithm"]),
            features=FeatureRecord.from_json(plain["features"]),
            preparation=preparation,
            threshold=float(plain["threshold"]),
            seed=None if plain["seed"] is None else int(plain["seed"]),
            members=tuple(int(seed) for seed in plain.get("members", ())),
            calibration=Calibration.from_json(plain["calibration"]),
            model_facts=dict(plain.get("model_facts", {})),
            metrics={part: SplitMetrics.from_json(m, curves.get(part)) for part, m in plain["metrics"].items()},
            importance=_read_json(folder / IMPORTANCE_FILE),
            counts=plain["counts"],
            provenance=Provenance(**plain["provenance"], **_origin(folder)),
            distributions=_distributions(folder, plain["files"]),
            warnings=tuple(plain.get("warnings", preparation.warnings)),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        what = str(error) if isinstance(error, ScopeError) else f"{type(error).__name__}: {error}"
        raise ModelError(f"{folder / BUNDLE_FILE} is damaged or of another version ({what}); fetch it again") from error


def _distributions(folder: Path, files: Mapping[str, str]) -> Distributions | None:
    return Distributions.from_json(_read_json(folder / DISTRIBUTIONS_FILE)) if DISTRIBUTIONS_FILE in files else None


def _origin(folder: Path) -> dict[str, str]:
    """Return what is known of the code that made a bundle; a bundle handed on without it is as good."""
    if not (folder / ORIGIN_FILE).is_file():
        return dict.fromkeys(("code_version", "git_commit", "code_digest"), "unknown")
    return {str(name): str(value) for name, value in _read_json(folder / ORIGIN_FILE).items()}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Check that each file is there and has its digest.

    Raises
    ------
    ModelError
        For the first that has not.
    """
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name:
            raise ModelError(
                f"{folder / BUNDLE_FILE} names a file outside its folder: {name!r}; do not trust this bundle"
            )
        if not path.is_file():
            raise ModelError(f"the model bundle {folder} is incomplete: {name} is missing; fetch it again")
        if digest_file(path) != digest:
            raise ModelError(f"{path} was changed or damaged since it was saved (its digest differs); fetch it again")


def _write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the model bundle again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a record; fetch the model bundle again")
    return value
