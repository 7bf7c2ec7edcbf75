"""A trained bundle as a run: what `train` and `register` tell the tracker about it, the same in both.

Wires `reporting` (plots) to `tracking`, which do not know each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from scope_ml.core.configuration import to_plain
from scope_ml.models.record import BundleRecord, read_record
from scope_ml.reporting.model_plots import save_model_plots
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.tracker import RunHandle, Tracker

__all__ = ["describe_run", "ensure_logged", "part_metrics"]

#: Folder of a run's artifacts that holds its plots.
PLOTS_FOLDER = "plots"


def ensure_logged(tracker: Tracker, record: ModelRecord, *, plots: bool = True) -> tuple[LoggedModel | None, bool]:
    """Return the model that a run holds for this bundle and whether the run was made now.

    A run that is there already is left as it is; else one is made from the bundle alone.
    """
    found = tracker.logged(record)
    if found is not None:
        return found, False
    with tracker.run(record.run_name, record.key) as run:
        known = read_record(record.folder)
        run.metrics(part_metrics(known))
        return describe_run(run, record, known, plots=plots), True


def part_metrics(known: BundleRecord) -> dict[str, float]:
    """Return the metrics of all parts of the split under the names that runs give them."""
    return {name: value for part, item in known.metrics.items() for name, value in item.flat(part).items()}


def describe_run(
    run: RunHandle,
    record: ModelRecord,
    known: BundleRecord,
    *,
    plots: bool = True,
    more: Mapping[str, object] | None = None,
) -> LoggedModel | None:
    """Tell a run what model it made: parameters, plots, and the bundle itself, last.

    Parameters
    ----------
    run
        The open run; its metrics were told before.
    record, known
        The bundle, as tracking and as models know it.
    plots
        False draws none.
    more
        Further parameters, such as how the data set was divided.
    """
    run.params(
        {
            "class": to_plain(known.spec),
            "algorithm": to_plain(known.algorithm),
            "seed": known.seed,
            "threshold": known.threshold,
            "n_features": len(known.features.names),
            "counts": dict(known.counts),
            **({"members": known.members} if known.members else {}),
            **(more or {}),
        }
    )
    if plots and run.is_recorded:
        with tempfile.TemporaryDirectory(prefix="scope-ml-") as scratch:
            made_of = f"{len(known.members)} seeds together" if known.members else f"seed {known.seed}"
            title = f"{known.spec.label}, {known.algorithm.name}, {made_of}"
            folder = Path(scratch) / PLOTS_FOLDER
            if save_model_plots(known.metrics, folder, title=title):
                run.artifact(folder)
    return run.model(record)
