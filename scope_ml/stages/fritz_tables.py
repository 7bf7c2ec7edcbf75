"""Tables of downloaded sources: one row a source, one row a classification, one row a period.

A column of a class holds its probability, and `<column>_votes` the net votes: both null where the source is not classified so,
the probability alone null where none was given. With SCoPe's names (`legacy`) a source has SCoPe's columns, several values
joined by ``;``. May import taxonomy, services (records), core and errors, and `fritz_votes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from scope_ml.services.fritz.records import Annotation, Classification, Source
from scope_ml.stages.fritz_fetch import Miss
from scope_ml.stages.fritz_votes import Decision, Tally, tallies
from scope_ml.taxonomy.fritz_mappers import Mapper

__all__ = [
    "VOTES",
    "classification_table",
    "legacy_sources",
    "miss_table",
    "period_table",
    "source_table",
    "unknown_classes",
    "vote_table",
]

#: Ending of a class's column of net votes.
VOTES = "_votes"

#: The key of annotations that is a period, whatever their origin, as SCoPe takes it.
PERIOD = "period"

DEGREES = {"unit": "deg"}


def unknown_classes(sources: Sequence[Source], mapper: Mapper) -> dict[str, int]:
    """Return how many classifications have a class that the mapper has not, by name."""
    names = (one.classification for source in sources for one in source.classifications)
    return dict(sorted(Counter(name for name in names if name not in mapper.inverse).items()))


def source_table(sources: Sequence[Source], mapper: Mapper) -> pa.Table:
    """Return one row a source.

    Columns: `obj_id`, `ra`, `dec` [deg], `created_at` (UTC), `groups`, `labellers` (ids of users; null where the service did
    not tell), `classifications` (their number), `period` and `period_origin` (of the newest annotation with one), and of each
    class of the mapper its probability (of the newest copy) and its net votes.
    """
    itself = {label: label for label in mapper.inverse}
    copies = [_by_label(source) for source in sources]
    votes = [tallies(source.classifications, itself) for source in sources]
    periods = [_periods(source) for source in sources]
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "obj_id": (pa.string(), [source.id for source in sources]),
        "ra": (pa.float64(), [source.ra for source in sources]),
        "dec": (pa.float64(), [source.dec for source in sources]),
        "created_at": (pa.string(), [_text(source.created_at) for source in sources]),
        "groups": (pa.string(), [_joined(source.group_ids) for source in sources]),
        "labellers": (pa.string(), [_labellers(source) for source in sources]),
        "classifications": (pa.int32(), [len(source.classifications) for source in sources]),
        "period": (pa.float64(), [_number(several[-1][1]) if several else None for several in periods]),
        "period_origin": (pa.string(), [several[-1][0] if several else None for several in periods]),
    }
    for label, entry in mapper.inverse.items():
        columns[entry.column] = (pa.float64(), [_newest(by.get(label, ())) for by in copies])
        net = [tally[label].net if label in tally else None for tally in votes]
        columns[f"{entry.column}{VOTES}"] = (pa.int32(), net)
    return _table(columns)


def legacy_sources(sources: Sequence[Source], mapper: Mapper) -> pa.Table:
    """Return one row a source as SCoPe has it.

    `obj_id`, `ra`, `dec`, then `classification`, `probability`, `period_origin`, `period`, `labellers`, `sum_votes`, each joined by
    ``;``, in the order of the service; then a column a class: its probability, 0 where the source is not classified so, null where
    it is without a probability. Of several copies the first counts.
    """
    several = [source.classifications for source in sources]
    periods = [_periods(source) for source in sources]
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "obj_id": (pa.string(), [source.id for source in sources]),
        "ra": (pa.float64(), [source.ra for source in sources]),
        "dec": (pa.float64(), [source.dec for source in sources]),
        "classification": (pa.string(), [_joined(one.classification for one in ones) for ones in several]),
        "probability": (pa.string(), [_joined(_or_nothing(one.probability) for one in ones) for ones in several]),
        "period_origin": (pa.string(), [_joined(origin for origin, _ in ones) for ones in periods]),
        "period": (pa.string(), [_joined(value for _, value in ones) for ones in periods]),
        "labellers": (pa.string(), [_joined(source.labeller_ids or ()) for source in sources]),
        "sum_votes": (pa.string(), [_joined(one.net_votes for one in ones) for ones in several]),
    }
    copies = [_by_label(source) for source in sources]
    for label, entry in mapper.inverse.items():
        first = [by[label][0].probability if label in by else 0.0 for by in copies]
        columns[entry.column] = (pa.float64(), first)
    return _table(columns)


def classification_table(sources: Sequence[Source], mapper: Mapper) -> pa.Table:
    """Return one row a classification, with its votes; `class` is the mapper's column, null where it has none."""
    ones = [one for source in sources for one in source.classifications]
    known = mapper.inverse
    take: Mapping[str, tuple[pa.DataType, Callable[[Classification], Any]]] = {
        "obj_id": (pa.string(), lambda one: one.obj_id),
        "classification": (pa.string(), lambda one: one.classification),
        "class": (pa.string(), lambda one: known[one.classification].column if one.classification in known else None),
        "probability": (pa.float64(), lambda one: one.probability),
        "net_votes": (pa.int32(), lambda one: one.net_votes),
        "votes_for": (pa.int32(), lambda one: sum(vote.vote > 0 for vote in one.votes)),
        "votes_against": (pa.int32(), lambda one: sum(vote.vote < 0 for vote in one.votes)),
        "voters": (pa.string(), lambda one: _joined(vote.voter_id for vote in one.votes)),
        "origin": (pa.string(), lambda one: one.origin),
        "ml": (pa.bool_(), lambda one: one.ml),
        "author": (pa.string(), lambda one: one.author_name),
        "author_id": (pa.int64(), lambda one: one.author_id),
        "taxonomy_id": (pa.int64(), lambda one: one.taxonomy_id),
        "groups": (pa.string(), lambda one: _joined(one.group_ids)),
        "created_at": (pa.string(), lambda one: _text(one.created_at)),
        "modified": (pa.string(), lambda one: _text(one.modified)),
        "id": (pa.int64(), lambda one: one.id),
    }
    return _table({name: (dtype, [of(one) for one in ones]) for name, (dtype, of) in take.items()})


def period_table(sources: Sequence[Source]) -> pa.Table:
    """Return one row a period: every key named `period` of every annotation; null where it is no number."""
    rows = [(source.id, origin, value) for source in sources for origin, value in _periods(source)]
    return _table(
        {
            "obj_id": (pa.string(), [name for name, _, _ in rows]),
            "period_origin": (pa.string(), [origin for _, origin, _ in rows]),
            "period": (pa.float64(), [_number(value) for _, _, value in rows]),
        }
    )


def miss_table(misses: Sequence[Miss]) -> pa.Table:
    """Return one row for each row of the file that has no source of its own, with the reason."""
    names = {"row": pa.int64(), "obj_id": pa.string(), "ra": pa.float64(), "dec": pa.float64()}
    columns = names | {"reason": pa.string(), "detail": pa.string()}
    return _table({name: (dtype, [getattr(one, name) for one in misses]) for name, dtype in columns.items()})


def vote_table(cases: Mapping[str, tuple[Mapping[str, Tally], Mapping[str, Decision]]]) -> pa.Table:
    """Return what was decided of each class of each source, and why; `cases` are votes and decisions by source."""
    rows = [
        (name, tag, votes.get(tag), decision)
        for name, (votes, decisions) in cases.items()
        for tag, decision in decisions.items()
        # What follows for classes without votes is told by those that it follows from.
        if tag in votes or decision.basis == "own"
    ]
    return _table(
        {
            "obj_id": (pa.string(), [name for name, _, _, _ in rows]),
            "class": (pa.string(), [tag for _, tag, _, _ in rows]),
            "net_votes": (pa.int32(), [tally and tally.net for _, _, tally, _ in rows]),
            "votes_for": (pa.int32(), [tally and tally.n_for for _, _, tally, _ in rows]),
            "votes_against": (pa.int32(), [tally and tally.n_against for _, _, tally, _ in rows]),
            "copies": (pa.int32(), [tally and tally.n_copies for _, _, tally, _ in rows]),
            "verdict": (pa.string(), [decision.verdict for _, _, _, decision in rows]),
            "reason": (pa.string(), [decision.reason for _, _, _, decision in rows]),
        }
    )


def _by_label(source: Source) -> dict[str, list[Classification]]:
    found: dict[str, list[Classification]] = {}
    for one in source.classifications:
        found.setdefault(one.classification, []).append(one)
    return found


def _newest(copies: Sequence[Classification]) -> float | None:
    """Return the probability of the copy that was made last."""
    if not copies:
        return None
    return max(copies, key=lambda one: (one.created_at or datetime.min, one.id)).probability


def _periods(source: Source) -> list[tuple[str, Any]]:
    ordered: list[Annotation] = sorted(source.annotations, key=lambda one: one.id)
    return [(one.origin, one.data[PERIOD]) for one in ordered if PERIOD in one.data]


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _labellers(source: Source) -> str | None:
    return None if source.labeller_ids is None else _joined(source.labeller_ids)


def _joined(values: Any) -> str:
    return ";".join(str(value) for value in values)


def _or_nothing(value: float | None) -> str:
    return "" if value is None else str(value)


def _text(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _table(columns: Mapping[str, tuple[pa.DataType, Sequence[Any]]]) -> pa.Table:
    fields = [
        pa.field(name, dtype, metadata=DEGREES if name in ("ra", "dec") else None)
        for name, (dtype, _) in columns.items()
    ]
    arrays = [pa.array(values, dtype) for dtype, values in columns.values()]
    return pa.table(arrays, schema=pa.schema(fields))
