"""What is said about the features that come from the light curve alone, group by group, in the order of the table.

Imports `spec` and `quality`.
"""

from __future__ import annotations

from scope_ml.features.quality import QualityFlag
from scope_ml.features.spec import FEATURE_SETS, SCOPE, FeatureSpec

__all__ = [
    "agreement_columns",
    "basic_columns",
    "colour_columns",
    "decision_columns",
    "dmdt_columns",
    "drw_columns",
    "fourier_columns",
    "period_columns",
    "quality_columns",
]

COMPARED = "SCoPe of 2026, agreement of the best periods of several algorithms"
DECIDED = "docs/period_search.md"
STETSON = "Stetson 1996, PASP 108, 851 (SCoPe's variant, not normalised)"

#: Pairs of bands whose difference is a colour.
COLOURS = (("g", "r"), ("r", "i"))


def basic_columns() -> tuple[FeatureSpec, ...]:
    """Return the basic statistics in SCoPe's order: name, unit, formula, reference."""
    lines = (
        ("median", "mag", "median(m)", SCOPE),
        ("wmean", "mag", "sum(w m) / sum(w)", SCOPE),
        ("chi2red", "", "sum(w (m - wm)^2) / (N - 1)", SCOPE),
        ("roms", "", "sum(|m - median| / e) / (N - 1)", "Enoch et al. 2003, AJ 126, 3006"),
        ("wstd", "mag", "sqrt(sum(w (m - wm)^2) / sum(w))", SCOPE),
        (
            "norm_peak_to_peak_amp",
            "",
            "(a - b) / (a + b), a = max(m - e), b = min(m + e)",
            "Sokolovsky et al. 2009, MNRAS 392, 1189",
        ),
        ("norm_excess_var", "", "sum((m - wm)^2 - e^2) / (N wm^2)", "Nandra et al. 1997, ApJ 476, 70"),
        ("median_abs_dev", "mag", "median(|m - median|)", SCOPE),
        ("iqr", "mag", "percentile 75 - percentile 25", SCOPE),
        ("i60r", "mag", "percentile 80 - percentile 20", SCOPE),
        ("i70r", "mag", "percentile 85 - percentile 15", SCOPE),
        ("i80r", "mag", "percentile 90 - percentile 10", SCOPE),
        ("i90r", "mag", "percentile 95 - percentile 5", SCOPE),
        ("skew", "", "N / ((N-1)(N-2)) sum(((m - wm)/e)^3): scaled by errors", SCOPE),
        (
            "smallkurt",
            "",
            "N(N+1) / ((N-1)(N-2)(N-3)) sum(((m - wm)/e)^4) - 3(N-1)^2 / ((N-2)(N-3)): scaled by errors",
            SCOPE,
        ),
        (
            "inv_vonneumannratio",
            "",
            "1/eta, eta = sum(dm^2/dt^2) / (sum(1/dt^2) wstd^2) over consecutive pairs at different times",
            "von Neumann 1941, Ann. Math. Stat. 12, 367; Kim et al. 2014, A&A 566, A43",
        ),
        (
            "welch_i",
            "",
            "sum(d_i d_{i+1}), d = sqrt(N/(N-1)) (m - wm)/e",
            "Welch & Stetson 1993, AJ 105, 1813 (SCoPe's variant, not normalised)",
        ),
        ("stetson_j", "", "sum(sign(P) sqrt(|P|)), P = d_i d_{i+1}", STETSON),
        ("stetson_k", "", "mean(|d|) / sqrt(mean(d^2))", "Stetson 1996, PASP 108, 851"),
        (
            "ad",
            "",
            "Anderson-Darling A^2 of m/e (not of residuals) against a normal of its own mean and scatter",
            "Stephens 1974, JASA 69, 730",
        ),
        ("sw", "", "Shapiro-Wilk W of m/e (not of residuals), AS R94", "Royston 1995, Applied Statistics 44, 547"),
    )
    count = FeatureSpec(name="n", group="basic", unit="", formula="N", sets=(), missing="none", legacy="n")
    return count, *(
        FeatureSpec(name=name, group="basic", unit=unit, formula=formula, reference=reference, legacy=name)
        for name, unit, formula, reference in lines
    )


def fourier_columns() -> tuple[FeatureSpec, ...]:
    """Return the columns of the Fourier fit; amplitudes and phases are true ones."""
    lines = [
        ("f1_power", "", "(chi2_0 - chi2_k) / chi2_0, k the order of smallest BIC, 0 the line"),
        ("f1_BIC", "", "chi2_k + ln(N) (2 + 2k)"),
        ("f1_a", "mag", "magnitude of the line at the first epoch"),
        ("f1_b", "mag/d", "slope of the line"),
        ("f1_amp", "mag", "amp_1 = sqrt(A_1^2 + B_1^2); 0 if no harmonic is taken"),
        ("f1_phi0", "rad", "phi_1 = atan2(A_1, B_1) at HJD 0; NaN if no harmonic is taken"),
    ]
    for n in range(2, 6):
        lines += [
            (f"f1_relamp{n - 1}", "", f"amp_{n} / amp_1; 0 if harmonic {n} is not taken"),
            (
                f"f1_relphi{n - 1}",
                "",
                f"((phi_{n}/{n} - phi_1) {n} / 2 pi) mod 1; NaN if harmonic {n} is not taken",
            ),
        ]
    return tuple(
        FeatureSpec(
            name=name,
            group="fourier",
            unit=unit,
            formula=formula,
            missing="below" if "phi" in name else "median",
            periodic=True,
            legacy=name,
        )
        for name, unit, formula in lines
    )


def period_columns() -> tuple[FeatureSpec, ...]:
    """Return the best period and how far its peak stands out."""
    return (
        FeatureSpec(
            name="period",
            group="period",
            unit="d",
            formula="1 / frequency of the best peak, refined between grid points",
            sets=("ontological",),
            periodic=True,
            legacy="period",
        ),
        FeatureSpec(
            name="significance",
            group="period",
            unit="",
            formula="|peak - mean| / scatter of the periodogram",
            sets=("ontological",),
            periodic=True,
            legacy="significance",
        ),
    )


def agreement_columns() -> tuple[FeatureSpec, ...]:
    """Return how far the best periods of M methods agree; see `agreement` for what a match is."""
    lines = (
        ("n_agree_pairs", "", "pairs of methods with a match between any of their best periods"),
        ("n_total_pairs", "", "M (M - 1) / 2 for the M methods compared"),
        ("agree_score", "", "n_agree_pairs / n_total_pairs"),
        ("agree_strict", "", "share of pairs whose very best periods match"),
        ("agree_weighted", "", "mean over pairs of the largest 1 / (rank_a rank_b) of a match; 0 without one"),
        ("best_agree_period", "d", "first period with a match, by pair and rank; NaN without one"),
        ("best_consensus_period", "d", "period with the most votes of the other methods; NaN without one"),
    )
    return tuple(
        FeatureSpec(name=name, group="agreement", unit=unit, formula=formula, sets=(), reference=COMPARED, legacy=name)
        for name, unit, formula in lines
    )


def decision_columns() -> tuple[FeatureSpec, ...]:
    """Return what `best` reports about its period; models take how much evidence there is for any."""
    lines = (
        ("log_evidence", "", "ln of the marginal likelihood of a periodic curve over that of a constant", FEATURE_SETS),
        ("doubled", "", "1 if the period is twice the best candidate, by the shape of the light curve, else 0", ()),
        ("alias_period", "d", "best candidate that the times of observation confuse with the period; NaN if none", ()),
        ("runner_up_period", "d", "next best candidate; NaN if none", ()),
    )
    return tuple(
        FeatureSpec(
            name=name, group="decision", unit=unit, formula=formula, sets=sets, periodic=True, reference=DECIDED
        )
        for name, unit, formula, sets in lines
    )


def dmdt_columns() -> tuple[FeatureSpec, ...]:
    """Return the image of all pairs of points; networks take it, sets of numbers do not."""
    return (
        FeatureSpec(
            name="dmdt",
            group="dmdt",
            unit="",
            formula="pairs i < j by bins of t_j - t_i and m_j - m_i over the root of the sum of squares of all bins;"
            " row by row, dm by dm",
            reference="Mahabal et al. 2017, IEEE SSCI, 2757",
            sets=(),
            missing="zero",
            dtype="float[]",
            legacy="dmdt",
        ),
    )


def drw_columns() -> tuple[FeatureSpec, ...]:
    """Return the damped random walk; `kernels.damped_random_walk` has the likelihood."""
    lines = (
        (
            "drw_tau",
            "d",
            "damping time of the most likely damped random walk with measurement errors; 0 if white noise is as good, NaN if the"
            " errors are enough",
        ),
        ("drw_sigma", "mag", "its long-term scatter; the structure function at infinity is sqrt(2) sigma"),
        (
            "drw_log_likelihood_ratio",
            "",
            "ln likelihood of the walk over that of a constant with white scatter; 0 if that is as good",
        ),
    )
    return tuple(
        FeatureSpec(name=name, group="drw", unit=unit, formula=formula, reference="Kelly et al. 2009, ApJ 698, 895")
        for name, unit, formula in lines
    )


def colour_columns() -> tuple[FeatureSpec, ...]:
    """Return colours of the star from the medians of its light curves in the bands of ZTF."""
    return tuple(
        FeatureSpec(
            name=f"colour_{blue}_{red}",
            group="colour",
            unit="mag",
            formula=f"median({blue}) - median({red}) of the light curves of one star in the table",
            reference="here",
            sets=("ontological",),
        )
        for blue, red in COLOURS
    )


def quality_columns() -> tuple[FeatureSpec, ...]:
    """Return the flags that say what to beware of."""
    meanings = "; ".join(f"{flag.value} {flag.label}" for flag in QualityFlag)
    return (
        FeatureSpec(
            name="quality",
            group="quality",
            unit="",
            formula=f"sum of flags: {meanings}",
            reference="here",
            sets=(),
            missing="none",
            dtype="int32",
        ),
    )
