"""What `fritz_disagreements` wants on Fritz of each star: the source in a group, its points, and both scores as an annotation.

SCoPe made sources through a service that is gone; here they are made, or found, like those of `fritz_upload`. May import
`upload_wanted` and its rooms, `disagreement_scores`, services and what lies below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.errors import ConfigError
from scope_ml.selection.friends import friends
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.wanted import Wanted, WantedAnnotation
from scope_ml.stages.disagreement_scores import PairedStars
from scope_ml.stages.upload_photometry import StarPoints
from scope_ml.stages.upload_table import UploadRows
from scope_ml.stages.upload_wanted import PlotOptions, Posted, PostedPhotometry, SurveyIds, Target, WantedSources

__all__ = [
    "GAIA",
    "Annotated",
    "checked_origin",
    "default_origin",
    "find_target",
    "upload_rows_of",
    "uploadable",
    "wanted_sources",
]

#: Key of the annotation's Gaia values -> column of a feature table.
GAIA: Mapping[str, str] = {
    "Plx": "Gaia_EDR3__parallax",
    "Mag_G": "Gaia_EDR3__phot_g_mean_mag",
    "Mag_Bp": "Gaia_EDR3__phot_bp_mean_mag",
    "Mag_Rp": "Gaia_EDR3__phot_rp_mean_mag",
}

#: Decimals of scores, as SCoPe wrote them.
DECIMALS = 3

#: What Fritz takes as an origin.
ORIGIN = re.compile(r"^\w+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotated:
    """Stars that disagree.

    Attributes
    ----------
    stars
        All stars.
    chosen
        Those that are uploaded, as rows of `stars.table`, int64 (n,).
    sides
        Where they disagree, int8 (n_stars, n_tags).
    origin
        Of the annotation.
    """

    stars: PairedStars
    chosen: npt.NDArray[np.int64]
    sides: npt.NDArray[np.int8]
    origin: str

    def annotations(self, star: int) -> tuple[WantedAnnotation, ...]:
        """Return what stands in the annotation of one star: period, both scores of the classes, Gaia."""
        data: dict[str, Any] = {}
        period = _number(self.stars.table, "period", star)
        if period is not None:
            data["period"] = period
        first, second = self.stars.rows.names
        for k, tag in enumerate(self.stars.rows.tags):
            if self.sides[star, k]:
                data[tag] = {
                    first: round(float(self.stars.first[star, k]), DECIMALS),
                    second: round(float(self.stars.second[star, k]), DECIMALS),
                }
        gaia = {key: _number(self.stars.table, name, star) for key, name in GAIA.items()}
        known = {key: value for key, value in gaia.items() if value is not None}
        if known:
            data["Gaia"] = known
        return tuple(WantedAnnotation(origin=self.origin, key=key, value=value) for key, value in data.items())


def uploadable(annotated: Annotated, *, radius_arcsec: float, named: bool) -> tuple[Annotated, tuple[str, ...]]:
    """Return the stars that can be sources of their own, and what to say of the others.

    Stars nearer to one another than the radius would be one source, with an annotation of one of them: the widest apart of
    each group stays. Stars without a place cannot be found.

    Parameters
    ----------
    annotated
        Stars that disagree, the widest apart first.
    radius_arcsec
        How far a source of Fritz may be [arcsec].
    named
        Whether sources are known by name; then places do not matter.
    """
    table = annotated.stars.table.take(pa.array(annotated.chosen))
    ra, dec = _places(table)
    placed = np.isfinite(ra) & np.isfinite(dec)
    _, first = np.unique(friends(ra, dec, radius_arcsec), return_index=True)
    alone = np.zeros(len(ra), dtype=bool)
    alone[first] = True
    if named:
        alone[:] = True
        placed |= table["obj_id"].is_valid().to_numpy()
    keep = placed & alone
    warnings = []
    if not placed.all():
        warnings.append(f"{int((~placed).sum())} stars have no position and are not uploaded")
    if not alone[placed].all():
        warnings.append(
            f"{int((placed & ~alone).sum())} stars are within {radius_arcsec:g} arcsec of another that disagrees more, and would"
            " be the same source on Fritz; they are not uploaded"
        )
    return replace(annotated, chosen=annotated.chosen[keep]), tuple(warnings)


def default_origin(names: Sequence[str], version: str) -> str:
    """Return the origin of annotations where none is given, such as ``ML_dnn_xgb_1f0c92ab``.

    The digits stand for the models, so that the scores of new ones stand beside those of old ones.
    """
    return "_".join(["ML", *names, *([version] if version else [])])


def checked_origin(origin: str) -> str:
    """Return an origin that Fritz takes.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if not ORIGIN.match(origin):
        raise ConfigError(
            f"origin={origin!r} does not begin with a letter, a digit or _, which Fritz refuses", key="origin"
        )
    return origin


def find_target(fritz: FritzClient, groups: Sequence[int | str], instrument: str | None) -> Target:
    """Return groups and the instrument as Fritz knows them.

    Raises
    ------
    ConfigError
        If there is no such group or instrument.
    ServiceError
        If Fritz cannot be asked.
    """
    directory = Directory(fritz)
    return Target(
        group_ids=tuple(dict.fromkeys(directory.group(given).id for given in groups)),
        taxonomy_ids={},
        instrument_id=None if instrument is None else directory.instrument(instrument).id,
    )


def upload_rows_of(annotated: Annotated, *, named: bool) -> UploadRows:
    """Return the stars as `fritz_upload` knows sources; with their names only if sources are looked for by name."""
    table = annotated.stars.table.take(pa.array(annotated.chosen))
    n = table.num_rows
    at = np.arange(n, dtype=np.int64)
    ra, dec = _places(table)
    return UploadRows(
        row=at,
        source_of=at,
        ra=ra,
        dec=dec,
        obj_id=table["obj_id"].to_pylist() if named else [None] * n,
        survey_id=table["survey_id"].to_pylist(),
        # The period stands in our own annotation.
        period=np.full(n, np.nan),
        scores={},
        light_curves_joined=True,
    )


def wanted_sources(
    annotated: Annotated,
    rows: UploadRows,
    points: StarPoints | None,
    target: Target,
    photometry: PostedPhotometry,
    radius_arcsec: float,
) -> list[Wanted]:
    """Return how each source should be."""
    sources = WantedSources(
        rows=rows,
        points=points,
        target=target,
        p_threshold=0.0,
        posted=Posted(),
        photometry=photometry,
        survey_ids=SurveyIds(),
        plots=PlotOptions(),
        comment=None,
        radius_arcsec=radius_arcsec,
        plot_folder=Path(),
    )
    names = annotated.stars.table.take(pa.array(annotated.chosen))["obj_id"].to_pylist()
    often = Counter(names)
    return [
        replace(
            sources.wanted(place),
            key=name if name and often[name] == 1 else f"{name or 'star'} ({place + 1})",
            annotations=annotated.annotations(star),
        )
        for place, (star, name) in enumerate(zip(annotated.chosen.tolist(), names, strict=True))
    ]


def _places(table: pa.Table) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    ra, dec = (table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in ("ra", "dec"))
    return ra, dec


def _number(table: pa.Table, name: str, row: int) -> float | None:
    """Return one value, None where it is not known."""
    value = table[name][row].as_py() if name in table.column_names else None
    return float(value) if value is not None and np.isfinite(value) else None
