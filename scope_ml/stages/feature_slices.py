"""One feature table made by many: each worker reads the whole source and measures every n-th part of it.

The parts are those of a run by itself (`feature_run`), so that what is merged in the end is the same table, colours, lists
of what was not found and all. That the table was finished stands in the folder of the run, with its digest, since the
parts are gone then. May import the rooms of this stage, io and what lies below.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.core.provenance import digest_file
from scope_ml.core.report import Report
from scope_ml.io.atomic import atomic_path
from scope_ml.stages.feature_folder import BECAME, NAMED_FAILURES
from scope_ml.stages.feature_outputs import beside, standing, table_report
from scope_ml.stages.feature_reuse import FINISHED
from scope_ml.stages.feature_tables import FeatureTables
from scope_ml.stages.feature_targets import Target

__all__ = ["collect_slices", "finished_table", "make_slice", "not_done", "slice_shards"]

#: File in the folder of a run that says which table was finished.
TABLE_FILE = "table.json"

#: Light curves of a slice where nothing is said.
SLICE_SOURCES = 5000

#: What is said of a shard that is neither done nor known to have failed.
NOT_DONE = {"waiting": "nobody has begun it", "begun": "it was begun and not ended"}


def slice_shards(target: Target, n_sources: int | None, n_slices: int) -> list[Shard]:
    """Return the slices of a table.

    Parameters
    ----------
    target
        The table.
    n_sources
        Its light curves where that is known.
    n_slices
        How many slices; 0: as many as `n_sources` asks for.
    """
    count = n_slices or max(1, ceil((n_sources or 0) / SLICE_SOURCES))
    shares = [None if n_sources is None else (n_sources - number + count - 1) // count for number in range(count)]
    return [
        Shard(
            key=f"slice_{number:05d}",
            title=f"{target.name} slice {number + 1} of {count}",
            n_sources=share,
            payload={"slice": number, "of": count},
        )
        for number, share in enumerate(shares)
    ]


def make_slice(tables: FeatureTables, target: Target, shard: Shard, run: Path, empty: str | None) -> Report:
    """Make a slice; of a table in one piece the table.

    Raises
    ------
    ScopeError
        If it cannot be made.
    """
    if finished_table(tables, target, run):
        return table_report(counts_of(target.output), {"features": target.output}, facts={BECAME: "kept"})
    piece = (int(shard.payload["slice"]), int(shard.payload["of"]))
    if piece[1] > 1:
        return tables.make_slice(target, piece, what=f"measuring {shard.title}")
    report = tables.make(target, empty=empty)
    write_finished(tables, target, run)
    return Report(**{**vars(report), "facts": {**report.facts, BECAME: "made"}})


def collect_slices(
    tables: FeatureTables, target: Target, plan: WorkPlan, states: Mapping[str, ShardState], empty: str | None
) -> Report:
    """Merge the slices, if all are made, and return the report of the table.

    Raises
    ------
    ScopeError
        If they cannot be merged.
    """
    if finished_table(tables, target, plan.folder):
        counts = counts_of(target.output)
        return table_report(counts, {"features": target.output, **beside(target.output, target.request)})
    failed = [
        f"{shard.title}: {error}" for shard in plan if (error := not_done(states.get(shard.key), shard)) is not None
    ]
    if failed:
        return Report(
            stage="generate_features",
            warnings=(
                *_told(failed),
                f"{len(failed)} of {len(plan)} slices are not done; {target.output} was not written",
            ),
            facts={"n_slices": len(plan) - len(failed), "n_failed": len(failed), "failed": failed},
        )
    report = tables.make(target, empty=empty)
    write_finished(tables, target, plan.folder)
    return report


def not_done(state: ShardState | None, shard: Shard) -> str | None:
    """Return why a shard is not done, None if it is."""
    state = state or ShardState(key=shard.key, state="waiting")
    if state.state == "done":
        return None
    return str((state.record or {}).get("error", NOT_DONE.get(state.state, "it failed")))


def finished_table(tables: FeatureTables, target: Target, run: Path) -> bool:
    """Return whether the table stands as this run finished it, of the same light curves and with the same options."""
    try:
        known = json.loads((run / TABLE_FILE).read_text(encoding="utf-8"))
        stands = target.output.is_file() and digest_file(target.output) == known["features"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return stands and known["key"] == _key(tables, target) and counts_of(target.output) is not None


def write_finished(tables: FeatureTables, target: Target, run: Path) -> None:
    """Write down that the table was finished.

    Raises
    ------
    OutputError
        If that cannot be written.
    """
    values = {"key": _key(tables, target), "features": digest_file(target.output)}
    with atomic_path(run / TABLE_FILE) as temporary:
        temporary.write_text(json.dumps(values), encoding="utf-8")


def counts_of(output: Path) -> Any:
    """Return the counts of the table that stands at `output`; None if there is none."""
    found = standing(output)
    if found is None or found.counts is None:
        return None
    found.counts.reuse = Counter({FINISHED: found.counts.n_out})
    return found.counts


def _key(tables: FeatureTables, target: Target) -> str:
    return tables.parts_key(target, tables.open(target.selection))


def _told(failed: Sequence[str]) -> list[str]:
    return [f"failed: {line}" for line in failed[:NAMED_FAILURES]]
