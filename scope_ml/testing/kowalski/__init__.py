"""A server on this machine that answers as Kowalski does, for tests and for trying things out.

    python -m scope_ml.testing.kowalski SURVEY_FOLDER

`server` is what a test holds; it starts `program`, which serves `service` (HTTP) and `control` (the back door). `queries`
says what each query means, `database` answers it from a `collection` in memory or from the Mongo-compatible store
(`secantus`). `faults` and `misbehaviour` are what goes wrong on request, `seeding` makes documents of an embedded survey.
"""

from __future__ import annotations

from scope_ml.testing.kowalski.faults import Fault
from scope_ml.testing.kowalski.server import KowalskiServer

__all__ = ["Fault", "KowalskiServer"]
