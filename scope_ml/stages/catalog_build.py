"""The passes that make a catalogue, one after the other, each gone on with where a killed run was.

    find_places     where light curves are: cells of the sky, and which stand twice
    cut             partitions of at most so many; which of an older catalogue are still what they were
    route           each light curve to the spool of its partition, and of those it is near to
    look · settle   the stars that each partition sees, and those on which they have to agree
    make            one Parquet file a partition

May import io, core, errors and the other `catalog_` rooms below it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.errors import DataError, EmptySelectionError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.hats_writer import partition_path
from scope_ml.io.healpix import cells_at, cut_sky, order_wider_than
from scope_ml.io.partition_spool import disk_errors, spooled
from scope_ml.stages.catalog_inputs import ScoreFile
from scope_ml.stages.catalog_kept import Standing, proven, take_over
from scope_ml.stages.catalog_partitions import Making, make_partition
from scope_ml.stages.catalog_plan import IDENTITY, Plan, check_unchanged
from scope_ml.stages.catalog_twice import rows_twice
from scope_ml.stages.catalog_units import REASONS, Cutting, Unit, find_places, load_arrays, route, touched, units_of
from scope_ml.stages.catalog_views import look, settle
from scope_ml.stages.catalog_workers import Crew

__all__ = ["FIELDS_NAMED", "Built", "build_catalogue"]

IntArray = npt.NDArray[np.int64]

#: Order of the cells (3.4 arcmin) by which light curves are counted; partitions are not cut further.
COUNTED_ORDER = 10

#: Fields that a message names.
FIELDS_NAMED = 5

#: Rows of a unit, and bytes of its values.
UNIT_ROWS, UNIT_BYTES = 1 << 19, 256 << 20


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was made: partitions with their counts, and the light curves that are in none, by reason."""

    partitions: tuple[Mapping[str, Any], ...]
    n_read: int
    dropped: Mapping[str, int]
    n_kept: int
    n_resumed: int

    @property
    def n_made(self) -> int:
        """Return the partitions with stars that were made anew."""
        return sum(bool(one["n_stars"]) for one in self.partitions) - self.n_kept


def build_catalogue(plan: Plan, standing: Sequence[Standing], crew: Crew, progress: Progress) -> Built:
    """Make the partitions of a catalogue in `plan.catalogue`.

    Parameters
    ----------
    plan
        What.
    standing
        Older catalogues whose partitions may be kept.
    crew
        Who works.
    progress
        Who is told.

    Raises
    ------
    DataError
        If a light curve stands twice with different values, or a table changes while it is read.
    EmptySelectionError
        If no light curve is of a wanted field.
    OutputError
        If a disk is full.
    """
    return _Build(plan, standing, crew, progress).run()


class _Build:
    """One run of the passes."""

    def __init__(self, plan: Plan, standing: Sequence[Standing], crew: Crew, progress: Progress) -> None:
        self.plan, self.standing, self.crew, self.progress = plan, standing, crew, progress
        self.schema = plan.inputs.schema
        row_bytes = sum(field.type.bit_width // 8 if field.type.num_buffers == 2 else 24 for field in self.schema)
        self.units = units_of(plan.inputs.files, max(1, min(UNIT_ROWS, UNIT_BYTES // max(row_bytes, 1))))
        self.places, self.spool, self.views, self.made = (
            plan.work / name for name in ("places", "spool", "views", "made")
        )

    def run(self) -> Built:
        _same_or_cleared(self.plan.work, IDENTITY, self.plan.identity(), ("places", *_SPOOLED))
        n_read, dropped = self._find_places()
        if n_read and dropped["other_field"] == n_read:
            named = ", ".join(map(str, (self.plan.inputs.fields or ())[:FIELDS_NAMED]))
            raise EmptySelectionError(f"none of the {n_read} light curves is of fields {named}; fields=[] takes all")
        left_out = rows_twice(self.units, self.plan.inputs, self.places)
        dropped["twice"] = len(left_out)
        cutting = self._cut()
        of_files, together = self._touched(cutting)
        keys = self._partition_keys(cutting, of_files, together)
        numbers = np.array(sorted(keys), dtype=np.int64)
        kept = proven(self.standing, {_pixel(cutting, number): keys[number] for number in keys})
        is_kept = np.array([_pixel(cutting, number) in kept for number in numbers.tolist()], dtype=bool)
        new = numbers[~is_kept]
        seen = _with_partners(new, together)
        state = {"new": new.tolist(), "seen": seen.tolist()}
        _same_or_cleared(self.plan.work, "routed.json", state, _SPOOLED)
        take_over(kept, self.plan.catalogue)
        self._route(cutting, seen, left_out)
        check_unchanged(self.plan)
        made, n_resumed = self._look_and_make(cutting, new, seen, keys)
        partitions = [*made, *(dict(one.known) for one in kept.values())]
        partitions.sort(key=lambda one: (one["pixel"] << (2 * (29 - one["order"])), one["order"]))
        n_light_curves = sum(one["n_light_curves"] for one in partitions)
        if n_light_curves + sum(dropped.values()) != n_read:
            raise DataError(
                f"the catalogue holds {n_light_curves} light curves and {sum(dropped.values())} were left out, of {n_read}; "
                "light curves were lost or counted twice"
            )
        return Built(
            partitions=tuple(partitions),
            n_read=n_read,
            dropped=dropped,
            n_kept=sum(one.file is not None for one in kept.values()),
            n_resumed=n_resumed,
        )

    def _files(self, unit: Unit) -> dict[int, ScoreFile]:
        """Return the tables of a unit only: what is sent to a process is small."""
        return {piece.file: self.plan.inputs.files[piece.file] for piece in unit.pieces}

    def _each(
        self,
        what: str,
        function: Callable[..., Any],
        common: tuple[Any, ...],
        items: Sequence[tuple[Any, ...]],
        amounts: Sequence[int],
    ) -> list[Any]:
        """Return the results of a function for all items, in their order."""
        results: list[Any] = [None] * len(items)
        self.progress.start(what, sum(amounts))
        for place, result in self.crew.map(function, common, items):
            results[place] = result
            self.progress.advance(amounts[place])
        self.progress.finish()
        return results

    def _find_places(self) -> tuple[int, dict[str, int]]:
        with disk_errors(self.places):
            self.places.mkdir(parents=True, exist_ok=True)
        todo = [unit for unit in self.units if not (self.places / f"{unit.name}.npz").exists()]
        common = (self.schema, self.plan.inputs.fields, self.places)
        items = [(unit, self._files(unit)) for unit in todo]
        self._each("places of light curves", find_places, common, items, [unit.n_rows for unit in todo])
        total = np.zeros(1 + len(REASONS), dtype=np.int64)
        for unit in self.units:
            total += load_arrays(self.places / f"{unit.name}.npz")["counts"]
        return int(total[0]), dict(zip(REASONS, total[1:].tolist(), strict=True))

    def _cut(self) -> Cutting:
        near_order = order_wider_than(self.plan.margin_arcsec)
        # No partition is smaller than its margin: else it would have to look beyond its neighbours.
        order = min(COUNTED_ORDER, near_order)
        counts = np.zeros(12 * 4**order, dtype=np.int32)
        for unit in self.units:
            cells = cells_at(load_arrays(self.places / f"{unit.name}.npz")["cell"], order)
            at, count = np.unique(cells, return_counts=True)
            counts[at] += count.astype(np.int32)
        return Cutting(cells=cut_sky(counts, self.plan.partition_rows), near_order=near_order)

    def _touched(self, cutting: Cutting) -> tuple[IntArray, IntArray]:
        none = np.zeros((0, 2), dtype=np.int64)
        found = self._each(
            "partitions of the sky",
            touched,
            (self.places, cutting),
            [(unit,) for unit in self.units],
            [unit.n_rows for unit in self.units],
        )
        of_files, together = (
            (np.unique(np.concatenate([none, *parts]), axis=0) for parts in zip(*found, strict=True))
            if found
            else (none, none)
        )
        return of_files.astype(np.int64), together.astype(np.int64)

    def _partition_keys(self, cutting: Cutting, of_files: IntArray, together: IntArray) -> dict[int, str]:
        """Return the digest of all that decides on each partition with light curves in it or near to it.

        These are the tables that it sees, and those that the partitions see with which it has to agree.
        """
        sees: dict[int, set[str]] = {}
        said = self._what_is_read()
        for file, partition in of_files.tolist():
            sees.setdefault(partition, set()).add(said[file])
        decides = {partition: set(digests) for partition, digests in sees.items()}
        for one, other in together.tolist():
            decides[one] |= sees[other]
            decides[other] |= sees[one]
        made_with = {"made_with": self.plan.made_with, "margin_arcsec": self.plan.margin_arcsec}
        return {
            partition: digest_json({**made_with, "pixel": _pixel(cutting, partition), "inputs": sorted(digests)})
            for partition, digests in decides.items()
        }

    def _what_is_read(self) -> list[str]:
        """Return what is read of each table: its digest, and the fields where these leave out some of its rows."""
        said = list(self.plan.digests)
        for unit in self.units:
            for file in load_arrays(self.places / f"{unit.name}.npz")["partly"].tolist():
                said[file] = digest_json({"table": self.plan.digests[file], "fields": self.plan.inputs.fields})
        return said

    def _route(self, cutting: Cutting, seen: IntArray, left_out: IntArray) -> None:
        todo = [unit for unit in self.units if not (self.spool / unit.name).is_dir()] if len(seen) else []
        common = (self.schema, self.places, self.spool, cutting, seen, left_out)
        items = [(unit, self._files(unit)) for unit in todo]
        self._each("light curves to their partitions", route, common, items, [unit.n_rows for unit in todo])

    def _look_and_make(
        self, cutting: Cutting, new: IntArray, seen: IntArray, keys: Mapping[int, str]
    ) -> tuple[list[dict[str, Any]], int]:
        plan = self.plan
        with disk_errors(plan.work):
            for folder in (self.views, self.made):
                folder.mkdir(parents=True, exist_ok=True)
        files = spooled([self.spool / unit.name for unit in self.units])
        numbers = [number for number in seen.tolist() if number in files]
        todo = [number for number in numbers if not (self.views / f"{number}.npz").exists()]
        common = (self.schema, plan.search, cutting.cells, self.views)
        self._each("which light curves are one star", look, common, [(n, files[n]) for n in todo], [1] * len(todo))
        agreed = self.plan.work / "agreed.npy"
        with disk_errors(agreed), atomic_path(agreed) as temporary, temporary.open("wb") as stream:
            np.save(stream, settle(self.views, numbers), allow_pickle=False)
        wanted = [number for number in new.tolist() if number in files]
        todo = [number for number in wanted if not (self.made / f"{number}.json").exists()]
        making = Making(
            schema=self.schema,
            search=plan.search,
            rules=plan.rules,
            cells=cutting.cells,
            views=self.views,
            agreed=agreed,
            catalogue=plan.catalogue,
        )
        items = [(number, files[number], _record(plan, keys[number])) for number in todo]
        self._each("stars", _make, (self.made, making), items, [1] * len(todo))
        made = [json.loads((self.made / f"{number}.json").read_text(encoding="utf-8")) for number in wanted]
        return made, len(wanted) - len(todo)


#: Folders that are of no use once the partitions are others.
_SPOOLED = ("routed.json", "spool", "views", "made", "catalogue")


def _make(number: int, files: Sequence[Path], record: TableMetadata, made: Path, making: Making) -> None:
    """Make a partition, and write what came of it."""
    counts = make_partition(number, files, record, making)
    order, pixel = int(making.cells.order[number]), int(making.cells.pixel[number])
    told = {"order": order, "pixel": pixel, "key": record.facts["key"], **counts}
    with disk_errors(made), atomic_path(made / f"{number}.json") as temporary:
        temporary.write_text(json.dumps(told, sort_keys=True), encoding="utf-8")


def _record(plan: Plan, key: str) -> TableMetadata:
    """Return the record of a partition's table; it says nothing that its own key does not say."""
    return TableMetadata(kind="catalogue", config_digest=plan.science, facts={"key": key})


def _pixel(cutting: Cutting, number: int) -> str:
    return str(partition_path(int(cutting.cells.order[number]), int(cutting.cells.pixel[number])))


def _with_partners(new: IntArray, together: IntArray) -> IntArray:
    """Return partitions and those with which they have to agree, sorted."""
    if not len(new):
        return new
    partners = together[np.isin(together, new).any(axis=1)] if len(together) else together
    return np.unique(np.concatenate([new, partners.ravel()])).astype(np.int64)


def _same_or_cleared(work: Path, name: str, state: Mapping[str, Any], folders: Sequence[str]) -> None:
    """Remove what an earlier run left in `folders` if it was made for something else than `state`."""
    path = work / name
    digest = digest_json(state)
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text(encoding="utf-8") == digest:
            return
        for folder in folders:
            there = work / folder
            if there.is_dir():
                shutil.rmtree(there)
            else:
                there.unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(digest, encoding="utf-8")
