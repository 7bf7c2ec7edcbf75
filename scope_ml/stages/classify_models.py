"""What the chosen models of `classify` need to be given, by their bundles' records, and how much of it is known.

A bundle says which features it takes and how their periods were searched, so that nobody has to type it again. May import
tracking, models, features and what lies below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError, FeatureMismatchError, suggest
from scope_ml.features import legacy
from scope_ml.features.choice import Extraction, FeatureChoice
from scope_ml.features.period_search import COMPONENTS, PeriodSearch
from scope_ml.features.registry import FEATURES, GROUPS, split_column
from scope_ml.features.spec import METHODS, Method, split_suffix
from scope_ml.models.record import BundleRecord, read_record
from scope_ml.tracking.bundles import model_record
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["KnownShare", "NeededModel", "Needs", "catalogue_features", "known_share", "needs_of", "read_models"]

#: Groups that are measured for every star, since people want to see what is in them.
ALWAYS = ("period", "quality")

#: SCoPe's suffix -> our method.
METHOD_OF: Mapping[str, str] = {suffix: method for method, suffix in legacy.SUFFIX.items()}

#: Kinds of importance, the one that is told of a model first; shares of the first that it has count.
IMPORTANCE = ("gain", "permutation")

#: Models named in a message.
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class NeededModel:
    """A chosen model: what it is pinned as, what is known about it, whether it takes dm-dt images."""

    chosen: ResolvedModel
    record: BundleRecord
    images: bool

    @property
    def name(self) -> str:
        """Return the name of its score column."""
        return self.record.name


@dataclass(frozen=True, kw_only=True)
class Needs:
    """How features must be made for a set of models.

    Attributes
    ----------
    features, search, names
        The groups `features`, `period_search` and the option `names` of `generate_features`.
    """

    features: FeatureChoice
    search: PeriodSearch
    names: Literal["ours", "legacy"]

    @property
    def period_columns(self) -> dict[str, str]:
        """Return the column of the best period by method, of those that a feature table made so has."""
        methods = (*self.search.methods, *self.search.components)
        return {name: f"period_{legacy.SUFFIX[name] if self.names == 'legacy' else name}" for name in methods}


@dataclass(frozen=True, kw_only=True)
class KnownShare:
    """How much of what a model looks at is known.

    Attributes
    ----------
    n_features, n_unknown
        Features that it takes, and of them those that are unknown for every star.
    share
        Share of the known ones, in [0, 1], each weighed by its importance to the model; by number where the model
        says nothing of importance.
    """

    n_features: int
    n_unknown: int
    share: float


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What follows from the columns of one model: groups, methods, names, features of the package light-curve."""

    groups: frozenset[str]
    methods: tuple[str, ...]
    names: Literal["ours", "legacy"] | None
    n_peaks: int = 1


def read_models(chosen: Iterable[ResolvedModel]) -> tuple[NeededModel, ...]:
    """Return what is known about the models; none is loaded.

    Raises
    ------
    ModelError
        If a bundle is not whole.
    """
    found = []
    for model in chosen:
        record = read_record(model.folder)
        found.append(NeededModel(chosen=model, record=record, images=model_record(model.folder, record).images))
    return tuple(found)


def needs_of(models: Sequence[NeededModel], *, also: Sequence[Method] = ()) -> Needs:
    """Return how features must be made so that all of some models can score them.

    Parameters
    ----------
    models
        At least one.
    also
        Period searches to run beside that of the models; those that run anyway, or have no name there, are left out.

    Raises
    ------
    ConfigError
        If two models need what no one table has: other period searches, SCoPe's names and ours.
    FeatureMismatchError
        If a model takes a feature that this version cannot measure.
    """
    columns = {model.name: _columns_of(model) for model in models}
    names = cast("Literal['ours', 'legacy']", _same("names", {n: c.names for n, c in columns.items()}) or "ours")
    search = _search(models, columns)
    free = [name for name in also if name not in (*search.methods, *search.components)]
    if names == "legacy":
        free = [name for name in free if name in legacy.SUFFIX]
    if search.method != "none":
        search = replace(search, also=(*search.also, *(name for name in free if name != "none")))
    wanted = {*ALWAYS, *(name for found in columns.values() for name in found.groups)}
    wanted |= {"dmdt"} if any(model.images for model in models) else set()
    needs = Needs(features=FeatureChoice(groups=_closed(wanted)), search=search, names=names)
    made = Extraction(choice=needs.features, search=search, device="cpu", names=names).columns
    for model in models:
        lacking = model.record.features.lacking(made)
        if lacking:
            raise FeatureMismatchError(
                f"model {model.name} takes {lacking[0]}{_and_more(lacking)}, which generate_features does not measure"
                f"{suggest(lacking[0], made)}; leave the model out with classes= or algorithms=, or make the table yourself"
                " and give it to infer",
                missing=lacking,
            )
    return needs


def catalogue_features(record: BundleRecord) -> tuple[str, ...]:
    """Return the features of a model that come from catalogues and alerts."""
    return tuple(
        name for name in record.features.names if name in FEATURES and GROUPS[FEATURES[name].group].from_catalogs
    )


def known_share(record: BundleRecord, unknown: Iterable[str]) -> KnownShare:
    """Return how much of what a model looks at is known where the features `unknown` are not."""
    names = record.features.names
    lacking = set(unknown) & set(names)
    tables = (record.importance.get(kind, {}) for kind in IMPORTANCE)
    weights = next(
        (
            found
            for table in tables
            # A shuffle that makes the model better by chance is no importance.
            if sum((found := {name: max(table.get(name, 0.0), 0.0) for name in names}).values()) > 0
        ),
        dict.fromkeys(names, 1.0),
    )
    whole = sum(weights.values())
    share = 1.0 if not lacking else 1.0 - sum(weights[name] for name in lacking) / whole
    return KnownShare(n_features=len(names), n_unknown=len(lacking), share=share)


def _columns_of(model: NeededModel) -> _Columns:
    groups: set[str] = set()
    methods: list[str] = []
    names: set[Literal["ours", "legacy"]] = set()
    n_peaks = 1
    for column in model.record.features.names:
        if column in FEATURES and not FEATURES[column].periodic:
            groups.add(FEATURES[column].group)
        elif (ours := split_column(column)) is not None:
            groups.add(FEATURES[ours.feature].group)
            methods.append(ours.suffix)
            names.add("ours")
            n_peaks = max(n_peaks, ours.rank)
        elif (theirs := split_suffix(column, legacy.SPECS, legacy.SUFFIX.values())) is not None:
            groups.add("fourier" if theirs.feature.startswith("f1_") else "period")
            methods.append(METHOD_OF[theirs.suffix])
            names.add("legacy")
            n_peaks = max(n_peaks, theirs.rank)
        elif column.startswith("lc_"):
            groups.add("light_curve")
    if len(names) > 1:
        raise ConfigError(
            f"model {model.name} takes columns of SCoPe's names and of ours, which no table has together", key="models"
        )
    found = tuple(dict.fromkeys(methods))
    return _Columns(groups=frozenset(groups), methods=found, names=next(iter(names), None), n_peaks=n_peaks)


def _search(models: Sequence[NeededModel], columns: Mapping[str, _Columns]) -> PeriodSearch:
    """Return the period search of the models' training tables, and what else their columns need."""
    bindings = {model.name: model.record.features.facts.get("period_search") for model in models}
    binding = _same("period_search", bindings)
    wanted = tuple(dict.fromkeys(name for found in columns.values() for name in found.methods))
    if binding is None:
        # Models of SCoPe say nothing but the suffix of their columns: its search with its settings.
        nested = [name for name in wanted if COMPONENTS.get(cast("Method", name))]
        binding = {"method": next(iter((*nested, *wanted)), "ls")}
    search = build(PeriodSearch, cast("Mapping[str, Any]", binding), "period_search of the models")
    if search.method == "none":
        return search
    there = (*search.methods, *search.components)
    also = tuple(name for name in METHODS if name in wanted and name not in (*there, "none"))
    n_peaks = max((found.n_peaks for found in columns.values()), default=1)
    return replace(search, also=(*search.also, *also), n_peaks=max(search.n_peaks, n_peaks))


def _same(what: str, by_model: Mapping[str, Any]) -> Any:
    """Return the one value that the models have, or None if none has any.

    Raises
    ------
    ConfigError
        If they have several.
    """
    kinds: list[tuple[Any, list[str]]] = []
    for model, value in by_model.items():
        if value is None:
            continue
        same = next((names for known, names in kinds if known == value), None)
        if same is None:
            kinds.append((value, [model]))
        else:
            same.append(model)
    if len(kinds) > 1:
        (first, ours), (second, theirs) = kinds[:2]
        raise ConfigError(
            f"the models cannot score one table: {_listed(ours)} with {what}={first}, {_listed(theirs)} with {what}={second};"
            " choose with classes= or algorithms=, or give a folder whose models belong together",
            key="models",
        )
    return kinds[0][0] if kinds else None


def _closed(groups: Iterable[str]) -> tuple[str, ...]:
    """Return the groups with those that they need, in the order of the table."""
    wanted = set(groups)
    while more := {needed for name in wanted for needed in GROUPS[name].needs} - wanted:
        wanted |= more
    return tuple(name for name in GROUPS if name in wanted)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more features" if len(names) > 1 else ""
