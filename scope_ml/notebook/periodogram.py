"""The periodogram of one light curve: its best periods, how far to trust them, and a look at them.

May import `features`, `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.period_search import PeriodSearch
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchStatus, Spectrum
from scope_ml.kernels.registry import load, resolve_device
from scope_ml.notebook.inputs import one_light_curve
from scope_ml.notebook.settings import search_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["Periodogram", "periodogram"]

#: What each status but ok means, for people.
REASONS: Mapping[str, str] = {
    "too_few_points": "too few points, or too few at different times, for this method",
    "invalid_points": "a time, magnitude or error is not finite, or an error is not positive; leave such points out",
    "zero_baseline": "all points have one time",
    "constant": "all magnitudes are the same",
    "grid_too_short": "the baseline holds no two cycles of max_frequency",
    "grid_too_long": "too many trial frequencies; is a time wrong?",
    "not_searched": "no search was asked for",
    "no_peak": "the periodogram has no peak outside the excluded windows, or is flat",
}


#: Searches whose statistic is known at their candidates only.
WITHOUT_SPECTRUM = ("best",)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Periodogram:
    """What a search found in one light curve: arrays of `n_peaks`, best first, NaN where there are fewer.

    Attributes
    ----------
    status
        ``"ok"``, or why there is no period.
    frequency
        Frequency [1/d] of each peak, refined between trial frequencies.
    statistic
        The method's own measure there: power in [0, 1] for ls, entropy [nat] for ce (small is good), ...
    significance
        Distance of the statistic from the mean of the periodogram, in its standard deviations; of best the probability
        of the period, from 0 to 1.
    false_alarm_probability
        Probability that noise alone gives such a peak anywhere in the range; NaN where no theory gives it.
    spectrum
        All trial frequencies [1/d] and their statistic, ``spectrum.frequency`` and ``spectrum.statistic``, or None; best,
        which weighs candidates, has none.
    components
        For nested searches the results of those that it is made of, by method.
    batch, search, device
        The light curve, the settings and where it ran.
    """

    status: str
    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]
    significance: NDArray[np.float64]
    false_alarm_probability: NDArray[np.float64]
    spectrum: Spectrum | None
    components: Mapping[str, Periodogram] = field(default_factory=dict)
    batch: LightCurveBatch
    search: PeriodSearch
    device: str

    @property
    def period(self) -> NDArray[np.float64]:
        """Return the period [d] of each peak, best first."""
        return 1.0 / self.frequency

    @property
    def method(self) -> str:
        """Return the short name of the search."""
        return self.search.method

    @property
    def reason(self) -> str:
        """Return in words why there is no period; empty where there is one."""
        return "" if self.status == "ok" else REASONS.get(self.status, self.status)

    def with_spectrum(self) -> Periodogram:
        """Return the same with its `spectrum`, searching once more where it was not kept."""
        if self.spectrum is not None or self.status != "ok" or self.method in WITHOUT_SPECTRUM:
            return self
        return _search(self.batch, self.search, self.device, return_spectrum=True)

    def plot(self, period: float | None = None) -> Figure:
        """Return a figure: the periodogram with its peaks, and the light curve folded with the best period.

        Parameters
        ----------
        period
            Period [d] to fold with instead of the best one.

        Raises
        ------
        BackendUnavailableError
            If matplotlib is not installed.
        ConfigError
            If `period` is not positive.
        """
        from scope_ml.notebook.plot import plot_periodogram

        return plot_periodogram(self, period)

    def __repr__(self) -> str:
        n_obs = self.batch.n_points
        head = f"Periodogram of {n_obs} points, method '{self.method}', status '{self.status}'"
        if self.status != "ok":
            return f"{head}: {self.reason}"
        lines = [head, "      period [d]  frequency [1/d]    statistic  significance  false alarm"]
        found = np.flatnonzero(np.isfinite(self.frequency))
        for rank in found:
            alarm = self.false_alarm_probability[rank]
            lines.append(
                f"{rank + 1:3d}  {self.period[rank]:11.7g}  {self.frequency[rank]:15.8g}  {self.statistic[rank]:11.5g}"
                f"  {self.significance[rank]:12.4g}  {f'{alarm:11.2g}' if np.isfinite(alarm) else '          -'}"
            )
        return "\n".join(lines)


def periodogram(  # noqa: PLR0913, PLR0917 - the options that people set by name
    time: Any,
    mag: Any,
    mag_err: Any,
    band: Any = None,
    method: str = "ls",
    min_frequency: float | None = None,
    max_frequency: float = 48.0,
    samples_per_peak: int = 10,
    n_peaks: int = 5,
    device: str = "cpu",
    return_spectrum: bool = False,
    **settings: Any,
) -> Periodogram:
    """Search the period of one light curve.

    Parameters
    ----------
    time
        Times [d], float64 (n_obs,), in any order; lists, pandas and astropy objects are taken too.
    mag, mag_err
        Magnitudes and their errors [mag], (n_obs,); one number for all errors is fine.
    band
        Band of each point, names or whole numbers, (n_obs,): the bands are searched together. None for one band.
    method
        ls, ce, aov, mhaov, pdm, bls, fpw, ls_ce_aov or best; see ``docs/how-to/period-search.md``.
    min_frequency, max_frequency
        Range of trial frequencies [1/d]; from ``2 / baseline`` if None.
    samples_per_peak
        Trial frequencies per ``1 / baseline``.
    n_peaks
        Peaks to return.
    device
        ``"cpu"``, ``"gpu"``, ``"auto"``, or ``"reference"`` for the definition in plain NumPy.
    return_spectrum
        Keep the whole periodogram; best has none.
    **settings
        Other options of the period search, as on the command line: n_phase_bins, n_mag_bins, n_harmonics, q_min,
        exclude_terrestrial, ...

    Returns
    -------
    Periodogram
        With a status: a light curve that cannot be searched, such as one with a point that is not finite, has no
        period, and says why. Nothing is dropped.

    Raises
    ------
    ConfigError
        For an unknown method or option, or one out of bounds.
    DataError
        If the arrays are no light curve: different lengths, float32 times, texts.
    BackendUnavailableError
        If the device is not there.
    """
    search = search_settings(
        {
            "method": method,
            "min_frequency": min_frequency,
            "max_frequency": max_frequency,
            "samples_per_peak": samples_per_peak,
            "n_peaks": n_peaks,
            **settings,
        }
    )
    batch = one_light_curve(time, mag, mag_err, band)
    return _search(batch, search, resolve_device(device, (search.method,)), return_spectrum=return_spectrum)


def _search(batch: LightCurveBatch, search: PeriodSearch, device: str, *, return_spectrum: bool) -> Periodogram:
    options = search.options(return_spectrum=return_spectrum)
    peaks: PeriodogramPeaks = load(search.method, device)(batch, search.grid(batch), options)
    found = _result(peaks, batch, search, device)
    components: dict[str, Periodogram] = {}
    for name in search.components:
        part = replace(search, method=name)
        components[name] = _result(peaks.components[name], batch, part, device)
    return replace(found, components=components)


def _result(peaks: PeriodogramPeaks, batch: LightCurveBatch, search: PeriodSearch, device: str) -> Periodogram:
    return Periodogram(
        status=SearchStatus(int(peaks.status[0])).label,
        frequency=peaks.frequency[0],
        statistic=peaks.statistic[0],
        significance=peaks.significance[0],
        false_alarm_probability=peaks.false_alarm_probability[0],
        spectrum=peaks.spectra[0] if peaks.spectra else None,
        batch=batch,
        search=search,
        device=device,
    )
