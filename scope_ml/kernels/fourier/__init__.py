"""Weighted Fourier fit at a given period, its order (0 to 5 harmonics) chosen by BIC.

    y(t) = c + s (t - t_min) + sum_{n=1..k} [A_n cos(2 pi n t / P) + B_n sin(2 pi n t / P)]

with weights ``1 / mag_err**2``; t in the phase is the time as given (HJD), so `f1_phi0` compares between light curves;
t - t_min stands in the slope. BIC_k = chi2_k + ln(N) (2 + 2k); the smallest order with the smallest BIC is taken.
Orders need N > 2 + 2k points and times that tell their terms apart. One factorisation serves all orders, since
the terms of order k are the first 2 + 2k columns of those of order k + 1.

Columns, with true amplitudes and phases: amp_n = sqrt(A_n^2 + B_n^2), phi_n = atan2(A_n, B_n), so that
y ~ amp_n sin(2 pi n t / P + phi_n):

===============  =================================================================================================
f1_power         (chi2_0 - chi2_k) / chi2_0; 0 where order 0 is taken
f1_BIC           BIC of the order taken
f1_a, f1_b       c [mag] and s [mag/d]
f1_amp, f1_phi0  amp_1 [mag] and phi_1 [rad] in (-pi, pi]; 0 and NaN where order 0 is taken
f1_relampJ       amp_n / amp_1 for n = J + 1; 0 where harmonic n is not taken
f1_relphiJ       ((phi_n / n - phi_1) n / 2 pi) mod 1 for n = J + 1; NaN where harmonic n is not taken
===============  =================================================================================================

All are NaN for fewer than 3 points, fewer than 2 distinct times, a period that is not positive and finite, and a
light curve with a value that is not finite or an error that is not positive.
(SCoPe 0.9.5 stores raw A_n and B_n under these names; its newer code gives relphi of harmonics that were not taken.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "MAX_HARMONICS", "N_SOLUTION", "N_TERMS", "SINGULAR", "FourierOptions", "phase_of", "summarise"]

#: Most harmonics that are tried.
MAX_HARMONICS = 5

#: A term is told apart from those before it if this fraction of its length is left when they are taken out.
SINGULAR = 1e-9

#: Terms of the highest order: constant, slope, and a cosine and a sine per harmonic.
N_TERMS = 2 + 2 * MAX_HARMONICS

#: What a solver of the CPU kernel gives: c, s, A_1, B_1, ..., A_5, B_5, chi2 of order 0, chi2 of the order taken.
N_SOLUTION = N_TERMS + 2

#: Columns in SCoPe's order.
COLUMNS: tuple[str, ...] = (
    "f1_power",
    "f1_BIC",
    "f1_a",
    "f1_b",
    "f1_amp",
    "f1_phi0",
    "f1_relamp1",
    "f1_relphi1",
    "f1_relamp2",
    "f1_relphi2",
    "f1_relamp3",
    "f1_relphi3",
    "f1_relamp4",
    "f1_relphi4",
)


@dataclass(frozen=True, kw_only=True)
class FourierOptions:
    """What the fit needs besides light curves.

    Attributes
    ----------
    period
        Period [d] of each light curve, float64 (n_sources,); NaN gives NaN.
    """

    period: NDArray[np.float64]


def phase_of(time: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    """Return ``time / period`` modulo 1, (n_obs,), to 1e-10 even at HJD and 48 cycles/d.

    ``time / period`` itself has a rounding error of 1e-8 cycles there. The first time's phase is taken with an exact
    remainder, the others' distance from it is exact and small.
    """
    start = float(time.min())
    phase: NDArray[np.float64] = (np.fmod(start, period) / period + (time - start) / period) % 1.0
    return phase


def summarise(coefficients: NDArray[np.float64], chi2: NDArray[np.float64], order: int, n_obs: int) -> list[float]:
    """Return the values of `COLUMNS` for one light curve.

    Parameters
    ----------
    coefficients
        ``c, s, A_1, B_1, ..., A_k, B_k`` of the order taken, float64 (2 + 2k,).
    chi2
        chi2 of orders 0 to k at least.
    order
        The order k that was taken.
    n_obs
        Number of points.
    """
    cosine, sine = coefficients[2::2], coefficients[3::2]
    amplitude = np.hypot(cosine, sine)
    phase = np.arctan2(cosine, sine)
    power = (chi2[0] - chi2[order]) / chi2[0] if order > 0 and chi2[0] > 0 else 0.0
    values = [power, chi2[order] + np.log(n_obs) * (2 + 2 * order), coefficients[0], coefficients[1]]
    values += [amplitude[0], phase[0]] if order > 0 else [0.0, np.nan]
    for n in range(2, MAX_HARMONICS + 1):
        if n <= order:
            values.append(amplitude[n - 1] / amplitude[0] if amplitude[0] > 0 else np.nan)
            values.append((phase[n - 1] / n - phase[0]) * n / (2 * np.pi) % 1.0)
        else:
            values += [0.0, np.nan]
    return [float(value) for value in values]
