"""The drift report that `infer` leaves beside its table: ``<output>.drift.json`` and ``<output>.drift.html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scope_ml.io.atomic import atomic_path
from scope_ml.models.drift import DriftRecord
from scope_ml.reporting.drift_page import drift_page

__all__ = ["drift_facts", "drift_paths", "drift_warnings", "field_drift_paths", "write_drift", "write_field_drift"]

#: Features named in a warning.
NAMES_SHOWN = 3


def drift_paths(output: Path) -> tuple[Path, Path]:
    """Return where the numbers and the page about a table of scores stand."""
    return output.with_name(f"{output.name}.drift.json"), output.with_name(f"{output.name}.drift.html")


def write_drift(record: DriftRecord, output: Path) -> None:
    """Write the numbers and the page; the same rows and models give the same bytes.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    _write(record, *drift_paths(output), title=f"Drift of {output.stem}")


def field_drift_paths(folder: Path) -> tuple[Path, Path]:
    """Return where the numbers and the page about the field whose scores lie in `folder` stand."""
    return folder / "_drift.json", folder / "_drift.html"


def write_field_drift(record: DriftRecord, folder: Path, title: str) -> None:
    """Write the numbers and the page about a field.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    _write(record, *field_drift_paths(folder), title=title)


def _write(record: DriftRecord, numbers: Path, page: Path, *, title: str) -> None:
    with atomic_path(numbers) as temporary:
        temporary.write_text(json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(page) as temporary:
        temporary.write_text(drift_page(record, title=title), encoding="utf-8")


def drift_warnings(record: DriftRecord, page: Path | None) -> tuple[str, ...]:
    """Return at most one line on features that drift, and one on models that cannot tell; `page` says where to look."""
    lines = []
    drifted = record.drifted("strong", "notable")
    if drifted:
        strong = record.drifted("strong")
        names = ", ".join(one.name for one in drifted[:NAMES_SHOWN]) + (", ..." if len(drifted) > NAMES_SHOWN else "")
        where = f"; see {page}" if page is not None else ""
        lines.append(
            f"{len(drifted)} of {len(record.features)} features drift from the training set,"
            f" {len(strong)} of them strongly ({names}){where}"
        )
    if record.unknown:
        n_models = len(record.unknown)
        shown = ", ".join(record.unknown[:NAMES_SHOWN]) + (", ..." if n_models > NAMES_SHOWN else "")
        lines.append(
            f"{n_models} models keep no distributions of their training set ({shown}): no drift is known of them;"
            " train them again to see it"
        )
    return tuple(lines)


def drift_facts(record: DriftRecord) -> dict[str, Any]:
    """Return the counts for the report of the stage."""
    return {
        "drift": {
            "n_features": len(record.features),
            "n_notable": len(record.drifted("notable")),
            "n_strong": len(record.drifted("strong")),
            "n_models_unknown": len(record.unknown),
        }
    }
