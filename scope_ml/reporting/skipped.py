"""Models that are not there, and why: what the reports of training say was skipped or failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scope_ml.errors import FormatError
from scope_ml.io.parquet_files import require_file
from scope_ml.reporting.view import SkippedView
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["read_stage_report", "skipped_models"]

#: Facts of a report of training that list models which were not made.
LISTS = ("skipped", "failed")


def skipped_models(folder: Path, taxonomy: Taxonomy) -> Iterator[SkippedView]:
    """Yield what was skipped or failed by ``facts.skipped`` and ``facts.failed`` of the ``*report.json`` below `folder`.

    Raises
    ------
    FormatError
        If one of them is not the report of a stage.
    """
    seen = set()
    for path in sorted(folder.rglob("*report.json")):
        facts = read_stage_report(path).get("facts", {})
        for item in _items(facts.get(name) for name in LISTS):
            tag = str(item.get("tag", ""))
            algorithm, seed = str(item.get("algorithm", "")), item.get("seed")
            view = SkippedView(
                tag=tag,
                label=taxonomy[tag].label if tag in taxonomy else tag,
                algorithm=algorithm if seed is None else f"{algorithm}, seed {seed}",
                reason=str(item.get("reason", "")),
            )
            # A sweep's report says again what those of its models say.
            if view not in seen:
                seen.add(view)
                yield view


def read_stage_report(path: Path) -> dict[str, Any]:
    """Return what the report of a stage says.

    Raises
    ------
    SchemaError
        If there is no such file.
    FormatError
        If it is something else.
    """
    require_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} is not the report of a stage; run that stage again") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} is not the report of a stage; run that stage again")
    return value


def _items(lists: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for found in lists:
        if isinstance(found, list):
            yield from (item for item in found if isinstance(item, Mapping))
