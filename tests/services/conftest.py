"""Programs that tests start: MLflow's server with writers of many runs and PostgreSQL; Kowalski's test server.

``kowalski`` is one server for the whole session, filled with a small survey (`kowalski_tables`, 60 stars: some 180 light
curves in ``kowalski.sources``, their alerts, Gaia, AllWISE and PS1 rows, features and classifications). A test gets it
behaving and with the token in the environment::

    def test_it(kowalski):
        config = build(KowalskiConfig, {"instances": kowalski.instances})     # host, port, token_env
        kowalski.faults.add(kind="status", status=503, times=2)               # see testing.kowalski.faults.Fault
        began = kowalski.n_requests
        ...
        assert kowalski.requests_since(began) == []                           # "the second run asks nothing"

``kowalski.insert(name, documents)`` adds to a collection, new if need be (`testing.kowalski.seeding.point_documents` makes
many small light curves); use a collection name of your own and ``kowalski.remove(name)`` it at the end, since others use
the same server. ``kowalski.add_instance([names])`` opens another port where only those catalogues are.
``kowalski.make_token(ends=...)`` makes a token that has an end; ``kowalski.ids(name)`` are a collection's ids.

``skyportal`` is one server for the whole session too; each test gets it behaving, with users, groups, instruments and
taxonomies (`testing.skyportal.population`) but no source, and the token of user ``scope`` in ``FRITZ_TOKEN``::

    def test_it(skyportal):
        config = build(FritzConfig, skyportal.config)                 # url, token_env, no waiting
        skyportal.add("source", obj_id="ZTFJ1", ra=10.0, dec=20.0)   # see testing.skyportal.scenery.Scenery
        skyportal.add("classification", obj_id="ZTFJ1", classification="RRab", votes={"astronomer": 1})
        skyportal.faults.add(kind="html", status=504, method="POST", path="classification", stored="before", times=1)
        began = skyportal.n_requests
        ...
        assert skyportal.state()["sources"]["ZTFJ1"]["classifications"] == ...     # no ids, no times
        assert skyportal.requests_since(began) == []
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pyarrow as pa
import pytest

from scope_ml.simulation.survey import SurveyConfig, simulate_part
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.testing.kowalski import KowalskiServer
from scope_ml.testing.skyportal import SkyPortalServer

#: Stars of the survey that fills Kowalski's test server, and its seed.
N_STARS, SEED = 60, 3

#: Writes runs with metrics, parameters and an artifact each, and registers one model, through our tracker.
WRITER = """
import sys, pathlib
from scope_ml.tracking.records import ModelRecord
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.tracker import open_tracker

uri, folder, worker, n_runs = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
tracker = open_tracker(TrackingConfig(uri=uri, experiment="load"))
tracker.sweep("load", 4 * n_runs)
for number in range(n_runs):
    name = f"run-{worker}-{number}"
    note = folder / f"{name}.txt"
    note.write_text(name)
    with tracker.run(name, f"key-{name}") as run:
        run.params({"worker": worker, "number": number})
        for step in range(3):
            run.metrics({"loss": worker + number / 1000.0, "val_loss": float(step)}, step=step)
        run.tags({"note": name})
        run.artifact(note)
        if number == 0:
            record = ModelRecord(folder=folder / "bundle", tag="bis", algorithm="xgb", seed=worker, digest=f"d{worker}",
                features=("a",), threshold=0.7, validation=0.1 * worker, test=0.5, data_digest="data",
                split_digest="split", config_digest="config", key=f"key-{name}")
            model = run.model(record)
            Registry(tracker.connection).register(record, model, "compare")
tracker.close()
"""

#: Longest that a server may take to answer first [s]: it makes its tables, on a machine that may be busy.
START_S = 240


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def write_at_once(uri: str, folder: Path, n_workers: int, n_runs: int) -> None:
    """Start `n_workers` writers at the same moment and wait for all."""
    (folder / "bundle").mkdir()
    (folder / "bundle" / "bundle.json").write_text("{}")
    words = [[sys.executable, "-c", WRITER, uri, str(folder), str(worker), str(n_runs)] for worker in range(n_workers)]
    started = [subprocess.Popen(word, stderr=subprocess.PIPE, text=True) for word in words]
    for process in started:
        _, errors = process.communicate(timeout=1500)
        assert process.returncode == 0, errors


@contextmanager
def mlflow_server(store: str, artifacts: Path) -> Iterator[str]:
    """Run ``mlflow server`` on loopback and yield its address."""
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    words += ["--backend-store-uri", store, "--artifacts-destination", str(artifacts), "--serve-artifacts"]
    # The server's jobs would look for a broker; its workers find uvicorn beside this Python.
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    artifacts.mkdir(parents=True, exist_ok=True)
    with (artifacts.parent / "server.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", process, artifacts.parent / "server.log")
            yield address
        finally:
            stop(process)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urlopen(address, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"no answer after {START_S} s: {log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, 15)
        process.wait(30)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        process.kill()
        process.wait(30)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL of our own in a folder under /tmp, over a socket, and yield the address of an empty database."""
    pytest.importorskip("psycopg2", reason="the server's driver psycopg2 is not installed")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    as_root = os.geteuid() == 0
    if as_root and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to become its user")
    folder = Path(tempfile.mkdtemp(prefix="scope-ml-pg-"))
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if as_root else []
    if as_root:
        shutil.chown(folder, "postgres", "postgres")
    bin_, data = programs[-1], folder / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
    try:
        _run([*user, str(bin_ / "initdb"), "-U", "scope", "-A", "trust", "-D", str(data)], folder)
        _run(
            [*user, str(bin_ / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start"],
            folder,
        )
        _run([*user, str(bin_ / "createdb"), "-h", str(folder), "-U", "scope", "mlflow"], folder)
        yield f"postgresql+psycopg2://scope@/mlflow?host={folder}"
    finally:
        subprocess.run(
            [*user, str(bin_ / "pg_ctl"), "-D", str(data), "-m", "fast", "stop"],
            check=False,
            capture_output=True,
            cwd=folder,
        )
        shutil.rmtree(folder, ignore_errors=True)


def _run(words: list[str], folder: Path) -> None:
    # pg_ctl's server keeps a pipe open: its words go into a file.
    with (folder.parent / f"{folder.name}.out").open("w+") as out:
        done = subprocess.run(words, check=False, stdout=out, stderr=out, cwd=folder, timeout=120)
        out.seek(0)
        said = out.read()
    (folder.parent / f"{folder.name}.out").unlink()
    assert done.returncode == 0, said


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What the tests may start."""

    mlflow_server: Callable[[str, Path], AbstractContextManager[str]]
    postgresql: Callable[[], AbstractContextManager[str]]
    write_at_once: Callable[[str, Path, int, int], None]
    free_port: Callable[[], int]
    wait_for: Callable[[str, subprocess.Popen[bytes], Path], None]
    stop: Callable[[subprocess.Popen[bytes]], None]


@pytest.fixture
def programs() -> Programs:
    """Functions that start and stop them."""
    return Programs(
        mlflow_server=mlflow_server,
        postgresql=postgresql,
        write_at_once=write_at_once,
        free_port=free_port,
        wait_for=wait_for,
        stop=stop,
    )


@pytest.fixture(scope="session")
def kowalski_tables() -> dict[str, pa.Table]:
    """The tables of the survey that the server is filled with: ``ZTF_sources``, ``ZTF_alerts``, ``labels``, ..."""
    taxonomy = load_classes(packaged_conf_dir())
    parents = {tag: taxonomy.parents(tag) for tag in taxonomy.tags}
    return simulate_part(SurveyConfig(n_sources=N_STARS, seed=SEED), 0, N_STARS, parents)


@pytest.fixture(scope="session")
def kowalski_server(kowalski_tables: dict[str, pa.Table]) -> Iterator[KowalskiServer]:
    """The session's server; tests take `kowalski`."""
    with KowalskiServer() as server:
        server.seed(kowalski_tables)
        yield server


@pytest.fixture
def kowalski(kowalski_server: KowalskiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[KowalskiServer]:
    """The server, behaving, and its token in the environment variable that ``kowalski.instances`` names."""
    monkeypatch.setenv(kowalski_server.variable, kowalski_server.token)
    kowalski_server.faults.clear()
    yield kowalski_server
    kowalski_server.faults.clear()


@pytest.fixture(scope="session")
def skyportal_server() -> Iterator[SkyPortalServer]:
    """The session's server; tests take `skyportal`."""
    with SkyPortalServer() as server:
        yield server


@pytest.fixture
def skyportal(skyportal_server: SkyPortalServer, monkeypatch: pytest.MonkeyPatch) -> SkyPortalServer:
    """The server as it begins: no sources, behaving, and its token in the environment variable ``FRITZ_TOKEN``."""
    skyportal_server.reset()
    monkeypatch.setenv(skyportal_server.variable, skyportal_server.token)
    return skyportal_server
