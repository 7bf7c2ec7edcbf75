"""The group `service.fritz` of the configuration: where a SkyPortal is, how it is asked, and who asks.

Holds the name of an environment variable, never a token; `token_of` looks it up. May import core, errors and
`services.http_text`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError, CredentialError
from scope_ml.services.http_text import checked_address

__all__ = ["FritzConfig", "token_of"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: What a token looks like (a UUID), with other signs or none between its parts.
_TOKEN = re.compile(r"(?i)_*[0-9a-f]{8}_?([0-9a-f]{4}_?){3}[0-9a-f]{12}_*")


@dataclass(frozen=True, kw_only=True)
class FritzConfig:
    """How Fritz, or another SkyPortal, is asked. Nothing here changes a result.

    Attributes
    ----------
    url
        Address of the site, without ``/api``.
    token_env
        Environment variable that holds the token.
    timeout_s
        Longest silence [s].
    requests_per_second, burst
        What the service allows one token: so many a second in the long run, so many at once.
    retries, backoff_s
        Tries after the first, and the longest first wait before one [s].
    page
        Sources of one page.
    connections
        Requests at a time.

    Raises
    ------
    ConfigError
        If the address holds a user name or password, or `token_env` is no name of a variable (maybe the token itself:
        it is not repeated).
    """

    url: str = option("https://fritz.science", doc="address of the site, without /api", machine=True)
    token_env: str = option("FRITZ_TOKEN", doc="environment variable that holds the token", machine=True)
    timeout_s: float = option(60.0, unit="s", doc="longest silence of the service", more_than=0, machine=True)
    requests_per_second: float = option(
        5.0,
        unit="1/s",
        doc="what the service allows one token in the long run",
        more_than=0,
        machine=True,
    )
    burst: int = option(10, doc="requests that it allows at once", at_least=1, machine=True)
    retries: int = option(5, doc="tries after the first", at_least=0, at_most=20, machine=True)
    backoff_s: float = option(2.0, unit="s", doc="longest first wait before another try", at_least=0, machine=True)
    page: int = option(500, doc="sources of one page; the service gives no more", at_least=1, at_most=500, machine=True)
    connections: int = option(2, doc="requests at a time", at_least=1, at_most=8, machine=True)

    def __post_init__(self) -> None:
        address = checked_address(self.url, "service.fritz.url")
        if address.endswith("/api"):
            raise ConfigError(
                f"service.fritz.url={address} is the address of its interface; give that of the site, as"
                f" service.fritz.url={address.removesuffix('/api')}",
                key="service.fritz.url",
            )
        if not _VARIABLE.fullmatch(self.token_env) or _TOKEN.fullmatch(self.token_env):
            raise ConfigError(
                "service.fritz.token_env is not the name of an environment variable; export the token and give its name, as"
                " service.fritz.token_env=FRITZ_TOKEN",
                key="service.fritz.token_env",
            )

    @property
    def address(self) -> str:
        """Return `url` without a slash at its end."""
        return self.url.rstrip("/")


def token_of(config: FritzConfig, environment: Mapping[str, str] | None = None) -> str:
    """Return the token.

    Raises
    ------
    CredentialError
        If the variable is not set, or holds what no token does (it is not repeated).
    """
    environment = os.environ if environment is None else environment
    name = config.token_env
    token = environment.get(name, "").strip()
    if not token:
        raise CredentialError(
            f"Fritz ({config.address}) needs a token, and {name} is not set; make one on your profile page there and type"
            f" export {name}=YOUR_TOKEN"
        )
    if not token.isascii() or any(sign.isspace() or not sign.isprintable() for sign in token):
        raise CredentialError(f"{name} holds a blank or another sign that no token has; type export {name}=YOUR_TOKEN")
    return token
