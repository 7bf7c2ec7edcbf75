"""The group `service.kowalski` of the configuration: which instances there are, how they are asked, what is kept.

Holds names of environment variables, never a token; `credentials` looks them up. May import core and errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError, CredentialError

__all__ = ["KowalskiConfig", "KowalskiInstance", "credentials"]

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class KowalskiInstance:
    """One machine that answers as Kowalski does.

    Attributes
    ----------
    protocol, host, port
        Where it is; a host is a name alone, without user, path or port.
    token_env
        Environment variable that holds the token; None where `username` is given.
    username
        Account whose password stands in ``~/.netrc`` for this host; None takes the token.

    Raises
    ------
    ConfigError
        If the host is none, or `token_env` is no name of a variable (maybe the token itself: it is not repeated).
    """

    protocol: Literal["https", "http"] = option("https", machine=True)
    host: str = option("kowalski.caltech.edu", doc="name of the machine", machine=True)
    port: int = option(443, at_least=1, at_most=65535, machine=True)
    token_env: str | None = option(None, doc="environment variable that holds the token", machine=True)
    username: str | None = option(None, doc="account whose password is in ~/.netrc for this host", machine=True)

    def __post_init__(self) -> None:
        if "@" in self.host:
            raise ConfigError(
                "service.kowalski: a host came with a user name or password before its '@', which would be written into"
                " logs; give the name of the machine alone, and the token in an environment variable (token_env)",
                key="service.kowalski.instances",
            )
        if not _HOST.fullmatch(self.host):
            raise ConfigError(
                f"service.kowalski: host={self.host.partition('?')[0]!r} is not the name of a machine; give it without"
                " protocol, port and path, as host=kowalski.caltech.edu",
                key="service.kowalski.instances",
            )
        if self.token_env is not None and (not _VARIABLE.fullmatch(self.token_env) or _is_token(self.token_env)):
            raise ConfigError(
                f"service.kowalski: token_env of {self.host} is not the name of an environment variable; export the token"
                " and give its name, as token_env=KOWALSKI_INSTANCE_TOKEN",
                key="service.kowalski.instances",
            )

    @property
    def address(self) -> str:
        """Return ``protocol://host:port``."""
        return f"{self.protocol}://{self.host}:{self.port}"


def _is_token(text: str) -> bool:
    """Return whether a text looks like a token of Kowalski's (three parts of base64, the first the same in all)."""
    return text.startswith("eyJ")


def _caltech(name: str) -> KowalskiInstance:
    return KowalskiInstance(host=f"{name}.caltech.edu", token_env=f"{name.upper()}_INSTANCE_TOKEN")


#: Where the collaboration's databases are.
INSTANCES = {name: _caltech(name) for name in ("kowalski", "gloria", "melman")}


@dataclass(frozen=True, kw_only=True)
class KowalskiConfig:
    """How the survey's database is asked.

    Attributes
    ----------
    instances
        By name; one whose variable is not set is left out.
    programids
        Observing programmes whose points are taken; others never leave `services.kowalski`.
    timeout_s
        Longest silence [s]; a whole reply may take twice as long.
    max_time_ms
        Longest that the service may work on one query [ms].
    connections
        Queries at a time.
    query_limit, query_points
        Ids or positions, and points where their number is known, that one query asks for at most.
    retries, backoff_s
        Tries after the first, and the longest first wait before one [s].
    cache
        Folder of what was asked for; None keeps nothing.
    refresh
        Ask again how large the catalogues are, instead of trusting the cache.
    """

    instances: dict[str, KowalskiInstance] = option(INSTANCES, doc="machines by name", machine=True)
    programids: tuple[int, ...] = option(
        (1, 2, 3), doc="programmes whose points are taken: 1 public, 2 partnership, 3 Caltech"
    )
    timeout_s: float = option(300.0, unit="s", doc="longest silence of the service", more_than=0, machine=True)
    max_time_ms: int = option(300_000, unit="ms", doc="longest work on one query", at_least=1, machine=True)
    connections: int = option(4, doc="queries at a time", at_least=1, at_most=32, machine=True)
    query_limit: int = option(1000, doc="ids or positions of one query", at_least=1, at_most=40_000, machine=True)
    query_points: int = option(200_000, doc="points of one query", at_least=1, machine=True)
    retries: int = option(4, doc="tries after the first", at_least=0, at_most=20, machine=True)
    backoff_s: float = option(1.0, unit="s", doc="longest first wait before another try", at_least=0, machine=True)
    cache: str | None = option("cache/kowalski", doc="folder of what was asked for; null keeps nothing", machine=True)
    refresh: bool = option(False, doc="ask again how large the catalogues are", machine=True)

    def __post_init__(self) -> None:
        if not self.instances:
            raise ConfigError(
                "service.kowalski.instances names no machine; leave it out for the collaboration's",
                key="service.kowalski.instances",
            )
        if not self.programids:
            raise ConfigError(
                "service.kowalski.programids=[] names no programme, and no point would be left; give [1,2,3] for all",
                key="service.kowalski.programids",
            )
        places: dict[str, str] = {}
        for name, instance in self.instances.items():
            other = places.setdefault(f"{instance.host.lower()}:{instance.port}", name)
            if other != name:
                raise ConfigError(
                    f"service.kowalski.instances: {other} and {name} are the same machine, {instance.host}:{instance.port};"
                    f" take one of them away with '~service.kowalski.instances.{name}'",
                    key=f"service.kowalski.instances.{name}",
                )


def credentials(config: KowalskiConfig, environment: Mapping[str, str] | None = None) -> Mapping[str, KowalskiInstance]:
    """Return the instances that can be asked: their variable is set, or they have a user name.

    Raises
    ------
    CredentialError
        If there is none, naming the variables and what to type.
    """
    environment = os.environ if environment is None else environment
    usable = {
        name: instance
        for name, instance in config.instances.items()
        if instance.username or (instance.token_env and environment.get(instance.token_env, "").strip())
    }
    if not usable:
        variables = [one.token_env for one in config.instances.values() if one.token_env]
        if not variables:
            raise CredentialError(
                "no instance of Kowalski has a token_env or a username; give"
                " service.kowalski.instances.NAME.token_env=KOWALSKI_INSTANCE_TOKEN"
            )
        raise CredentialError(
            f"Kowalski needs a token, and none is set in {', '.join(variables)}; type export {variables[0]}=YOUR_TOKEN"
        )
    return MappingProxyType(usable)
