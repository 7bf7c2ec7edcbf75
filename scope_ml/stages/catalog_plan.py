"""What a catalogue is to be made of, and how: all that decides on its partitions, as digests.

May import selection, io, core, errors, `catalog_inputs` and `catalog_views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_digest, digest_file, digest_json
from scope_ml.errors import DataError
from scope_ml.selection.star_columns import StarRules
from scope_ml.stages.catalog_inputs import Inputs, ScoreFile, file_stamp
from scope_ml.stages.catalog_views import StarSearch

__all__ = ["IDENTITY", "Plan", "check_unchanged", "input_digests"]

#: File of the work that says what it is for.
IDENTITY = "identity.json"

#: Packages and rooms whose code decides on what comes out.
CODE = (
    "taxonomy",
    *(f"core/{name}.py" for name in ("identifiers", "sexagesimal", "sphere")),
    *(f"io/{name}.py" for name in ("hats_writer", "healpix")),
    *(f"selection/{name}.py" for name in ("class_tree", "consolidation", "fold_loops", "friends", "score_*", "star*")),
    "selection/survey_ranks.py",
    *(f"stages/catalog_{name}.py" for name in ("inputs", "partitions", "twice", "units", "views")),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be made.

    Attributes
    ----------
    inputs, digests
        Tables, and the digest of each.
    search, rules
        What is a star, and what its row.
    science
        Digest of all options that change what comes out; which fields there are is seen in the tables.
    partition_rows
        Light curves of a partition at most.
    margin_arcsec
        How far beyond its edge a partition sees.
    work
        Folder for what is temporary.
    """

    inputs: Inputs
    digests: tuple[str, ...]
    search: StarSearch
    rules: StarRules
    science: str
    partition_rows: int
    margin_arcsec: float
    work: Path

    @property
    def catalogue(self) -> Path:
        """Return where the catalogue is made."""
        return self.work / "catalogue"

    @property
    def made_with(self) -> str:
        """Return the digest of everything but the light curves that decides on a partition."""
        inputs = self.inputs
        return digest_json(
            {
                "science": self.science,
                "code": code_digest(*CODE),
                "schema": [[field.name, str(field.type)] for field in inputs.schema],
                "models": dict(inputs.models),
                "thresholds": dict(inputs.thresholds),
                "classes": self.rules.taxonomy.digest,
            }
        )

    def identity(self) -> dict[str, Any]:
        """Return what a killed run must have had in common to be gone on with."""
        cut = {"partition_rows": self.partition_rows, "margin_arcsec": self.margin_arcsec}
        paths = [str(file.path.resolve()) for file in self.inputs.files]
        inputs = [*map(list, zip(paths, self.digests, strict=True))]
        return {"made_with": self.made_with, "inputs": inputs, "fields": self.inputs.fields, **cut}


def input_digests(files: Sequence[ScoreFile], progress: Progress) -> tuple[str, ...]:
    """Return the digest of each table.

    Raises
    ------
    DataError
        If one was changed since its footer was read.
    """
    progress.start("digests of the tables", len(files))
    digests = []
    with ThreadPoolExecutor(2) as pool:
        for file, digest in zip(files, pool.map(digest_file, [file.path for file in files]), strict=True):
            if file_stamp(file.path) != file.stamp:
                raise _changed(file)
            digests.append(digest)
            progress.advance()
    progress.finish()
    return tuple(digests)


def check_unchanged(plan: Plan) -> None:
    """Find out that a table was replaced while it was read: some of it would be of the one, some of the other.

    Raises
    ------
    DataError
        If so.
    """
    for file, digest in zip(plan.inputs.files, plan.digests, strict=True):
        if file_stamp(file.path) == file.stamp:
            continue
        if not file.path.exists() or digest_file(file.path) != digest:
            # What was read is of no use to any later run, also where the older table comes back.
            (plan.work / IDENTITY).unlink(missing_ok=True)
            raise _changed(file)


def _changed(file: ScoreFile) -> DataError:
    return DataError(f"{file.path} was changed while the catalogue was made of it; start again")
