"""How fast light curves come from Kowalski and are decoded, beside what scripts do with penquins alone.

    python -m benchmarks.kowalski [--light-curves 20000] [--points 200] [--delay-ms 50]

A test server on this machine has the light curves ready as text and adds the delay to each reply. Ours is the source that
`generate_features` reads, without its cache: ids in, batches of arrays out. The peer asks the same chunks of ids with
penquins' `query(queries=..., use_batch_query=True)`, as many at a time, and makes arrays of each document; it is timed on
some of the light curves and the time scaled to all. Decoding alone is CPU time of one thread, both in turn, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import build
from scope_ml.io.selection import Selection
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.kowalski.light_curves import PROJECTION, KowalskiLightCurves
from scope_ml.services.kowalski.replies import light_curves
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.testing.kowalski import KowalskiServer

CATALOG = "load_sources_20240117"
FIRST_ID = 10_245_090_000_000
#: Different lists of points; light curves share them, so that filling the server is quick.
N_LISTS = 50
#: The peer is timed on a part of the light curves, this many times fewer.
PEER_SHARE = 5
GOAL_S, GOAL_MB_S = 30.0, 20.0
FIELDS = ("hjd", "mag", "magerr", "catflags")


def fill(server: KowalskiServer, n: int, n_points: int) -> int:
    """Give the server the texts of light curves, as it is to send them; return how many bytes they are."""
    rng = np.random.default_rng(1)
    lists = cycle([_points(rng, n_points) for _ in range(N_LISTS)])
    n_bytes = 0
    for start in range(0, n, 1000):
        texts = {}
        for number in range(start, min(n, start + 1000)):
            facts = {"ra": 100 + number / n, "dec": 20.0, "field": 245, "ccd": 3, "quad": 2, "filter": 1 + number % 3}
            head = json.dumps({"_id": FIRST_ID + number, **facts})
            texts[FIRST_ID + number] = f'{head[:-1]}, "data": {next(lists)}}}'.encode()
        server.insert_texts(CATALOG, texts)
        n_bytes += sum(map(len, texts.values()))
    return n_bytes


def _points(rng: np.random.Generator, n: int) -> str:
    """Return points as text, rounded as Kowalski keeps them."""
    hjd = np.sort(rng.uniform(2458200, 2460300, n)).round(8)
    mag, error = rng.normal(17, 0.3, n).round(5), rng.uniform(0.01, 0.05, n).round(5)
    flags, programme = np.where(rng.random(n) < 0.05, 32768, 0), rng.integers(1, 4, n)
    columns = (column.tolist() for column in (hjd, mag, error, flags, programme))
    names = (*FIELDS, "programid")
    return json.dumps([dict(zip(names, point, strict=True)) for point in zip(*columns, strict=True)])


class Memory:
    """Looks at this process's memory twenty times a second."""

    def __enter__(self) -> Memory:
        """Begin to look."""
        self.seen = [self._now()]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    @staticmethod
    def _now() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _look(self) -> None:
        while not self._end.wait(0.05):
            self.seen.append(self._now())

    def quarters(self) -> list[float]:
        """Return the largest memory in each quarter of the time [MB]."""
        return [max(part) for part in np.array_split(self.seen, 4) if len(part)]


def ours(client: KowalskiClient, config: KowalskiConfig, n: int) -> tuple[int, int]:
    """Read all light curves; return how many came, and their points."""
    selection = Selection(ids=pa.array(range(FIRST_ID, FIRST_ID + n), pa.int64()))
    source = KowalskiLightCurves(client, CATALOG, selection, config=config)
    n_curves = n_points = 0
    for chunk in source.chunks():
        n_curves += len(chunk.batch)
        n_points += chunk.batch.n_points
    return n_curves, n_points


def peer(server: KowalskiServer, n: int, chunk: int, threads: int) -> int:
    """Do as scripts do with penquins; return how many light curves came."""
    import penquins

    client = penquins.Kowalski(token=server.token, protocol="http", host=server.host, port=server.port, timeout=300)
    ids = range(FIRST_ID, FIRST_ID + n)
    queries = [find(ids[start : start + chunk]) for start in range(0, n, chunk)]
    replies = client.query(queries=queries, use_batch_query=True, max_n_threads=threads)["default"]
    return sum(len(arrays_of(reply["data"])) for reply in replies)


def find(ids: Sequence[int]) -> dict[str, Any]:
    """Return the query for light curves."""
    query = {"catalog": CATALOG, "filter": {"_id": {"$in": list(ids)}}, "projection": PROJECTION}
    return {"query_type": "find", "query": query}


def arrays_of(found: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the arrays of each document, one point at a time."""
    return [[np.array([point[name] for point in one["data"]]) for name in FIELDS] for one in found]


def clocked(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return seconds by the clock, CPU seconds of the process, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def decoding(body: bytes, rounds: int) -> dict[str, float]:
    """Return MB/s of CPU time of one thread: ours, the peer's, MongoDB's reader alone."""
    from bson import json_util

    ways: dict[str, Callable[[], Any]] = {
        "ours, to LightCurveBatch": lambda: light_curves(body, programids=(1, 2, 3)),
        "json_util.loads, then arrays of each document": lambda: arrays_of(json_util.loads(body.decode())["data"]),
        "json_util.loads alone": lambda: json_util.loads(body.decode()),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.thread_time()
            way()
            taken[name].append(time.thread_time() - began)
    return {name: len(body) / 1e6 / statistics.median(times) for name, times in taken.items()}


def print_transfer(server: KowalskiServer, options: argparse.Namespace) -> None:
    """Print the table of the whole way, and memory."""
    values = {"instances": server.instances, "cache": None, "connections": options.connections}
    config = build(KowalskiConfig, values)
    n, some = options.light_curves, max(config.query_limit, options.light_curves // PEER_SHARE)
    with KowalskiClient(config) as client:
        ours(client, config, min(n, 2 * config.query_limit))
        n_before = client.n_requests
        with Memory() as memory:
            wall, cpu, (n_curves, n_points) = clocked(lambda: ours(client, config, n))
        n_requests = client.n_requests - n_before
    assert (n_curves, n_points) == (n, n * options.points)
    peer_wall, peer_cpu, n_peer = clocked(lambda: peer(server, some, config.query_limit, options.connections))
    assert n_peer == some
    peer_wall, peer_cpu = peer_wall * n / some, peer_cpu * n / some
    print("| way | time [s] | CPU [s] | light curves/s | goal [s] |")
    print("|---|--:|--:|--:|--:|")
    print(f"| ours | {wall:.1f} | {cpu:.1f} | {n / wall:.0f} | {GOAL_S:.0f} |")
    print(
        f"| penquins' batch query, arrays of each document | {peer_wall:.1f} | {peer_cpu:.1f} | {n / peer_wall:.0f} | |"
    )
    print(f"\n{n_requests} requests; {peer_wall / wall:.1f} times by the clock, {peer_cpu / cpu:.1f} times by CPU.")
    flat = ", ".join(f"{value:.0f}" for value in memory.quarters())
    print(f"Memory: {memory.seen[0]:.0f} MB before, at most {flat} MB in the quarters of the run.")


def main() -> None:
    """Fill the server and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--light-curves", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--delay-ms", type=float, default=50.0)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with KowalskiServer() as server:
        n_bytes = fill(server, options.light_curves, options.points)
        os.environ[server.variable] = server.token
        with KowalskiClient(build(KowalskiConfig, {"instances": server.instances, "cache": None})) as client:
            body = client.ask(find(range(FIRST_ID, FIRST_ID + min(500, options.light_curves))), catalog=CATALOG)
        print(
            f"{options.light_curves:,} light curves of {options.points} points, {n_bytes / 1e6:.0f} MB of replies;"
            f" {options.delay_ms:.0f} ms added to each, {options.connections} connections.\n"
        )
        server.set(delay_s=options.delay_ms / 1000)
        print_transfer(server, options)
    print(f"\n| decoding {len(body) / 1e6:.1f} MB | MB/s a core | ours, times | goal [MB/s] |")
    print("|---|--:|--:|--:|")
    found = decoding(body, options.rounds)
    first = next(iter(found.values()))
    for number, (name, rate) in enumerate(found.items()):
        print(f"| {name} | {rate:.1f} | {first / rate:.1f} | {f'{GOAL_MB_S:.0f}' if number == 0 else ''} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the whole, the peer included: {peak:.0f} MB.")


if __name__ == "__main__":
    main()
