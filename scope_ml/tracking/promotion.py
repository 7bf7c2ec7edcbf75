"""Which version is champion: the decision alone, as a function of two records.

Seeds are compared by average precision on the validation part; the test part is only reported, so that its
numbers stay honest. Scores on different splits are not comparable. May import `records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scope_ml.tracking.records import ModelRecord, ModelVersion

__all__ = ["Decision", "Policy", "best_seed", "decide"]

#: What happens when a champion exists already.
#: compare: the newcomer wins only with a better validation score on the same split.
#: pipeline: the newcomer wins, the comparison is only written down: what a pipeline scores with must follow from its
#:           own files and not from what a local database held before.
#: always, never: as they say.
Policy = Literal["compare", "pipeline", "always", "never"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The alias that a version is given (None leaves all as it is), and why, in words for the version's tag."""

    alias: Literal["champion", "challenger"] | None
    reason: str


def best_seed(records: Sequence[ModelRecord]) -> ModelRecord:
    """Return the record with the best validation score; equal scores go to the lowest seed, then to an ensemble."""
    return min(
        records,
        key=lambda record: (-_score(record.validation), record.seed is None, record.seed or 0, record.digest),
    )


def decide(candidate: ModelRecord, champion: ModelVersion | None, policy: Policy) -> Decision:
    """Return what becomes of `candidate` beside the present `champion` of the same name."""
    own = f"validation AP {_shown(candidate.validation)}"
    if policy == "never":
        return Decision(alias=None, reason="registered without promotion")
    if champion is None:
        return Decision(alias="champion", reason=f"first champion, {own}")
    if champion.digest == candidate.digest:
        return Decision(alias="champion", reason=champion.reason or f"first champion, {own}")
    rival = f"version {champion.version}"
    if policy == "always":
        return Decision(alias="champion", reason=f"replaces {rival}, as asked; {own}")
    if policy == "pipeline":
        return Decision(
            alias="champion", reason=f"the pipeline's best seed, replaces {rival}{_against(candidate, champion)}"
        )
    if champion.split_digest != candidate.split_digest:
        return Decision(alias="challenger", reason=f"{rival} was validated on another split: scores cannot be compared")
    theirs = _shown(champion.validation)
    if _score(candidate.validation) > _score(champion.validation):
        return Decision(alias="champion", reason=f"{own} beats {rival} with {theirs} on the same split")
    return Decision(alias="challenger", reason=f"{own} does not beat {rival} with {theirs} on the same split")


def _against(candidate: ModelRecord, champion: ModelVersion) -> str:
    if champion.data_digest != candidate.data_digest:
        return ", which was made from other data"
    if champion.split_digest != candidate.split_digest:
        return ", which was made on another split"
    return f": validation AP {_shown(candidate.validation)} after {_shown(champion.validation)} on the same split"


def _score(value: float | None) -> float:
    return float("-inf") if value is None else value


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
