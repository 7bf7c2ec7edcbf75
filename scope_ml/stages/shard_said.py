"""What any worker says of a shard to who gave it out. May import nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOGS", "ShardSaid"]

#: Where processes write what they say otherwise.
LOGS = "logs"


@dataclass(frozen=True, kw_only=True)
class ShardSaid:
    """What a worker says of a shard.

    Attributes
    ----------
    key
        Which; "" if it is about all of them.
    advanced
        Light curves more.
    ended
        Whether nothing more comes of it.
    error, lost
        What it failed by, already in the ledger; why nobody knows what became of it.
    fatal, kind
        What every shard fails by, and the name of that error.
    """

    key: str
    advanced: int = 0
    ended: bool = False
    error: str | None = None
    lost: str | None = None
    fatal: str | None = None
    kind: str = ""
