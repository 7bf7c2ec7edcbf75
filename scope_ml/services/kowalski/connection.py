"""One instance of Kowalski: log-in through penquins, one request at a time, no secret in any error.

penquins opens the session, logs in nothing by itself (its errors quote passwords) and repeats nothing (it would drop
status and ``Retry-After``). May import errors, `services.http` and the rooms beside it; penquins and requests are imported
inside functions.
"""

from __future__ import annotations

import json
import netrc
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scope_ml.errors import BackendUnavailableError, CredentialError, ReplyError, ServiceError, ServiceUnavailableError
from scope_ml.services.http import Clock, Policy, Request, send
from scope_ml.services.kowalski.refusals import OK, fault, refusal
from scope_ml.services.kowalski.replies import data_of
from scope_ml.services.kowalski.settings import KowalskiInstance

__all__ = ["Connection", "Manners", "new_penquins"]

#: Longest silence while logging in [s].
LOGIN_S = 60.0

#: The query that lists the catalogues.
CATALOG_NAMES = {"query_type": "info", "query": {"command": "catalog_names"}}


@dataclass(frozen=True, kw_only=True)
class Manners:
    """What all connections of a client have in common.

    Attributes
    ----------
    policy
        How patiently is asked.
    connections
        Requests at a time.
    stop
        Set when the client is closed.
    counted
        Called before each request.
    """

    policy: Policy
    connections: int
    clock: Clock
    stop: threading.Event
    counted: Callable[[], None]


class Connection:
    """An instance that takes our credentials.

    Parameters
    ----------
    name, instance
        Which.
    client
        penquins' client, to which the instance is added.
    environment
        Where its token is looked up.

    Attributes
    ----------
    catalogs
        Names of the catalogues that it has.
    n_busy
        Requests under way; kept by whoever asks.
    failed
        Whether it did not answer the last time.

    Raises
    ------
    CredentialError
        If there is no token or password, or it is not taken.
    ServiceError
        If the instance does not answer, or not as Kowalski does.
    """

    def __init__(
        self,
        name: str,
        instance: KowalskiInstance,
        manners: Manners,
        *,
        client: Any,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.n_busy = 0
        self.failed = False
        self._instance = instance
        self._manners = manners
        self._secrets: tuple[str, ...] = ()
        self._headers: Mapping[str, str] = {}
        self._session = _plain_session()
        try:
            token = self._token(environment)
            self._headers = {"Authorization": token}
            # Asked here and not left to penquins, which takes the refusal of a token for a service without catalogues.
            self.catalogs = frozenset(self._catalog_names())
        finally:
            self._session.close()
        self._session = self._penquins_session(client, token)

    def __repr__(self) -> str:
        return f"Connection({self.name}, {self._instance.address})"

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def query(self, body: bytes) -> bytes:
        """Return the reply to a query.

        Raises
        ------
        ServiceError
            As `services.http.send` and `refusals.refusal` say.
        """
        return self._post("api/queries", body, self._manners.policy)

    def _post(self, path: str, body: bytes, policy: Policy) -> bytes:
        secrets = (*self._secrets, *self._headers.values())
        request = Request(
            url=f"{self._instance.address}/{path}",
            method="POST",
            data=body,
            headers={**self._headers, "Content-Type": "application/json"},
            follow_redirects=False,
            fault=lambda reply: fault(reply, secrets),
            secrets=secrets,
        )
        manners = self._manners
        reply = send(self._session, request, policy, clock=manners.clock, stop=manners.stop, counted=manners.counted)
        if reply.status == OK:
            return reply.body
        raise refusal(reply, self.name, self._instance, secrets)

    def _login_policy(self) -> Policy:
        policy = self._manners.policy
        return replace(policy, read_s=min(LOGIN_S, policy.read_s), total_s=min(LOGIN_S, policy.total_s))

    def _catalog_names(self) -> list[str]:
        names = data_of(self._post("api/queries", json.dumps(CATALOG_NAMES).encode(), self._login_policy()))
        if not isinstance(names, list):
            raise ReplyError(f"{self._instance.address} does not say which catalogues it has")
        return [str(name) for name in names]

    def _token(self, environment: Mapping[str, str]) -> str:
        """Return the token: from its variable, or for the password of ~/.netrc as penquins asks for it."""
        instance = self._instance
        if instance.username:
            return self._token_for_password()
        token = environment.get(instance.token_env or "", "").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise CredentialError(
                f"{instance.token_env} does not hold a token of Kowalski's instance {self.name} (there are signs in it that"
                f" no token has); export {instance.token_env}=YOUR_TOKEN again"
            )
        return token

    def _token_for_password(self) -> str:
        import penquins

        username, password = _netrc_entry(self._instance, self.name)
        self._secrets = (password,)
        form = {"username": username, "password": password, "penquins.__version__": penquins.__version__}
        body = self._post("api/auth", json.dumps(form).encode(), self._login_policy())
        try:
            content = json.loads(body)
        except ValueError:
            content = {}
        token = content.get("token") if isinstance(content, dict) else None
        if not isinstance(token, str) or not token:
            raise ReplyError(f"{self._instance.address} gives no token at log-in")
        return token

    def _penquins_session(self, client: Any, token: str) -> Any:
        """Add the instance to penquins' client, which asks once for the catalogues, and return its session."""
        import requests

        instance, manners = self._instance, self._manners
        place = {"protocol": instance.protocol, "host": instance.host, "port": instance.port, "token": token}
        policy = self._login_policy()
        for attempt in range(policy.retries + 1):
            manners.counted()
            try:
                client.add(self.name, place, timeout=(policy.connect_s, policy.read_s), max_retries=0)
                break
            except ValueError as error:
                # Its words may quote what was sent; only their kind is told.
                cause = type(error.__context__ or error).__name__
                if attempt == policy.retries:
                    raise ServiceUnavailableError(f"penquins could not open {instance.address} ({cause})") from None
            if manners.clock.wait(manners.stop, manners.clock.chance() * policy.backoff_s * 2.0**attempt):
                raise ServiceError("Kowalski is not asked any more: the client was closed")
        session = client.instances[self.name]["session"]
        client.instances[self.name]["catalogs"] = sorted(self.catalogs)
        # penquins' own adapter turns a status such as 503 into an exception without Retry-After.
        for protocol in ("https://", "http://"):
            session.mount(protocol, requests.adapters.HTTPAdapter(pool_maxsize=manners.connections))
        return session


def new_penquins() -> Any:
    """Return a client of penquins without any instance yet.

    Raises
    ------
    BackendUnavailableError
        If penquins is not installed.
    """
    try:
        import penquins
    except ImportError as error:
        raise BackendUnavailableError(
            f"Kowalski is asked through penquins, which is not installed ({error});"
            " type pip install 'scope_ml[services]'"
        ) from error
    return penquins.Kowalski(instances={})


def _plain_session() -> Any:
    """Return a session as penquins makes them: no proxies, and no credentials of ~/.netrc put into headers."""
    import requests

    session = requests.Session()
    session.trust_env = False
    return session


def _netrc_entry(instance: KowalskiInstance, name: str) -> tuple[str, str]:
    """Return login and password for the host of an instance."""
    wanted = f"add 'machine {instance.host} login {instance.username} password YOUR_PASSWORD'"
    try:
        found = netrc.netrc().authenticators(instance.host)
    except FileNotFoundError:
        raise CredentialError(
            f"Kowalski's instance {name} has a username, but there is no ~/.netrc; {wanted}"
        ) from None
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        # The parser's words may quote a password.
        raise CredentialError(
            f"Kowalski's instance {name} has a username, but ~/.netrc cannot be read; check its form and that only you may"
            " read it (chmod 600)"
        ) from None
    if found is None or not found[2]:
        raise CredentialError(f"~/.netrc has no password for {instance.host} (Kowalski's instance {name}); {wanted}")
    login, _, password = found
    return login or str(instance.username), password
