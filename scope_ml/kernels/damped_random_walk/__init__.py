"""Damped random walk (Ornstein-Uhlenbeck process): time scale and scatter of largest likelihood.

    m_i = mu + x(t_i) + noise of variance e_i^2,        <x(t) x(t')> = sigma^2 exp(-|t - t'| / tau)

(Kelly, Bechtold & Siemiginowska 2009, ApJ 698, 895; MacLeod et al. 2010, ApJ 721, 1014). The constant mu is profiled
out: at each tau and sigma it has its best value. A flat prior on mu, marginalised, would do as well, but leaves the
likelihood level towards endless tau, where the profile falls as tau^-1/2, so that tau is finite more often.

=========================  =========================================================================================
drw_tau                    tau [d]; 0 where white noise is as good
drw_sigma                  sigma [mag], rms of the walk over times long against tau; the structure function at long
                           lags is SF_inf = sqrt(2) sigma, Kelly's short-term variance is 2 sigma^2 / tau
drw_log_likelihood_ratio   ln L of the walk less ln L of white noise: a constant with a free scatter added to the errors
=========================  =========================================================================================

White noise with its own scatter is the walk's limit of short tau, so that the ratio is never negative. It says how far
the scatter is correlated in time, not how much there is, and does not mistake underestimated errors for a walk.

**Range.** tau lies between a quarter of the typical short gap (`SHORT_GAP` of the gaps are shorter; gaps of 0 do not
count) and 10 baselines; sigma^2 T / (T + 3 tau), about the variance that shows within the baseline T, between
0.1 / N and 10 times the variance of the magnitudes. A maximum on the upper bound of tau is reported as that bound: all
that is seen is a drift. Where white noise is as good as any walk, tau and the ratio are 0 and sigma is its scatter. tau
is known to 10 % or so for baselines of hundreds of tau; for baselines below ten tau it comes out short (Kozlowski 2017,
A&A 597, A128).

**Nothing found.** Where no scatter is needed besides the errors, sigma and the ratio are 0 and tau is NaN; so for
magnitudes that are all equal.

All are NaN for fewer than 5 points, a single time, times that fall, and a light curve with a value that is not finite
or an error that is not positive, or so small or large that its square is no number.

The maximum is sought on a lattice in ln tau with the best sigma for each, then by stencils that move, take Newton's step
and shrink, to about 1e-4 of tau. Differences below `MARGIN` in ln L do not count, in favour of short tau and small
sigma: what is level is not decided by rounding. Of several maxima a narrow one may be missed between the tau of the
lattice; there is a factor of `TAU_RATIO` between them at most.
"""

from __future__ import annotations

__all__ = [
    "COLUMNS",
    "CORRELATED",
    "FIRST_STEP",
    "FLAT",
    "LAST_STEP",
    "LONGEST",
    "MARGIN",
    "MAX_ROUNDS",
    "MIN_POINTS",
    "N_VARIANCES",
    "SHORTEST",
    "SHORT_GAP",
    "SHRINK",
    "STENCIL",
    "STRONGEST",
    "TAU_RATIO",
    "WEAKEST",
]

COLUMNS: tuple[str, ...] = ("drw_tau", "drw_sigma", "drw_log_likelihood_ratio")

#: Fewest points: two parameters, a mean, and something left to be wrong about.
MIN_POINTS = 5

#: The share of gaps that are shorter than the typical short one, and tau's bounds in such gaps and in baselines.
SHORT_GAP = 0.1
SHORTEST = 0.25
LONGEST = 10.0

#: Bounds of the variance within the baseline, over the variance of the magnitudes; the lower one is divided by N.
WEAKEST = 0.1
STRONGEST = 10.0

#: Lattice: largest ratio of neighbouring tau, and how many variances at each tau, twice.
TAU_RATIO = 6.0
N_VARIANCES = 8

#: Stencils: tau by variances; the first step in ln variance (that in ln tau is half the lattice's); steps shrink where
#: the best is within, until that in ln tau is small.
STENCIL = 5
FIRST_STEP = 0.3
SHRINK = 0.125
LAST_STEP = 0.02
MAX_ROUNDS = 30

#: Differences in ln L, and curvatures per unit of ln tau or ln sigma^2, that count as none.
MARGIN = 1e-6
FLAT = 1e-4

#: Where the directions of a parabola are correlated so that less than this of its determinant is left, each goes alone.
CORRELATED = 1e-3
