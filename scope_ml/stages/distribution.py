"""What a door has to say for its work to be done by many processes: its shards, and how one of them is done.

One table, `DISTRIBUTED`, names the doors; each has a room ``distributed_<door>`` with the functions below. Executors know
nothing else of the doors. May import compute and what lies below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    CredentialError,
    DataError,
    FormatError,
    JobError,
    ModelError,
    QueryRefusedError,
    ServiceError,
)

__all__ = ["DISTRIBUTED", "OF_ALL_SHARDS", "OF_ONE_SHARD", "Distribution", "distribution"]

#: What one shard may fail by while the others go on; a bad configuration, schema or disk ends the worker.
OF_ONE_SHARD = (DataError, FormatError, JobError, ModelError, ServiceError)

#: Of these, what every further shard would fail by as well.
OF_ALL_SHARDS = (CredentialError, QueryRefusedError)

#: Doors whose work can be distributed, and where they say how.
DISTRIBUTED: Mapping[str, str] = {
    "generate_features": "scope_ml.stages.distributed_features:FEATURES",
    "infer": "scope_ml.stages.distributed_scores:SCORES",
    "train": "scope_ml.stages.distributed_training:TRAINING",
}


class Distribution(Protocol):
    """The work of one door as shards. Configurations are the door's own dataclass, for `train` a tuple of them."""

    door: str
    #: How the light curves (rows, models) of a shard are called in a plan: ``light curves``.
    unit: str

    def to_values(self, config: Any) -> Mapping[str, Any]:
        """Return the configuration as JSON-able values, for the plan."""
        ...

    def from_values(self, values: Mapping[str, Any]) -> Any:
        """Return the configuration that `to_values` was given."""
        ...

    def executor(self, config: Any) -> ExecutorConfig:
        """Return who does the work."""
        ...

    def output(self, config: Any) -> Path:
        """Return the folder of what is made; plan and state lie in ``OUTPUT.run`` beside it."""
        ...

    def shards(self, config: Any) -> tuple[Sequence[Shard], tuple[str, ...]]:
        """Return the shards in the order in which they are to be done, and warnings (lines repeated, ...)."""
        ...

    def identity(self, config: Any) -> Mapping[str, Any]:
        """Return what decides the outcome, by name; see `WorkPlan.identity`."""
        ...

    def open(
        self, config: Any, *, threads: int, progress: Progress
    ) -> AbstractContextManager[Callable[[Shard], Report]]:
        """Give what does one shard after the other: models are loaded and services opened once.

        The function returns the shard's report (also where the shard was finished before, by its digests), raises what
        only this shard fails by as one of `OF_ONE_SHARD`, and everything else as another `ScopeError`: that ends the worker.
        """
        ...

    def collect(self, config: Any, plan: WorkPlan, states: Mapping[str, ShardState], *, progress: Progress) -> Report:
        """Write what belongs to all shards together, and return the report that adds up over them.

        Shards that failed or are not done are counted in ``facts["n_failed"]`` and named in ``facts["failed"]``. May be
        called again after further shards were done.
        """
        ...


def distribution(door: str) -> Distribution:
    """Return how a door's work is distributed.

    Raises
    ------
    ConfigError
        If it cannot be.
    """
    if door not in DISTRIBUTED:
        raise ConfigError(f"{door} does not run in shards; these do: {', '.join(DISTRIBUTED)}", key="executor")
    module_name, _, name = DISTRIBUTED[door].partition(":")
    return cast(Distribution, getattr(import_module(module_name), name))
