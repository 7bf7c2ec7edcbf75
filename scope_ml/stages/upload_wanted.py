"""What `fritz_upload` wants of each source: classes above the threshold, points, annotations, comments, plots.

A pure translation of the sources of a table (`upload_table`) and of what was found on Fritz (groups, taxonomies, the
instrument) into `services.fritz.wanted`. Plots are drawn when they are posted, no earlier. May import `upload_table`,
`upload_photometry`, reporting, services and what lies below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from scope_ml.core.configuration import option
from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.light_curve_plots import folded_png, time_series_png
from scope_ml.services.fritz.comments import Attachment
from scope_ml.services.fritz.photometry import NewPhotometry
from scope_ml.services.fritz.wanted import Wanted, WantedAnnotation, WantedClass, WantedComment
from scope_ml.stages.upload_photometry import StarPoints
from scope_ml.stages.upload_table import UploadRows

__all__ = [
    "PERIOD_ORIGIN",
    "PlotKind",
    "PlotOptions",
    "Posted",
    "PostedPhotometry",
    "SurveyIds",
    "Target",
    "WantedSources",
    "classes_of",
]

#: Origin of the annotation with the period, as SCoPe's.
PERIOD_ORIGIN = "uploadedperiod"

#: Key of survey ids; further ones get ``survey_id_2``, ...
SURVEY_ID = "survey_id"

PlotKind = Literal["none", "time", "folded"]

#: Texts of the comments with plots: SCoPe's, so that what it posted is not posted again.
TIME_TEXT = "ZTF source within {radius} arcsec of {{obj_id}}: time series"
FOLDED_TEXT = "ZTF source within {radius} arcsec of {{obj_id}}: phase-folded"


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What is said of each classification."""

    origin: str = option("SCoPe", doc="origin; Fritz colours classes of SCoPe", machine=True)
    ml: bool = option(True, doc="whether a machine made it", machine=True)
    vote: bool = option(False, doc="whether you vote for it by posting it", machine=True)
    label: bool = option(False, doc="whether posting, or deleting, labels the source", machine=True)


@dataclass(frozen=True, kw_only=True)
class PostedPhotometry:
    """What is sent of light curves."""

    send: bool = option(True, doc="false: no points are sent", machine=True)
    needed: bool = option(True, doc="where light curves are read: make no source that has none", machine=True)
    instrument: str = option("ZTF", doc="instrument, by its name on Fritz", machine=True)
    limiting_mag: float = option(23.9, unit="mag", doc="depth written for each point, SCoPe's constant", machine=True)


@dataclass(frozen=True, kw_only=True)
class SurveyIds:
    """The annotation with ids of a survey."""

    post: bool = option(False, doc="post the id as an annotation", machine=True)
    origin: str = option("SCoPe_xmatch", doc="its origin", machine=True)


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """The comments with plots."""

    kind: PlotKind = option("none", doc="time: against time; folded: folded at the period too", machine=True)
    folder: str | None = option(None, doc="where they are kept; null: OUTPUT/plots", machine=True)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was found on Fritz.

    Attributes
    ----------
    group_ids
        Groups to upload to.
    taxonomy_ids
        By label.
    instrument_id
        None where no points are sent.
    """

    group_ids: tuple[int, ...]
    taxonomy_ids: Mapping[str, int]
    instrument_id: int | None


def classes_of(rows: UploadRows, source: int, p_threshold: float) -> list[tuple[str, float]]:
    """Return the classes of a source that are posted, and their scores: at least the threshold, above 0 where it is 0."""
    scores = [(label, float(values[source])) for label, values in rows.scores.items()]
    return [(label, score) for label, score in scores if (score >= p_threshold if p_threshold > 0 else score > 0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class WantedSources:
    """Makes `Wanted` of sources.

    Attributes
    ----------
    rows, points
        The sources, and their light curves (None: none are read).
    target
        What was found on Fritz.
    p_threshold
        See `classes_of`.
    posted, photometry, survey_ids, plots
        The options.
    comment
        Text of a comment; None: none.
    radius_arcsec
        For the texts of comments.
    plot_folder
        Where plots are kept.
    """

    rows: UploadRows
    points: StarPoints | None
    target: Target
    p_threshold: float
    posted: Posted
    photometry: PostedPhotometry
    survey_ids: SurveyIds
    plots: PlotOptions
    comment: str | None
    radius_arcsec: float
    plot_folder: Path

    def wanted(self, source: int) -> Wanted:
        """Return how one source should be.

        Raises
        ------
        DataError
            If a comment or an origin is none.
        """
        rows = self.rows
        classes = classes_of(rows, source, self.p_threshold)
        has_points = self.points is not None and self.points.n_points(source) > 0
        lacks = self.points is not None and not has_points and self.photometry.needed and rows.obj_id[source] is None
        sends = has_points and self.photometry.send
        return Wanted(
            key=rows.key(source),
            obj_id=rows.obj_id[source],
            ra=float(rows.ra[source]),
            dec=float(rows.dec[source]),
            group_ids=self.target.group_ids,
            classifications=tuple(
                WantedClass(
                    classification=label,
                    taxonomy_id=self.target.taxonomy_ids[label],
                    probability=score,
                    origin=self.posted.origin,
                    ml=self.posted.ml,
                    vote=self.posted.vote,
                    label=self.posted.label,
                )
                for label, score in classes
            ),
            annotations=self._annotations(source),
            comments=self._comments(source, [label for label, _ in classes], has_points=has_points),
            photometry=partial(self._points, source) if sends else None,
            survey_id=rows.survey_id[source],
            not_made="no light curve within find.radius_arcsec" if lacks else "",
        )

    def _annotations(self, source: int) -> tuple[WantedAnnotation, ...]:
        found = []
        survey_id, period = self.rows.survey_id[source], float(self.rows.period[source])
        if self.survey_ids.post and survey_id is not None:
            found.append(
                WantedAnnotation(origin=self.survey_ids.origin, key=SURVEY_ID, value=str(survey_id), mode="add")
            )
        if np.isfinite(period):
            found.append(WantedAnnotation(origin=PERIOD_ORIGIN, key="period", value=period, mode="once"))
        return tuple(found)

    def _comments(self, source: int, labels: list[str], *, has_points: bool) -> tuple[WantedComment, ...]:
        found = [] if self.comment is None else [WantedComment(text=self.comment)]
        if not has_points or self.plots.kind == "none":
            return tuple(found)
        radius = f"{self.radius_arcsec}"
        found.append(
            WantedComment(text=TIME_TEXT.format(radius=radius), attachment=partial(self._plot, source, labels, None))
        )
        period = float(self.rows.period[source])
        if self.plots.kind == "folded" and np.isfinite(period):
            found.append(
                WantedComment(
                    text=FOLDED_TEXT.format(radius=radius), attachment=partial(self._plot, source, labels, period)
                )
            )
        return tuple(found)

    def _points(self, source: int) -> NewPhotometry | None:
        assert self.points is not None and self.target.instrument_id is not None
        here = self.points.rows(source)
        n = self.points.n_points(source)
        return NewPhotometry(
            # The engine puts in the name under which the source was found or made.
            obj_id="",
            instrument_id=self.target.instrument_id,
            mjd=self.points.mjd[here].tolist(),
            # The service's key of a point: as SCoPe rounded them, they are found again.
            mag=self.points.mag[here].astype(np.float64).tolist(),
            magerr=self.points.mag_err[here].astype(np.float64).tolist(),
            filter=self.points.filters(source),
            limiting_mag=self.photometry.limiting_mag,
            group_ids=self.target.group_ids,
            ra=[float(self.rows.ra[source])] * n,
            dec=[float(self.rows.dec[source])] * n,
        )

    def _plot(self, source: int, labels: list[str], period: float | None, obj_id: str) -> Attachment:
        """Draw a plot, and keep it."""
        assert self.points is not None
        title = f"{obj_id}: {', '.join(labels)}" if labels else obj_id
        curves = self.points.by_band(source)
        body = time_series_png(curves, title) if period is None else folded_png(curves, title, period)
        name = f"{obj_id}.png" if period is None else f"{obj_id}_phasefold.png"
        self.plot_folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.plot_folder / name) as temporary:
            temporary.write_bytes(body)
        return Attachment(name=name, body=body)
