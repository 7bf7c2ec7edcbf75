"""The work of a sweep in units: what a worker does in one go.

May import `sweep_plan`, `sweep_units` and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from scope_ml.core.configuration import to_plain
from scope_ml.core.provenance import digest_json
from scope_ml.stages.sweep_plan import JOINT, ON_DEVICE, Group, Model, joint
from scope_ml.stages.sweep_units import Unit

__all__ = ["units"]

#: Most models of a batch on the GPU.
DEVICE_BATCH = 256

#: How long an algorithm takes for one row beside the others, roughly: what is long is begun first.
COSTS = {"dnn": 10.0, "dnn_shared": 10.0}


def units(groups: Sequence[Group], *, n_workers: int, device: Literal["cpu", "gpu"], n_threads: int = 1) -> list[Unit]:
    """Return the units of what is left to be trained.

    Trees: all seeds of a class, which share their histogram bins. Networks: as many as a worker has threads on the CPU, in
    batches on a GPU. Those of a joint training: all classes of a seed.
    """
    found = [unit for together in joint(groups) for unit in _joint_units(together, device)]
    batches: dict[str, list[tuple[Group, Model]]] = {}
    for group in groups:
        if group.inputs is None or group.inputs.settings.name in JOINT or not group.todo:
            continue
        if group.inputs.settings.name not in ON_DEVICE:
            found += [_unit(group, some) for some in _parts(group.todo, groups, n_workers)]
        elif device == "cpu":
            found += [_unit(group, group.todo[at : at + n_threads]) for at in range(0, len(group.todo), n_threads)]
        else:
            key = digest_json([group.inputs.prepared.name, to_plain(group.inputs.fit), group.inputs.settings.name])
            batches.setdefault(key, []).extend((group, model) for model in group.todo)
    for several in batches.values():
        # The device is shared by all workers: what follows a training, its metrics, is theirs.
        size = min(DEVICE_BATCH, -(-len(several) // n_workers))
        found += [_batch(several[first : first + size]) for first in range(0, len(several), size)]
    return found


def _parts(models: Sequence[Model], groups: Sequence[Group], n_workers: int) -> list[Sequence[Model]]:
    """Return the seeds of a class in as many parts as are needed for every worker to have something to do."""
    busy = sum(1 for group in groups if group.todo)
    n_parts = min(len(models), max(1, -(-n_workers // busy)))
    size = -(-len(models) // n_parts)
    return [models[first : first + size] for first in range(0, len(models), size)]


def _unit(group: Group, models: Sequence[Model]) -> Unit:
    assert group.inputs is not None
    return Unit(
        prepared=group.inputs.prepared.name,
        fit=group.inputs.fit,
        orders=tuple(group.order(model) for model in models),
        cost=len(models) * group.n_rows * COSTS.get(group.inputs.settings.name, 1.0),
    )


def _batch(several: Sequence[tuple[Group, Model]]) -> Unit:
    cost = sum(group.n_rows for group, _ in several) * 1e3
    orders = tuple(group.order(model) for group, model in several)
    return replace(_unit(several[0][0], [several[0][1]]), orders=orders, device="gpu", cost=cost)


def _joint_units(together: Sequence[Group], device: Literal["cpu", "gpu"]) -> list[Unit]:
    seeds = dict.fromkeys(model.seed for group in together for model in group.todo)
    found = []
    for seed in seeds:
        several = [(group, model) for group in together for model in group.todo if model.seed == seed]
        found.append(replace(_batch(several), device=device, is_joint=True))
    return found
