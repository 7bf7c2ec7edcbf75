"""Filling the missing values of a feature table, as a model would or as SCoPe did with a training set beside it.

A row's values depend on that row and on what was measured elsewhere, never on the rows beside it. May import models and
below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.errors import ConfigError, FeatureMismatchError, SchemaError
from scope_ml.io.tables import FORMATS, read_foreign_table, table_columns
from scope_ml.models.record import read_record
from scope_ml.models.scope_inputs import Impute, ScopeFeature, read_features

__all__ = ["NONE", "Imputed", "Imputer", "imputer"]

#: The option's word for leaving missing values missing.
NONE = "none"

#: What SCoPe fills by a regression over neighbouring rows gets the median, as in models that were imported.
STATISTIC: Mapping[Impute, str] = {"zero": "zero", "median": "median", "mean": "mean", "regress": "median"}


class Imputed(NamedTuple):
    """A filled table, and which rows of the given one are not in it, each with its reason."""

    table: pa.Table
    kept: npt.NDArray[np.bool_]
    reasons: list[str]


@dataclass(frozen=True, kw_only=True)
class Imputer:
    """What fills the missing values of which column.

    Attributes
    ----------
    fills
        Value by column.
    needed
        Columns without which a row is left out.
    facts
        For the table's record: how it was filled, and with what.
    """

    fills: Mapping[str, float] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Return the digest of what `apply` does."""
        return digest_json([dict(self.fills), list(self.needed)])

    def apply(self, table: pa.Table) -> Imputed:
        """Fill what is null, NaN or infinite, and leave out rows that lack what cannot be filled."""
        kept = np.ones(table.num_rows, dtype=bool)
        reasons = [""] * table.num_rows
        for name in self.needed:
            missing = ~np.isfinite(_numbers(table, name))
            kept &= ~missing
            for row in np.flatnonzero(missing):
                reasons[row] += f", {name}" if reasons[row] else f"cannot be imputed: {name}"
        for name, fill in self.fills.items():
            values = _numbers(table, name)
            place, kind = table.column_names.index(name), table.schema.field(name)
            filled = pa.array(np.where(np.isfinite(values), values, fill))
            table = table.set_column(place, kind, filled.cast(kind.type, safe=False))
        return Imputed(table.filter(pa.array(kept)), kept, [reason for reason in reasons if reason])


def imputer(given: str, schema: pa.Schema) -> Imputer:
    """Return what the option `impute` says for a table of these columns.

    Parameters
    ----------
    given
        ``none``; the folder of a bundle, whose fills are taken; or a training table, whose medians and means are taken
        for the features that SCoPe fills so, and rows that lack another feature are left out, as SCoPe does it.
    schema
        Columns of the table; features that it does not have are neither filled nor needed.

    Raises
    ------
    ConfigError
        If it is none of these.
    ModelError
        If the bundle cannot be read.
    FormatError, FeatureMismatchError
        If the training table cannot be read, or lacks a feature that is to be filled.
    """
    path = Path(given)
    if given == NONE:
        return Imputer(facts={"imputed": False})
    if path.is_dir():
        return _of_bundle(path, schema)
    if path.suffix.lower() in FORMATS:
        return _of_training_table(path, schema)
    raise ConfigError(f"impute={given} is neither none, nor a bundle's folder, nor a table", key="impute")


def _of_bundle(folder: Path, schema: pa.Schema) -> Imputer:
    record = read_record(folder)
    known = zip(record.preparation.features, record.preparation.fills, strict=True)
    fills = {name: fill for name, fill in known if fill is not None and name in schema.names}
    if not fills:
        raise FeatureMismatchError(
            f"impute={folder}: the bundle fills none of the columns; its features are"
            f" {', '.join(record.preparation.features[:6])}, ...",
            missing=record.preparation.features,
        )
    digest = digest_json(record.preparation.to_json())
    return Imputer(fills=fills, facts={"imputed": True, "imputed_by": {"bundle": record.name, "digest": digest}})


def _of_training_table(path: Path, schema: pa.Schema) -> Imputer:
    features = _features_of(schema)
    filled = [feature for feature in features if feature.impute != "none"]
    available = table_columns(path)
    missing = [feature.column for feature in filled if feature.impute != "zero" and feature.column not in available]
    if missing:
        raise FeatureMismatchError(
            f"impute={path} lacks {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}: give the training table"
            " with these features, or columns=[...] without them",
            missing=missing,
        )
    wanted = [feature.column for feature in filled if feature.impute != "zero"]
    training = read_foreign_table(path, wanted)
    fills = {feature.column: _fill(feature, training, path) for feature in filled}
    how = {"training_table": path.name, "digest": digest_file(path), "n_rows": training.num_rows}
    return Imputer(
        fills=fills,
        needed=tuple(feature.column for feature in features if feature.impute == "none"),
        facts={"imputed": True, "imputed_by": how},
    )


def _features_of(schema: pa.Schema) -> list[ScopeFeature]:
    """Return the features of SCoPe's models that a table has, whatever its periodic ones end with."""
    ends = {name.removeprefix("period").removeprefix("_") for name in schema.names if name.startswith("period")}
    found = {}
    for end in sorted(ends) or [""]:
        for feature in read_features(None, "ontological", end or None):
            if feature.column in schema.names:
                found[feature.column] = feature
    return list(found.values())


def _fill(feature: ScopeFeature, training: pa.Table, path: Path) -> float:
    statistic = STATISTIC[feature.impute]
    if statistic == "zero":
        return 0.0
    values = _numbers(training, feature.column)
    seen = values[np.isfinite(values)]
    if not seen.size:
        raise FeatureMismatchError(
            f"impute={path}: '{feature.column}' has no value in the training table, so that nothing can be filled in",
            missing=(feature.column,),
        )
    return float(np.median(seen) if statistic == "median" else np.mean(seen))


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a column as float64 (n,), nulls NaN."""
    try:
        values = one_chunk(table[name]).cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError(f"column '{name}' is {table[name].type}, not numbers ({error})") from error
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
