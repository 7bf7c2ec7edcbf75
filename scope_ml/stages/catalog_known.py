"""What the record of a catalogue says, as the pages want to know it.

May import reporting's records, selection, models' list of algorithms, taxonomy, core, errors and `catalog_outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.reporting.release_view import CatalogueFacts, CatalogueModel, FieldCounts, KnownCatalogue
from scope_ml.selection.score_columns import score_columns
from scope_ml.stages.catalog_kept import PARTITIONS
from scope_ml.stages.catalog_outputs import CSV, FIELDS_FILE, RECORD, read_record
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["known_catalogue"]

#: Counts of the record that pages show, and in which words.
COUNTED: Final[Mapping[str, str]] = {
    "n_partitions": "partitions of the sky",
    "n_by_place": "stars known by nothing but their place",
    "n_cut": "stars cut at the edge of a partition",
    "n_conflicting": "stars with scores that contradict the class tree",
    "n_csv": "stars in stars.csv",
}

#: What stands beside the partitions, as far as it is there.
FILES: Final[Mapping[str, str]] = {
    CSV: "stars that are sure of a class",
    FIELDS_FILE: "the fields, with their numbers of stars and light curves",
    RECORD: "models with digests and thresholds, tables of scores, counts, columns",
    PARTITIONS: "counts and digest of each partition",
    "changes.html": "what changed since the older catalogue; also as changes.json and changes.parquet",
}


def known_catalogue(path: Path, taxonomy: Taxonomy) -> KnownCatalogue:
    """Return a catalogue of ours with what its record says.

    Raises
    ------
    FormatError
        If the record cannot be read.
    """
    record = read_record(path)
    facts: Mapping[str, Any] = record.get("facts", {})
    return KnownCatalogue(
        path=path,
        facts=CatalogueFacts(
            thresholds=facts.get("member_thresholds", {}),
            models=_models(facts, taxonomy),
            n_light_curves=facts.get("n_light_curves"),
            dropped=facts.get("dropped", {}),
            counts={words: facts[key] for key, words in COUNTED.items() if key in facts},
            fields=tuple(
                FieldCounts(field=int(field), n_light_curves=counts["n_light_curves"], n_stars=counts["n_stars"])
                for field, counts in sorted(record.get("fields", {}).items(), key=lambda one: int(one[0]))
            ),
            files={name: what for name, what in FILES.items() if (path / name).exists()},
            provenance={
                "code": str(record.get("code_version", "")),
                "configuration": str(record.get("config_digest", "")),
                "made with": str(facts.get("made_with", "")),
                "tables of scores": str(len(record.get("inputs", ()))),
            },
        ),
    )


def _models(facts: Mapping[str, Any], taxonomy: Taxonomy) -> tuple[CatalogueModel, ...]:
    """Return the models, with their own thresholds, and their versions where these are known."""
    thresholds, versions = facts.get("thresholds", {}), facts.get("versions", {})
    found = []
    for column, digest in facts.get("models", {}).items():
        pinned = versions.get(column, {})
        version = pinned.get("version")
        found += [
            CatalogueModel(
                tag=one.tag,
                algorithm=one.algorithm,
                name=str(pinned.get("name", one.name)),
                version="" if version is None else str(version),
                digest=str(digest),
                threshold=float(thresholds.get(column, float("nan"))),
            )
            for one in score_columns([column], taxonomy.tags, tuple(ALGORITHMS))
        ]
    return tuple(found)
