"""A training set with the votes of Fritz in it: a new table beside the old one, every change listed.

Rows that are there stay, with their own `obj_id`; what votes decide replaces what they say, a class that votes leave undecided
becomes unknown, and a class nobody has posted keeps its label. Rows that are not there are appended. May import datasets,
taxonomy, services (records), core and errors, and the rooms of stages beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.datasets.identifiers import shared_rows
from scope_ml.datasets.labels import LABEL_THRESHOLD
from scope_ml.datasets.stars import nearest_positions
from scope_ml.errors import ConfigError, DataError
from scope_ml.services.fritz.records import Source
from scope_ml.stages.fritz_merge import LightCurves
from scope_ml.stages.fritz_votes import MEMBER, NO_MEMBER, Decision
from scope_ml.stages.training_set_file import TrainingSet
from scope_ml.stages.training_set_table import Draft
from scope_ml.taxonomy.fritz_names import NONVAR

__all__ = ["NEW_NAME", "TrainingUpdate", "Updated", "included", "updated"]

#: Name of a training set that is made of votes alone, behind the prefix.
NEW_NAME = "labels.parquet"

#: Why a source is not in the training set, in words of a report.
NO_CLASS, NO_LIGHT_CURVE = "no_class_counts", "no_light_curve"


@dataclass(frozen=True, kw_only=True)
class TrainingUpdate:
    """How the votes go into a training set."""

    path: str | None = option(
        None, machine=True, doc="the old one: a label table, or SCoPe's one table with ztf_id; null: none"
    )
    prefix: str = option("updated_AL", machine=True, doc="the new one is PREFIX_<name of the old one>, beside it")
    output: str | None = option(None, machine=True, doc="the new one's path, where it is to be another")
    absent: Literal["negative", "unknown"] = option(
        "negative", doc="new rows: what a class is that nobody has posted on the source"
    )
    rows: Literal["decided", "newest"] = option(
        "decided",
        doc="rows that are there: decided keeps labels on which nothing was posted; newest replaces all, as SCoPe",
    )
    rejected: bool = option(False, doc="also sources of which all is voted down: 0 there, unknown elsewhere")
    exclusive: tuple[str, ...] = option(
        ("ea,eb,ew", "rrab,rrc,rrd"),
        doc="classes of which a star is one at most: more votes win, a tie leaves both open",
    )


@dataclass(kw_only=True)
class Updated:
    """A new training set, and what became of everything.

    Attributes
    ----------
    table
        Old rows in their order, then new ones.
    changes
        One row a label that changed or was added: `kind`, `row` (from 0), `obj_id`, `key`, `class`, `before`, `after`, `reason`.
    n_old, n_added, n_changed, n_same
        Rows of the old set; appended; of the old ones with votes those that changed and those that did not.
    left_out
        Sources that are not in it, by reason.
    warnings
        One line each.
    """

    table: pa.Table
    changes: pa.Table
    n_old: int
    n_added: int = 0
    n_changed: int = 0
    n_same: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


def included(decisions: Mapping[str, Decision], *, rejected: bool) -> bool:
    """Return whether a source has its place in a training set: a member of a class; with `rejected` also what is voted down."""
    verdicts = {one.verdict for one in decisions.values()}
    return MEMBER in verdicts or (rejected and NO_MEMBER in verdicts)


def updated(
    old: TrainingSet,
    sources: Sequence[Source],
    decisions: Sequence[Mapping[str, Decision]],
    light_curves: LightCurves | None,
    merged: pa.Table | None,
    config: TrainingUpdate,
    *,
    radius_arcsec: float,
) -> Updated:
    """Return the training set with the votes in it.

    Parameters
    ----------
    old
        As it was read.
    sources, decisions
        What was downloaded, and what the votes say of each.
    light_curves, merged
        The light curves of the sources and one row of each with all that is known; None without features: then rows are
        told apart by position.
    config
        How.
    radius_arcsec
        How far a row's position may be from its source, where positions tell rows apart [arcsec].

    Raises
    ------
    ConfigError
        If the old set goes by id and there are no features to tell the ids of sources.
    """
    update = _Update(old, sources, decisions, config)
    pairs = update.by_position(radius_arcsec) if old.key is None else update.by_id(light_curves)
    for key, source, light_curve in pairs:
        update.put(key, source, light_curve)
    update.put_by_name()
    return update.finished(merged)


class _Update:
    """The work on one training set."""

    def __init__(
        self,
        old: TrainingSet,
        sources: Sequence[Source],
        decisions: Sequence[Mapping[str, Decision]],
        config: TrainingUpdate,
    ) -> None:
        self.old, self.sources, self.decisions, self.config = old, sources, decisions, config
        # A class without a column gets one by its tag; that of non-variable stars says no more than a 0 of the others.
        said = dict.fromkeys(tag for one in decisions for tag, decision in one.items() if decision.basis != "open")
        self.draft = Draft.of(old, sources, [tag for tag in said if tag != NONVAR])
        self.changes: list[dict[str, Any]] = []
        #: Old rows of each source, where positions tell rows apart.
        self._rows_at: dict[int, list[int]] = {}
        self.result = Updated(table=old.table, changes=pa.table({}), n_old=old.table.num_rows)
        for one in decisions:
            if not included(one, rejected=config.rejected):
                self.result.left_out[NO_CLASS] += 1

    def by_id(self, light_curves: LightCurves | None) -> list[tuple[Any, int, int]]:
        """Return (id, source, light curve) of the included sources; several light curves of one id are one row."""
        if light_curves is None:
            raise ConfigError(
                f"{self.old.name} goes by '{self.old.key}', which Fritz does not know; give features=FEATURES or"
                " features=kowalski, which say whose light curves these are",
                key="features",
            )
        ids = self._ids(light_curves.table)
        nearest: dict[Any, tuple[float, int, int]] = {}
        for row, (key, source) in enumerate(zip(ids.to_pylist(), light_curves.source.tolist(), strict=True)):
            candidate = (float(light_curves.apart[row]), source, row)
            if self._is_included(source) and (key not in nearest or candidate < nearest[key]):
                nearest[key] = candidate
        return [(key, source, row) for key, (_, source, row) in nearest.items()]

    def by_position(self, radius_arcsec: float) -> list[tuple[Any, int, int]]:
        """Return (None, source, -1) of the included sources, and note which old rows lie at them, or bear their names."""
        chosen = [source for source in range(len(self.sources)) if self._is_included(source)]
        table = self.old.table
        places = [
            np.array([value if value is not None else np.nan for value in table[one].to_pylist()], dtype=np.float64)
            for one in ("ra", "dec")
        ]
        ra, dec = (
            np.array([getattr(self.sources[one], axis) for one in chosen], dtype=np.float64) for axis in ("ra", "dec")
        )
        nearest, apart = nearest_positions(places[0], places[1], ra, dec)
        for row in np.flatnonzero(apart <= radius_arcsec).tolist():
            self.draft.met[row] = (chosen[int(nearest[row])], -1)
        self._meet_by_name()
        for row, (source, _) in sorted(self.draft.met.items()):
            self._rows_at.setdefault(source, []).append(row)
        return [(None, source, -1) for source in chosen]

    def put(self, key: Any, source: int, light_curve: int) -> None:
        """Change the rows of a source or a light curve, or note that there is none yet."""
        if self.old.key is None:
            rows = self._rows_at.get(source, [])
        else:
            rows = self._rows.get(key, [])
            self.draft.met |= {row: (source, light_curve) for row in rows}
        for row in rows:
            self._change(row, source)
        if not rows:
            self._add(key, source, light_curve)

    def put_by_name(self) -> None:
        """Change the old rows that bear a source's name, whichever light curve they are of: they are of the same star."""
        for row in self._meet_by_name():
            self._change(row, self.draft.met[row][0])

    def finished(self, merged: pa.Table | None) -> Updated:
        """Return the new table."""
        changed = {change["row"] for change in self.changes if change["kind"] == "changed"}
        self.result.n_added, self.result.n_changed = len(self.draft.added), len(changed)
        self.result.n_same = len(self.draft.met) - len(changed)
        self.result.table, without = self.draft.table(merged)
        if without:
            self.result.warnings.append(
                f"{len(without)} columns of {self.old.name} have no value in the {len(self.draft.added)} new rows:"
                f" {', '.join(without[:8])}{', ...' if len(without) > 8 else ''}"
            )
        have = {source for _, source, _ in self.draft.added} | {source for source, _ in self.draft.met.values()}
        self.result.left_out[NO_LIGHT_CURVE] += sum(
            self._is_included(source) and source not in have for source in range(len(self.sources))
        )
        schema = {
            "kind": pa.string(),
            "row": pa.int64(),
            "obj_id": pa.string(),
            "key": pa.string(),
            "class": pa.string(),
        }
        schema |= {"before": pa.float64(), "after": pa.float64(), "reason": pa.string()}
        self.result.changes = pa.Table.from_pylist(self.changes, schema=pa.schema(list(schema.items())))
        if self.result.table.num_rows != self.result.n_old + self.result.n_added:
            raise DataError(
                f"{self.old.name}: {self.result.n_old} rows and {len(self.draft.added)} new ones do not add up"
            )
        return self.result

    def _meet_by_name(self) -> list[int]:
        """Note which old rows bear a source's name and belong to none yet; return them."""
        numbers = {source.id: number for number, source in enumerate(self.sources) if self._is_included(number)}
        rows = [row for row, name in enumerate(self.draft.names) if name in numbers and row not in self.draft.met]
        self.draft.met |= {row: (numbers[str(self.draft.names[row])], -1) for row in rows}
        return rows

    def _is_included(self, source: int) -> bool:
        return included(self.decisions[source], rejected=self.config.rejected)

    def _ids(self, table: pa.Table) -> pa.Array:
        """Return of light curves the ids that the old set goes by: stars or light curves, whichever are more of its own."""
        assert self.old.key is not None
        own = one_chunk(self.old.table[self.old.key])
        has_stars = "source_id" in table.column_names and not table["source_id"].null_count
        names = ["source_id", "id"] if has_stars else ["id"]
        columns = [exact_ids(table[name], name, where="features") for name in names]
        if self.old.form == "one_table" or not len(own):
            best = columns[-1]
        else:
            best = max(columns, key=lambda column: int((shared_rows(column, own) >= 0).sum()))
        try:
            return best if not len(own) or own.type == best.type else best.cast(own.type)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self.old.name}: ids are {own.type} there and text in the features ({error}); give the features that the"
                " training set was made with"
            ) from error

    @cached_property
    def _rows(self) -> dict[Any, list[int]]:
        """Rows of the old set by id."""
        found: dict[Any, list[int]] = {}
        for row, key in enumerate(self.old.table[str(self.old.key)].to_pylist()):
            found.setdefault(key, []).append(row)
        return found

    def _new_value(self, source: int, tag: str) -> float | None:
        """Return the label of a class in a row that has none yet."""
        known = self.decisions[source].get(tag)
        if known is not None:
            return {MEMBER: 1.0, NO_MEMBER: 0.0}.get(known.verdict)
        is_member_of_some = included(self.decisions[source], rejected=False)
        return 0.0 if self.config.absent == "negative" and is_member_of_some else None

    def _change(self, row: int, source: int) -> None:
        for tag, values in self.draft.labels.items():
            known = self.decisions[source].get(tag)
            open_now = bool(self.draft.uncertain) and tag in self.draft.uncertain[row]
            before = None if open_now else values[row]
            after = self._new_value(source, tag)
            if self.config.rows == "decided":
                if known is None or known.basis == "open":
                    continue
                # What only follows changes which side a label is on, not how sure it was.
                same_side = (
                    before is not None and after is not None and (before > LABEL_THRESHOLD) == (after > LABEL_THRESHOLD)
                )
                if known.basis == "follows" and same_side:
                    continue
            if before != after:
                values[row] = after
                if open_now:
                    self.draft.uncertain[row].remove(tag)
                self._note("changed", row, source, tag, before, after)
        self.draft.names[row] = self.draft.names[row] or self.sources[source].id

    def _add(self, key: Any, source: int, light_curve: int) -> None:
        row = self.result.n_old + len(self.draft.added)
        self.draft.added.append((key, source, light_curve))
        for tag, values in self.draft.labels.items():
            values.append(self._new_value(source, tag))
            known = self.decisions[source].get(tag)
            if known is not None and known.basis != "open" and (known.verdict == MEMBER or known.basis == "own"):
                self._note("added", row, source, tag, None, values[-1])

    def _note(self, kind: str, row: int, source: int, tag: str, before: float | None, after: float | None) -> None:
        known = self.decisions[source].get(tag)
        key = self.draft.key_of(row)
        self.changes.append(
            {
                "kind": kind,
                "row": row,
                "obj_id": self.sources[source].id,
                "key": None if key is None else str(key),
                "class": tag,
                "before": before,
                "after": after,
                "reason": known.reason if known else "nobody has posted it",
            }
        )
