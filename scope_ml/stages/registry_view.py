"""`registry list` and `show`: what the registry holds, as a table to read, JSON or CSV; and what a lock file pins.

A database file is looked into without MLflow, in well under a second.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import to_plain
from scope_ml.errors import ConfigError, ModelNotFoundError, suggest
from scope_ml.models.record import read_record
from scope_ml.tracking.lock import LockEntry, read_lock
from scope_ml.tracking.records import ModelVersion
from scope_ml.tracking.registry_history import merged_history
from scope_ml.tracking.resolve import RegistryView, whole_bundle

__all__ = ["aligned", "check_lock", "chosen_names", "find_version", "listing", "page", "rendered", "shown"]

#: Columns of the list; ``low`` and ``high`` are the ends of the interval.
COLUMNS = ("name", "version", "aliases", "class", "algorithm", "made_of", "validation", "test", "date", "reason")

#: Metrics of the test part that `show` prints.
METRICS = ("average_precision", "roc_auc", "precision", "recall", "f1", "calibration_error")

#: Longest reason in a table; JSON and CSV have it whole.
REASON_LENGTH = 60


def chosen_names(view: RegistryView, classes: Sequence[str], algorithms: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the models of some classes and algorithms; empty takes all.

    Raises
    ------
    ModelNotFoundError
        If there is none.
    """
    names = view.names()
    kept = tuple(name for name in names if _fits(view, name, classes, algorithms))
    if names and not kept:
        asked = [f"classes=[{','.join(classes)}]"] * bool(classes) + [f"algorithms=[{','.join(algorithms)}]"] * bool(
            algorithms
        )
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise ModelNotFoundError(f"the registry has no model of {' '.join(asked)}; it has {shown}")
    return kept


def find_version(view: RegistryView, name: str | None, word: int | str) -> ModelVersion:
    """Return the version of `name` with this number or alias.

    Raises
    ------
    ConfigError
        If no name is given.
    ModelNotFoundError
        If there is no such model or version.
    """
    if name is None:
        raise ConfigError(
            "no model is named; give name=scope-<tag>-<algorithm>, as registry list shows them", key="name"
        )
    versions = view.versions(name)
    if not versions:
        names = view.names()
        raise ModelNotFoundError(
            f"the registry has no model {name}{suggest(name, names)}; type python -m scope_ml.registry list"
        )
    for version in versions:
        if str(version.version) == str(word) or word in version.aliases:
            return version
    held = ", ".join(f"{v.version}{f' ({chr(44).join(v.aliases)})' if v.aliases else ''}" for v in versions[:8])
    raise ModelNotFoundError(f"{name} has no version {word} whose files are there; it has {held}")


def listing(view: RegistryView, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for each version with an alias, and for the newest of a model without."""
    rows = []
    for name in names:
        versions = view.versions(name)
        rows += [_row(version, len(versions)) for version in versions if version.aliases] or [
            _row(version, len(versions)) for version in versions[:1]
        ]
    return rows


def shown(view: RegistryView, name: str | None, word: int | str | None) -> dict[str, Any]:
    """Return all that is known of a model: its versions, its champions, and one version whole (default: the champion).

    Raises
    ------
    ScopeError
        As `find_version` and `whole_bundle` raise.
    """
    versions = view.versions(name) if name is not None else ()
    has_champion = any("champion" in version.aliases for version in versions)
    default = "champion" if has_champion or not versions else versions[0].version
    version = find_version(view, name, default if word is None else word)
    known = read_record(whole_bundle(view, version).folder)
    test = known.metrics.get("test")
    return {
        "name": version.name,
        "versions": [_row(one, len(versions)) for one in versions],
        "champions": [asdict(entry) for entry in merged_history(one.history for one in versions)],
        "version": version.version,
        "class": to_plain(known.spec),
        "algorithm": to_plain(known.algorithm),
        "made_of": version.made_of,
        "n_features": len(known.features.names),
        "features": list(known.features.names),
        "threshold": known.threshold,
        "counts": dict(known.counts),
        "digests": {"bundle": version.digest, **_digests(known.provenance)},
        "test": {} if test is None else {metric: test.estimates[metric].to_json() for metric in METRICS},
    }


def check_lock(view: RegistryView, path: Path) -> list[dict[str, Any]]:
    """Return one row for each pin of a lock file: whether the registry still has its bundle.

    Raises
    ------
    FormatError
        If it is no lock file.
    """
    return [_pin_row(view, pin) for pin in read_lock(path)]


def rendered(rows: Sequence[Mapping[str, Any]], style: str, columns: Sequence[str] | None = None) -> str:
    """Return rows as ``table``, ``json`` or ``csv``."""
    if style == "json":
        return json.dumps(list(rows), indent=2, allow_nan=False)
    if style == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(
            text, fieldnames=list(rows[0]) if rows else list(columns or COLUMNS), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(dict(row, aliases=" ".join(row["aliases"])) if "aliases" in row else dict(row) for row in rows)
        return text.getvalue().rstrip("\n")
    return aligned([_cells(row, columns or COLUMNS) for row in rows], columns or COLUMNS)


def aligned(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    """Return rows of text as a table with a head."""
    table = [[column.replace("_", " ") for column in columns], *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def page(found: Mapping[str, Any]) -> str:
    """Return what `shown` found as lines to read."""
    test = {
        metric: _with_interval(estimate["value"], estimate["low"], estimate["high"])
        for metric, estimate in found["test"].items()
    }
    settings = ", ".join(f"{key}={_short(value)}" for key, value in found["algorithm"].items() if key != "name")
    champions = [
        f"  {entry['when']}  version {entry['version']} by {entry['how']} of {entry['by']}: {entry['why']}"
        for entry in found["champions"]
    ]
    lines = [
        found["name"],
        rendered(
            found["versions"], "table", [column for column in COLUMNS if column not in ("name", "class", "algorithm")]
        ),
        "",
        "champions",
        *(champions or ["  nothing is written down"]),
        "",
        f"version {found['version']}: {found['class']['label']}, {found['made_of']}, {found['n_features']} features,"
        f" threshold {found['threshold']:g}",
        f"  settings  {settings}",
        f"  digests   {_joined({name: str(digest)[:12] or 'unknown' for name, digest in found['digests'].items()})}",
        f"  rows      {_joined(found['counts'])}",
        f"  test      {_joined(test)}",
    ]
    return "\n".join(lines)


def _joined(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "unknown"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + " ".join(f"{key}={_short(one)}" for key, one in value.items()) + ")"
    return "null" if value is None else str(value)


def _fits(view: RegistryView, name: str, classes: Sequence[str], algorithms: Sequence[str]) -> bool:
    if not classes and not algorithms:
        return True
    newest = view.versions(name)[:1]
    return any(
        (not classes or version.tag in classes) and (not algorithms or version.algorithm in algorithms)
        for version in newest
    )


def _row(version: ModelVersion, n_versions: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": version.name,
        "version": version.version,
        "n_versions": n_versions,
        "aliases": list(version.aliases),
        "class": version.tag,
        "algorithm": version.algorithm,
        "made_of": version.made_of,
    }
    for part in ("validation", "test"):
        low, high = getattr(version, f"{part}_interval") or (None, None)
        row |= {part: getattr(version, part), f"{part}_low": low, f"{part}_high": high}
    return row | {"date": version.created, "reason": version.reason, "digest": version.digest}


def _pin_row(view: RegistryView, pin: LockEntry) -> dict[str, Any]:
    versions = view.versions(pin.name)
    same = next((version for version in versions if version.digest == pin.digest), None)
    if same is None:
        state = "missing: no version has this bundle"
    elif pin.version not in (None, same.version):
        state = f"there, as version {same.version}"
    else:
        state = "there"
    champion = next((version.version for version in versions if "champion" in version.aliases), None)
    return {
        "name": pin.name,
        "pinned": pin.version,
        "found": None if same is None else same.version,
        "champion": champion,
        "state": state,
        "digest": pin.digest,
    }


def _digests(provenance: Any) -> dict[str, str]:
    names = ("data_digest", "split_digest", "config_digest", "code_digest", "git_commit", "code_version")
    return {name.removesuffix("_digest"): getattr(provenance, name) for name in names}


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    cells = []
    for column in columns:
        value = row[column]
        if column in ("validation", "test"):
            text = _with_interval(value, row.get(f"{column}_low"), row.get(f"{column}_high"))
        elif isinstance(value, list):
            text = ",".join(value) or "-"
        elif column == "reason" and len(value) > REASON_LENGTH:
            text = value[: REASON_LENGTH - 3] + "..."
        else:
            text = "-" if value in (None, "") else str(value)
        cells.append(text)
    return cells


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({low:.3f}-{high:.3f})" if low is not None and high is not None else "")
