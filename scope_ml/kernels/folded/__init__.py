"""Shape of the light curve folded with its cycle, with half of it and with twice it, and what is left over.

Points count with W_i ~ 1 / (e_i^2 + (0.15 s)^2), sum 1, s the standard deviation of the magnitudes: no star is a smooth
curve to a thousandth of a magnitude. y_i are the magnitudes less their mean so weighted, V = sum(W y^2).

**Curves.** A curve of H harmonics, C_h the complex amplitude of harmonic h, is the one of largest posterior probability
if the cosine and the sine of harmonic h have normal priors of variance V h^-3 and the noise has variance v: the normal
equations of weighted least squares with v h^3 / (n V) added to their diagonal, the constant free. v starts as V / 2 and
is twice replaced by the variance about the curve (at least V / 10^4). So sharp curves may be sharp and few points give no
wild ones. There are three: at half the cycle (6 harmonics), at the cycle (8) and at twice it (12).

**The binary's curve** is the one at twice the cycle where that at the cycle has one minimum (its even harmonics are weaker
than its odd ones), else that at the cycle. Eclipsing stars have two minima in it, pulsating ones two equal ones.

Curves are looked at at 96 phases. Everything is relative to the range of the curve but `fold_amplitude`, `fold_depth`.

============================  ====================================================================================
fold_cycle, fold_amplitude    the cycle [d]; range of the curve at it [mag]
fold_r21 ... fold_r51         |C_h| / |C_1|
fold_cos21 ... fold_sin41     cosine and sine of arg C_h - h arg C_1, h = 2, 3, 4: no jump where a phase turns
fold_even_over_odd            root of the sum of squares of the even harmonics over that of the odd ones
fold_faint                    part of the cycle in which the star is fainter than the middle of its range
fold_asymmetry                share of the squares that is odd about the axis about which the curve is most even
fold_rise                     part of the cycle from the faintest to the brightest phase
fold_steepness                steepest change per cycle
fold_explained                1 - v / V of the curve at the cycle
fold_residual_errors          median of |residual| / error
fold_residual_kurtosis, ...   fourth and third moment of the residuals over their standard deviation
fold_scatter                  sum of squares of differences of neighbours in phase over twice the variance
fold_residual_scatter         the same of the residuals; fold_residual_drift: of neighbours in time
fold_gain_half, fold_gain_double  log10 of v at half the cycle over v, of v over v at twice the cycle
fold_evidence_double          n times fold_gain_double
fold_odd_double               amplitude of the odd harmonics over that of all at twice the cycle
fold_phase_0 ... _15          the curve at the cycle at 16 phases from the brightest; 0 brightest, 1 faintest
fold_binary_cycle             cycle of the binary's curve [d]
fold_depth, fold_depth_ratio  depth of its deeper minimum below the mean of the brightest eighth [mag], and of the other
                              minimum (the faintest phase at least a quarter of the cycle away) over it
fold_second_phase             how far the other minimum is from half the cycle
fold_maxima                   difference of the two maxima
fold_dip_0 ... _12            the binary's curve, both halves averaged, from the deeper minimum on, in 24ths of the cycle
fold_dip_width                phase at which that average has risen half way to the brightest eighth, at most a quarter
fold_dip_faint, _bright, _top parts of the cycle above one half, below a fifth and below a tenth of the range
fold_second_<kind>_low, _high n times the highest power that a sinusoid has in what the curve at twice the cycle leaves, at
                              0.738 to 0.752 (double_mode: RR Lyrae), 0.69 to 0.735 (fundamental: Cepheids) and 0.79 to
                              0.815 (overtone: Cepheids) of the frequency, and at the frequency over these
fold_second_<kind>            the higher of the two over the highest of the other kinds
fold_second_power             the highest of all, without n; fold_second_amplitude: its amplitude over |C_1|
============================  ====================================================================================

The second modes are NaN for cycles below 0.125 d or above 100 d; everything is for fewer than 10 points, fewer than two
times, equal magnitudes, a cycle that is not positive and finite, and values that are not finite or errors not positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "ERROR_SHARE",
    "FAST",
    "HARMONICS",
    "LEAST_NOISE",
    "MIN_POINTS",
    "N_DIPS",
    "N_PHASES",
    "N_SHAPE",
    "OVERSAMPLING",
    "RATIOS",
    "SLOW",
    "FoldedOptions",
]

MIN_POINTS = 10

#: What is added to the errors, in squares, as a share of the standard deviation.
ERROR_SHARE = 0.15

#: Harmonics of the curves at half the cycle, at the cycle and at twice it.
HARMONICS = (6, 8, 12)
LEAST_NOISE = 1e-4

#: Phases at which curves are looked at, those that are columns, and those of the binary's curve from 0 to 1/2.
N_PHASES = 96
N_SHAPE = 16
N_DIPS = 13

#: Ratios of the second frequency to the first: Soszynski et al. 2008-2010 (AcA 58, 163; 59, 1), from and to.
RATIOS = {"double_mode": (0.738, 0.752), "fundamental": (0.69, 0.735), "overtone": (0.79, 0.815)}

#: Cycles [d] for which second modes are looked for, and steps in 1 / baseline.
FAST, SLOW = 0.125, 100.0
OVERSAMPLING = 0.3

COLUMNS: tuple[str, ...] = (
    "fold_cycle",
    "fold_amplitude",
    "fold_r21",
    "fold_r31",
    "fold_r41",
    "fold_r51",
    "fold_cos21",
    "fold_sin21",
    "fold_cos31",
    "fold_sin31",
    "fold_cos41",
    "fold_sin41",
    "fold_even_over_odd",
    "fold_faint",
    "fold_asymmetry",
    "fold_rise",
    "fold_steepness",
    "fold_explained",
    "fold_residual_errors",
    "fold_residual_kurtosis",
    "fold_residual_skewness",
    "fold_scatter",
    "fold_residual_scatter",
    "fold_residual_drift",
    "fold_gain_half",
    "fold_gain_double",
    "fold_evidence_double",
    "fold_odd_double",
    *(f"fold_phase_{k}" for k in range(N_SHAPE)),
    "fold_binary_cycle",
    "fold_depth",
    "fold_depth_ratio",
    "fold_second_phase",
    "fold_maxima",
    *(f"fold_dip_{k}" for k in range(N_DIPS)),
    "fold_dip_width",
    "fold_dip_faint",
    "fold_dip_bright",
    "fold_dip_top",
    *(f"fold_second_{kind}_{side}" for kind in RATIOS for side in ("low", "high")),
    *(f"fold_second_{kind}" for kind in RATIOS),
    "fold_second_power",
    "fold_second_amplitude",
)


@dataclass(frozen=True, kw_only=True)
class FoldedOptions:
    """What folding needs besides light curves.

    Attributes
    ----------
    cycle
        Shortest cycle [d] of each light curve, float64 (n_sources,): the period, or half of it where an eclipsing star's
        period was doubled by its shape; NaN gives NaN.
    """

    cycle: NDArray[np.float64]
