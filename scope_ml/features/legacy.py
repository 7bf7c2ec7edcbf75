"""Columns under the names, and with the content, of the tables that SCoPe 0.9.5 writes (``names=legacy``).

What differs from ours: ids in ``_id``; suffixes such as ``ELS_ECE_EAOV``; a column ``pdot_*``, always 0 (1 where no
period was searched); dm-dt images as lists of rows; under the names of the amplitudes and phases of the Fourier fit the
raw coefficients A_n of cos(2 pi n t / P) and B_n of sin, t the HJD; the significance of the nested search is the AOV
statistic itself. May import `spec` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.errors import ConfigError
from scope_ml.features.spec import METHODS, FeatureSpec, PeriodicColumn, split_suffix

__all__ = ["IDENTITY", "NESTED", "SUFFIX", "check_methods", "legacy_columns", "legacy_spec", "legacy_values"]

#: Our method -> SCoPe's suffix, where SCoPe has the method.
SUFFIX: Mapping[str, str] = {
    "ls": "ELS",
    "ce": "ECE",
    "aov": "EAOV",
    "fpw": "EFPW",
    "bls": "EBLS",
    "ls_ce_aov": "ELS_ECE_EAOV",
    "none": "Ones",
}

#: The method whose significance is the statistic itself.
NESTED = "ls_ce_aov"

#: SCoPe's names of the columns that say which light curve a row is, in its order -> ours.
IDENTITY: Mapping[str, str] = {"_id": "id"} | {name: name for name in ("ra", "dec", "field", "ccd", "quad", "filter")}

#: Harmonics of the Fourier fit.
N_HARMONICS = 5


def _specs() -> dict[str, FeatureSpec]:
    """Return the periodic columns whose content differs from ours, without suffix."""
    lines = [
        ("pdot", "", "0; 1 without period search"),
        ("f1_amp", "mag", "A_1 of A_1 cos(2 pi t / P)"),
        ("f1_phi0", "mag", "B_1, of the sine"),
    ]
    for n in range(2, N_HARMONICS + 1):
        lines += [
            (f"f1_relamp{n - 1}", "mag", f"A_{n} of A_{n} cos(2 pi {n} t / P); 0 if harmonic {n} is not taken"),
            (f"f1_relphi{n - 1}", "mag", f"B_{n}, of the sine; 0 if harmonic {n} is not taken"),
        ]
    lines += [
        ("period", "d", "1 / frequency of the best peak, refined between grid points"),
        ("significance", "", "|peak - mean| / scatter of the periodogram"),
        ("f1_power", "", "(chi2_0 - chi2_k) / chi2_0, k the order of smallest BIC, 0 the line"),
        ("f1_BIC", "", "chi2_k + ln(N) (2 + 2k)"),
        ("f1_a", "mag", "magnitude of the line at the first epoch"),
        ("f1_b", "mag/d", "slope of the line"),
    ]
    return {
        name: FeatureSpec(name=name, group="legacy", unit=unit, formula=formula, sets=(), periodic=True, legacy=name)
        for name, unit, formula in lines
    }


#: SCoPe's periodic columns, without suffix.
SPECS: Mapping[str, FeatureSpec] = _specs()

NESTED_SIGNIFICANCE = FeatureSpec(
    name="significance", group="legacy", unit="", formula="AOV statistic at the period", sets=(), periodic=True
)


def legacy_spec(column: str) -> FeatureSpec | None:
    """Return what a column such as ``f1_amp_ELS_ECE_EAOV`` holds; None if it is not one of SCoPe's periodic columns."""
    parts = split_suffix(column, SPECS, SUFFIX.values())
    if parts is None:
        return None
    if parts.suffix == SUFFIX[NESTED] and parts.feature == "significance":
        return NESTED_SIGNIFICANCE
    return SPECS[parts.feature]


def check_methods(methods: Sequence[str]) -> None:
    """Check that SCoPe has a name for each period search.

    Raises
    ------
    ConfigError
        Naming the first that it does not have.
    """
    for method in methods:
        if method not in SUFFIX:
            raise ConfigError(
                f"names=legacy has no columns for the period search '{method}', which SCoPe does not have; it has"
                f" {', '.join(SUFFIX)}: give period_search=ls_ce_aov, or names=ours",
                key="names",
                choices=SUFFIX,
            )


def legacy_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return SCoPe's names of our feature columns, in our order, a ``pdot`` after each best significance."""
    named: list[str] = []
    for column in columns:
        parts = split_suffix(column, SPECS, METHODS)
        named.append(column if parts is None else _named(parts, parts.feature))
        if parts is not None and parts.feature == "significance" and parts.rank == 1:
            named.append(_named(parts, "pdot"))
    return tuple(named)


def legacy_values(measured: Mapping[str, Any], nested_statistic: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return SCoPe's columns from ours, each of (n_sources,), in the order of `legacy_columns`.

    Parameters
    ----------
    measured
        Our feature columns.
    nested_statistic
        Statistic of the peaks of ``ls_ce_aov``, float64 (n_sources, n_peaks), if it was searched.
    """
    values: dict[str, Any] = {}
    for column, value in measured.items():
        parts = split_suffix(column, SPECS, METHODS)
        if parts is None:
            values[column] = value
            continue
        if parts.feature == "significance" and parts.suffix == NESTED and nested_statistic is not None:
            values[_named(parts, parts.feature)] = nested_statistic[:, parts.rank - 1]
        else:
            values[_named(parts, parts.feature)] = value
        if parts.feature == "significance" and parts.rank == 1:
            values[_named(parts, "pdot")] = np.full(value.size, 1.0 if parts.suffix == "none" else 0.0)
        elif parts.feature == "f1_relphi4":
            values |= _coefficients(measured, parts)
    return values


def _named(parts: PeriodicColumn, feature: str) -> str:
    return SPECS[feature].column(SUFFIX[parts.suffix], parts.rank)


def _coefficients(measured: Mapping[str, NDArray[np.float64]], parts: PeriodicColumn) -> dict[str, NDArray[np.float64]]:
    """Return A_n and B_n under SCoPe's names, from our amplitudes and phases of one method.

    ``amp_n sin(x + phi_n)`` is ``A_n cos(x) + B_n sin(x)``: A_n = amp_n sin(phi_n), B_n = amp_n cos(phi_n).
    """

    def ours(feature: str) -> NDArray[np.float64]:
        return measured[f"{feature}_{parts.suffix}"]

    amplitude, phase = ours("f1_amp"), ours("f1_phi0")
    values: dict[str, NDArray[np.float64]] = {}
    for n in range(1, N_HARMONICS + 1):
        if n == 1:
            names, size, angle = ("f1_amp", "f1_phi0"), amplitude, phase
        else:
            names = (f"f1_relamp{n - 1}", f"f1_relphi{n - 1}")
            size = amplitude * ours(names[0])
            angle = n * phase + 2.0 * np.pi * ours(names[1])
        # A harmonic that was not taken has size 0 and no phase.
        values[_named(parts, names[0])] = np.where(size == 0, 0.0, size * np.sin(angle))
        values[_named(parts, names[1])] = np.where(size == 0, 0.0, size * np.cos(angle))
    return values
