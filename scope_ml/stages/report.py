"""The stage `report`: gather what a run left behind and write one self-contained HTML page about it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_version, git_commit
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths, load_built
from scope_ml.errors import ConfigError
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.reporting.examples import (
    Candidate,
    Points,
    collect_points,
)
from scope_ml.reporting.pages import write_page
from scope_ml.reporting.predictions import ScoreSummary, summarise_scores
from scope_ml.reporting.scores import TrainedModel, algorithm_views, find_models, pick_champions
from scope_ml.reporting.skipped import read_stage_report, skipped_models
from scope_ml.reporting.truth import LabelledStars, native_classes
from scope_ml.reporting.view import AlgorithmView, ClassView, ExampleView, PageView
from scope_ml.taxonomy.classes import ClassSpec, load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy
from scope_ml.tracking.lock import read_lock

__all__ = ["MakeReport", "run"]

#: Above this the page is slow to open and to send; fewer examples make it smaller.
LARGE_PAGE_BYTES = 5_000_000

#: Classes below these are folded at their period; eclipses have their minimum at phase 0.
PERIODIC, ECLIPSING = "pnp", "e"

#: Digits of a digest that are shown.
SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class MakeReport:
    """Options of the report. Only `models` and `predictions` are needed; each further input adds to the page."""

    predictions: str = option(doc="table of infer", machine=True)
    models: str = option(doc="folder with the bundles of train, at any depth", machine=True)
    output: str = option("report.html", doc="page to write", machine=True)
    light_curves: str | None = option(None, doc="file or folder of light curves, for the examples", machine=True)
    training_set: str | None = option(
        None, doc="folder of build_dataset: labels and split of the examples", machine=True
    )
    labels: str | None = option(None, doc="label table with native_class, the origin's own label", machine=True)
    lock: str | None = option(None, doc="models.lock.json: which seeds are champions", machine=True)
    features_report: str | None = option(None, doc="OUT.report.json of generate_features: counts", machine=True)
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    title: str = option("Variable stars", doc="heading of the page")
    subtitle: str = option("", doc="sentence under the heading")
    n_examples: int = option(4, unit="light curves", doc="shown per class", at_least=0, at_most=24)

    def __post_init__(self) -> None:
        """Check that no input is given that would be ignored.

        Raises
        ------
        ConfigError
            If there are labels without the training set, which says whose they are.
        """
        if self.labels is not None and self.training_set is None:
            raise ConfigError(
                f"labels={self.labels} needs training_set=FOLDER of build_dataset beside it", key="labels"
            )


def run(config: MakeReport, *, progress: Progress) -> Report:
    """Write the page.

    Raises
    ------
    ModelNotFoundError, ModelError
        If there are no bundles, or one is damaged.
    SchemaError
        If a table or light-curve file is missing or not what it should be.
    OutputError
        If the page cannot be written.
    """
    started = time.perf_counter()
    gathered = _gather(config, progress)
    page = _page(config, gathered)
    n_bytes = write_page(page, Path(config.output))
    return Report(
        stage="report",
        seconds=time.perf_counter() - started,
        warnings=_warnings(config, gathered, n_bytes),
        outputs={"page": config.output},
        facts={
            "n_bytes": n_bytes,
            "n_classes": len(page.classes),
            "n_examples": sum(len(view.examples) for view in page.classes),
            "n_skipped": len(page.skipped),
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """What the page is made of; keys are ``(tag, algorithm)`` or ``(id, band)``."""

    taxonomy: Taxonomy
    scores: ScoreSummary
    specs: Mapping[str, ClassSpec]
    locked: Mapping[tuple[str, str], str]
    champions: Mapping[tuple[str, str], TrainedModel]
    views: Mapping[str, tuple[AlgorithmView, ...]]
    known: LabelledStars | None
    candidates: Mapping[str, list[Candidate]]
    points: Mapping[tuple[str, str | None], Points]


def _gather(config: MakeReport, progress: Progress) -> _Gathered:
    models = find_models(Path(config.models))
    locked, versions = _locked(config.lock)
    champions = pick_champions(models, locked)
    views = algorithm_views(models, champions, versions)
    known = _labelled(config)
    specs = {model.record.spec.tag: model.record.spec for model in models}
    scores = summarise_scores(
        Path(config.predictions),
        {tag: _thresholds(views[tag]) for tag in _in_order(views, specs)},
        [(tag, parent) for tag in _in_order(views, specs) for parent in specs[tag].parents if parent in views],
        config.n_examples,
        progress,
    )
    candidates = _candidates(scores, known)
    return _Gathered(
        taxonomy=load_classes(packaged_conf_dir(), *as_paths(config.class_folders)),
        scores=scores,
        specs=specs,
        locked=locked,
        champions=champions,
        views=views,
        known=known,
        candidates=candidates,
        points=_points(config.light_curves, candidates, progress),
    )


def _page(config: MakeReport, gathered: _Gathered) -> PageView:
    specs, views, scores = gathered.specs, gathered.views, gathered.scores
    classes = tuple(_class_view(tag, gathered) for tag in _in_order(views, specs))
    page = PageView(
        title=config.title,
        subtitle=config.subtitle or _sentence(scores, classes),
        n_scored=scores.n_rows,
        classes=classes,
        skipped=tuple(skipped_models(Path(config.models), gathered.taxonomy)),
        conflicts=scores.conflicts,
        provenance=_provenance(config, gathered),
    )
    return _with_counts(page, config.features_report)


def _class_view(tag: str, gathered: _Gathered) -> ClassView:
    spec, items = gathered.specs[tag], gathered.views[tag]
    above = _ancestors(tag, spec.parents, gathered.taxonomy) | {tag}
    shown = [item for item in gathered.candidates[tag] if _key(item) in gathered.points]
    return ClassView(
        tag=tag,
        label=spec.label,
        kind=spec.kind,
        is_periodic=PERIODIC in above,
        phase_zero="faint" if ECLIPSING in above else "bright",
        n_labelled=gathered.known.n_labelled(tag) if gathered.known else None,
        n_above=gathered.scores.n_above[tag],
        algorithms=items,
        examples=tuple(_example(item, gathered.points[_key(item)]) for item in shown),
    )


def _in_order(views: Iterable[str], specs: Mapping[str, ClassSpec]) -> list[str]:
    return sorted(views, key=lambda tag: (specs[tag].kind != "phenomenological", specs[tag].order, tag))


def _thresholds(items: Iterable[AlgorithmView]) -> dict[str, float]:
    return {item.name: item.threshold for item in items}


def _key(candidate: Candidate) -> tuple[str, str | None]:
    return str(candidate.id), candidate.band


def _locked(path: str | None) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """Return digest and version of the registered bundle by class and algorithm."""
    entries = read_lock(Path(path)) if path else ()
    digests = {(entry.tag, entry.algorithm): entry.digest for entry in entries}
    versions = {(e.tag, e.algorithm): str(e.version) for e in entries if e.version is not None}
    return digests, versions


def _ancestors(tag: str, parents: Iterable[str], taxonomy: Taxonomy) -> set[str]:
    """Return all that a class implies, by its own parents and by the class files for what lies above them."""
    known = [name for name in (tag, *parents) if name in taxonomy]
    return set(parents).union(*(taxonomy.parents(name) for name in known))


def _labelled(config: MakeReport) -> LabelledStars | None:
    if config.training_set is None:
        return None
    dataset, split = load_built(Path(config.training_set))
    return LabelledStars(dataset, split, native_classes(Path(config.labels)) if config.labels else {})


def _candidates(scores: ScoreSummary, known: LabelledStars | None) -> Mapping[str, list[Candidate]]:
    if known is None:
        return scores.best
    return {tag: [known.annotate(tag, item) for item in items] for tag, items in scores.best.items()}


def _points(
    path: str | None, candidates: Mapping[str, list[Candidate]], progress: Progress
) -> dict[tuple[str, str | None], Points]:
    wanted = [item for items in candidates.values() for item in items]
    if path is None or not wanted:
        return {}
    source = open_light_curves(Path(path))
    progress.start("looking up the best-scored light curves", source.n_chunks)
    found = collect_points(source, wanted, progress)
    progress.finish()
    return found


def _example(candidate: Candidate, measured: Points) -> ExampleView:
    return ExampleView(
        id=str(candidate.id),
        band=candidate.band or "",
        time=measured.time,
        mag=measured.mag,
        mag_err=measured.mag_err,
        period=candidate.period,
        scores=candidate.scores,
        truth=candidate.truth,
        native_class=candidate.native_class,
        part=candidate.part,
    )


def _sentence(scores: ScoreSummary, classes: Iterable[ClassView]) -> str:
    names = [view.label for view in classes]
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"{scores.n_rows} light curves, each scored for {listed}."


def _with_counts(page: PageView, path: str | None) -> PageView:
    """Add what the report of generate_features says of light curves read, kept and dropped."""
    if path is None:
        return page
    counts = read_stage_report(Path(path))
    dropped = {str(reason): int(number) for reason, number in counts.get("dropped", {}).items()}
    return replace(page, n_in=counts.get("n_in"), n_kept=counts.get("n_out"), dropped=dropped)


def _provenance(config: MakeReport, gathered: _Gathered) -> tuple[tuple[str, str], ...]:
    models = list(gathered.champions.values())
    lines = [("scope_ml", code_version()), ("commit", git_commit())]
    lines += [(f"input {item.name}", item.digest[:SHOWN_DIGITS]) for item in gathered.scores.metadata.inputs]
    for what in ("data", "split"):
        digests = sorted({getattr(model.record.provenance, f"{what}_digest") for model in models})
        lines.append((f"training {what}", ", ".join(digest[:SHOWN_DIGITS] for digest in digests if digest)))
    for model in models:
        which = "ensemble" if model.record.seed is None else f"seed {model.record.seed}"
        name = f"model {model.record.name} {which}"
        lines.append((name, model.digest[:SHOWN_DIGITS]))
    lines.append(("configuration of this page", science_digest(config)[:SHOWN_DIGITS]))
    return tuple((what, value) for what, value in lines if value)


def _warnings(config: MakeReport, gathered: _Gathered, n_bytes: int) -> tuple[str, ...]:
    lines = []
    wanted = {_key(item) for items in gathered.candidates.values() for item in items}
    n_missing = len(wanted - set(gathered.points))
    if config.light_curves is not None and n_missing:
        lines.append(f"{n_missing} of {len(wanted)} best-scored light curves are not in {config.light_curves}")
    for key, model in gathered.champions.items():
        if gathered.locked.get(key, model.digest) != model.digest:
            name = model.record.name
            lines.append(f"{config.lock} pins a {name} that is not in {config.models}; its best seed is shown instead")
    if n_bytes > LARGE_PAGE_BYTES:
        smaller = max(config.n_examples // 2, 1)
        lines.append(f"the page has {n_bytes / 1e6:.1f} MB; n_examples={smaller} makes it smaller")
    return tuple(lines)
