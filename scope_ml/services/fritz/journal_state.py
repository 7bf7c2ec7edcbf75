"""What a journal's lines add up to: open intents, which source was taken for which row, what was asked for without an answer.

A fold over the lines, the same while they are written and when they are read again. May import nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLOSING", "Intent", "JournalState"]

#: Results that close an intent.
CLOSING = frozenset({"done", "refused", "found"})


@dataclass(kw_only=True)
class Intent:
    """Something that was asked for and of which nobody knows yet what came of it.

    Attributes
    ----------
    n
        Its number in the journal.
    key, obj_id, kind, items
        What was asked for: the names of the steps.
    at
        When, or when its answer failed to come [s since 1970].
    known
        Classifications that the source had before.
    is_answered
        Whether the service is done with it.
    is_foreign
        Whether a process asked for it that is no more.
    """

    n: int
    key: str
    obj_id: str
    kind: str
    items: tuple[str, ...]
    at: float
    known: tuple[int, ...] = ()
    is_answered: bool = False
    is_foreign: bool = False


@dataclass
class JournalState:
    """What is known from the lines of the last undertaking."""

    digest: str = ""
    stage: str = ""
    is_ended: bool = True
    n: int = 0
    run: int = 0
    opened: dict[str, dict[int, Intent]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    asked: dict[str, dict[str, tuple[tuple[int, ...], int]]] = field(default_factory=dict)
    pending: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def take(self, entry: Mapping[str, Any]) -> None:
        """Learn from one line."""
        kind = entry["entry"]
        if kind == "begin":
            self.digest, self.stage, self.is_ended = entry["digest"], entry["stage"], False
            self.run += 1
        elif kind == "intent":
            self._intent(entry)
        elif kind == "outcome":
            self._outcome(entry)
        elif kind == "end":
            self.is_ended = True

    def _intent(self, entry: Mapping[str, Any]) -> None:
        n, key = int(entry["n"]), str(entry["key"])
        self.n = max(self.n, n)
        self.pending[n] = entry
        self.names[key] = str(entry["obj_id"])
        intent = Intent(
            n=n,
            key=key,
            obj_id=str(entry["obj_id"]),
            kind=str(entry["kind"]),
            items=tuple(item["what"] for item in entry["items"]),
            at=float(entry["at"]),
            known=tuple(entry["known"]),
        )
        self.opened.setdefault(key, {})[n] = intent
        if intent.kind == "classify":
            # A class that was asked for before without an answer is asked for once more.
            before = self.asked.get(key, {})
            for what in intent.items:
                if what in before:
                    before[what] = (before[what][0], before[what][1] + 1)

    def _outcome(self, entry: Mapping[str, Any]) -> None:
        n = int(entry["n"])
        asked = self.pending.get(n)
        if asked is None:
            return
        key = str(asked["key"])
        if entry["result"] in CLOSING:
            if entry["result"] == "found" and not self.opened[key][n].is_answered:
                # Also of a process that was killed before it could say that there was no answer.
                self._doubt(key, asked)
            self._close(n, key)
            return
        intent = self.opened[key][n]
        intent.at = float(entry["at"])
        intent.is_answered = entry["result"] == "partly"
        if not intent.is_answered:
            self._doubt(key, asked)

    def _close(self, n: int, key: str) -> None:
        self.pending.pop(n, None)
        still = self.opened.get(key, {})
        still.pop(n, None)
        if not still:
            self.opened.pop(key, None)

    def _doubt(self, key: str, asked: Mapping[str, Any]) -> None:
        """Remember that there was no answer, so that a second copy can be told for ours."""
        if asked["kind"] == "classify":
            of_key = self.asked.setdefault(key, {})
            for item in asked["items"]:
                of_key.setdefault(item["what"], (tuple(asked.get("known", ())), 1))
