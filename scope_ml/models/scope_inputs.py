"""What SCoPe's models take: lists of features, suffixes, scaling statistics and imputation, as a `Preparation`.

SCoPe 0.9.5 keeps none of this with a model: the features are those of its configuration, in the order given here; each is
scaled by statistics of a training set, without clipping; missing values are filled before. May import `preparation` and
below.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scope_ml.errors import FormatError, suggest
from scope_ml.models.preparation import ColumnScale, Preparation

__all__ = [
    "FEATURE_LISTS",
    "FeatureStatistics",
    "Scaling",
    "ScopeFeature",
    "preparation_of",
    "read_features",
    "read_statistics",
]

Scaling = Literal["min_max", "median_std", "none"]

#: What SCoPe fills a missing value with; ``regress`` is a regression over neighbours, ``none`` drops the light curve.
Impute = Literal["zero", "median", "mean", "regress", "none"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Features that depend on the period search: their columns end with its suffix.
PERIODIC = frozenset(
    _words(
        """
    f1_BIC f1_a f1_amp f1_b f1_phi0 f1_power f1_relamp1 f1_relamp2 f1_relamp3 f1_relamp4 f1_relphi1 f1_relphi2
    f1_relphi3 f1_relphi4 period significance pdot
    """
    )
)

PHENOMENOLOGICAL = _words(
    """
    ad chi2red f1_BIC f1_a f1_amp f1_b f1_phi0 f1_power f1_relamp1 f1_relamp2 f1_relamp3 f1_relamp4 f1_relphi1
    f1_relphi2 f1_relphi3 f1_relphi4 i60r i70r i80r i90r inv_vonneumannratio iqr median median_abs_dev
    norm_excess_var norm_peak_to_peak_amp roms skew smallkurt stetson_j stetson_k sw welch_i wmean wstd
    """
)

LIGHT_CURVE = tuple(sorted({*PHENOMENOLOGICAL, "mean_ztf_alert_braai", "n_ztf_alerts", "period", "significance"}))

CATALOGUES = _words(
    """
    AllWISE__w1mpro AllWISE__w1sigmpro AllWISE__w2mpro AllWISE__w2sigmpro AllWISE__w3mpro AllWISE__w4mpro
    Gaia_EDR3__parallax Gaia_EDR3__parallax_error Gaia_EDR3__phot_bp_mean_mag
    Gaia_EDR3__phot_bp_rp_excess_factor Gaia_EDR3__phot_g_mean_mag Gaia_EDR3__phot_rp_mean_mag
    PS1_DR1__gMeanPSFMag PS1_DR1__gMeanPSFMagErr PS1_DR1__iMeanPSFMag PS1_DR1__iMeanPSFMagErr
    PS1_DR1__rMeanPSFMag PS1_DR1__rMeanPSFMagErr PS1_DR1__yMeanPSFMag PS1_DR1__yMeanPSFMagErr
    PS1_DR1__zMeanPSFMag PS1_DR1__zMeanPSFMagErr
    """
)

#: SCoPe's own lists, in the order of its models' inputs: 35 and 61 features.
FEATURE_LISTS: Mapping[str, tuple[str, ...]] = {
    "phenomenological": PHENOMENOLOGICAL,
    "ontological": (*LIGHT_CURVE, *CATALOGUES),
}

#: Statistics of a feature, in the order of SCoPe's tables.
STATISTICS = ("min", "max", "median", "mean", "std")


@dataclass(frozen=True, kw_only=True)
class ScopeFeature:
    """One input: SCoPe's name without suffix, the column it is in, and how its missing values were filled."""

    name: str
    column: str
    impute: Impute


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Statistics of one feature over a training set; NaN where the table does not give one."""

    min: float
    max: float
    median: float = math.nan
    mean: float = math.nan
    std: float = math.nan


def read_features(given: str | None, default: str, suffix: str | None) -> tuple[ScopeFeature, ...]:
    """Return the inputs of a model, in order.

    Parameters
    ----------
    given
        Name of one of `FEATURE_LISTS`, or a YAML or JSON file: a list of names, or names with what SCoPe's configuration
        says of them (``include``, ``periodic``, ``impute_strategy``); None takes `default`.
    default
        Name of a list.
    suffix
        What the columns of periodic features end with, such as ``ELS_ECE_EAOV``; None or "" for nothing.

    Raises
    ------
    FormatError
        If the file cannot be read, or holds no names.
    """
    if given is None or given in FEATURE_LISTS:
        names: Any = FEATURE_LISTS[given or default]
    elif Path(given).is_file():
        names = _section(_read(Path(given)), "features", default)
    else:
        raise FormatError(
            f"features={given} is neither a list of SCoPe's ({', '.join(FEATURE_LISTS)}) nor a file"
            f"{suggest(given, FEATURE_LISTS)}"
        )
    entries = names if isinstance(names, Mapping) else dict.fromkeys(names)
    found = [_feature(str(name), entry, suffix) for name, entry in entries.items() if _is_included(entry)]
    if not found:
        raise FormatError(f"features={given} holds no feature; give a list of names")
    return tuple(found)


def read_statistics(path: Path) -> dict[str, FeatureStatistics]:
    """Read statistics by feature name.

    Parameters
    ----------
    path
        YAML or JSON: ``name: {min: ..., max: ..., median: ..., mean: ..., std: ...}``, at the top or under
        ``feature_stats`` as in SCoPe's configuration; or CSV with a column ``feature`` and one for each statistic.

    Raises
    ------
    FormatError
        If it is no such table.
    """
    if path.suffix.lower() == ".csv":
        rows = _read_csv(path)
    else:
        read = _read(path)
        plain = _section(_section(read, "feature_stats"), "stats")
        columns = [str(name) for name in read.get("columns", STATISTICS)] if isinstance(read, Mapping) else STATISTICS
        if not isinstance(plain, Mapping):
            raise FormatError(f"{path} holds no statistics by feature name")
        rows = {
            str(name): dict(zip(columns, row, strict=False)) if isinstance(row, list) else row
            for name, row in plain.items()
        }
    try:
        return {name: _statistics(row) for name, row in rows.items()}
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise FormatError(
            f"{path} is no table of {', '.join(STATISTICS)} by feature ({type(error).__name__}: {error})"
        ) from error


def preparation_of(
    features: Sequence[ScopeFeature], statistics: Mapping[str, FeatureStatistics], scaling: Scaling
) -> Preparation:
    """Return the imputer and scaler of a model of SCoPe.

    Features without statistics, or of no scatter, are not scaled, as SCoPe does it. What SCoPe filled by a regression over
    neighbours, or dropped the light curve for, is filled with the median: the warnings name these features.
    """
    fills, scales = [], []
    for feature in features:
        known = statistics.get(feature.name) or statistics.get(feature.column)
        fills.append(_fill(feature.impute, known))
        scales.append(_scale(known, scaling))
    return Preparation(
        features=tuple(feature.column for feature in features),
        fills=tuple(fills),
        scales=tuple(scales),
        n_missing=(0,) * len(features),
        n_rows=0,
        warnings=_warnings(features, statistics, scaling),
    )


def _warnings(
    features: Sequence[ScopeFeature], statistics: Mapping[str, FeatureStatistics], scaling: Scaling
) -> tuple[str, ...]:
    lines = []
    regressed = [feature.column for feature in features if feature.impute == "regress"]
    dropped = [feature.column for feature in features if feature.impute == "none"]
    bare = [feature.column for feature in features if not {feature.name, feature.column} & statistics.keys()]
    if regressed:
        lines.append(
            "SCoPe filled these by a regression over neighbouring rows, here they get the median:"
            f" {', '.join(regressed)}"
        )
    if dropped:
        lines.append(
            f"SCoPe dropped light curves that lack one of these, here they get the median: {', '.join(dropped)}"
        )
    if bare and scaling != "none":
        lines.append(f"no statistics: these are not scaled, and 0 where missing: {', '.join(bare)}")
    return tuple(lines)


def _fill(impute: Impute, known: FeatureStatistics | None) -> float:
    if impute == "zero" or known is None:
        return 0.0
    wanted = known.mean if impute == "mean" else known.median
    return next(value for value in (wanted, known.median, known.mean, known.min, 0.0) if math.isfinite(value))


def _scale(known: FeatureStatistics | None, scaling: Scaling) -> ColumnScale:
    if known is None or scaling == "none" or known.std == 0.0:
        return ColumnScale()
    shift, width = (known.min, known.max - known.min) if scaling == "min_max" else (known.median, known.std)
    usable = math.isfinite(shift) and math.isfinite(width) and width > 0.0
    return ColumnScale(shift=shift, width=width) if usable else ColumnScale()


def _feature(name: str, entry: Any, suffix: str | None) -> ScopeFeature:
    known = entry if isinstance(entry, Mapping) else {}
    periodic = bool(known.get("periodic", name in PERIODIC))
    column = f"{name}_{suffix}" if periodic and suffix not in (None, "", "None") else name
    return ScopeFeature(name=name, column=column, impute=known.get("impute_strategy", _default_impute(name)))


def _default_impute(name: str) -> Impute:
    if name in ("n_ztf_alerts", "mean_ztf_alert_braai"):
        return "zero"
    if name not in CATALOGUES:
        return "none"
    is_error = name.endswith(("sigmpro", "_error", "Err", "excess_factor"))
    return "median" if is_error else "regress"


def _is_included(entry: Any) -> bool:
    return bool(entry.get("include", True)) if isinstance(entry, Mapping) else True


def _section(plain: Any, *names: str) -> Any:
    """Return what stands under the first of `names`, under the second within it, ...; each may be absent."""
    for name in names:
        if isinstance(plain, Mapping) and name in plain:
            plain = plain[name]
    return plain


def _statistics(row: Mapping[str, Any]) -> FeatureStatistics:
    return FeatureStatistics(**{name: float(row[name]) for name in STATISTICS if row.get(name) not in (None, "")})


def _read_csv(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if not rows or "feature" not in rows[0]:
        raise FormatError(f"{path} has no column 'feature'; give feature,{','.join(STATISTICS)}")
    return {str(row.pop("feature")): row for row in rows}


def _read(path: Path) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FormatError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
