"""The history of a model's champions: who made which version champion, when, why and on what numbers.

Each version keeps the times *it* became champion as JSON in one of its tags; together they are the model's history,
from which `champion_before` finds where a rollback leads. Plain data, no MLflow. May import `core` and `errors`.
"""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = [
    "ELSEWHERE_TAG",
    "HISTORY_TAG",
    "REASON_TAG",
    "Promotion",
    "champion_before",
    "extended",
    "iso_time",
    "merged_history",
    "read_history",
    "who",
    "write_history",
]

#: Tag of a version with the reason for its alias, in words.
REASON_TAG = "scope.promotion"

#: Tag of a version with the times it became champion, as JSON; earlier entries stay.
HISTORY_TAG = "scope.promotion.history"

#: Tag of an imported version with its history in the registry it came from.
ELSEWHERE_TAG = "scope.promotion.elsewhere"

#: MLflow keeps 100,000 characters of a tag: the oldest entries go first.
LONGEST = 90_000

How = Literal["register", "promote", "rollback", "import"]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One time a version became champion.

    Attributes
    ----------
    number
        Counts the entries of a model from 1, over all its versions: clocks of several machines may disagree.
    version
        The version that became champion.
    before
        The champion until then, None where there was none.
    how
        By which command.
    when
        ISO 8601, UTC.
    by
        Who.
    why
        The reason.
    numbers
        What was compared, such as ``average_precision_difference``.
    """

    number: int
    version: int
    before: int | None
    how: How
    when: str
    by: str
    why: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


def iso_time(seconds: float | None = None) -> str:
    """Return a time in seconds since 1970 (default: now) as ``2026-11-22T21:48:53Z``."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def who() -> str:
    """Return the name of whoever types: git's ``user.name``, else that of the login."""
    try:
        asked = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, check=False, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        asked = ""
    if asked:
        return asked
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container's user without a name.
        return "unknown"


def read_history(text: str) -> tuple[Promotion, ...]:
    """Return the entries of a tag, oldest first; a tag that is not ours has none."""
    try:
        found = [Promotion(**entry) for entry in json.loads(text)] if text else []
    except (TypeError, ValueError):
        return ()
    return tuple(sorted(found, key=lambda entry: entry.number))


def write_history(entries: Iterable[Promotion]) -> str:
    """Return the tag's text; where it would be too long for MLflow the oldest entries are left out."""
    kept = [asdict(entry) for entry in entries]
    text = json.dumps(kept, allow_nan=False)
    while len(text) > LONGEST and len(kept) > 1:
        kept = kept[1:]
        text = json.dumps(kept, allow_nan=False)
    return text


def merged_history(histories: Iterable[Sequence[Promotion]]) -> tuple[Promotion, ...]:
    """Return the history of a model from those of its versions, oldest first."""
    entries = [entry for history in histories for entry in history]
    return tuple(sorted(entries, key=lambda entry: (entry.number, entry.when)))


def extended(
    history: Sequence[Promotion], version: int, champion: int | None, *, how: How, by: str, why: str, **numbers: Any
) -> Promotion:
    """Return the entry that says that `version` becomes champion after `champion`.

    Where the last entry announces the same step, which was interrupted before the alias moved, the new one has its
    number and thus takes its place.
    """
    last = history[-1] if history else None
    number = last.number + 1 if last is not None else 1
    if last is not None and last.version == version and not _took_effect(last, champion):
        number = last.number
    return Promotion(
        number=number, version=version, before=champion, how=how, when=iso_time(), by=by, why=why, numbers=numbers
    )


def champion_before(history: Sequence[Promotion], champion: int | None, usable: Iterable[int]) -> int | None:
    """Return the version that was champion before `champion`, as a rollback undoes one promotion after the other.

    Parameters
    ----------
    history
        All entries of the model (`merged_history`).
    champion
        The present champion.
    usable
        Versions that exist and whose files are there; others are passed over.

    Returns
    -------
    int or None
        None where nothing is known of an earlier champion.
    """
    stack: list[int] = []
    for place, event in enumerate(history):
        if not _took_effect(event, history[place + 1].before if place + 1 < len(history) else champion):
            continue
        if not stack and event.before is not None:
            # The history begins with a champion that nobody wrote down.
            stack.append(event.before)
        if event.how == "rollback" and event.version in stack:
            del stack[len(stack) - stack[::-1].index(event.version) :]
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    if champion is not None and (not stack or stack[-1] != champion):
        # The alias was moved by other means.
        stack.append(champion)
    known = set(usable) - {champion}
    return next((version for version in reversed(stack[:-1]) if version in known), None)


def _took_effect(entry: Promotion, after: int | None) -> bool:
    """Say whether the alias moved, or the command ended before that; `after` is the champion that was seen next."""
    return entry.version == after or entry.before != after
