"""What a sweep leaves and says: the files of each class and algorithm, and one report in which the counts add up.

May import `sweep_plan`, `sweep_recording`, `training_outputs` and below.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scope_ml.core.report import Report
from scope_ml.models.record import BUNDLE_FILE
from scope_ml.stages.sweep_plan import Group, Model
from scope_ml.stages.sweep_recording import Recorder
from scope_ml.stages.training_options import ENSEMBLE_FOLDER, SEED_FOLDER
from scope_ml.stages.training_outputs import (
    model_line,
    registration_facts,
    registration_lines,
    write_outputs,
    write_report,
)
from scope_ml.tracking.promotion import best_seed

__all__ = ["group_outputs", "group_report", "sweep_report"]

#: Most warnings about the data that one report repeats.
WARNINGS_SHOWN = 20


def group_outputs(group: Group) -> None:
    """Write metrics, curves and report of a class and algorithm, and note what is worth saying about it.

    Where all of its models failed, what stood there is left alone.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    seeds = [model for model in group.models if model.seed in group.known]
    if seeds:
        records = [group.records[model.seed] for model in seeds]
        best = best_seed(records).seed
        ensemble = group.known.get(None)
        group.outputs = {"models": str(group.folder)} | write_outputs(
            group.folder, group.known[best], [group.known[model.seed] for model in seeds], ensemble=ensemble
        )
        group.best = best
        group.lines = tuple(model_line(known) for known in group.known.values())
        group.warnings = group.known[best].warnings
        _remove_others(group)
    elif all(model.outcome is not None and model.outcome.state == "skipped" for model in group.models):
        for model in group.everything:
            _remove_bundle(model.folder)
        _remove_others(group)
        reason = _reason(group.models[0])
        group.outputs = write_outputs(group.folder, None, (), skipped=reason)
        group.warnings = (f"skipped: {reason}",)
    else:
        return
    write_report(group.folder, group_report(group))


def group_report(group: Group, recorder: Recorder | None = None, *, seconds: float = 0.0) -> Report:
    """Return the report of one class and algorithm; with a recorder also what was registered, and what was not."""
    failed = _failed([group], recorder)
    skipped = _skipped(group)
    lacking = {line["number"] for line in failed if line["number"] is not None}
    there = [model for model in group.everything if model.is_there and model.number not in lacking]
    registration = recorder.registrations.get(group.title) if recorder is not None else None
    facts: dict[str, Any] = {
        "model": group.config.model_name,
        "seeds": [model.seed for model in group.models],
        "best_seed": group.best,
        "n_kept": sum(1 for model in there if model.is_kept),
        "digests": {"ensemble" if seed is None else str(seed): record.digest for seed, record in group.records.items()},
        "registered": registration_facts(registration),
        "text": "\n".join([*group.lines, *registration_lines(registration)]),
    }
    if skipped:
        tag, algorithm = group.config.class_spec.tag, group.config.algorithm_name
        facts = {"skipped": [{"tag": tag, "algorithm": algorithm, "reason": _reason(skipped[0])}]}
    if failed:
        facts |= {"n_failed": len(failed), "failed": [_public(line) for line in failed]}
    return Report(
        stage="train",
        n_in=len(group.everything),
        n_out=len(there),
        dropped=_dropped(len(skipped), len(lacking)),
        seconds=seconds,
        warnings=(*group.warnings, *(f"failed: {line['model']}: {line['reason']}" for line in failed)),
        outputs=group.outputs,
        facts=facts,
    )


def sweep_report(groups: Sequence[Group], recorder: Recorder, *, seconds: float) -> Report:
    """Return the report of a whole sweep.

    ``facts["failed"]`` names each model that was not made or not recorded, and each class that was not registered, with
    the reason; of the models asked for, each is made, kept, skipped or failed.
    """
    failed = _failed(groups, recorder)
    lacking = {line["number"] for line in failed if line["number"] is not None}
    everything = [model for group in groups for model in group.everything]
    skipped = [model for group in groups for model in _skipped(group)]
    there = [model for model in everything if model.is_there and model.number not in lacking]
    n_kept = sum(1 for model in there if model.is_kept)
    warnings = list(dict.fromkeys(line for group in groups for line in group.warnings))
    said = [line for line in warnings if line.startswith("skipped: ")]
    further = [line for line in warnings if not line.startswith("skipped: ")]
    if len(further) > WARNINGS_SHOWN:
        further = [*further[:WARNINGS_SHOWN], f"{len(further) - WARNINGS_SHOWN} more warnings stand in the bundles"]
    return Report(
        stage="train",
        n_in=len(everything),
        n_out=len(there),
        dropped=_dropped(len(skipped), len(lacking)),
        seconds=seconds,
        warnings=(*further, *said, *(f"failed: {line['model']}: {line['reason']}" for line in failed)),
        facts={
            "n_trained": len(there) - n_kept,
            "n_kept": n_kept,
            "n_skipped": len(skipped),
            "n_failed": len(failed),
            "failed": [_public(line) for line in failed],
            "skipped": [
                {
                    "tag": group.config.class_spec.tag,
                    "algorithm": group.config.algorithm_name,
                    "reason": _reason(_skipped(group)[0]),
                }
                for group in groups
                if _skipped(group)
            ],
            "registered": [registration_facts(one) for one in recorder.registrations.values()],
            "text": "\n".join(_lines(groups, recorder)),
        },
    )


def _lines(groups: Sequence[Group], recorder: Recorder) -> list[str]:
    """Return a line for each class and algorithm: its best model, and what was registered."""
    lines = []
    for group in groups:
        if not group.lines:
            continue
        # The ensemble where it is better than any seed: it is what was registered then.
        best = best_seed(list(group.records.values())).seed
        place = next(place for place, seed in enumerate(group.records) if seed == best)
        there = sum(1 for model in group.models if model.is_there)
        registered = registration_lines(recorder.registrations.get(group.title))
        lines.append("; ".join([f"{group.lines[place]}, best of {there} of {len(group.models)}", *registered]))
    return lines


def _failed(groups: Sequence[Group], recorder: Recorder | None) -> list[dict[str, Any]]:
    """Return what failed: models that are not there or not recorded, and classes that are not registered."""
    found = []
    for group in groups:
        for model in group.everything:
            told = recorder.failures.get(model.number) if recorder is not None else None
            if model.outcome is not None and model.outcome.state in ("failed", "lost"):
                found.append((group, model, model.outcome.reason))
            elif told is not None:
                found.append((group, model, f"its bundle is there, but not recorded: {told}"))
    lines: list[dict[str, Any]] = [
        {
            "model": group.name_of(model),
            "number": model.number,
            "tag": group.config.class_spec.tag,
            "algorithm": group.config.algorithm_name,
            "seed": model.seed,
            "reason": reason,
        }
        for group, model, reason in found
    ]
    titles = {group.title: group.config.model_name for group in groups}
    for title, reason in recorder.unregistered.items() if recorder is not None else ():
        if title in titles or len(groups) > 1:
            lines.append({"model": f"registering {titles.get(title, title)}", "number": None, "reason": reason})
    return lines


def _public(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "number"}


def _dropped(n_skipped: int, n_failed: int) -> dict[str, int]:
    counts = {"too_few_stars": n_skipped, "failed": n_failed}
    return {reason: count for reason, count in counts.items() if count}


def _skipped(group: Group) -> list[Model]:
    return [model for model in group.everything if model.outcome is not None and model.outcome.state == "skipped"]


def _reason(model: Model) -> str:
    return model.outcome.reason if model.outcome is not None else ""


def _remove_others(group: Group) -> None:
    """Remove other seeds where the output is to hold exactly those asked for."""
    if not group.config.seeds:
        return
    wanted = {model.folder.name for model in group.everything}
    for path in [*group.folder.glob(SEED_FOLDER.format(seed="*")), group.folder / ENSEMBLE_FOLDER]:
        if path.name not in wanted:
            _remove_bundle(path)


def _remove_bundle(folder: Path) -> None:
    if (folder / BUNDLE_FILE).is_file():
        shutil.rmtree(folder)
