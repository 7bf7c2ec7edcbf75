"""The light curves that are shown of each class: what is known of them, and their points from the source.

Light curves are streamed, so that memory does not grow with the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.lightcurve import LightCurve
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.datasets.identifiers import comparable
from scope_ml.reporting.view import Float64Array, Truth

__all__ = ["Candidate", "Points", "collect_points"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A light curve to be shown: its row of the predictions table."""

    id: int | str
    band: str | None
    star: str
    period: float
    scores: dict[str, float]
    truth: Truth = "unlabelled"
    native_class: str = ""
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class Points:
    """The measured points of one light curve, float64 (n_obs,) each [d, HJD], [mag], [mag]."""

    time: Float64Array
    mag: Float64Array
    mag_err: Float64Array


def collect_points(
    source: LightCurveSource, wanted: Iterable[Candidate], progress: Progress
) -> dict[tuple[str, str | None], Points]:
    """Return the points of the wanted light curves by (id as text, band), reading until all are found.

    Unflagged points with finite values and positive errors, in order of time. Where a candidate has no band, the
    first light curve of its id is taken.
    """
    missing = {(str(item.id), item.band) for item in wanted}
    if not missing:
        return {}
    ids = pa.array(sorted({name for name, _ in missing}), pa.string())
    found: dict[tuple[str, str | None], Points] = {}
    for chunk in source.chunks():
        progress.advance()
        given, known = comparable(chunk.rows["id"].combine_chunks(), ids)
        for index in pc.indices_nonzero(pc.is_in(given, value_set=known)).to_pylist():
            name = str(chunk.rows["id"][index].as_py())
            band = chunk.rows["band"][index].as_py() if "band" in chunk.rows.column_names else None
            key = next((key for key in ((name, band), (name, None)) if key in missing), None)
            if key is not None:
                found[key] = measured_points(chunk.batch[index])
                missing.discard(key)
        if not missing:
            break
    return found


def measured_points(light_curve: LightCurve) -> Points:
    """Return the points that can be drawn."""
    time, mag, mag_err = (
        np.asarray(values, dtype=np.float64) for values in (light_curve.time, light_curve.mag, light_curve.mag_err)
    )
    keep = np.isfinite(time) & np.isfinite(mag) & np.isfinite(mag_err)
    keep &= np.where(np.isfinite(mag_err), mag_err, 0.0) > 0
    if light_curve.flags is not None:
        keep &= np.asarray(light_curve.flags) == 0
    order = np.flatnonzero(keep)[np.argsort(time[keep], kind="stable")]
    return Points(time=time[order], mag=mag[order], mag_err=mag_err[order])
