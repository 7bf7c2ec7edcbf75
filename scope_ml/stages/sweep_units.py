"""Units of work of a training sweep: models that are trained in one go, as records that go to a worker and back as JSON.

May import `models`, `tracking.tracker` and below.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from scope_ml.core.configuration import build, to_plain
from scope_ml.errors import BackendUnavailableError, InsufficientDataError, ScopeError
from scope_ml.models.algorithms import configure
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.ensemble import ensemble
from scope_ml.models.fit import ClassLabels, FitConfig, FitRequest, TrainingSet, fit_bundles
from scope_ml.models.record import Provenance
from scope_ml.taxonomy.classes import ClassSpec
from scope_ml.tracking.tracker import Entry

__all__ = ["Order", "Outcome", "RecordedLog", "Unit", "WorkData", "work"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One model to be made.

    Attributes
    ----------
    number
        Its number in the sweep.
    spec, settings, provenance, folder
        The class, the settled settings, what it is made from, where the bundle goes.
    seed
        Seed of the training; None makes an ensemble of the bundles in the folders `members`.
    start
        Folder of the bundle that it starts from.
    """

    number: int
    spec: ClassSpec
    settings: Any
    provenance: Provenance
    folder: Path
    seed: int | None
    start: Path | None = None
    members: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "number": self.number,
            "class": to_plain(self.spec),
            "settings": to_plain(self.settings),
            "provenance": asdict(self.provenance),
            "folder": str(self.folder),
            "seed": self.seed,
            "start": None if self.start is None else str(self.start),
            "members": [str(folder) for folder in self.members],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Order:
        """Read what `to_json` wrote."""
        return cls(
            number=plain["number"],
            spec=build(ClassSpec, plain["class"], "class"),
            settings=configure(plain["settings"]),
            provenance=Provenance(**plain["provenance"]),
            folder=Path(plain["folder"]),
            seed=plain["seed"],
            start=None if plain["start"] is None else Path(plain["start"]),
            members=tuple(map(Path, plain["members"])),
        )


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Models that are made in one go, on the same prepared data.

    Attributes
    ----------
    prepared
        Name of the prepared data.
    fit
        What a class needs, how it is measured.
    orders
        The models.
    device
        ``cpu`` or ``gpu``.
    is_joint
        Whether the models are one training (`dnn_shared`), which cannot be divided.
    cost
        About how long it takes, in units of its own: long ones are begun first.
    is_alone
        Whether it is worked on while nothing else is: the second try after a worker died.
    """

    prepared: str
    fit: FitConfig
    orders: tuple[Order, ...]
    device: Literal["cpu", "gpu"] = "cpu"
    is_joint: bool = False
    cost: float = 0.0
    is_alone: bool = False

    def divided(self) -> list[Unit]:
        """Return the units of a second try: each model alone, where they can be divided."""
        if self.is_joint:
            return [replace(self, is_alone=True)]
        return [replace(self, orders=(order,), is_alone=True) for order in self.orders]

    def to_json(self) -> str:
        """Return the unit as JSON."""
        plain = {name: getattr(self, name) for name in ("prepared", "device", "is_joint", "cost", "is_alone")}
        orders = [order.to_json() for order in self.orders]
        return json.dumps(plain | {"fit": to_plain(self.fit), "orders": orders}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Unit:
        """Read what `to_json` wrote."""
        plain = json.loads(text)
        plain["fit"] = build(FitConfig, plain["fit"], "fit")
        plain["orders"] = tuple(map(Order.from_json, plain["orders"]))
        return cls(**plain)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one model.

    Attributes
    ----------
    number
        Its number in the sweep.
    state
        ``made`` (the bundle lies in its folder), ``skipped`` (too few stars of the class), ``failed`` (an error that comes
        again), ``lost`` (the worker died).
    reason
        Why it was not made.
    began, ended
        Milliseconds since 1970.
    log
        What its training told.
    error
        The error itself, where it came up in this process.
    """

    number: int
    state: Literal["made", "skipped", "failed", "lost"]
    reason: str = ""
    began: int = 0
    ended: int = 0
    log: tuple[Entry, ...] = ()
    error: ScopeError | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        names = ("number", "state", "reason", "began", "ended", "log")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` wrote."""
        return cls(**(dict(plain) | {"log": tuple((values, step, at) for values, step, at in plain["log"])}))


class WorkData(Protocol):
    """Prepared data and the labels of all classes, wherever they lie."""

    @property
    def data(self) -> TrainingSet:
        """Return the prepared features."""
        ...

    def labels(self, spec: ClassSpec) -> ClassLabels:
        """Return the labels of one class."""
        ...


class RecordedLog:
    """A `RunLogger` that keeps what it is told, so that a run can be made of it where the tracker is."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep metrics; those that are not finite are left out."""
        kept = {name: float(value) for name, value in values.items() if value is not None and abs(value) < float("inf")}
        self.entries.append((kept, step, now()))

    def params(self, values: Mapping[str, object]) -> None:
        """Do nothing: parameters are read off the bundle."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Do nothing: tags are read off the bundle."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing: a training leaves nothing but its bundle."""


def now() -> int:
    """Return MLflow's time: milliseconds since 1970."""
    return int(time.time() * 1000)


def work(unit: Unit, given: WorkData, *, n_threads: int) -> list[Outcome]:
    """Make the models of a unit and save their bundles; an error of one is its own."""
    began = now()
    logs = [RecordedLog() for _ in unit.orders]
    found = _ensembles(unit, given) if unit.orders[0].seed is None else _trained(unit, given, logs, n_threads)
    outcomes = []
    for order, log, bundle in zip(unit.orders, logs, found, strict=True):
        known = Outcome(number=order.number, state="made", began=began, ended=now(), log=tuple(log.entries))
        try:
            if isinstance(bundle, ScopeError):
                raise bundle
            bundle.save(order.folder)
            outcomes.append(known)
        except InsufficientDataError as error:
            outcomes.append(replace(known, state="skipped", reason=str(error), error=error))
        except ScopeError as error:
            outcomes.append(replace(known, state="failed", reason=str(error), error=error))
        except MemoryError as error:
            outcomes.append(replace(known, state="lost", reason=f"out of memory ({error})"))
    return outcomes


def _trained(
    unit: Unit, given: WorkData, logs: Sequence[RecordedLog], n_threads: int
) -> Sequence[ModelBundle | ScopeError]:
    requests = [
        FitRequest(
            labels=given.labels(order.spec),
            settings=order.settings,
            seed=order.seed or 0,
            provenance=order.provenance,
            log=log,
            start=order.start,
        )
        for order, log in zip(unit.orders, logs, strict=True)
    ]
    try:
        return fit_bundles(given.data, requests, config=unit.fit, n_threads=n_threads, device=unit.device)
    except BackendUnavailableError as error:
        # No GPU, no Keras: another worker would find none either.
        return [error] * len(requests)


def _ensembles(unit: Unit, given: WorkData) -> Sequence[ModelBundle | ScopeError]:
    found: list[ModelBundle | ScopeError] = []
    for order in unit.orders:
        try:
            members = [ModelBundle.load(folder) for folder in order.members]
            found.append(ensemble(members, given.data, given.labels(order.spec), unit.fit))
        except ScopeError as error:
            found.append(error)
    return found
