"""The texts of a data release that are made from its manifest: ``README.md`` and ``datacite.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from scope_ml.stages.release_manifest import MODELS, Entry
from scope_ml.stages.release_publication import Publication, citation, datacite

__all__ = ["datacite_text", "readme"]

#: Media types of what releases hold.
MEDIA_TYPES = {
    ".zip": "application/zip",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".md": "text/markdown",
}

#: What each kind of file is, for a reader who knows nothing.
MEANINGS = {
    "predictions": "scores of all classifiers, one row a light curve: one table a quadrant, or as they were given",
    "example": "the first rows of the scores, to look at",
    "fields": "fields of the survey in this release",
    "models": "trained models with thresholds, scalers and metrics; nothing pickled",
    "lock": "names, versions and digests of the models, for infer models=models.lock.json",
    "training_set": "features, labels (0, 1, and what is uncertain) and the division into train, val and test",
    "catalogue": "one row a star, by HEALPix: a HATS catalogue for lsdb",
    "subset": "the stars that are confident members of a class",
    "page": "what is in the catalogue, as a page for a browser",
    "changes": "what changed since the release before",
}

#: How to open a kind of file.
OPENING = {
    "predictions": 'unzip NAME -d predictions; then pyarrow.dataset.dataset("predictions", format="parquet")',
    "models": "python -m scope_ml.registry import path=NAME",
    "training_set": 'pandas.read_parquet("NAME"); or train on it: dataset=built dataset.path=NAME',
    "catalogue": 'unzip NAME -d catalogue; then lsdb.open_catalog("catalogue")',
}


def datacite_text(publication: Publication, entries: Sequence[Entry]) -> str:
    """Return ``datacite.json``."""
    endings = {PurePosixPath(entry.name).suffix.lower() for entry in entries}
    formats = tuple(sorted({MEDIA_TYPES.get(ending, "application/octet-stream") for ending in endings}))
    record = datacite(publication, sizes={entry.name: entry.bytes for entry in entries}, formats=formats)
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def readme(publication: Publication, entries: Sequence[Entry], facts: dict[str, Any]) -> str:
    """Return ``README.md``."""
    lines = [f"# {publication.title}", ""]
    lines += [f"Version {publication.version}" if publication.version else "Draft", "", publication.description, ""]
    lines += ["## Files", "", "| file | what it is | records | bytes |", "|---|---|---|---|"]
    for entry in sorted(entries, key=lambda entry: entry.name):
        records = "" if entry.n_records is None else f"{entry.n_records:,} {entry.unit}"
        lines.append(f"| {entry.name} | {MEANINGS.get(entry.kind, entry.kind)} | {records} | {entry.bytes:,} |")
    lines += ["", "Check them with `sha256sum -c SHA256SUMS`, or `python -m scope_ml.release verify path=.`", ""]
    opened = [entry for entry in entries if entry.kind in OPENING]
    if opened:
        lines += ["## Opening them", "", "```"]
        lines += [OPENING[entry.kind].replace("NAME", entry.name) for entry in opened]
        lines += ["```", ""]
    models = facts.get("models", [])
    if models:
        lines += ["## Models", "", "| model | version | digest of the bundle |", "|---|---|---|"]
        lines += [f"| {one['name']} | {one['version'] or ''} | {one['digest']} |" for one in models]
        lines.append("")
    if any(entry.kind == MODELS for entry in entries):
        lines += ["Scores are numbers in [0, 1]; a model's threshold and its metrics are in its `bundle.json`.", ""]
    lines += ["## How to cite", "", citation(publication), "", f"Licence: {publication.licence}", ""]
    return "\n".join(lines)
