"""What is said about the groups `folded` and `timescales`, in the order of the table; the kernels define the columns.

Imports `spec` and the packages (not the numerics) of the two kernels.
"""

from __future__ import annotations

from scope_ml.features.spec import FEATURE_SETS, FeatureSpec
from scope_ml.kernels.folded import COLUMNS as FOLDED
from scope_ml.kernels.folded import N_SHAPE, RATIOS
from scope_ml.kernels.timescales import BANDS, LAGS, N_SLOW
from scope_ml.kernels.timescales import COLUMNS as TIMESCALES

__all__ = ["folded_columns", "timescales_columns"]

HERE = "here (kernels/folded)"
SCALES = "here (kernels/timescales)"
CLEANED = "Roberts, Lehar & Dreher 1987, AJ 93, 968"
RICHARDS = "Richards et al. 2011, ApJ 733, 10"
SIMON = "Simon & Lee 1981, ApJ 248, 291"
LAFLER = "Lafler & Kinman 1965, ApJS 11, 216"

#: Lengths of time in a table of features: models of shape alone do not take them.
TIMES = ("fold_cycle", "fold_binary_cycle", "slow_period_1", "slow_period_2", "slow_period_3", "slow_centre")

#: Columns with a formula of their own: unit, formula, reference.
FORMULAE: dict[str, tuple[str, str, str]] = {
    "fold_cycle": ("d", "shortest cycle: the period, or half of it where it was doubled by its shape", HERE),
    "fold_amplitude": ("mag", "range of the curve c of 8 penalised harmonics C_h at the cycle", HERE),
    "fold_even_over_odd": ("", "sqrt(sum |C_h|^2 of even h / sum of odd h)", HERE),
    "fold_faint": ("", "part of the cycle fainter than the middle of the range of c", HERE),
    "fold_asymmetry": ("", "share of sum |C_h|^2 that is odd about the axis about which c is most even", HERE),
    "fold_rise": ("", "part of the cycle from the faintest to the brightest phase", HERE),
    "fold_steepness": ("", "max |dc/dphase| / range", HERE),
    "fold_explained": ("", "1 - v / V: variance about c over that of the magnitudes", HERE),
    "fold_residual_errors": ("", "median(|r| / e), r = m - c", HERE),
    "fold_residual_kurtosis": ("", "mean((r - mean(r))^4) / s_r^4", HERE),
    "fold_residual_skewness": ("", "mean((r - mean(r))^3) / s_r^3", HERE),
    "fold_scatter": ("", "mean(dm^2) / (2 s^2) of neighbours in phase", LAFLER),
    "fold_residual_scatter": ("", "mean(dr^2) / (2 s_r^2) of neighbours in phase", HERE),
    "fold_residual_drift": ("", "mean(dr^2) / (2 s_r^2) of neighbours in time", HERE),
    "fold_gain_half": ("", "log10(v at half the cycle (6 harmonics) / v)", HERE),
    "fold_gain_double": ("", "log10(v / v at twice the cycle (12 harmonics))", HERE),
    "fold_evidence_double": ("", "N fold_gain_double", HERE),
    "fold_odd_double": ("", "sqrt(sum |C_h|^2 of odd h / sum of all) at twice the cycle", HERE),
    "fold_binary_cycle": (
        "d",
        "twice the cycle where c has one minimum (fold_even_over_odd < 1), else the cycle",
        HERE,
    ),
    "fold_depth": ("mag", "deeper minimum of the binary's curve b below its brightest eighth", HERE),
    "fold_depth_ratio": ("", "depth of the other minimum, 1/4 to 3/4 of the cycle away, over fold_depth", HERE),
    "fold_second_phase": ("", "|phase between the minima - 1/2|", HERE),
    "fold_maxima": ("", "|difference of the maxima between the minima| / range", HERE),
    "fold_dip_width": ("", "phase by which b has risen half way to the brightest eighth, at most 1/4", HERE),
    "fold_dip_faint": ("", "part of the cycle in which b is above 1/2 of its range (1 faintest)", HERE),
    "fold_dip_bright": ("", "part of the cycle in which b is below 1/5 of its range", HERE),
    "fold_dip_top": ("", "part of the cycle in which b is below 1/10 of its range", HERE),
    "fold_second_power": ("", "highest share of the variance about the curve of twice the cycle, any kind", HERE),
    "fold_second_amplitude": ("", "its amplitude over |C_1|", HERE),
    "dist_skewness": ("", "mean((m - mean)^3) / s^3", RICHARDS),
    "dist_kurtosis": ("", "mean((m - mean)^4) / s^4 - 3", RICHARDS),
    "dist_range": ("", "(max - min) / (percentile 95 - 5)", SCALES),
    "dist_beyond": ("", "share of |m - mean| > s", RICHARDS),
    "dist_eta": ("", "mean(dm^2) / s^2 of consecutive points", "von Neumann 1941, Ann. Math. Stat. 12, 367"),
    "dist_cusum": ("", "range of the cumulative sum of (m - mean) / (N s)", "Ellaway 1978, EEG Clin. Neuro. 45, 302"),
    "dist_errors": ("", "median(e) / (1.4826 median(|m - median|))", SCALES),
    "slow_left": ("", "variance after three slow sinusoids over that before", CLEANED),
    "slow_eta": ("", "mean(dr^2) / (2 s_r^2) of consecutive points of what they leave", SCALES),
    "slow_ratio": ("", "slow_period_2 / slow_period_1", SCALES),
    "slow_centre": ("", "mean of log10(slow_period_k / d) weighted by slow_share_k", SCALES),
    "season_mean": ("", "scatter of the means of 120 d over s", SCALES),
    "season_scatter": ("", "scatter of the scatters within 120 d over their mean", SCALES),
}


def folded_columns() -> tuple[FeatureSpec, ...]:
    """Return the shape of the folded light curve."""
    return tuple(_spec(name, "folded", *_folded(name)) for name in FOLDED)


def timescales_columns() -> tuple[FeatureSpec, ...]:
    """Return the distribution of magnitudes and the time scales of their changes."""
    return tuple(_spec(name, "timescales", *_timescales(name)) for name in TIMESCALES)


def _spec(name: str, group: str, unit: str, formula: str, reference: str) -> FeatureSpec:
    return FeatureSpec(
        name=name,
        group=group,
        unit=unit,
        formula=formula,
        reference=reference,
        sets=("ontological",) if name in TIMES else FEATURE_SETS,
        periodic=group == "folded",
    )


def _folded(name: str) -> tuple[str, str, str]:
    """Return unit, formula and reference."""
    if name in FORMULAE:
        return FORMULAE[name]
    word = name.removeprefix("fold_")
    if word[0] == "r":
        return "", f"|C_{word[1]}| / |C_1|", SIMON
    if word[:3] in ("cos", "sin"):
        return "", f"{word[:3]}(arg C_{word[3]} - {word[3]} arg C_1)", SIMON
    if word.startswith("phase_"):
        return "", f"c at {word.rpartition('_')[2]}/{N_SHAPE} of the cycle after the brightest phase, 0 to 1", HERE
    if word.startswith("dip_"):
        place = word.rpartition("_")[2]
        return "", f"b at {place}/24 of the cycle from the deeper minimum, mean of both sides, 0 brightest to 1", HERE
    kind, _, side = word.removeprefix("second_").rpartition("_")
    if kind in RATIOS:
        low, high = RATIOS[kind]
        where = f"{low:g} to {high:g} of the frequency" if side == "low" else f"the frequency over {low:g} to {high:g}"
        return "", f"N times the highest power that is left at {where}", HERE
    return "", f"the higher of fold_{word}_low and _high over the highest of the other kinds", HERE


def _timescales(name: str) -> tuple[str, str, str]:
    """Return unit, formula and reference."""
    if name in FORMULAE:
        return FORMULAE[name]
    stem, _, end = name.rpartition("_")
    number = int(end)
    if stem == "dist_skew":
        return "", f"(p + q - 2 median) / (q - p), p and q percentiles {number} and {100 - number}", RICHARDS
    if stem == "dist_mid":
        return "", f"range of the middle {number} % over that of the middle 90 %", RICHARDS
    if stem == "slow_band":
        longest = f" to {2 * number}" if number < BANDS[-1] else " or more"
        return "", f"highest Lomb-Scargle power at periods of {number}{longest} d", SCALES
    if stem == "lag":
        edges = ["0", *(f"{edge:g}" for edge in LAGS), "infinity"]
        return "", f"mean((m_i - m_j)^2) / (2 s^2) of pairs {edges[number]} to {edges[number + 1]} d apart", SCALES
    what = {"period": "period", "power": "power", "share": "share of the variance"}[stem.removeprefix("slow_")]
    place = f"sinusoid {number} of {N_SLOW} that are taken out in turn, of 10 d to the baseline"
    return "d" if what == "period" else "", f"{what} of {place}", CLEANED
