"""The server as a test holds it: started as a program of its own, filled, told to misbehave, ended.

The program listens on loopback only, on free ports, and ends with the process that started it, also if that is killed.
May import `testing.programs` and what lies beside it.
"""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from scope_ml.testing.programs import Program, check_loopback
from scope_ml.testing.skyportal.faults import Fault
from scope_ml.testing.skyportal.population import USERS
from scope_ml.testing.skyportal.trees import ASTROPHYSICAL, PHENOMENOLOGICAL

__all__ = ["Faults", "SkyPortalServer"]


class Faults:
    """What goes wrong on a server: ``server.faults.add(kind="html", status=503, times=2)``."""

    def __init__(self, server: SkyPortalServer) -> None:
        self._server = server

    def add(self, fault: Fault | None = None, **values: Any) -> None:
        """Put a fault in force: a `Fault`, or its fields."""
        chosen = Fault(**values) if fault is None else fault
        self._server.order("fault", **chosen.to_json())

    def clear(self) -> None:
        """Behave again."""
        self._server.order("behave")


class SkyPortalServer:
    """A running server.

    Parameters
    ----------
    host, port
        Address on loopback; port 0 is a free one.
    variable
        Name of the environment variable that is to hold the token, for `config`.

    Attributes
    ----------
    host, port, url
        Where it listens.
    tokens
        By user: ``scope``, ``astronomer``, ``stranger``, ``admin`` (see `population`).
    token
        That of ``scope``.
    group, instrument
        Name of a group that ``scope`` and ``astronomer`` are in, and of the instrument.
    faults
        What goes wrong.
    astrophysical, phenomenological
        The class trees it begins with.

    Raises
    ------
    ConfigError
        `host` is not on loopback.
    BackendUnavailableError
        The program does not begin.
    """

    group, instrument = "Variables", "ZTF"
    astrophysical, phenomenological = ASTROPHYSICAL, PHENOMENOLOGICAL

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, variable: str = "FRITZ_TOKEN") -> None:
        self.host = check_loopback(host)
        self.variable = variable
        self.tokens = {name: str(uuid.uuid4()) for name in USERS}
        self.faults = Faults(self)
        self._control, self._lock = str(uuid.uuid4()), threading.Lock()
        self._names: dict[str, dict[str, int]] | None = None
        settings = {"host": self.host, "port": port, "control": self._control, "tokens": self.tokens}
        self._program = Program("scope_ml.testing.skyportal", settings)
        begun = self._program.begun
        self.port, self._control_port = int(begun["port"]), int(begun["control_port"])

    def __repr__(self) -> str:
        """Return where it listens."""
        return f"SkyPortalServer({self.host}:{self.port})"

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Number of the server's process."""
        return self._program.pid

    @property
    def token(self) -> str:
        """The token of ``scope``."""
        return self.tokens["scope"]

    @property
    def config(self) -> dict[str, Any]:
        """Values of ``service.fritz`` to use it, without waiting; the token goes into the variable `variable`."""
        return {
            "url": self.url,
            "token_env": self.variable,
            "requests_per_second": 10_000.0,
            "burst": 10_000,
            "backoff_s": 0.01,
        }

    # ---- Filling it

    def reset(self) -> None:
        """Begin anew: users, groups, instruments, taxonomies, no sources, no faults; only its first tokens are known."""
        self._names = None
        self.order("reset")

    def add(self, what: str, *values: Any, **named: Any) -> Any:
        """Add something: a method of `scenery.Scenery`, as in ``add("source", obj_id="ZTFJ1", ra=1.0, dec=2.0)``.

        Returns
        -------
        What is new: an id, a token, or ``{id, token}`` of a user.
        """
        if values:
            raise TypeError("name what is given: add('source', obj_id=...)")
        self._names = None
        return self.order(f"add_{what}", **named)

    def add_many(self, what: str, many: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Add several at once, each as `add` does."""
        self._names = None
        return self._ask([(f"add_{what}", dict(one)) for one in many])

    def set_clock(self, now: str | None, step_s: float = 1.0) -> None:
        """Let the next thing be stored at `now` (naive UTC) and each later one `step_s` after it; None: the real time."""
        self.order("clock", now=now, step_s=step_s)

    def set_limits(self, *, rate: float = 0.0, burst: int = 10, body: int | None = None) -> None:
        """Limit the requests a second of one token (0: no limit), and the size of a body [bytes]."""
        self.order("limit", rate=rate, burst=burst, body=body)

    def settle(self) -> int:
        """Wait until all that was put off is stored, and return how much that was."""
        return int(self.order("settle"))

    # ---- Reading it

    def state(self, *, raw: bool = False) -> dict[str, Any]:
        """Return what is stored: comparable, without ids and times, or raw."""
        found: dict[str, Any] = self.order("state", raw=raw)
        return found

    @property
    def users(self) -> dict[str, int]:
        """Ids of users by name."""
        return self._named("users")

    @property
    def groups(self) -> dict[str, int]:
        """Ids of groups by name."""
        return self._named("groups")

    @property
    def instruments(self) -> dict[str, int]:
        """Ids of instruments by name."""
        return self._named("instruments")

    @property
    def taxonomies(self) -> dict[str, int]:
        """Ids of taxonomies by name; the latest of each."""
        return self._named("taxonomies")

    def _named(self, table: str) -> dict[str, int]:
        if self._names is None:
            self._names = self.order("names")
        return self._names[table]

    @property
    def n_requests(self) -> int:
        """How many requests it was sent so far, refused ones too."""
        return int(self.order("count"))

    def requests_since(self, number: int) -> list[dict[str, Any]]:
        """Return the records of requests from `number` on: see `service.RequestRecord`."""
        found: list[dict[str, Any]] = self.order("requests", since=number)
        return found

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Records of all requests."""
        return self.requests_since(0)

    def order(self, order: str, **values: Any) -> Any:
        """Tell the server to do something: see `control`."""
        return self._ask([(order, values)])[0]

    def _ask(self, orders: list[tuple[str, dict[str, Any]]]) -> list[Any]:
        headers = {"X-Control": self._control, "Content-Type": "application/json"}
        with self._lock:
            connection = http.client.HTTPConnection(self.host, self._control_port, timeout=60)
            try:
                connection.request("POST", "/orders", json.dumps(orders).encode(), headers)
                reply = connection.getresponse()
                text = reply.read().decode(errors="replace")
            finally:
                connection.close()
        if reply.status != 200:
            raise RuntimeError(f"the test server refused {[order for order, _ in orders][:3]}: {text}")
        found: list[Any] = json.loads(text)
        return found

    def close(self) -> None:
        """End it."""
        self._program.close()

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()
