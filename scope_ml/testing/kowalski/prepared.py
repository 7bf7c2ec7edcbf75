"""A catalogue whose documents are text made beforehand, for measuring a client and not this server.

``find`` by ``_id`` puts a reply together from that text, whatever the projection and the rest of the filter. May import what
lies beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scope_ml.testing.kowalski.collection import Collection, named_ids

__all__ = ["Prepared", "pack_texts", "split_texts"]


class Prepared(Collection):
    """Documents as they stand in replies."""

    def __init__(self) -> None:
        super().__init__()
        self._ready: dict[Any, bytes] = {}

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._ready)

    @property
    def n_bytes(self) -> int:
        """Size of all documents [bytes]."""
        return sum(map(len, self._ready.values()))

    @property
    def ids(self) -> list[Any]:
        """All ``_id``, as inserted."""
        return list(self._ready)

    def insert_texts(self, texts: Mapping[int, bytes]) -> int:
        """Add documents."""
        self._ready |= texts
        return len(texts)

    def select(self, condition: Mapping[str, Any], among: Iterable[Any] | None = None) -> list[Any]:
        """Return the ids that a filter names, in order, or all; other conditions are taken to hold."""
        named = named_ids(condition.get("_id"))
        return list(self._ready) if named is None else sorted({key for key in named if key in self._ready})

    def texts(self, ids: Iterable[Any], projection: Mapping[str, Any]) -> list[bytes]:
        """Return the documents."""
        return [self._ready[key] for key in ids]


def pack_texts(texts: Mapping[int, bytes]) -> bytes:
    """Return ids and texts as bytes, each text after its id and its length."""
    return b"".join(b"".join((key.to_bytes(8), len(text).to_bytes(8), text)) for key, text in texts.items())


def split_texts(packed: bytes) -> dict[int, bytes]:
    """Return what `pack_texts` packed."""
    texts, start = {}, 0
    while start < len(packed):
        key, size = (int.from_bytes(packed[at : at + 8]) for at in (start, start + 8))
        texts[key] = packed[start + 16 : start + 16 + size]
        start += 16 + size
    return texts
