"""Imputer and scaler: how a table of features becomes the matrix that a model sees.

Both are fitted on the training part of the split, over all classes, and saved with every model; a row's prepared
values depend on that row alone. Bundles with the same `Preparation.digest` share one prepared matrix.

An infinite value counts as missing. A column without a single value in the training part is filled with 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scope_ml.core.configuration import option
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, DataError, ModelError

__all__ = ["ColumnScale", "Policy", "Preparation", "PreparationConfig"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Policy = Literal["median", "mean", "zero", "below", "none"]

#: Larger magnitudes do not fit float32, in which models compute; they count as missing.
LARGEST = float(np.finfo(np.float32).max)

#: How far below the smallest value ``below`` lies, in ranges of the values.
BELOW = 0.25

POLICIES = ("median", "mean", "zero", "below", "none")


@dataclass(frozen=True, kw_only=True)
class PreparationConfig:
    """How features are prepared for an algorithm.

    Attributes
    ----------
    impute
        ``by_feature`` fills each feature as its entry in the feature registry says; the other choices treat all
        features alike; ``none`` leaves missing values to the algorithm (trees take them).
    impute_rest
        With ``by_feature``: what fills a feature whose entry says ``none``, where it is missing all the same.
    scale
        ``quantile_normal`` maps the training distribution of a feature onto a normal one, so that outliers and heavy
        tails do not squeeze the rest; ``standard`` is (x - mean) / std, ``median_std`` (x - median) / std, ``min_max``
        (x - min) / (max - min). Values outside the training range go to its ends with ``quantile_normal`` only.
    n_quantiles
        Knots of ``quantile_normal``.
    """

    impute: Literal["by_feature", "median", "mean", "zero", "none"] = option(
        "by_feature", doc="what fills missing values"
    )
    impute_rest: Literal["median", "mean", "zero", "none"] = option("median", doc="what fills features of policy none")
    scale: Literal["min_max", "median_std", "standard", "quantile_normal", "none"] = option("none", doc="scaling")
    n_quantiles: int = option(129, doc="knots of quantile_normal", at_least=3, at_most=10_001)


@dataclass(frozen=True, kw_only=True)
class ColumnScale:
    """The scale of one feature: ``(x - shift) / width``, or a monotone line through knots where there are any."""

    shift: float = 0.0
    width: float = 1.0
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def apply(self, x: FloatArray) -> FloatArray:
        """Return the scaled values; NaN stays NaN."""
        if self.knots:
            return np.interp(x, self.knots, self.levels)
        with np.errstate(over="ignore"):
            scaled: FloatArray = (x - self.shift) / self.width
        return scaled


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A fitted imputer and scaler for named features.

    Attributes
    ----------
    features
        Names, in the order of the model's inputs.
    fills
        What replaces a missing value, per feature; None leaves it missing.
    scales
        Scale per feature.
    n_missing
        Rows of the training part in which the feature was missing, per feature.
    warnings
        One line per feature that could not be prepared as asked.
    """

    features: tuple[str, ...]
    fills: tuple[float | None, ...]
    scales: tuple[ColumnScale, ...]
    n_missing: tuple[int, ...]
    n_rows: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        x: npt.ArrayLike,
        features: Sequence[str],
        config: PreparationConfig,
        *,
        policies: Mapping[str, Policy] | None = None,
    ) -> Preparation:
        """Fit on the rows of the training part.

        Parameters
        ----------
        x
            (n, k) features, missing values NaN or infinite.
        features
            k names.
        config
            What to do.
        policies
            Missing-value policy by feature name (the feature registry's); needed with ``impute=by_feature``,
            features that are not in it count as ``none``.

        Raises
        ------
        DataError
            If `x` has no rows or does not have one column per name.
        ConfigError
            If a policy is not one of `POLICIES`.
        """
        values = _finite(x, len(features))
        if values.shape[0] == 0:
            raise DataError("the imputer and scaler need rows to be fitted on; the training part has none")
        fills: list[float | None] = []
        scales: list[ColumnScale] = []
        warnings: list[str] = []
        for index, name in enumerate(features):
            column = values[:, index]
            seen = column[~np.isnan(column)]
            fill = _fill(seen, _policy(name, config, policies or {}))
            if seen.size == 0:
                warnings.append(f"feature {name} has no value in the training part; it is filled with 0")
                fill = 0.0
            filled = column if fill is None else np.where(np.isnan(column), fill, column)
            fills.append(fill)
            scales.append(_fit_scale(filled[~np.isnan(filled)], config))
        missing = tuple(int(count) for count in np.isnan(values).sum(axis=0))
        return cls(
            features=tuple(features),
            fills=tuple(fills),
            scales=tuple(scales),
            n_missing=missing,
            n_rows=int(values.shape[0]),
            warnings=tuple(warnings),
        )

    def transform(self, x: npt.ArrayLike) -> Float32Array:
        """Return the prepared (n, k) float32 matrix; each row depends on itself alone.

        Raises
        ------
        DataError
            If `x` does not have one column per feature.
        """
        values = _finite(x, len(self.features))
        prepared = np.empty(values.shape, dtype=np.float32)
        for index, (fill, scale) in enumerate(zip(self.fills, self.scales, strict=True)):
            column = values[:, index]
            if fill is not None:
                column = np.where(np.isnan(column), fill, column)
            # A value far outside the training range may overflow float32 once scaled: kept at its ends, not infinite.
            prepared[:, index] = np.clip(scale.apply(column), -LARGEST, LARGEST)
        return prepared

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 hex digest of what `transform` does."""
        plain = self.to_json()
        return digest_json({name: plain[name] for name in ("features", "fills", "scales")})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form; numbers come back exactly (Python writes the shortest exact form)."""
        return {
            "features": list(self.features),
            "fills": list(self.fills),
            "scales": [_scale_to_json(scale) for scale in self.scales],
            "n_missing": list(self.n_missing),
            "n_rows": self.n_rows,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, where: str = "preparation") -> Preparation:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If it is not such a record.
        """
        try:
            scales = tuple(_scale_from_json(scale) for scale in plain["scales"])
            read = cls(
                features=tuple(plain["features"]),
                fills=tuple(plain["fills"]),
                scales=scales,
                n_missing=tuple(plain["n_missing"]),
                n_rows=int(plain["n_rows"]),
                warnings=tuple(plain["warnings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{where}: the imputer and scaler cannot be read ({error}); train the model again"
            ) from error
        if not len(read.features) == len(read.fills) == len(read.scales):
            raise ModelError(f"{where}: imputer and scaler do not have one entry per feature; train the model again")
        return read


def _finite(x: npt.ArrayLike, n_features: int) -> FloatArray:
    """Return `x` as float64 with everything that is not a float32 number as NaN."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_features:
        raise DataError(
            f"expected a matrix with one column for each of {n_features} features, got shape {values.shape}"
        )
    return np.where(np.abs(values) <= LARGEST, values, np.nan)


def _policy(name: str, config: PreparationConfig, policies: Mapping[str, Policy]) -> str:
    if config.impute != "by_feature":
        return config.impute
    policy = policies.get(name, "none")
    if policy not in POLICIES:
        raise ConfigError(f"missing-value policy {policy!r} of feature {name} is not one of {', '.join(POLICIES)}")
    return config.impute_rest if policy == "none" else policy


def _fill(seen: FloatArray, policy: str) -> float | None:
    if policy == "none":
        return None
    if policy == "zero" or seen.size == 0:
        return 0.0
    if policy == "below":
        low, high = float(seen.min()), float(seen.max())
        return low - (BELOW * (high - low) or 1.0)
    return float(np.median(seen) if policy == "median" else np.mean(seen))


def _fit_scale(seen: FloatArray, config: PreparationConfig) -> ColumnScale:
    """Return the scale of one feature; a constant feature is shifted to 0 and left as wide as it is."""
    if config.scale == "none" or seen.size == 0:
        return ColumnScale()
    if config.scale == "quantile_normal":
        return _fit_quantiles(seen, config.n_quantiles)
    low, high = float(seen.min()), float(seen.max())
    shift = {"min_max": low, "median_std": float(np.median(seen)), "standard": float(seen.mean())}[config.scale]
    width = high - low if config.scale == "min_max" else float(seen.std())
    usable = math.isfinite(width) and width > 0.0 and high > low
    return ColumnScale(shift=shift if math.isfinite(shift) else 0.0, width=width if usable else 1.0)


def _fit_quantiles(seen: FloatArray, n_quantiles: int) -> ColumnScale:
    """Return a monotone map of the empirical distribution onto a normal one, through at most `n_quantiles` knots.

    Knots of equal value are merged at their mean probability, so that a feature with many equal values (0 alerts)
    has one place on the normal axis instead of a jump that depends on rounding.
    """
    from scipy.special import ndtri

    n_knots = min(n_quantiles, max(seen.size, 2))
    probability = np.linspace(0.0, 1.0, n_knots)
    # The ends stand for half a knot, else the normal quantile would be infinite there.
    probability_inside = np.clip(probability, 0.5 / n_knots, 1.0 - 0.5 / n_knots)
    value = np.quantile(seen, probability)
    knots, which = np.unique(value, return_inverse=True)
    mean = np.bincount(which, weights=probability_inside) / np.bincount(which)
    if knots.size == 1:
        return ColumnScale(shift=float(knots[0]))
    levels = ndtri(mean)
    return ColumnScale(knots=tuple(map(float, knots)), levels=tuple(map(float, levels)))


def _scale_to_json(scale: ColumnScale) -> dict[str, Any]:
    if scale.knots:
        return {"knots": list(scale.knots), "levels": list(scale.levels)}
    return {"shift": scale.shift, "width": scale.width}


def _scale_from_json(plain: Mapping[str, Any]) -> ColumnScale:
    if "knots" in plain:
        return ColumnScale(knots=tuple(map(float, plain["knots"])), levels=tuple(map(float, plain["levels"])))
    return ColumnScale(shift=float(plain["shift"]), width=float(plain["width"]))
