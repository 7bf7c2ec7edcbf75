"""How `infer` with fields is shared out: a shard is a quadrant, its output the quadrant's table of scores.

Models are loaded once a worker. May import the rooms of `infer`, `distribution`, compute and what lies below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import build, science_values, to_plain
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_version
from scope_ml.core.report import Report
from scope_ml.stages.inference_fields import models_of, open_scoring
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_quadrants import QuadrantTable, find_quadrants, n_rows_of
from scope_ml.stages.inference_shards import QuadrantScorer, read_report, scoring_code
from scope_ml.stages.inference_summary import FieldsReport, Outcome

__all__ = ["SCORES"]

#: What is said of a shard that is neither done nor known to have failed.
NOT_DONE = {"waiting": "nobody has begun it", "begun": "it was begun and not ended"}


class _Scores:
    """Implements `stages.distribution.Distribution` for `infer`."""

    door = "infer"
    unit = "light curves"

    def to_values(self, config: Infer) -> Mapping[str, Any]:
        """Return the configuration as JSON-able values."""
        values: Mapping[str, Any] = to_plain(config)
        return values

    def from_values(self, values: Mapping[str, Any]) -> Infer:
        """Return the configuration that `to_values` was given."""
        return build(Infer, values)

    def executor(self, config: Infer) -> ExecutorConfig:
        """Return who does the work."""
        return config.executor

    def output(self, config: Infer) -> Path:
        """Return the folder of the scores."""
        return config.output_path

    def shards(self, config: Infer) -> tuple[Sequence[Shard], tuple[str, ...]]:
        """Return the quadrants in the order of field, ccd, quad; what is odd about them is said by `collect`.

        Raises
        ------
        ScopeError
            If there are no features of a field.
        """
        found = find_quadrants(config)
        counts = n_rows_of(found.quadrants, found.n_rows)
        return [one.shard(n) for one, n in zip(found.quadrants, counts, strict=True)], ()

    def identity(self, config: Infer) -> Mapping[str, Any]:
        """Return what decides on the scores, features and light curves apart: their digests stand beside each table."""
        return {
            "code": [code_version(), scoring_code(periods=config.source.given)],
            "models": {f"{one.pin.tag}_{one.pin.algorithm}": one.pin.digest for one in models_of(config)},
            "unfit_models": config.unfit_models,
            "consistency": config.consistency,
            "conflict_margin": None if config.consistency == "none" else config.conflict_margin,
            "source": science_values(config.source) if config.source.given else None,
        }

    @contextmanager
    def open(self, config: Infer, *, threads: int, progress: Progress) -> Iterator[Callable[[Shard], Report]]:
        """Give what scores one quadrant after the other.

        Raises
        ------
        ScopeError
            If the models cannot be loaded.
        """
        scorer = QuadrantScorer(open_scoring(config, models_of(config), threads), config.output_path, progress)

        def work(shard: Shard) -> Report:
            began = time.monotonic()
            made, became = scorer.score(QuadrantTable.of(shard.payload))
            return Report(
                stage=self.door,
                n_in=made.n_rows,
                n_out=made.n_rows,
                seconds=time.monotonic() - began,
                warnings=made.warnings,
                facts={"became": became},
            )

        yield work

    def collect(self, config: Infer, plan: WorkPlan, states: Mapping[str, ShardState], *, progress: Progress) -> Report:
        """Write what belongs to each field, and return the report that adds up over all quadrants."""
        began = time.monotonic()
        found = find_quadrants(config)
        by_field: dict[int, list[Shard]] = {}
        for shard in plan:
            by_field.setdefault(int(shard.payload["field"]), []).append(shard)
        scoring = open_scoring(config, models_of(config), config.machine.n_workers)
        whole = FieldsReport(scoring=scoring, found=found, folder=config.output_path)
        progress.start("adding up fields", len(by_field))
        for number, shards in sorted(by_field.items()):
            whole.add_field(number, [_outcome(shard, states, config.output_path) for shard in shards])
            progress.advance()
        progress.finish()
        return whole.report(time.monotonic() - began)


def _outcome(shard: Shard, states: Mapping[str, ShardState], folder: Path) -> Outcome:
    quadrant = QuadrantTable.of(shard.payload)
    state = states.get(shard.key, ShardState(key=shard.key, state="waiting"))
    record = state.record or {}
    if state.state != "done":
        return Outcome(quadrant=quadrant, error=record.get("error", NOT_DONE.get(state.state, "it failed")))
    report = read_report(quadrant.report_path(folder))
    if report is None or not quadrant.output(folder).is_file():
        error = "its table was removed after it had been made; type the same command again"
        return Outcome(quadrant=quadrant, error=error)
    return Outcome(quadrant=quadrant, report=report, became=record.get("facts", {}).get("became", "made"))


#: What carries the work of `infer` out.
SCORES = _Scores()
