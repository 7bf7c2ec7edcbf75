"""Measure the light curves of results/gcn/sources.parquet that were not measured before.

Those that come together are a batch: a folder with its list and the table that generate_features makes of it. A source is
measured with all its light curves, again when one is new or has more epochs, and all are when settings or code changed.
The batches' rows that are still wanted make results/gcn/features/features.parquet. Killed, it goes on where it was.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scope_ml.core.configuration import build, science_values
from scope_ml.core.provenance import Input, TableMetadata, code_digest, digest_json
from scope_ml.doorway.progress import open_progress
from scope_ml.errors import ScopeError
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.generate_features import CODE, PARTS_VERSION, GenerateFeatures
from scope_ml.stages.generate_features import run as generate
from scope_ml.taxonomy.classes import packaged_conf_dir

SETTINGS = Path(__file__).with_name("params.yaml")
SOURCES, FOLDER = Path("results/gcn/sources.parquet"), Path("results/gcn/features")

#: Fact of a batch's list that says with what it is measured.
KEY = "made_with"

#: Facts of a batch's table that all of one key share.
SHARED_FACTS = (
    "features", "feature_digest", "groups", "names", "period_search", "cleaning", "collections", "catalogs", "device", "note",
)  # fmt: skip

#: Fact of the merged table: light curves that a service did not send; the next run asks for them.
OPEN = "n_unanswered"

#: An id and its epochs: more of them, and it is measured again.
LightCurve = tuple[int | str, int | None]

_log = logging.getLogger("gcn.features")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A folder with a list of light curves and, once they are measured, their table."""

    folder: Path

    @property
    def list_path(self) -> Path:
        """Return where the list is."""
        return self.folder / "sources.parquet"

    @property
    def table_path(self) -> Path:
        """Return where the table is."""
        return self.folder / "features.parquet"

    @property
    def key(self) -> str | None:
        """Return with what it is measured, None if it has no list that can be read."""
        try:
            return str(read_table(self.list_path, columns=()).metadata.facts.get(KEY))
        except ScopeError:
            return None

    def measured(self) -> set[LightCurve]:
        """Return the light curves that need not be asked for again, whether they were kept or dropped."""
        if not self.table_path.is_file():
            return set()
        unanswered = self.table_path.with_name(f"{self.table_path.name}.unanswered.parquet")
        lacking = set(read_table(unanswered, columns=["id"]).data["id"].to_pylist()) if unanswered.is_file() else set()
        return {one for one in light_curves(read_table(self.list_path).data) if one[0] not in lacking}


def main() -> int:
    """Return the exit code: 0, or 2 with one line for what the user can mend."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        update(OmegaConf.to_container(OmegaConf.load(SETTINGS), resolve=True))  # type: ignore[arg-type]
    except ScopeError as error:
        sys.stderr.write(f"gcn features: error: {error}\n")
        return 2
    return 0


def update(settings: Mapping[str, Sequence[str]]) -> None:
    """Measure what is new and write the table of all that is wanted."""
    wanted = read_table(SOURCES, kind="gcn_sources").data
    words = [*settings["light_curves"], *settings["features"], "target=source_ids"]
    key = digest_json(
        [PARTS_VERSION, code_digest(*CODE), science_values(composed(words, SOURCES, FOLDER / "features.parquet"))]
    )
    batches = valid_batches(key)
    known = {one: batch for batch in batches for one in batch.measured()}
    new = of_new_sources(wanted, set(known))
    if new.num_rows:
        batch = next_batch(batches)
        _log.info("%d of %d light curves are new", new.num_rows, wanted.num_rows)
        write_table(new, batch.list_path, TableMetadata(kind="gcn_sources", facts={KEY: key}))
        generate(composed(words, batch.list_path, batch.table_path), progress=open_progress())
        batches = [one for one in batches if one.folder != batch.folder] + [batch]
    batches = [batch for batch in batches if batch.table_path.is_file()]
    used = merge(wanted, batches)
    for number, batch in enumerate(batches):
        if number not in used:
            shutil.rmtree(batch.folder)


def composed(words: Sequence[str], path: Path, output: Path) -> GenerateFeatures:
    """Return the configuration of generate_features that words on its command line make."""
    overrides = [*words, f"target.path={path}", f"output={output}"]
    with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
        values = OmegaConf.to_container(compose("generate_features", overrides=overrides), resolve=True)
    return build(GenerateFeatures, {str(name): value for name, value in values.items()})  # type: ignore[union-attr]


def valid_batches(key: str) -> list[Batch]:
    """Return the batches of a key in the order in which they were made; remove those of another."""
    batches = [Batch(folder=folder) for folder in sorted((FOLDER / "batches").glob("*")) if folder.is_dir()]
    for batch in batches:
        if batch.key != key:
            shutil.rmtree(batch.folder)
    return [batch for batch in batches if batch.folder.is_dir()]


def next_batch(batches: Sequence[Batch]) -> Batch:
    """Return the batch that was not finished, or else a new one behind all others."""
    unfinished = [batch for batch in batches if not batch.table_path.is_file()]
    if unfinished:
        return unfinished[-1]
    last = max((int(batch.folder.name) for batch in batches), default=0)
    return Batch(folder=FOLDER / "batches" / f"{last + 1:06d}")


def light_curves(rows: pa.Table) -> list[LightCurve]:
    """Return the id of each row and how many epochs it has."""
    return list(zip(rows["id"].to_pylist(), rows["n_epochs"].to_pylist(), strict=True))


def of_new_sources(wanted: pa.Table, known: set[LightCurve]) -> pa.Table:
    """Return the light curves of those sources of which one or more were not measured: colours need all of a star."""
    names = wanted["fritz_name"].to_pylist()
    new = {name for name, one in zip(names, light_curves(wanted), strict=True) if one not in known}
    return wanted.filter(pa.array([name in new for name in names], pa.bool_()))


def merge(wanted: pa.Table, batches: Sequence[Batch]) -> set[int]:
    """Write the rows of the light curves that are wanted, in the order of ids; return which batches they are of.

    Each is of the newest batch that measured it.
    """
    tables = [read_table(batch.table_path, kind="features") for batch in batches]
    newest = {one: number for number, batch in enumerate(batches) for one in batch.measured()}
    made_by = {one[0]: newest.get(one) for one in light_curves(wanted)}
    kept = [
        table.data.filter(pa.array([made_by.get(one) == number for one in table.data["id"].to_pylist()], pa.bool_()))
        for number, table in enumerate(tables)
    ]
    # A source may have been renamed since it was measured; an event says nothing of a light curve.
    name_of = dict(zip(wanted["id"].to_pylist(), wanted["fritz_name"].to_pylist(), strict=True))
    rows = pa.concat_tables(kept).sort_by([("id", "ascending"), ("band", "ascending")]).combine_chunks()
    names = pa.array([name_of[one] for one in rows["id"].to_pylist()], pa.string())
    rows = rows.set_column(rows.column_names.index("fritz_name"), "fritz_name", names)
    last = tables[-1].metadata
    catalogs = {one for table in tables for one in table.metadata.inputs if one.name != "light_curves"}
    epochs = digest_json(sorted(light_curves(wanted), key=str))
    inputs = (Input(name="light_curves", digest=epochs, n_rows=wanted.num_rows), *sorted(catalogs, key=str))
    n_open = sum(number is None for number in made_by.values())
    facts = {name: last.facts[name] for name in SHARED_FACTS if name in last.facts}
    if n_open:
        facts[OPEN] = n_open
        _log.warning("%d light curves were not sent by the service; the next run asks for them", n_open)
    write_table(rows, FOLDER / "features.parquet", replace(last, inputs=inputs, facts=facts))
    _log.info("%d of %d light curves have features", rows.num_rows, wanted.num_rows)
    return {number for number in made_by.values() if number is not None}


if __name__ == "__main__":
    raise SystemExit(main())
