"""One row a star of a catalogue: place, light curves, scores of all models, period, classes, flags.

`star_rows` makes of a table of scores and its `Stars` what `star_columns` says. A star's row depends on its own light curves
only, in their canonical order: whoever works on a part of the sky gets the rows that the whole sky would give. Columns
are worked on one after the other, so that memory does not grow with their number. May import `taxonomy`, `core` and
`errors`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.sphere import angle_arcsec, unit_vectors
from scope_ml.errors import DataError
from scope_ml.selection.consolidation import first_known, star_names
from scope_ml.selection.score_columns import SPREAD
from scope_ml.selection.score_folds import ScoreFolds, nullable
from scope_ml.selection.star_classes import class_columns, joined_columns
from scope_ml.selection.star_columns import (
    SCATTER,
    StarOptions,
    StarRules,
    light_curve_id,
    score_layout,
    star_schema,
    survey_columns,
)
from scope_ml.selection.star_members import bands_of, crowded, distinct_values, magnitudes
from scope_ml.selection.star_periods import vote
from scope_ml.selection.star_weights import light_curve_weights
from scope_ml.selection.stars import SURVEY_ID, Stars, plain_ids

__all__ = ["StarOptions", "StarRules", "star_rows", "star_schema"]

FloatArray = npt.NDArray[np.float64]
Columns = dict[str, pa.Array]

#: What says how sure a light curve is of its period, the first that differs decides.
SURENESS = ("period_confidence", "period_significance")


def star_rows(table: pa.Table, stars: Stars, rules: StarRules, *, names: pa.Array | None = None) -> pa.Table:
    """Return one row a star.

    Parameters
    ----------
    table
        One row a light curve, as it was given to `find_stars`: `id` and `band`, and as far as they are there `ra`, `dec`,
        `field`, `ccd`, `quad`, `filter`, ids of surveys, the columns of `light_curve_weights`, `period` and what is known of it,
        scores and their spreads.
    stars
        Its stars; rows that are in none do not count.
    rules
        How.
    names
        Of the stars, string (n_stars,); None: `star_names` of these.

    Returns
    -------
    Table
        In the order of `stars`, exactly of `star_schema`.

    Raises
    ------
    DataError
        If ids are floats, or scores no numbers.
    """
    weights, weighted = light_curve_weights(table, stars)
    columns: Columns = {"name": star_names(stars.ra, stars.dec, rules.options.prefix) if names is None else names}
    columns |= _survey_ids(table, stars)
    columns |= _places(table, stars)
    columns |= _light_curves(table, stars, weighted)
    columns |= magnitudes(table, stars)
    columns |= _periods(table, stars, weights, rules.options)
    scores, joined = _scores(table, stars, weights, rules)
    columns |= scores | class_columns(joined, score_layout(table.column_names, rules), rules)
    columns |= _flags(table, stars, rules.options)
    columns["no_survey_id"] = pc.is_null(columns["survey_id"])
    schema = star_schema(table.schema, rules)
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _survey_ids(table: pa.Table, stars: Stars) -> Columns:
    """Return the three ids of each star, and the first of them by its survey's name."""
    columns: Columns = {}
    known = pa.nulls(len(stars), pa.string())
    if SURVEY_ID in table.column_names:
        known = first_known(stars, plain_ids(table, SURVEY_ID, "scores"))
    for name in survey_columns(table.column_names):
        if name not in table.column_names:
            columns[name] = pa.nulls(len(stars), pa.int64())
            continue
        ids = first_known(stars, plain_ids(table, name, "scores"))
        prefix = name.removesuffix("id").rstrip("_") + "___"
        known = pc.coalesce(known, pc.binary_join_element_wise(prefix, ids, ""))
        columns[name] = _exact_numbers(ids, name)
    return {"survey_id": pc.coalesce(stars.key, known) if stars.by == "survey_id" else known, **columns}


def _exact_numbers(ids: pa.Array, name: str) -> pa.Array:
    """Return ids that are written as text as int64, null where there is none.

    Raises
    ------
    DataError
        If one is no whole number of 64 bits.
    """
    try:
        return ids.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"scores: column '{name}' holds an id that is no whole number of 64 bits ({error})") from error


def _places(table: pa.Table, stars: Stars) -> Columns:
    known = ~np.isnan(stars.ra)
    distance = _distances(table, stars)
    counted = ~np.isnan(distance)
    squares = _sums(np.where(counted, distance, 0.0) ** 2, stars)
    n = _sums(counted.astype(np.float64), stars)
    scatter = np.sqrt(squares / np.maximum(n, 1.0))
    return {
        "ra": pa.array(stars.ra, mask=~known),
        "dec": pa.array(stars.dec, mask=~known),
        "position_scatter": nullable(np.where(n > 0, scatter, np.nan).astype(np.float32)),
    }


def _distances(table: pa.Table, stars: Stars) -> FloatArray:
    """Return the distance [arcsec] of each light curve from its star's place, in `stars.order`; NaN where unknown."""
    if not {"ra", "dec"} <= set(table.column_names):
        return np.full(len(stars.order), np.nan)
    ra, dec = (
        one_chunk(table[name]).cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)[stars.order]
        for name in ("ra", "dec")
    )
    distance = np.zeros(len(stars.order))
    mean_ra, mean_dec = (np.repeat(place, stars.counts) for place in (stars.ra, stars.dec))
    # Most light curves have no other place than their star's: one light curve a star, or the same place in all.
    moved = np.flatnonzero(~((ra == mean_ra) & (dec == mean_dec)))
    here = unit_vectors(ra[moved], dec[moved])
    distance[moved] = angle_arcsec(here, unit_vectors(mean_ra[moved], mean_dec[moved]))
    return distance


def _light_curves(table: pa.Table, stars: Stars, weighted: npt.NDArray[np.bool_]) -> Columns:
    own = light_curve_id(table.schema)
    ids = pa.nulls(table.num_rows, pa.string()) if own is None else exact_ids(table[own], own, where="scores")
    return {
        "n_light_curves": pa.array(stars.counts.astype(np.int32)),
        "bands": distinct_values(stars, bands_of(table), pa.string()),
        "fields": distinct_values(stars, table["field"] if "field" in table.column_names else None, pa.int32()),
        "ids": stars.members(ids),
        "n_unweighted": pa.array(_sums((~weighted).astype(np.int64), stars).astype(np.int32)),
    }


def _periods(table: pa.Table, stars: Stars, weights: FloatArray, options: StarOptions) -> Columns:
    period = _sorted_floats(table, "period", stars)
    votes = vote(
        stars.starts,
        period,
        weights,
        [_sorted_floats(table, name, stars) for name in SURENESS],
        tolerance=options.period_tolerance,
        resolution=options.period_resolution,
    )
    found = votes.chosen >= 0
    row = pa.array(stars.order[np.where(found, votes.chosen, 0)] if len(stars) else np.zeros(0, np.int64), mask=~found)
    types = {"period": pa.float64(), "period_class": pa.string(), **dict.fromkeys(SURENESS, pa.float32())}
    columns: Columns = {
        name: one_chunk(table[name]).take(row).cast(dtype)
        if name in table.column_names
        else pa.nulls(len(stars), dtype)
        for name, dtype in types.items()
    }
    own = light_curve_id(table.schema)
    columns["period_id"] = (
        pa.nulls(len(stars), pa.string()) if own is None else exact_ids(table[own], own, where="scores").take(row)
    )
    columns["n_periods"] = pa.array(votes.n_periods)
    columns["n_period_agree"] = pa.array(votes.n_agree)
    columns["n_period_harmonic"] = pa.array(votes.n_harmonic)
    return columns


def _scores(
    table: pa.Table, stars: Stars, weights: FloatArray, rules: StarRules
) -> tuple[Columns, npt.NDArray[np.float32]]:
    """Return all columns of scores, and the joined ones as float32 (n_stars, n_tags)."""
    layout = score_layout(table.column_names, rules)
    folds = ScoreFolds(stars=stars, how=rules.options.combine, weights=weights)
    columns: Columns = {}
    joined = np.full((len(layout.by_tag), len(stars)), np.nan, dtype=np.float32)
    for number, (tag, of) in enumerate(layout.by_tag.items()):
        values = []
        for column in of:
            spreads = table[column.name + SPREAD] if column.name in layout.spreads else None
            folded = folds.fold(table[column.name], spreads)
            values.append(folded.value)
            columns[column.name] = nullable(folded.value)
            if spreads is not None:
                columns[column.name + SPREAD] = nullable(folded.spread)
            if rules.options.details:
                columns[column.name + SCATTER] = nullable(folded.scatter)
        columns |= joined_columns(tag, values, rules.options.join)
        joined[number] = columns[tag].fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return columns, joined.T


def _flags(table: pa.Table, stars: Stars, options: StarOptions) -> Columns:
    distance = _distances(table, stars)
    far = _sums((distance > options.radius_arcsec).astype(np.int64), stars) > 0
    return {"crowded": crowded(table, stars), "wide": pa.array(far)}


def _sorted_floats(table: pa.Table, name: str, stars: Stars) -> FloatArray:
    if name not in table.column_names:
        return np.full(len(stars.order), np.nan)
    column = one_chunk(table[name]).cast(pa.float64()).fill_null(float("nan"))
    values: FloatArray = column.to_numpy(zero_copy_only=False)[stars.order]
    return values


def _sums(values: npt.NDArray[np.number], stars: Stars) -> npt.NDArray[np.number]:
    """Return the sum over the light curves of each star; `values` in `stars.order`."""
    return np.add.reduceat(values, stars.starts) if len(stars) else values[:0]
