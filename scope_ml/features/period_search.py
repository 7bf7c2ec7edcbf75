"""The period_search group of the configuration: which methods run, on which frequencies, with which settings.

May import `spec`, `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scope_ml.core.configuration import option, science_values
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.spec import METHODS, Method
from scope_ml.kernels.grid import TERRESTRIAL_WINDOWS, FrequencyGrid, make_grid
from scope_ml.kernels.peaks import SearchOptions

__all__ = ["COMPONENTS", "PeriodSearch"]

#: Searches that are made of others -> those whose peaks come with theirs.
COMPONENTS: dict[str, tuple[Method, ...]] = {"ls_ce_aov": ("ls", "ce", "aov"), "best": (), "none": ()}

#: Options that only some searches read.
READ_BY: Mapping[str, tuple[Method, ...]] = {
    "n_phase_bins": ("ce", "aov", "pdm", "fpw", "ls_ce_aov"),
    "n_mag_bins": ("ce", "ls_ce_aov"),
    "ce_wrap": ("ce", "ls_ce_aov"),
    "n_harmonics": ("mhaov",),
    "n_box_bins": ("bls",),
    "q_min": ("bls",),
    "q_max": ("bls",),
    "n_candidates": ("ls_ce_aov",),
    "aov_everywhere": ("ls_ce_aov",),
    "shared_epochs": ("aov",),
}

#: Options that do not touch the best period of `PeriodSearch.method`.
BESIDE = ("also", "n_peaks", "n_agreement_peaks", "scale_min_period")

MINUTES_PER_DAY = 1440.0


@dataclass(frozen=True, kw_only=True)
class PeriodSearch:
    """How periods are found.

    `method` is the one whose period the models take; `also` names more that run beside it and get the same columns.
    A nested search brings the periods and significances of its components as well.
    """

    method: Method = option("ls", doc="search whose period models take; none: no search, the period is 1 d")
    also: tuple[Method, ...] = option((), doc="more searches with columns of their own; of two or more, agreement too")
    min_frequency: float | None = option(
        None, unit="1/d", doc="lowest trial frequency; null: 2 / baseline of each light curve", more_than=0, at_most=1e5
    )
    max_frequency: float = option(48.0, unit="1/d", doc="highest trial frequency", more_than=0, at_most=1e5)
    scale_min_period: bool = option(
        False, doc="take 1 / (2 cleaning.min_cadence_minutes) for max_frequency: two epochs a period at the closest"
    )
    samples_per_peak: int = option(10, doc="trial frequencies per 1/baseline", at_least=2, at_most=1000)
    n_peaks: int = option(1, doc="peaks to write; ranks above 1 go to period_2_ls, ...", at_least=1, at_most=100)
    n_agreement_peaks: int = option(
        10, doc="best peaks of each method that agreement scores compare", at_least=1, at_most=100
    )
    exclude_terrestrial: bool = option(False, doc="take no period from within terrestrial_windows")
    terrestrial_windows: tuple[tuple[float, ...], ...] = option(
        TERRESTRIAL_WINDOWS, unit="1/d", doc="[low, high] frequencies where the rotation and orbit of the Earth show"
    )
    n_phase_bins: int = option(20, doc="ce, aov, pdm, fpw: bins in phase", at_least=2, at_most=64)
    n_mag_bins: int = option(10, doc="ce: bins in magnitude", at_least=2, at_most=64)
    ce_wrap: bool = option(False, doc="ce: the faintest point falls into the brightest bin, as in SCoPe's periodfind")
    n_harmonics: int = option(3, doc="mhaov: sinusoids fitted together", at_least=1, at_most=10)
    n_box_bins: int = option(50, doc="bls: bins in phase", at_least=4, at_most=64)
    q_min: float = option(0.01, unit="periods", doc="bls: shortest box", more_than=0, at_most=1)
    q_max: float = option(0.5, unit="periods", doc="bls: longest box", more_than=0, at_most=1)
    n_candidates: int = option(10, doc="ls_ce_aov: peaks that ls and ce each propose to aov", at_least=1, at_most=100)
    aov_everywhere: bool = option(
        True, doc="ls_ce_aov: aov over the whole grid; false: at the candidates and a sample, cheaper"
    )
    shared_epochs: bool = option(
        False,
        doc="aov: exposures that many light curves of a batch share are folded once, in half the time; F good to 1e-6",
    )

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises
        ------
        ConfigError
            If a window, the range of frequencies or of boxes is empty, or a method is named twice.
        """
        for window in self.terrestrial_windows:
            if len(window) != 2 or not 0 <= window[0] <= window[1]:
                raise _refusal("terrestrial_windows", list(window), "each window is [low, high] in 1/d")
        if self.min_frequency is not None and self.min_frequency >= self.max_frequency:
            raise _refusal("min_frequency", self.min_frequency, f"give less than max_frequency={self.max_frequency:g}")
        if self.q_min > self.q_max:
            raise _refusal("q_min", self.q_min, f"give at most q_max={self.q_max:g}")
        twice = [name for name in METHODS if self.methods.count(name) > 1]
        if twice:
            raise _refusal("also", list(self.also), f"'{twice[0]}' runs already; name each method once")
        if "none" in self.methods and len(self.methods) > 1:
            raise _refusal("also", list(self.also), "'none' searches nothing; name it alone, or other methods only")

    @property
    def methods(self) -> tuple[Method, ...]:
        """Return the searches that run, the one that models take first."""
        return (self.method, *self.also)

    @property
    def components(self) -> tuple[Method, ...]:
        """Return the searches that a nested one contains, whose best peaks over the whole grid come with it."""
        whole = tuple(part for name in self.methods for part in COMPONENTS.get(name, ()) if part not in self.methods)
        return whole if self.aov_everywhere else tuple(part for part in whole if part != "aov")

    @property
    def compared(self) -> tuple[Method, ...]:
        """Return the searches by a single statistic, which agreement scores compare, in the order of METHODS.

        A search that is made of others would agree with them by itself.
        """
        known = (*self.methods, *self.components)
        return tuple(name for name in METHODS if name in known and name not in COMPONENTS)

    @property
    def excluded(self) -> tuple[tuple[float, float], ...]:
        """Return the windows in which no peak counts."""
        return tuple((low, high) for low, high in self.terrestrial_windows) if self.exclude_terrestrial else ()

    @property
    def binding(self) -> dict[str, object]:
        """Return the settings on which the periods of `method` depend, for the metadata of a table.

        Tables that agree in them can be scored by the same models, whatever else was searched for beside them.
        """
        if self.method == "none":
            return {"method": "none"}
        left_out = {*BESIDE, *(name for name, readers in READ_BY.items() if self.method not in readers)}
        if not self.exclude_terrestrial:
            left_out.add("terrestrial_windows")
        return {name: value for name, value in science_values(self).items() if name not in left_out}

    def scaled(self, min_cadence_minutes: float) -> PeriodSearch:
        """Return this search with `scale_min_period` settled: `max_frequency` from the closest two epochs [min].

        Raises
        ------
        ConfigError
            If epochs may be as close as they like.
        """
        if not self.scale_min_period:
            return self
        if min_cadence_minutes <= 0:
            raise ConfigError(
                f"period_search.scale_min_period=true needs cleaning.min_cadence_minutes above 0, not"
                f" {min_cadence_minutes:g}; give it, or period_search.max_frequency",
                key="period_search.scale_min_period",
            )
        return replace(self, max_frequency=MINUTES_PER_DAY / (2.0 * min_cadence_minutes), scale_min_period=False)

    def grid(self, batch: LightCurveBatch) -> FrequencyGrid:
        """Return the trial frequencies of each light curve."""
        return make_grid(
            batch,
            max_frequency=self.max_frequency,
            samples_per_peak=self.samples_per_peak,
            min_frequency=self.min_frequency,
        )

    def options(self, n_peaks: int | None = None, *, return_spectrum: bool = False) -> SearchOptions:
        """Return what the kernels need besides light curves and grid, for `n_peaks` instead of this search's."""
        return SearchOptions(
            n_peaks=n_peaks or self.n_peaks,
            exclude=self.excluded,
            n_phase_bins=self.n_phase_bins,
            n_mag_bins=self.n_mag_bins,
            wrap=self.ce_wrap,
            n_harmonics=self.n_harmonics,
            n_box_bins=self.n_box_bins,
            q_min=self.q_min,
            q_max=self.q_max,
            n_candidates=self.n_candidates,
            aov_everywhere=self.aov_everywhere,
            shared_epochs=self.shared_epochs,
            return_spectrum=return_spectrum,
        )


def _refusal(name: str, given: object, instead: str) -> ConfigError:
    return ConfigError(f"period_search.{name} has {given}; {instead}", key=f"period_search.{name}")
