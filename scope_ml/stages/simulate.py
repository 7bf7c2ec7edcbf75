"""Stage ``simulate``: write the embedded survey to a folder.

Stars are made and written in files of `sources_per_file`, so that memory does not grow with the survey. Everything goes into
a hidden folder beside the final one, which takes the final name when the last file is written: a survey is there whole
or not at all. A run that was killed goes on with the files it lacks.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import option, science_digest, science_values
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata, code_digest, code_version, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import OutputError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.tables import read_table, write_table
from scope_ml.simulation.survey import COLLECTIONS, SurveyConfig, simulate_part
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

__all__ = ["SURVEY_FILE", "Simulate", "run"]

#: Name of the file that says what a survey holds; a folder with it is a survey.
SURVEY_FILE = "survey.json"

#: Kind of table in each collection, for the metadata record.
KINDS = {"ZTF_sources": "light_curves", "labels": "labels"}

#: Name of the file that holds one part of a collection.
PART_NAME = "part-{:05d}.parquet"

#: Packages that decide what stands in a part; parts that were made by other code are made again.
CODE = ("core", "io", "simulation", "taxonomy")


@dataclass(frozen=True, kw_only=True)
class Simulate(SurveyConfig):
    """Options of the door ``simulate``."""

    output: str = option(doc="folder of the survey, replaced if it holds one", machine=True)
    sources_per_file: int = option(2000, unit="stars", doc="stars per file", at_least=1, at_most=100_000, machine=True)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A range of stars and the files that hold it."""

    index: int
    start: int
    stop: int

    def path(self, folder: Path, collection: str) -> Path:
        return folder / collection / PART_NAME.format(self.index)


def run(config: Simulate, *, progress: Progress) -> Report:
    """Write the survey that `config` describes.

    Returns
    -------
    report
        Counts of stars and rows; `outputs` names the folder and its ``survey.json``.

    Raises
    ------
    OutputError
        If the output exists and is not a survey, or cannot be written.
    """
    began = time.monotonic()
    final = Path(config.output)
    _check_output(final)
    taxonomy = load_classes(packaged_conf_dir())
    parents = {tag: taxonomy.parents(tag) for tag in taxonomy.tags}
    digest = digest_json([science_digest(_science(config)), taxonomy.digest])
    code = code_digest(*CODE)
    working = _working_folder(final, digest_json([digest, config.sources_per_file, code_version(), code]))
    parts = [
        _Part(index=number, start=start, stop=min(start + config.sources_per_file, config.n_sources))
        for number, start in enumerate(range(0, config.n_sources, config.sources_per_file))
    ]
    progress.start("simulate", config.n_sources)
    for part in parts:
        if not part.path(working, "labels").exists():
            _write_part(config, part, working, parents, digest)
        progress.advance(part.stop - part.start)
    progress.finish()
    facts = _finish(config, parts, working, digest)
    _replace(working, final)
    return Report(
        stage="simulate",
        n_in=config.n_sources,
        n_out=config.n_sources,
        seconds=time.monotonic() - began,
        outputs={"survey": str(final), "facts": str(final / SURVEY_FILE)},
        facts=facts,
    )


def _science(config: Simulate) -> SurveyConfig:
    return SurveyConfig(n_sources=config.n_sources, seed=config.seed, label_noise=config.label_noise)


def _check_output(final: Path) -> None:
    """Refuse to replace anything but a survey."""
    if not final.exists() or (final / SURVEY_FILE).is_file():
        return
    if final.is_dir() and not any(final.iterdir()):
        return
    what = "a folder without survey.json" if final.is_dir() else "a file"
    raise OutputError(f"output {final} is {what}, which simulate does not replace; give another output=FOLDER")


def _working_folder(final: Path, key: str) -> Path:
    """Return the folder of the unfinished survey; what another configuration or other code left there is thrown away."""
    working = final.parent / f".{final.name}.unfinished"
    mark = working / "key"
    try:
        if working.exists() and not (mark.is_file() and mark.read_text() == key):
            shutil.rmtree(working)
        working.mkdir(parents=True, exist_ok=True)
        mark.write_text(key)
    except OSError as error:
        raise OutputError(
            f"cannot write beside {final}: {error.strerror or error}; choose another output path"
        ) from error
    return working


def _write_part(
    config: Simulate, part: _Part, working: Path, parents: Mapping[str, Sequence[str]], digest: str
) -> None:
    """Write the files of one part; the labels come last and say that the part is whole."""
    tables = simulate_part(_science(config), part.start, part.stop, parents)
    for name in (*COLLECTIONS, "labels"):
        record = TableMetadata(kind=KINDS.get(name, name), config_digest=digest)
        write_table(tables[name], part.path(working, name), record)


def _finish(config: Simulate, parts: Sequence[_Part], working: Path, digest: str) -> dict[str, Any]:
    """Merge the labels, write ``survey.json`` and return its content."""
    labels = pa.concat_tables(
        [read_table(part.path(working, "labels")).data.replace_schema_metadata(None) for part in parts]
    )
    write_table(labels, working / "labels.parquet", TableMetadata(kind="labels", config_digest=digest))
    rows = {
        name: sum(read_table(part.path(working, name), columns=[]).metadata.n_rows for part in parts)
        for name in COLLECTIONS
    }
    tags = {name: int(labels[name].to_numpy().sum()) for name in labels.column_names if labels[name].type == pa.int8()}
    native = Counter(labels["native_class"].to_pylist())
    facts = {
        **science_values(_science(config)),
        "config_digest": digest,
        "code_version": code_version(),
        "rows": rows,
        "native_classes": dict(sorted(native.items())),
        "tags": tags,
    }
    with atomic_path(working / SURVEY_FILE) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def _replace(working: Path, final: Path) -> None:
    """Give the finished survey its name; an older one disappears only then."""
    shutil.rmtree(working / "labels")
    (working / "key").unlink()
    old = final.parent / f".{final.name}.old"
    try:
        # Left over only where a run was killed between the two renamings below.
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.replace(old)
        working.replace(final)
    except OSError as error:
        raise OutputError(f"cannot write {final}: {error.strerror or error}; choose another output path") from error
    shutil.rmtree(old, ignore_errors=True)
