"""The table of `benchmarks.features` for the whole stage: light curves a second, where the time goes, memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.period_sources import machine, versions
from scope_ml.errors import DataError
from scope_ml.io.run_log import read_run_log

ROOT = Path(__file__).resolve().parents[1]

#: How many times as many light curves the larger run has.
LARGER = 4

#: Wall time of two processes at a time over one after the other.
TWO_GOAL = (0.6, 0.52)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the run log of one process says.

    Attributes
    ----------
    n_in, n_out
        Light curves read and written.
    wall, cpu
        Seconds from start to end of the stage, and CPU seconds of its shards.
    by_group
        CPU seconds by what they were spent for.
    peak_mb
        Largest memory of the process [MB of 1024 x 1024 bytes].
    """

    n_in: int
    n_out: int
    wall: float
    cpu: float
    by_group: Counter[str] = field(default_factory=Counter)
    peak_mb: float

    @classmethod
    def from_events(cls, events: Sequence[dict[str, Any]], where: str) -> Run:
        """Add up the events of one run.

        Raises
        ------
        DataError
            If the run did not end, or measured nothing.
        """
        ends = [event for event in events if event["event"] == "end"]
        shards = [event for event in events if event["event"] == "shard"]
        if not ends or not shards:
            raise DataError(f"{where} tells of no finished run (no event {'shard' if ends else 'end'}); look into it")
        by_group: Counter[str] = Counter()
        for shard in shards:
            by_group.update(shard["seconds_by_group"])
        return cls(
            n_in=ends[-1]["n_in"],
            n_out=ends[-1]["n_out"],
            wall=ends[-1]["seconds"],
            cpu=sum(shard["cpu_seconds"] for shard in shards),
            by_group=by_group,
            peak_mb=ends[-1]["peak_rss_mb"],
        )


def command(name: str, path: Path, folder: Path, limit: int, options: Sequence[str]) -> list[str]:
    """Return the command line of one process with one thread that leaves its table and log in `folder`."""
    return [
        *(sys.executable, "-m", "scope_ml.generate_features"),
        *(f"source={'survey' if name == 'survey' else 'parquet'}", f"source.path={path.resolve()}"),
        *("machine.workers=1", "machine.device=cpu", f"limit={limit}", *options),
        *(f"output={folder / 'features.parquet'}", f"run_log={folder / 'log.jsonl'}"),
    ]


def runs(commands: Sequence[Sequence[str]], folders: Sequence[Path]) -> list[Run]:
    """Run commands at the same time; return what their logs say.

    Raises
    ------
    DataError
        If one fails.
    """
    processes = []
    for words, folder in zip(commands, folders, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "output.txt").open("wb") as output:
            processes.append(subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT))
    codes = [process.wait() for process in processes]
    for code, folder in zip(codes, folders, strict=True):
        if code:
            said = (folder / "output.txt").read_text(errors="replace").strip().splitlines()
            raise DataError(f"generate_features ended with code {code}: {said[-1] if said else 'it said nothing'}")
    logs = [folder / "log.jsonl" for folder in folders]
    return [Run.from_events(read_run_log(log), str(log)) for log in logs]


def further(small: Run, large: Run) -> Run:
    """Return what the larger run did beyond the smaller one, so that loading code does not count.

    Where there were no more light curves to read, the larger run itself.
    """
    if large.n_in <= small.n_in:
        return large
    return Run(
        n_in=large.n_in - small.n_in,
        n_out=large.n_out - small.n_out,
        wall=large.wall - small.wall,
        cpu=max(large.cpu - small.cpu, 0.0),
        by_group=large.by_group - small.by_group,
        peak_mb=large.peak_mb - small.peak_mb,
    )


def rate_table(small: Run, large: Run) -> str:
    """Return rates and memory of the two runs, and of what the larger did beyond the smaller, as Markdown."""
    lines = [
        "| run | light curves read | written | per second and core | wall [s] | peak memory [MB] |\n",
        "|---|--:|--:|--:|--:|--:|\n",
    ]
    for label, run in (("smaller", small), ("larger", large), ("difference", further(small, large))):
        rate = f"{run.n_in / run.cpu:.1f}" if run.cpu > 0 else "-"
        cells = [label, f"{run.n_in:,}", f"{run.n_out:,}", rate, f"{run.wall:.1f}", f"{run.peak_mb:.0f}"]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def group_table(run: Run) -> str:
    """Return where the CPU time of a run went, as Markdown, largest first; what took none is left out."""
    lines = ["| spent for | ms a light curve read | ms a light curve written | share |\n|---|--:|--:|--:|\n"]
    total = sum(run.by_group.values())
    for name, seconds in run.by_group.most_common():
        if seconds > 0:
            each = [f"{1e3 * seconds / max(n, 1):.3f}" for n in (run.n_in, run.n_out)]
            lines.append(f"| {name} | {' | '.join(each)} | {100 * seconds / total:.1f} % |\n")
    return "".join(lines)


def two_line(one: Run, two: Sequence[Run]) -> str:
    """Return what two processes at a time take over the same work one after the other, as a sentence."""
    both, after = max(run.wall for run in two), 2 * one.wall
    ratio = both / after if after else float("nan")
    verdicts = ", ".join(
        f"{word} {goal:g}{' met' if ratio <= goal else ' **not met**'}"
        for word, goal in zip(("must", "aim"), TWO_GOAL, strict=True)
    )
    return (
        f"\nTwo processes at a time over the same two one after the other, wall time of {one.n_in:,} light curves each:"
        f" {both:.1f} s over {after:.1f} s, {ratio:.2f} ({verdicts}).\n"
    )


def tables(*, name: str, path: Path, limit: int, options: Sequence[str]) -> str:
    """Return the tables as Markdown.

    Parameters
    ----------
    name
        ``"survey"`` or ``"field"``: what `path` is.
    path
        Folder of an embedded survey, or light curves in Parquet.
    limit
        Light curves of the smaller run.
    options
        Further options of generate_features.
    """
    text = [f"{machine()}; {versions()}.\n\n"]
    with TemporaryDirectory(prefix="scope-benchmark-") as scratch:
        folders = [Path(scratch) / label for label in ("warm", "small", "large", "left", "right")]
        limits = (min(limit, 8), limit, *[LARGER * limit] * 3)
        commands = [command(name, path, *given, options) for given in zip(folders, limits, strict=True)]
        # The first run compiles what is not yet compiled, and is not counted.
        runs(commands[:1], folders[:1])
        small, large = (runs(commands[i : i + 1], folders[i : i + 1])[0] for i in (1, 2))
        two = runs(commands[3:], folders[3:])
    words = f" with {' '.join(options)}" if options else ""
    text.append(f"`generate_features` on the {name} {path.name}{words}, one thread a process.\n\n")
    text.append(rate_table(small, large))
    if large.n_in < LARGER * small.n_in:
        text.append(f"\nThere were fewer than {LARGER} times {small.n_in:,} light curves to read.\n")
    text += ["\n", group_table(further(small, large)), two_line(large, two)]
    return "".join(text)
