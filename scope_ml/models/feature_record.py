"""Which features a model takes and how they were computed; whether a table's features are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, FeatureMismatchError, suggest
from scope_ml.features.registry import IDENTITY, feature_digest

__all__ = ["FeatureRecord", "formulae"]

#: Facts of a feature table that must be the same where a model is trained and where it is used.
BINDING_FACTS = ("period_search",)

#: Columns of a feature table that say which light curve it is and how its search ended; never worth a mention as a feature.
NO_FEATURES = frozenset({*IDENTITY, "status"})

#: Most names in a message.
NAMES_SHOWN = 8


def formulae(names: Sequence[str], facts: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of the formula of each feature, as far as a table's facts tell.

    Parameters
    ----------
    names
        Features.
    facts
        Facts of the table's metadata record. Its ``feature_digests`` are taken as they are. Else its
        ``feature_digest`` is compared with what this version of the code gives for its ``features``: where the two
        agree each feature has its own digest of today, where not all have the table's, so that only tables
        of one version count as the same.

    Returns
    -------
    dict
        Digest by name; empty where the facts tell nothing.
    """
    if "feature_digests" in facts:
        given = facts["feature_digests"]
        return {name: str(given[name]) for name in names if name in given}
    if "feature_digest" not in facts:
        return {}
    try:
        if feature_digest(facts.get("features", ())) == facts["feature_digest"]:
            return {name: feature_digest((name,)) for name in names}
    except ConfigError:
        # A feature that this version does not have: then it is not this version's table.
        pass
    return dict.fromkeys(names, f"of table {facts['feature_digest']}")


@dataclass(frozen=True, kw_only=True)
class FeatureRecord:
    """The features of a model and how they were computed.

    Attributes
    ----------
    names
        In the order of the model's inputs.
    formulae
        Digest of the formula of each, where known (`formulae`).
    facts
        Those of `BINDING_FACTS` that the training table had.
    """

    names: tuple[str, ...]
    formulae: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_table(cls, names: Sequence[str], facts: Mapping[str, Any]) -> FeatureRecord:
        """Return the record of the features `names` of a table whose metadata has `facts`."""
        binding = {name: facts[name] for name in BINDING_FACTS if name in facts}
        return cls(names=tuple(names), formulae=formulae(names, facts), facts=binding)

    @property
    def digest(self) -> str:
        """Return the SHA-256 hex digest of the names, in order, and of how the features were computed."""
        return digest_json([list(self.names), dict(self.formulae), dict(self.facts)])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "names": list(self.names),
            "formulae": dict(self.formulae),
            "facts": dict(self.facts),
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> FeatureRecord:
        """Read what `to_json` wrote."""
        return cls(names=tuple(plain["names"]), formulae=plain["formulae"], facts=plain["facts"])

    def lacking(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the features of the model that a table with `columns` does not have."""
        return tuple(name for name in self.names if name not in columns)

    def check(self, columns: Sequence[str], facts: Mapping[str, Any], *, model: str) -> None:
        """Refuse a table whose features are not the model's.

        Parameters
        ----------
        columns
            Names of the table's columns; more than the model needs is fine.
        facts
            Facts of the table's metadata; what it does not say is not checked.
        model
            Name of the model, for the message.

        Raises
        ------
        FeatureMismatchError
            If features are missing, or were computed in another way; names them.
        """
        for name in BINDING_FACTS:
            if name in self.facts and name in facts and facts[name] != self.facts[name]:
                ours, theirs = _differences(name, self.facts[name], facts[name])
                raise FeatureMismatchError(
                    f"model {model} was trained on features with {ours}, the table was made with {theirs};"
                    f" compute its features again with {ours}",
                    missing=self.lacking(columns),
                )
        missing = self.lacking(columns)
        if missing:
            extra = [name for name in columns if name not in self.names and name not in NO_FEATURES]
            raise FeatureMismatchError(
                f"model {model} needs feature(s) that the table lacks: {_some(missing)}; the table has other ones:"
                f" {_some(extra) or 'none'}{suggest(missing[0], extra)}; compute the features as for training",
                missing=missing,
                extra=extra,
            )
        current = formulae(self.names, facts)
        other = [name for name in self.names if self.formulae.get(name, "") != current.get(name, "")]
        if self.formulae and current and other:
            raise FeatureMismatchError(
                f"model {model} was trained on feature(s) computed by another formula than the table's: {_some(other)};"
                " compute the features again with the version of scope_ml that trained the model, or train again",
                missing=other,
            )


def _differences(name: str, ours: Any, theirs: Any) -> tuple[str, str]:
    """Return in which keys two values of a fact differ, as one would type them: ``period_search.max_frequency=48``."""
    if not (isinstance(ours, Mapping) and isinstance(theirs, Mapping)):
        return f"{name}={ours}", f"{name}={theirs}"
    keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    first, second = (" ".join(f"{name}.{key}={side.get(key, 'unset')}" for key in keys) for side in (ours, theirs))
    return first, second


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
