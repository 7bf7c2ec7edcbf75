"""Start the server for a person to try: ``python -m scope_ml.testing.skyportal``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from scope_ml.errors import ScopeError
from scope_ml.testing.programs import SERVE_PARENT
from scope_ml.testing.skyportal.server import SkyPortalServer

#: What ends the server.
ENDS = {signal.SIGINT, signal.SIGTERM}


def main(words: list[str]) -> int:
    """Start a server, say what to type next, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m scope_ml.testing.skyportal", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; a free one by default")
    parser.add_argument("--host", default="127.0.0.1", help="address on loopback; others are refused")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second of one token; no limit by default")
    parser.add_argument("--token-file", type=Path, help="write the token there, for you alone, instead of printing it")
    given = parser.parse_args(words)
    try:
        with SkyPortalServer(given.host, given.port) as server:
            server.set_limits(rate=given.rate)
            _say(server, given.token_file)
            # Blocked only now: the server's process would inherit it.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
            signal.sigwait(ENDS)
    except ScopeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _say(server: SkyPortalServer, token_file: Path | None) -> None:
    """Print what to type next."""
    token = server.token
    if token_file is not None:
        token_file.touch(mode=0o600)
        token_file.chmod(0o600)
        token_file.write_text(token)
        token = f"$(cat {shlex.quote(str(token_file))})"
    groups = ", ".join(f"{number} {name}" for name, number in server.groups.items())
    taxonomies = ", ".join(f"{number} {name}" for name, number in server.taxonomies.items())
    lines = [
        f"SkyPortal's test server listens on {server.url}; it keeps what it is given until it ends.",
        f"Groups: {groups}. Taxonomies: {taxonomies}. Instrument: {server.instrument}.",
        "",
        "In another terminal:",
        "",
        f"export {server.variable}={token}",
        f"curl -H \"Authorization: token ${server.variable}\" '{server.url}/api/groups'",
        f"python -m scope_ml.post_taxonomy list service.fritz.url={server.url}",
        "",
        "Every command of Fritz takes the same service.fritz.url.",
        "",
        "Ctrl-C ends it.",
        "",
    ]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:] == [SERVE_PARENT]:
        from scope_ml.testing.skyportal.program import serve_parent

        sys.exit(serve_parent())
    sys.exit(main(sys.argv[1:]))
