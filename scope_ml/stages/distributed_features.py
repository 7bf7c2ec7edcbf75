"""How `generate_features` is shared out: a shard is a quadrant and its table, or a slice of one table.

A quadrant's table proves by its digests that the shard is done, whoever made it (`feature_tables`); slices are parts that
`collect` merges (`feature_slices`). May import the rooms of
`generate_features`, `distribution`, compute and what lies below.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import build, science_values, to_plain
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_digest, code_version
from scope_ml.core.report import Report
from scope_ml.io.run_log import RunLog
from scope_ml.stages.feature_checks import check_columns, checked_targets, empty_text, feature_log, log_path
from scope_ml.stages.feature_folder import FolderReport
from scope_ml.stages.feature_log import FeatureLog
from scope_ml.stages.feature_slices import collect_slices, make_slice, not_done, slice_shards
from scope_ml.stages.feature_sources import check_source, open_source
from scope_ml.stages.feature_targets import MANY, Target, quadrant_target
from scope_ml.stages.generate_features import ASK_SERVICES, CODE, PARTS_VERSION, GenerateFeatures, open_tables
from scope_ml.stages.irsa_sources import announce, is_address
from scope_ml.stages.quadrant_list import Quadrant

__all__ = ["FEATURES"]

#: Folder of the run where processes on other machines write their run logs, one each.
RUN_LOGS = "run_logs"


class _Features:
    """Implements `stages.distribution.Distribution` for `generate_features`."""

    door = "generate_features"
    unit = "light curves"

    def to_values(self, config: GenerateFeatures) -> Mapping[str, Any]:
        """Return the configuration as JSON-able values."""
        values: Mapping[str, Any] = to_plain(config)
        return values

    def from_values(self, values: Mapping[str, Any]) -> GenerateFeatures:
        """Return the configuration that `to_values` was given."""
        return build(GenerateFeatures, values)

    def executor(self, config: GenerateFeatures) -> ExecutorConfig:
        """Return who does the work."""
        return config.executor

    def output(self, config: GenerateFeatures) -> Path:
        """Return the folder of the tables."""
        return Path(config.output)

    def shards(self, config: GenerateFeatures) -> tuple[Sequence[Shard], tuple[str, ...]]:
        """Return the quadrants in the order of the target, and what is odd about a list of them.

        Raises
        ------
        ScopeError
            If the list, the source or the output cannot be used.
        """
        folder = self.output(config)
        targets = checked_targets(config, folder)
        check_columns(config, targets)
        check_source(config.source, everything=config.target.kind == "all")
        if not targets.many:
            return slice_shards(targets[0], _n_sources(config, targets[0]), config.slices), targets.warnings
        return [_shard(one, folder, targets.n_sources.get(one.name)) for one in targets], targets.warnings

    def identity(self, config: GenerateFeatures) -> Mapping[str, Any]:
        """Return what decides what a table holds, light curves and catalogues apart: tables have those digests."""
        return {
            "version": PARTS_VERSION,
            "code": [code_version(), code_digest(*CODE)],
            "config": science_values(config),
            "layout": config.source.layout,
        }

    @contextmanager
    def open(
        self, config: GenerateFeatures, *, threads: int, progress: Progress
    ) -> Iterator[Callable[[Shard], Report]]:
        """Give what makes one table after the other.

        Raises
        ------
        ScopeError
            If catalogues, services or the device are not there.
        """
        config = replace(config, machine=replace(config.machine, workers=threads))
        run, whole = config.executor.run_folder(self.output(config)), _whole(config)
        with open_tables(config, _log_of_process(config), progress) as tables:

            def work(shard: Shard) -> Report:
                if whole is not None:
                    return make_slice(tables, whole, shard, run, empty_text(config))
                target = _target(shard, self.output(config))
                announce(tables.open, [target.selection])
                report = tables.make_one(target, what=f"measuring {target.name}")
                return replace(report, facts={**report.facts, "of_all": list(tables.warnings)})

            yield work

    def collect(
        self, config: GenerateFeatures, plan: WorkPlan, states: Mapping[str, ShardState], *, progress: Progress
    ) -> Report:
        """Return the report that adds up over all quadrants, or merge the slices of a table.

        Raises
        ------
        ScopeError
            If slices cannot be merged.
        """
        began, single = time.perf_counter(), _whole(config)
        if single is not None:
            with open_tables(config, FeatureLog(log=RunLog(None)), progress) as tables:
                report = collect_slices(tables, single, plan, states, empty_text(config))
            return replace(report, warnings=(*report.warnings, *tables.warnings))
        whole = FolderReport(n_targets=len(plan))
        for shard in plan:
            state = states.get(shard.key)
            error = not_done(state, shard)
            if error is not None or state is None or state.record is None:
                whole.fail(shard.title, error or "the note of how it was done is torn; type the same command again")
            elif not _target(shard, self.output(config)).output.is_file():
                whole.fail(shard.title, "its table was removed after it had been made; type the same command again")
            else:
                whole.add(shard.title, state.record)
                whole.warn(state.record["facts"].get("of_all", ()))
        return whole.report(self.output(config), seconds=time.perf_counter() - began)


def _whole(config: GenerateFeatures) -> Target | None:
    """Return the one table of a run; None where there are many."""
    if config.target.kind in MANY:
        return None
    return checked_targets(config, Path(config.output))[0]


def _n_sources(config: GenerateFeatures, target: Target) -> int | None:
    """Return how many light curves a table has, as far as files say; None where a service is asked: it is made in one piece."""
    if config.source.kind in ASK_SERVICES or is_address(config.source.path):
        return None
    source = open_source(config.source, selection=target.selection, collection=config.survey.collections.sources)
    return source.n_rows if config.limit is None else config.limit


def _log_of_process(config: GenerateFeatures) -> FeatureLog:
    """Return the run log of this process: processes of one machine share a file, others may not."""
    output = Path(config.output)
    path = log_path(config, output, many=config.target.kind in MANY)
    if config.executor.kind != "local" and path is not None:
        name = f"{socket.gethostname()}_{os.getpid()}.log.jsonl"
        path = config.executor.run_folder(output) / RUN_LOGS / name
    return feature_log(config, path)


def _shard(target: Target, folder: Path, n_sources: int | None) -> Shard:
    return Shard(
        key=str(target.output.relative_to(folder).with_suffix("")),
        title=target.name,
        n_sources=n_sources,
        payload={"field": target.field, "ccd": target.ccd, "quad": target.quad},
    )


def _target(shard: Shard, folder: Path) -> Target:
    return quadrant_target(Quadrant(**shard.payload), folder)


#: What carries the work of `generate_features` out.
FEATURES = _Features()
