"""`registry promote` and `rollback`: which version is champion, by whom, why and on what numbers.

A promotion needs a win against the champion on the same light curves (`registry_compare`), or a stated reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scope_ml.errors import ModelError, ModelNotFoundError
from scope_ml.stages.registry_compare import Comparison, Side
from scope_ml.tracking.records import ModelVersion
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.registry_history import champion_before, merged_history
from scope_ml.tracking.resolve import whole_bundle

__all__ = ["Step", "carry_out", "champion_of", "plan_promotion", "plan_rollback", "side"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change of champion, before it is made.

    Attributes
    ----------
    version
        Who becomes champion.
    instead_of
        Who is it now; None if nobody is.
    how
        ``promote`` or ``rollback``.
    why, numbers
        What is written down.
    lines
        What to show.
    is_needed
        False where the version is champion already.
    """

    version: ModelVersion
    instead_of: int | None
    how: Any
    why: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_needed: bool = True


def champion_of(registry: Registry, name: str) -> ModelVersion | None:
    """Return the champion of a model, or None."""
    return next((version for version in registry.versions(name) if "champion" in version.aliases), None)


def side(registry: Registry, version: ModelVersion) -> Side:
    """Return a version as a side of a comparison, its bundle on this machine and checked."""
    champion = " (champion)" if "champion" in version.aliases else ""
    called = f"{version.name} version {version.version}{champion}"
    return Side(record=whole_bundle(registry, version), called=called)


def plan_promotion(
    registry: Registry, version: ModelVersion, reason: str | None, compared: Callable[[Side, Side], Comparison]
) -> Step:
    """Return the promotion of `version`, or why it may not be.

    Parameters
    ----------
    registry
        The registry.
    version
        Who shall be champion.
    reason
        Stated reason: enough without a win.
    compared
        Compares two models.

    Raises
    ------
    ModelError
        If there is neither a win nor a reason; nothing was changed.
    """
    champion = champion_of(registry, version.name)
    now = champion.version if champion is not None else None
    if now == version.version:
        line = f"{version.name} version {version.version} is the champion already; nothing was changed"
        return Step(version=version, instead_of=now, how="promote", why="", lines=(line,), is_needed=False)
    candidate = side(registry, version)
    if champion is None or not registry.is_whole(champion):
        gone = "" if champion is None else f", the files of version {now} being gone"
        return Step(version=version, instead_of=now, how="promote", why=reason or f"first champion{gone}")
    rival = side(registry, champion)
    try:
        comparison = compared(candidate, rival)
    except ModelError as error:
        if reason is None:
            raise ModelError(f"{error}; or give reason=... to promote it without a comparison") from error
        warning = f"promoted without a comparison: {error}"
        return Step(version=version, instead_of=now, how="promote", why=reason, warnings=(warning,))
    lines = tuple(comparison.lines(candidate.called, rival.called))
    if not comparison.is_win and reason is None:
        raise ModelError(
            f"{candidate.called} does not win against version {now}: {comparison.verdict}; nothing was changed, give"
            " reason=... to promote it all the same"
        )
    return Step(
        version=version,
        instead_of=now,
        how="promote",
        why=reason or comparison.verdict,
        numbers=comparison.numbers(),
        lines=lines,
        warnings=comparison.warnings,
    )


def plan_rollback(registry: Registry, name: str, reason: str | None) -> Step:
    """Return the step back to the champion before the present one.

    Raises
    ------
    ModelNotFoundError
        If nothing is known of one.
    """
    versions = registry.versions(name)
    champion = next((version for version in versions if "champion" in version.aliases), None)
    now = champion.version if champion is not None else None
    history = merged_history(version.history for version in versions)
    usable = {version.version: version for version in versions if registry.is_whole(version)}
    before = champion_before(history, now, usable)
    if before is None:
        others = ", ".join(str(number) for number in sorted(usable) if number != now) or "none"
        raise ModelNotFoundError(
            f"nothing is known of a champion of {name} before version {now}; other versions: {others}: type"
            f" python -m scope_ml.registry promote name={name} version=N reason=..."
        )
    return Step(version=usable[before], instead_of=now, how="rollback", why=reason or f"rolled back from version {now}")


def carry_out(registry: Registry, step: Step, by: str | None) -> ModelVersion:
    """Make the change and return the champion as it stands now."""
    return registry.promote(
        step.version.name,
        step.version.version,
        instead_of=step.instead_of,
        how=step.how,
        by=by,
        why=step.why,
        numbers=step.numbers,
    )
