"""Start the server for a person to try: ``python -m scope_ml.testing.kowalski SURVEY_FOLDER``."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa

from scope_ml.errors import ScopeError
from scope_ml.testing.kowalski.server import KowalskiServer
from scope_ml.testing.programs import SERVE_PARENT

#: What ends the server.
ENDS = {signal.SIGINT, signal.SIGTERM}


def main(words: list[str]) -> int:
    """Start a server, say what to type next, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m scope_ml.testing.kowalski", description=__doc__)
    parser.add_argument(
        "survey", type=Path, nargs="?", default=Path("results/survey"), help="folder that scope simulate wrote"
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; a free one by default")
    parser.add_argument("--host", default="127.0.0.1", help="address on loopback; others are refused")
    parser.add_argument(
        "--features", type=Path, help="feature table of ours for ZTF_source_features_DR16; drawn without"
    )
    parser.add_argument("--max-sources", type=int, default=1000, help="most light curves (default 1000)")
    parser.add_argument("--token-file", type=Path, help="write the token there, for you alone, instead of printing it")
    given = parser.parse_args(words)
    from scope_ml.testing.kowalski.seeding import read_survey

    try:
        tables = read_survey(given.survey)
        features = None
        if given.features is not None:
            from scope_ml.io.tables import read_table

            features = read_table(given.features).data
        with KowalskiServer(given.host, given.port) as server:
            server.seed(tables, max_sources=given.max_sources, features=features)
            _say(server, _fullest(tables["ZTF_sources"], given.max_sources), given.token_file)
            # Blocked only now: the server's process would inherit it.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
            signal.sigwait(ENDS)
    except ScopeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _say(server: KowalskiServer, place: tuple[int, int, int], token_file: Path | None) -> None:
    """Print what to type next, for the quadrant `place` (field, ccd, quad)."""
    token = server.token
    if token_file is not None:
        token_file.touch(mode=0o600)
        token_file.chmod(0o600)
        token_file.write_text(token)
        token = f"$(cat {shlex.quote(str(token_file))})"
    instance = f"{{protocol: http, host: {server.host}, port: {server.port}, token_env: {server.variable}}}"
    field, ccd, quad = place
    lines = [
        f"Kowalski's test server listens on {server.url}, with {json.dumps(server.collections)}.",
        "",
        "In another terminal:",
        "",
        f"export {server.variable}={token}",
        "python -m scope_ml.generate_features source=kowalski survey=kowalski catalogs=kowalski \\",
        f"    target=quadrant target.field={field} target.ccd={ccd} target.quad={quad} output=tried.parquet \\",
        f"    '+service.kowalski.instances={{test: {instance}}}'",
        "",
        "Ctrl-C ends it.",
        "",
    ]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()


def _fullest(table: pa.Table, n_rows: int) -> tuple[int, int, int]:
    """Return field, ccd and quad of the quadrant with most of the first `n_rows` light curves."""
    columns = (table[name].slice(0, n_rows).to_pylist() for name in ("field", "ccd", "quad"))
    return Counter(zip(*columns, strict=True)).most_common(1)[0][0]


if __name__ == "__main__":
    if sys.argv[1:] == [SERVE_PARENT]:
        from scope_ml.testing.kowalski.program import serve_parent

        sys.exit(serve_parent())
    sys.exit(main(sys.argv[1:]))
