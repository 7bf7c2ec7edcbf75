"""The columns of a catalogue of stars: one table of what each is called, holds, is measured in and means.

`star_schema` makes the schema from it, `docs/how-to/catalogue-columns.md` and pages tell it. May import `taxonomy`, `core`
and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from scope_ml.errors import ConfigError
from scope_ml.selection.score_columns import SPREAD, ScoreColumn, score_columns
from scope_ml.selection.star_rules import StarCombine, StarJoin, StarOptions, StarRules
from scope_ml.selection.stars import SURVEYS, id_columns

__all__ = [
    "DISAGREEMENT",
    "SCATTER",
    "StarColumn",
    "StarCombine",
    "StarJoin",
    "StarOptions",
    "StarRules",
    "light_curve_id",
    "model_columns",
    "star_columns",
    "star_schema",
    "survey_columns",
]

#: Behind the column of a model: how far the light curves of a star are apart. Behind a class: how far algorithms are.
SCATTER, DISAGREEMENT = "_scatter", "_disagreement"

#: What ids of light curves are called in tables of scores.
IDS = ("id", "_id", "ztf_id")

#: What the ids of surveys are called where the table has none.
SURVEY_COLUMNS: Mapping[str, str] = {"Gaia": "Gaia_EDR3___id", "AllWISE": "AllWISE___id", "PS1": "PS1_DR1___id"}

#: Bands that have a column of magnitudes.
BANDS = ("g", "r", "i")

Group = Literal["star", "light curves", "period", "scores", "classes", "flags"]


@dataclass(frozen=True, kw_only=True)
class StarColumn:
    """One column of the catalogue.

    Attributes
    ----------
    name, unit, doc
        What it is called, measured in ("" for nothing), and means.
    dtype
        Arrow's type; `None` for that of the ids of light curves.
    group
        What it belongs to.
    """

    name: str
    dtype: pa.DataType | None
    doc: str
    unit: str = ""
    group: Group = "star"


_LISTED = pa.list_(pa.string())

#: Before the ids of surveys and between these and the scores.
FIRST: tuple[StarColumn, ...] = (
    StarColumn(
        name="name",
        dtype=pa.string(),
        doc="by coordinates, such as ZTFJ170337.70+123413.0; more decimals where stars would share a name; null without a place",
    ),
    StarColumn(
        name="survey_id",
        dtype=pa.string(),
        doc="the first there is of the ids of Gaia, AllWISE and PS1, such as Gaia_EDR3___123; null: known by its place only",
    ),
)
PLACE: tuple[StarColumn, ...] = (
    StarColumn(
        name="ra", dtype=pa.float64(), unit="deg", doc="right ascension of the mean direction of its light curves"
    ),
    StarColumn(name="dec", dtype=pa.float64(), unit="deg", doc="declination of the same"),
    StarColumn(
        name="position_scatter",
        dtype=pa.float32(),
        unit="arcsec",
        doc="root mean square of the distances of its light curves from that place",
    ),
)
LIGHT_CURVES: tuple[StarColumn, ...] = (
    StarColumn(name="n_light_curves", dtype=pa.int32(), doc="light curves that are this star", group="light curves"),
    StarColumn(name="bands", dtype=_LISTED, doc="their bands, each once, sorted", group="light curves"),
    StarColumn(name="fields", dtype=pa.list_(pa.int32()), doc="their fields, each once, sorted", group="light curves"),
    StarColumn(name="ids", dtype=None, doc="their ids, sorted by id and band", group="light curves"),
    StarColumn(
        name="n_unweighted",
        dtype=pa.int32(),
        doc="light curves whose points or errors are not known: the star's others lend them theirs",
        group="light curves",
    ),
)
MAGNITUDES: tuple[StarColumn, ...] = tuple(
    StarColumn(
        name=f"mag_{band}",
        dtype=pa.float32(),
        unit="mag",
        doc=f"mean of the median magnitudes of its light curves in {band}",
        group="light curves",
    )
    for band in BANDS
)
PERIOD: tuple[StarColumn, ...] = (
    StarColumn(
        name="period", dtype=pa.float64(), unit="d", doc="period on which most light curves agree", group="period"
    ),
    StarColumn(name="period_id", dtype=None, doc="the light curve whose period it is", group="period"),
    StarColumn(name="period_class", dtype=pa.string(), doc="class by which that period was refined", group="period"),
    StarColumn(name="period_confidence", dtype=pa.float32(), doc="confidence in that period, 0 to 1", group="period"),
    StarColumn(
        name="period_significance",
        dtype=pa.float32(),
        doc="significance of that period in its light curve",
        group="period",
    ),
    StarColumn(name="n_periods", dtype=pa.int32(), doc="light curves that have a period", group="period"),
    StarColumn(
        name="n_period_agree",
        dtype=pa.int32(),
        doc="light curves with the same period, itself among them",
        group="period",
    ),
    StarColumn(
        name="n_period_harmonic", dtype=pa.int32(), doc="light curves with half or twice that period", group="period"
    ),
)
CLASSES: tuple[StarColumn, ...] = (
    StarColumn(
        name="n_conflicts",
        dtype=pa.int32(),
        doc="pairs of classes of which the narrower has the higher score, by more than the margin",
        group="classes",
    ),
    StarColumn(
        name="confident_class",
        dtype=pa.string(),
        doc="deepest class of the tree that reaches its threshold with every class that it implies",
        group="classes",
    ),
    StarColumn(name="confident_score", dtype=pa.float32(), doc="score of that class", group="classes"),
    StarColumn(
        name="confident_classes",
        dtype=_LISTED,
        doc="every class that reaches its threshold with every class that it implies, in the order of the classes",
        group="classes",
    ),
)
FLAGS: tuple[StarColumn, ...] = (
    StarColumn(
        name="crowded",
        dtype=pa.bool_(),
        doc="two light curves of one field, filter, CCD and quadrant: two stars within the radius; null where fields are not known",
        group="flags",
    ),
    StarColumn(
        name="wide",
        dtype=pa.bool_(),
        doc="a light curve is farther than the radius from the star's place: a chain of stars, or a wrong id",
        group="flags",
    ),
    StarColumn(
        name="no_survey_id", dtype=pa.bool_(), doc="no light curve has an id of Gaia, AllWISE or PS1", group="flags"
    ),
)


def model_columns(names: Sequence[str], rules: StarRules) -> tuple[ScoreColumn, ...]:
    """Return which of a table's columns are scores, in the order of classes and algorithms."""
    return score_columns(names, rules.taxonomy.tags, rules.algorithms)


def survey_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns with the ids of Gaia, AllWISE and PS1: the table's own, or else as this project calls them."""
    there = id_columns(list(names))
    return tuple(
        next((name for name in there if name.startswith(survey)), SURVEY_COLUMNS[survey]) for survey in SURVEYS
    )


def light_curve_id(schema: pa.Schema) -> str | None:
    """Return the column with the ids of light curves, or None."""
    return next((name for name in IDS if name in schema.names), None)


@dataclass(frozen=True, kw_only=True)
class ScoreLayout:
    """Which columns of scores there are.

    Attributes
    ----------
    columns
        Scores of models.
    spreads
        Those that have a spread of seeds.
    """

    columns: tuple[ScoreColumn, ...]
    spreads: frozenset[str]

    @cached_property
    def by_tag(self) -> Mapping[str, tuple[ScoreColumn, ...]]:
        """Return the models of each class."""
        tags = dict.fromkeys(column.tag for column in self.columns)
        return {tag: tuple(column for column in self.columns if column.tag == tag) for tag in tags}


def score_layout(names: Sequence[str], rules: StarRules) -> ScoreLayout:
    """Return which columns of scores the catalogue of a table has."""
    columns = model_columns(names, rules)
    spreads = {column.name for column in columns if column.name + SPREAD in names}
    return ScoreLayout(columns=columns, spreads=frozenset(spreads if rules.options.details else ()))


def star_columns(schema: pa.Schema, rules: StarRules) -> tuple[StarColumn, ...]:
    """Return the columns of the catalogue that is made of a table of scores, in their order.

    Parameters
    ----------
    schema
        Of the table of light curves.
    rules
        How.

    Raises
    ------
    ConfigError
        If two columns would have the same name.
    """
    ids = tuple(
        StarColumn(name=name, dtype=pa.int64(), doc=f"id of the nearest source of {survey}; null: none")
        for survey, name in zip(SURVEYS, survey_columns(schema.names), strict=True)
    )
    layout = score_layout(schema.names, rules)
    scores = tuple(column for tag, of in layout.by_tag.items() for column in _of_class(tag, of, layout, rules.options))
    columns = (*FIRST, *ids, *PLACE, *LIGHT_CURVES, *MAGNITUDES, *PERIOD, *scores, *CLASSES, *FLAGS)
    names = [column.name for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two columns of the catalogue would be called '{twice}'; rename the class", key="class")
    return columns


def _of_class(tag: str, of: Sequence[ScoreColumn], layout: ScoreLayout, options: StarOptions) -> tuple[StarColumn, ...]:
    """Return the columns of one class."""

    def column(name: str, doc: str) -> StarColumn:
        return StarColumn(name=name, dtype=pa.float32(), doc=doc, group="scores")

    found = []
    for one in of:
        found.append(
            column(one.name, f"{tag} by {one.algorithm or 'all algorithms'}, {options.combine} of its light curves")
        )
        if one.name in layout.spreads:
            found.append(
                column(one.name + SPREAD, f"how far the seeds of {one.name} are apart, {options.combine} likewise")
            )
        if options.details:
            found.append(
                column(one.name + SCATTER, f"standard deviation of {one.name} between its light curves; null for one")
            )
    if all(one.algorithm for one in of):
        found.append(column(tag, f"{tag}: {options.join} of its algorithms"))
        if options.details and len(of) > 1:
            found.append(
                column(tag + DISAGREEMENT, f"highest less lowest of the algorithms of {tag}; null where one is silent")
            )
    return tuple(found)


def star_schema(schema: pa.Schema, rules: StarRules) -> pa.Schema:
    """Return the schema of the catalogue that is made of a table of scores, units in its fields.

    Parameters
    ----------
    schema
        Of the table of light curves.
    rules
        How.
    """
    own = light_curve_id(schema)
    id_type = pa.int64() if own is not None and pa.types.is_integer(schema.field(own).type) else pa.string()
    fields = []
    for column in star_columns(schema, rules):
        dtype = column.dtype if column.dtype is not None else (pa.list_(id_type) if column.name == "ids" else id_type)
        fields.append(pa.field(column.name, dtype, metadata={b"unit": column.unit.encode()} if column.unit else None))
    return pa.schema(fields)
