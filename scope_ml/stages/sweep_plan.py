"""What a sweep has to do: its models by class and algorithm, what is there already, and the units of the rest.

May import `training_inputs`, `training_starts`, `sweep_units` and below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.configuration import to_plain
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, InsufficientDataError, ModelError, ModelNotFoundError, ScopeError
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.fit_rows import fit_rows
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, Provenance, read_record
from scope_ml.stages.sweep_units import Order, Outcome
from scope_ml.stages.training_inputs import TrainingInputs, TrainingLibrary
from scope_ml.stages.training_options import ENSEMBLE_FOLDER, SEED_FOLDER, Train
from scope_ml.stages.training_starts import Starts
from scope_ml.tracking.records import ModelRecord

__all__ = ["JOINT", "ON_DEVICE", "Group", "Model", "joint", "kept_record", "plan"]

#: Algorithms that train all classes of a seed together, and those that can use a GPU.
JOINT, ON_DEVICE = frozenset({"dnn_shared"}), frozenset({"dnn", "dnn_shared"})


@dataclass(kw_only=True)
class Model:
    """One model of a sweep, and what became of it.

    Attributes
    ----------
    number
        Its number in the sweep.
    seed
        Seed of its training; None for an ensemble.
    folder
        Where its bundle is or goes.
    is_kept
        Whether a bundle of the same inputs and code was there already.
    outcome
        What became of it, once known.
    """

    number: int
    seed: int | None
    folder: Path
    is_kept: bool = False
    outcome: Outcome | None = None

    @property
    def is_there(self) -> bool:
        """Return whether its bundle is there."""
        return self.is_kept or (self.outcome is not None and self.outcome.state == "made")


@dataclass(kw_only=True)
class Group:
    """All seeds of one class, algorithm and choice of settings.

    Attributes
    ----------
    config
        Options of its first job.
    folder
        Its output.
    inputs
        What it is trained on; None where that could not be had.
    provenance
        What its models are made from.
    start, started_from
        Folder of the bundle that they start from; its name and digest.
    n_rows
        Rows that its first seed is trained on.
    models, ensemble
        One for each seed; and the ensemble, if one is asked for.
    error
        Why there are no inputs.
    records, known
        The bundles that are there, as tracking and as models know them, by seed.
    best, lines, warnings, outputs
        The best seed, a line about each model, what there is to warn of, what was written: once all seeds are there.
    """

    config: Train
    folder: Path
    inputs: TrainingInputs | None
    provenance: Provenance
    start: Path | None = None
    started_from: str = ""
    n_rows: int = 0
    models: list[Model] = field(default_factory=list)
    ensemble: Model | None = None
    error: ScopeError | None = None
    records: dict[int | None, ModelRecord] = field(default_factory=dict)
    known: dict[int | None, BundleRecord] = field(default_factory=dict)
    best: int | None = None
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return what it is called in reports: its folder tells it from others of the same class and algorithm."""
        return f"{self.config.model_name} in {self.folder}"

    @property
    def everything(self) -> tuple[Model, ...]:
        """Return its models, the ensemble last."""
        return (*self.models, *([self.ensemble] if self.ensemble is not None else []))

    @property
    def todo(self) -> list[Model]:
        """Return the seeds of which nothing is known yet."""
        return [model for model in self.models if not model.is_kept and model.outcome is None]

    def name_of(self, model: Model) -> str:
        """Return ``rrlyr-xgb-seed42``."""
        return f"{self.config.model_name}-{'ensemble' if model.seed is None else f'seed{model.seed}'}"

    def close(self, state: Literal["skipped", "failed"], error: ScopeError) -> None:
        """Say of all of its models why they are not made."""
        for model in self.everything:
            model.outcome = Outcome(number=model.number, state=state, reason=str(error), error=error)

    def order(self, model: Model) -> Order:
        """Return the order for one of its models."""
        if self.inputs is None:
            raise ModelError(f"{self.name_of(model)} has nothing to be trained on")
        return Order(
            number=model.number,
            spec=self.inputs.spec,
            settings=self.inputs.settings,
            provenance=self.provenance,
            folder=model.folder,
            seed=model.seed,
            start=self.start,
            members=tuple(one.folder for one in self.models if one.is_there) if model.seed is None else (),
        )


def plan(configs: Sequence[Train], library: TrainingLibrary, *, writable: Callable[[Path], Any]) -> list[Group]:
    """Return what the jobs of a sweep ask for, by class, algorithm and settings, each model once.

    Parameters
    ----------
    configs
        One for each job.
    library
        Reads and prepares the data.
    writable
        Is called with each folder that will be written.

    Raises
    ------
    ConfigError
        If a configuration is wrong: nothing has begun then.
    OutputError
        If a folder cannot be written.
    """
    groups: dict[str, Group] = {}
    starts = Starts()
    for config in configs:
        key = digest_json(to_plain(replace(config, seed=0, seeds=())))
        if key not in groups:
            groups[key] = _group(config, library, starts)
        groups[key].models += [Model(number=0, seed=seed, folder=Path()) for seed in config.all_seeds]
    found = list(groups.values())
    _join_together(found)
    found = _without_twins(found)
    _give_folders(found)
    number = 0
    for group in found:
        writable(group.folder)
        seeds = dict.fromkeys(model.seed for model in group.models)
        group.models = [
            Model(number=number + place, seed=seed, folder=group.folder / SEED_FOLDER.format(seed=seed))
            for place, seed in enumerate(seeds)
        ]
        number += len(seeds)
        if group.config.ensemble:
            group.ensemble = Model(number=number, seed=None, folder=group.folder / ENSEMBLE_FOLDER)
            number += 1
        _look(group)
    _keep_joint_together(found)
    return found


def _group(config: Train, library: TrainingLibrary, starts: Starts) -> Group:
    """Return a group without models; what is wrong with its data is said of each of them later."""
    try:
        inputs = library.inputs(config)
        start = starts.folder(config)
    except ConfigError:
        raise
    except ScopeError as error:
        return Group(config=config, folder=config.folder, inputs=None, provenance=Provenance(), error=error)
    made, started_from = inputs.provenance, ""
    if start is not None:
        digest = bundle_digest(start)
        made = _started(made, digest)
        started_from = f"{read_record(start).name} {digest}"
    return Group(
        config=config, folder=config.folder, inputs=inputs, provenance=made, start=start, started_from=started_from
    )


def _look(group: Group) -> None:
    """Find out which models are there already, and whether the others can be trained at all."""
    if group.inputs is None:
        group.close("failed", group.error or ModelError("it has nothing to be trained on"))
        return
    inputs = group.inputs
    try:
        rows = fit_rows(inputs.data, inputs.labels, inputs.fit.least, group.models[0].seed or 0)
    except InsufficientDataError as error:
        group.close("skipped", error)
        return
    except ScopeError as error:
        group.close("failed", error)
        return
    group.n_rows = int(rows.training.size)
    if group.config.retrain:
        return
    before = _made_before(group)
    if before is not None and all(kept_record(model.folder, before, model.seed) for model in group.models):
        group.provenance = before
    for model in group.models:
        model.is_kept = kept_record(model.folder, group.provenance, model.seed) is not None


def _made_before(group: Group) -> Provenance | None:
    """Return what the models that are there were made from, if the start has become one of them.

    ``init_from=...@champion`` stands for another model once this very training has made the champion; typed again, the
    command must not train on from its own result.
    """
    if group.start is None or group.inputs is None:
        return None
    there = [model.folder for model in group.everything if (model.folder / BUNDLE_FILE).is_file()]
    try:
        if bundle_digest(group.start) not in {bundle_digest(folder) for folder in there}:
            return None
        began_with = read_record(group.models[0].folder).model_facts.get("started_from")
    except ModelError:
        # Damaged: it is trained again.
        return None
    return _started(group.inputs.provenance, str(began_with))


def _started(made: Provenance, digest: str) -> Provenance:
    """Return what a model is made from that starts from the bundle with this digest."""
    return replace(made, config_digest=digest_json([made.config_digest, digest]))


def kept_record(folder: Path, wanted: Provenance, seed: int | None) -> BundleRecord | None:
    """Return the record of a whole bundle that was made from the same inputs by the same code, or None."""
    try:
        known = read_record(folder)
    except ModelNotFoundError:
        return None
    except ModelError:
        # Damaged or of another version: it is trained again.
        return None
    names = ("data_digest", "split_digest", "config_digest", "code_digest")
    same = all(getattr(known.provenance, name) == getattr(wanted, name) for name in names)
    return known if same and known.seed == seed else None


def _join_together(groups: Sequence[Group]) -> None:
    """Let the models of a joint training know of each other: with other classes beside it, or other ones, it is another."""
    for together in joint(groups):
        digests = sorted(group.provenance.config_digest for group in together)
        for group in together:
            digest = digest_json([group.provenance.config_digest, digests])
            group.provenance = replace(group.provenance, config_digest=digest)


def _without_twins(groups: Sequence[Group]) -> list[Group]:
    """Return the groups without those that would make the same models in the same folder, whose seeds the first takes over.

    They differ in what changes no result: settings that are the class's own anyway, ``plots``, ``machine``.
    """
    kept: list[Group] = []
    first: dict[tuple[Path, Provenance], Group] = {}
    for group in groups:
        twin = None if group.inputs is None else first.setdefault((group.folder, group.provenance), group)
        if twin is None or twin is group:
            kept.append(group)
        else:
            twin.models += group.models
    return kept


def _keep_joint_together(groups: Sequence[Group]) -> None:
    """Train all classes of a seed again where one of them is missing."""
    for together in joint(groups):
        for seed in {model.seed for group in together for model in group.models}:
            models = [model for group in together for model in group.models if model.seed == seed]
            if not all(model.is_kept for model in models if model.outcome is None):
                for model in models:
                    model.is_kept = False


def joint(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the groups that are trained together."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.inputs is None or group.inputs.settings.name not in JOINT:
            continue
        inputs = group.inputs
        parts = [inputs.prepared.name, to_plain(group.config.algorithm), to_plain(inputs.fit), str(group.start)]
        found.setdefault(digest_json(parts), []).append(group)
    return list(found.values())


def _give_folders(groups: Sequence[Group]) -> None:
    """Give groups that would write the same folder one of their own in it: by class and algorithm, then by settings."""
    for several in _sharing(groups):
        if len({group.config.model_name for group in several}) > 1:
            for group in several:
                group.folder = group.folder / group.config.class_spec.tag / group.config.algorithm_name
    for several in _sharing(groups):
        for group in several:
            group.folder = group.folder / group.provenance.config_digest[:8]


def _sharing(groups: Iterable[Group]) -> list[list[Group]]:
    """Return the groups of each folder that is the output of more than one."""
    by_folder: dict[Path, list[Group]] = {}
    for group in groups:
        by_folder.setdefault(group.folder, []).append(group)
    return [several for several in by_folder.values() if len(several) > 1]
