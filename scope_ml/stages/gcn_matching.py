"""Which light curves of a survey are those of sources of Fritz: the nearest source within the radius, on the sphere.

Only ids, places and numbers of epochs are needed. Kowalski is asked for these alone; of files the light curves around the
places are opened. Used by the stage `fritz_gcn`. May import services, io, core, errors and `feature_sources`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.sphere import on_sky, separation_arcsec, unit_vectors
from scope_ml.io.selection import Positions, Selection, nearest_positions
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.plans import find_plan, sorted_places
from scope_ml.services.kowalski.settings import KowalskiConfig

__all__ = [
    "FEW_EPOCHS",
    "NEARER_SOURCE",
    "NOT_ANSWERED",
    "NOT_THERE",
    "NO_POSITION",
    "GcnSource",
    "LightCurves",
    "Matched",
    "light_curves_in_files",
    "light_curves_in_kowalski",
    "match",
]

#: Why a source has no light curve, in words of a report.
NOT_THERE, FEW_EPOCHS, NEARER_SOURCE = "no_light_curve", "few_epochs", "nearer_source"
NO_POSITION, NOT_ANSWERED = "no_position", "not_answered"

#: Events of one source as text.
BETWEEN_EVENTS = ";"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GcnSource:
    """A source of Fritz in the localization of one event or several.

    Attributes
    ----------
    name
        Its id on Fritz.
    ra, dec
        Its place [deg].
    events
        Times of the events, the newest first.
    """

    name: str
    ra: float
    dec: float
    events: tuple[datetime, ...]

    @property
    def event(self) -> str:
        """Return the events as one text."""
        return BETWEEN_EVENTS.join(when.isoformat() for when in self.events)


@dataclass(frozen=True, kw_only=True, eq=False)
class LightCurves:
    """Light curves around places.

    Attributes
    ----------
    ids
        int64 or string (n,); an id may come several times.
    ra, dec
        float64 (n,) [deg].
    n_epochs
        Stored points, int64 (n,); -1 where not known.
    unanswered
        Why it is not known what lies around a place, by (ra, dec) [deg].
    """

    ids: pa.Array
    ra: Floats
    dec: Floats
    n_epochs: npt.NDArray[np.int64]
    unanswered: Mapping[tuple[float, float], str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """Light curves with their sources, and sources without light curves.

    Attributes
    ----------
    light_curves
        `id`, `ra`, `dec` [deg] of the light curve, `fritz_name`, `event`, `distance_arcsec`, `n_epochs`; one row an id,
        sorted by it.
    without
        `fritz_name`, `ra`, `dec` [deg], `event`, `reason`; sorted by name.
    """

    light_curves: pa.Table
    without: pa.Table


def light_curves_in_kowalski(
    asks: Asks, catalog: str, places: Positions, *, config: KowalskiConfig, bands: Sequence[str], progress: Progress
) -> LightCurves:
    """Return the light curves that Kowalski has around places; places without an answer are named.

    Raises
    ------
    ServiceError
        If the service is down, or refuses the credentials or the query.
    """
    progress.start("light curves around sources", len(sorted_places(places)))
    plan = find_plan(asks, catalog, Selection(positions=places), config=config, bands=bands, progress=progress)
    where = sorted_places(places).tolist()
    return LightCurves(
        ids=plan.table["id"].combine_chunks(),
        ra=plan.table["ra"].to_numpy(),
        dec=plan.table["dec"].to_numpy(),
        n_epochs=plan.table["nobs"].cast(pa.int64()).fill_null(-1).to_numpy(),
        unanswered={(where[at][0], where[at][1]): reason for at, reason in plan.open.items()},
    )


def light_curves_in_files(
    opens: Callable[[Selection], LightCurveSource], places: Positions, *, progress: Progress
) -> LightCurves:
    """Return the light curves of files, or of an archive, around places.

    Raises
    ------
    ScopeError
        If they cannot be read.
    """
    source = opens(Selection(positions=places))
    progress.start("light curves around sources", source.n_rows)
    ids, columns = [], []
    for chunk in source.chunks():
        ids.append(exact_ids(chunk.rows["id"], "id", where="light curves"))
        columns.append([*(chunk.rows[name].to_numpy() for name in ("ra", "dec")), chunk.batch.n_obs])
        progress.advance(chunk.rows.num_rows)
    ra, dec, n_epochs = (np.concatenate([np.zeros(0), *(one[at] for one in columns)]) for at in range(3))
    return LightCurves(
        ids=pa.concat_arrays(ids) if ids else pa.array([], pa.int64()),
        ra=ra,
        dec=dec,
        n_epochs=n_epochs.astype(np.int64),
    )


def places_of(sources: Sequence[GcnSource]) -> tuple[Floats, Floats]:
    """Return right ascensions in [0, 360] and declinations [deg] of sources; NaN where one has no place on the sky."""
    ra, dec = (np.array([getattr(one, name) for one in sources], dtype=np.float64) for name in ("ra", "dec"))
    known = on_sky(ra, dec)
    return np.where(known, ra % 360.0, np.nan), np.where(known, dec, np.nan)


def match(
    sources: Sequence[GcnSource], around: Callable[[Positions], LightCurves], *, radius_arcsec: float, min_epochs: int
) -> Matched:
    """Give each light curve to the nearest source within the radius.

    Parameters
    ----------
    sources
        One a name.
    around
        Finds light curves around places; not asked where there are none.
    radius_arcsec
        Largest distance, inclusive [arcsec].
    min_epochs
        Light curves with fewer points are left out; of those whose number is not known, none.
    """
    from scipy.spatial import cKDTree

    sources = sorted(sources, key=lambda one: one.name)
    ra, dec = places_of(sources)
    placed = np.flatnonzero(np.isfinite(ra))
    if not len(placed):
        return Matched(
            light_curves=_rows(sources, _none_found()), without=_without(sources, [NO_POSITION] * len(sources))
        )
    found = around(Positions(ra[placed], dec[placed], radius_arcsec))
    # Of sources at the very same place the first by name counts, whatever the tree would say.
    _, first = np.unique(np.column_stack([ra[placed], dec[placed]]), axis=0, return_index=True)
    distinct = placed[np.sort(first)]
    tree = cKDTree(unit_vectors(ra[distinct], dec[distinct]))
    at = nearest_positions(tree, found.ra, found.dec, radius_arcsec)
    near = np.flatnonzero(at >= 0)
    owner = distinct[at[near]]
    apart = separation_arcsec(found.ra[near], found.dec[near], ra[owner], dec[owner])
    enough = (found.n_epochs[near] >= min_epochs) | (found.n_epochs[near] < 0)
    hits = pa.table(
        {
            "id": found.ids.take(pa.array(near)),
            "ra": found.ra[near],
            "dec": found.dec[near],
            "source": owner,
            "distance_arcsec": apart,
            "n_epochs": found.n_epochs[near],
        }
    ).filter(pa.array(enough))
    kept = _one_row_an_id(hits)
    has_some = set(kept["source"].to_pylist())
    reasons = _reasons(sources, (ra, dec), found, few=set(owner[~enough].tolist()), radius_arcsec=radius_arcsec)
    lacking = [number for number in range(len(sources)) if number not in has_some]
    return Matched(
        light_curves=_rows(sources, kept),
        without=_without([sources[number] for number in lacking], [reasons(number) for number in lacking]),
    )


def _one_row_an_id(hits: pa.Table) -> pa.Table:
    """Return the nearest row of each id, sorted by id."""
    keys = [(name, "ascending") for name in ("id", "distance_arcsec", "source")]
    ordered = hits.sort_by(keys)
    ids = ordered["id"].to_pylist()
    first = [number == 0 or one != ids[number - 1] for number, one in enumerate(ids)]
    return ordered.filter(pa.array(first, pa.bool_()))


def _none_found() -> pa.Table:
    return pa.table(
        {
            "id": pa.array([], pa.int64()),
            **{name: pa.array([], pa.float64()) for name in ("ra", "dec", "distance_arcsec")},
            **{name: pa.array([], pa.int64()) for name in ("source", "n_epochs")},
        }
    )


def _rows(sources: Sequence[GcnSource], hits: pa.Table) -> pa.Table:
    """Return light curves with the facts of their sources."""
    owners = [sources[number] for number in hits["source"].to_pylist()]
    degrees, arcsec = {b"unit": b"deg"}, {b"unit": b"arcsec"}
    schema = pa.schema(
        [
            pa.field("id", hits["id"].type),
            pa.field("ra", pa.float64(), metadata=degrees),
            pa.field("dec", pa.float64(), metadata=degrees),
            pa.field("fritz_name", pa.string()),
            pa.field("event", pa.string()),
            pa.field("distance_arcsec", pa.float64(), metadata=arcsec),
            pa.field("n_epochs", pa.int64()),
        ]
    )
    n_epochs = [None if number < 0 else number for number in hits["n_epochs"].to_pylist()]
    columns = {
        **{name: hits[name] for name in ("id", "ra", "dec", "distance_arcsec")},
        "fritz_name": pa.array([one.name for one in owners], pa.string()),
        "event": pa.array([one.event for one in owners], pa.string()),
        "n_epochs": pa.array(n_epochs, pa.int64()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _reasons(
    sources: Sequence[GcnSource],
    places: tuple[Floats, Floats],
    found: LightCurves,
    *,
    few: set[int],
    radius_arcsec: float,
) -> Callable[[int], str]:
    """Return what says why a source without a light curve has none."""
    ra, dec = places

    def reason(number: int) -> str:
        if not np.isfinite(ra[number]):
            return NO_POSITION
        if (float(ra[number]), float(dec[number])) in found.unanswered:
            return NOT_ANSWERED
        if number in few:
            return FEW_EPOCHS
        apart = separation_arcsec(found.ra, found.dec, float(ra[number]), float(dec[number]))
        return NEARER_SOURCE if np.any(apart <= radius_arcsec) else NOT_THERE

    return reason


def _without(sources: Sequence[GcnSource], reasons: Sequence[str]) -> pa.Table:
    degrees = {b"unit": b"deg"}
    schema = pa.schema(
        [
            pa.field("fritz_name", pa.string()),
            pa.field("ra", pa.float64(), metadata=degrees),
            pa.field("dec", pa.float64(), metadata=degrees),
            pa.field("event", pa.string()),
            pa.field("reason", pa.string()),
        ]
    )
    rows = [
        [one.name for one in sources],
        *([getattr(one, name) for one in sources] for name in ("ra", "dec", "event")),
        list(reasons),
    ]
    return pa.table([pa.array(values, part.type) for values, part in zip(rows, schema, strict=True)], schema=schema)
