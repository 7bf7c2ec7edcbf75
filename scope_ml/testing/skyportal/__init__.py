"""A server on this machine that answers as SkyPortal (Fritz) does, for tests and for trying things out.

    python -m scope_ml.testing.skyportal

`server` is what a test holds; it starts `program`, which serves `service` (HTTP: what nginx does, records, misbehaviour) and
`control` (the back door). `answers` turns a request into an envelope by way of `routes`; `sources`, `listing`,
`classifications`, `remarks`, `photometry` and `directory` answer the calls on a `portal`, the state in memory, whose
records are `tables`. `population` is what it begins with (class trees: `trees`), `scenery` what tests add, `snapshot`
what they read, `faults` what goes wrong on request.
"""

from __future__ import annotations

from scope_ml.testing.skyportal.faults import Fault
from scope_ml.testing.skyportal.server import SkyPortalServer

__all__ = ["Fault", "SkyPortalServer"]
