"""What `classify` writes for people: one row a scored light curve, one a light curve or star that has no score.

Every star that was asked for is in one of the two tables. May import `requested_sources`, io, core and errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.sphere import separation_arcsec
from scope_ml.features.registry import IDENTITY
from scope_ml.io.tables import Table, read_table, write_table
from scope_ml.stages.requested_sources import Request

__all__ = ["NEARER", "NOT_FOUND", "Outcome", "join_outcome", "significance_of"]

#: Why a star has no score, where no light curve was dropped.
NOT_FOUND = "no_light_curve"
NEARER = "nearer_to_another_star"

#: Order of bands in the tables; others come after, by name.
BANDS = ("g", "r", "i")

#: Columns about the light curve that the scores are given with.
FACTS = ("n_obs", "n_obs_raw")

#: Columns of the table of what has no score, with units in `UNITS`.
UNSCORED = pa.schema(
    [
        ("name", pa.string()),
        ("id", pa.string()),
        ("band", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("reason", pa.string()),
        ("n_obs", pa.int32()),
        ("n_obs_raw", pa.int32()),
        ("n_obs_needed", pa.int32()),
    ]
)
UNITS = {"ra": "deg", "dec": "deg", "separation_arcsec": "arcsec"}

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What became of the stars.

    Attributes
    ----------
    scores
        One row a scored light curve: `name`, which one it is, `separation_arcsec` from the asked position, points,
        periods, scores; stars in the order in which they were asked for.
    unscored
        One row a light curve that was dropped, or a star without any: the columns `UNSCORED`.
    details
        What is told of the same light curves beside their scores: columns of the feature table.
    star, unscored_star
        Which of the asked stars each row of these is of; int64.
    stars
        Distinct stars by what became of them: ``scored``, ``dropped`` (none of its light curves could be used) and
        ``not_found``.
    reasons
        Rows of `unscored` by reason.
    metadata
        Record of the predictions.
    """

    scores: pa.Table
    unscored: pa.Table
    details: pa.Table
    star: Ints
    unscored_star: Ints
    stars: Mapping[str, int]
    reasons: Mapping[str, int]
    metadata: TableMetadata

    def write(self, scores: Path, unscored: Path) -> None:
        """Write the two tables.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        lasting = replace(self.metadata, kind="scores", columns=())
        write_table(self.unscored, unscored, replace(lasting, kind="unscored", facts={"reasons": dict(self.reasons)}))
        write_table(self.scores, scores, lasting)


def join_outcome(  # noqa: PLR0913 - the tables of a run
    request: Request,
    *,
    light_curves: Path,
    features: Path,
    dropped: Path,
    predictions: Path,
    periods: Mapping[str, str],
    in_doubt: Sequence[str],
    missing: pa.Table | None,
    min_n_obs: int,
) -> Outcome:
    """Join what the stages wrote.

    Parameters
    ----------
    request
        The stars.
    light_curves, features, dropped, predictions
        Tables of the run.
    periods
        Column of the feature table by period search.
    in_doubt
        Score columns of models that know too little; named in the column `in_doubt`.
    missing
        Light curves and positions that a service did not send, with the reason (`services.account`); None of files.
    min_n_obs
        Points that a light curve must keep.
    """
    found = read_table(light_curves, columns=IDENTITY).data
    star_of_found = request.index_of(found)
    measured = _measured(features, periods)
    scored = read_table(predictions, kind="predictions")
    scores, star, order = _scores(request, measured, scored, periods, in_doubt)
    lost = _lost(read_table(dropped).data, found, star_of_found)
    lost += _not_sent(request, missing)
    lost += _not_found(request, found, {int(value) for value in (*star, *(row["star"] for row in lost))})
    lost.sort(key=lambda row: (row["star"], _rank(row.get("band")), str(row.get("id"))))
    names = request.sources["name"].to_pylist()
    for row in lost:
        row["name"] = names[row["star"]] if row["star"] >= 0 else None
        row["n_obs_needed"] = min_n_obs if row.get("n_obs") is not None else None
    unscored = pa.Table.from_pylist([{name: row.get(name) for name in UNSCORED.names} for row in lost], UNSCORED)
    has_score, has_loss = set(star.tolist()), {row["star"] for row in lost if row.get("n_obs_raw") is not None}
    n_scored, n_dropped = len(has_score), len(has_loss - has_score)
    return Outcome(
        scores=_with_units(scores, scored),
        details=measured.take(pa.array(order, pa.int64())),
        unscored=_with_units(unscored, None),
        star=star,
        unscored_star=np.array([row["star"] for row in lost], dtype=np.int64),
        stars={
            "scored": n_scored,
            "dropped": n_dropped,
            "not_found": request.sources.num_rows - n_scored - n_dropped,
        },
        reasons=dict(sorted(Counter(row["reason"] for row in lost).items())),
        metadata=scored.metadata,
    )


def _measured(features: Path, periods: Mapping[str, str]) -> pa.Table:
    """Return of the feature table what is told of each light curve; not the images and shapes, which are large."""
    available = [column.name for column in read_table(features, columns=()).metadata.columns]
    wanted = {
        *FACTS,
        "band",
        "ra",
        "dec",
        "status",
        "quality",
        *periods.values(),
        *map(significance_of, periods.values()),
    }
    told = [name for name in available if name in wanted or name.startswith("colour_") or name.endswith("___id")]
    return read_table(features, columns=told).data


def significance_of(period: str) -> str:
    """Return the column of the significance that belongs to a column of periods."""
    return period.replace("period_", "significance_", 1)


def _scores(
    request: Request, measured: pa.Table, scored: Table, periods: Mapping[str, str], in_doubt: Sequence[str]
) -> tuple[pa.Table, Ints, list[int]]:
    """Return the rows of the scored light curves in the order of the stars, the star and the place before of each."""
    table = scored.data
    key = "id" if "id" in table.column_names else "_id"
    identity = [name for name in IDENTITY if name in table.column_names and name != "id"]
    where = pa.table({"id": table[key], "ra": measured["ra"], "dec": measured["dec"]})
    star = request.index_of(where)
    names = one_chunk(request.sources["name"]).take(pa.array(star, mask=star < 0))
    columns: dict[str, Any] = {"name": names, "id": table[key]}
    columns |= {name: table[name] for name in identity}
    columns |= {"band": measured["band"], "separation_arcsec": _separation(request, where, star)}
    columns |= {name: measured[name] for name in FACTS}
    rest = [name for name in table.column_names if name not in (*columns, "_id")]
    about_period = [name for name in rest if name.startswith("period")]
    columns |= {name: table[name] for name in about_period}
    columns |= {name: measured[name] for name in periods.values() if name in measured.column_names}
    columns |= {"period_status": measured["status"]}
    columns |= {name: table[name] for name in rest if name not in about_period}
    columns |= {"in_doubt": pa.array([" ".join(in_doubt) or None] * table.num_rows, pa.string())}
    rows = pa.table(columns)
    bands = rows["band"].to_pylist()
    ids = [str(value) for value in rows["id"].to_pylist()]
    order = sorted(range(rows.num_rows), key=lambda row: (star[row], _rank(bands[row]), ids[row]))
    return rows.take(pa.array(order, pa.int64())), star[order] if order else star, order


def _lost(dropped: pa.Table, found: pa.Table, star_of_found: Ints) -> list[dict[str, Any]]:
    """Return the light curves that the cleaning dropped, with their place and star."""
    place_of: dict[tuple[str, str | None], int] = {}
    for row, key in enumerate(zip(found["id"].to_pylist(), found["band"].to_pylist(), strict=True)):
        place_of.setdefault((str(key[0]), key[1]), row)
    ra, dec = found["ra"].to_pylist(), found["dec"].to_pylist()
    lost = []
    for one in dropped.to_pylist():
        row = place_of[str(one["id"]), one["band"]]
        known = {name: one[name] for name in ("band", "reason", "n_obs", "n_obs_raw")}
        lost.append({**known, "id": str(one["id"]), "ra": ra[row], "dec": dec[row], "star": int(star_of_found[row])})
    return lost


def _not_sent(request: Request, missing: pa.Table | None) -> list[dict[str, Any]]:
    """Return the light curves that a service was asked for in vain, with their star."""
    if missing is None or not missing.num_rows:
        return []
    known = missing.filter(pc.is_valid(missing["id"])) if request.selection.positions is None else missing
    stars = request.index_of(known).tolist()
    return [
        {**row, "id": None if row["id"] is None else str(row["id"]), "star": star}
        for row, star in zip(known.to_pylist(), stars, strict=True)
    ]


def _not_found(request: Request, found: pa.Table, reached: set[int]) -> list[dict[str, Any]]:
    """Return the stars of which nothing came; of one whose light curves are nearer to another star, that is said."""
    hit = request.found(found)
    rows = []
    for number, source in enumerate(request.sources.to_pylist()):
        if number not in reached:
            place = {name: source.get(name) for name in ("ra", "dec")}
            name = None if source.get("id") is None else str(source["id"])
            rows.append({"star": number, "id": name, **place, "reason": NEARER if hit[number] else NOT_FOUND})
    return rows


def _separation(request: Request, where: pa.Table, star: Ints) -> pa.Array:
    """Return how far each light curve is from where its star was asked for [arcsec]; null where it was not."""
    if "ra" not in request.sources.column_names or not where.num_rows:
        return pa.nulls(where.num_rows, pa.float64())
    places = [one_chunk(request.sources[name]).take(pa.array(star, mask=star < 0)) for name in ("ra", "dec")]
    arrays = [
        one_chunk(column).cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        for column in (*places, where["ra"], where["dec"])
    ]
    return pa.array(separation_arcsec(*arrays), from_pandas=True)


def _rank(band: str | None) -> tuple[int, str]:
    return (BANDS.index(band), "") if band in BANDS else (len(BANDS), band or "")


def _with_units(table: pa.Table, scored: Table | None) -> pa.Table:
    """Return the table with a unit for each column that has one, and nothing else in its schema."""
    known = {column.name: column.unit for column in scored.metadata.columns} if scored is not None else {}
    fields = []
    for field in table.schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode() or UNITS.get(field.name) or known.get(field.name, "")
        fields.append(field.with_metadata({b"unit": unit.encode()} if unit else {}))
    return table.cast(pa.schema(fields))
