"""Stage `select_sample`: stars worth labelling, chosen from scores, one row a star.

The output takes its way to Fritz with `fritz_upload`: name, place, ids, period, one score a class, and `chosen_for`,
the classes for which the star was chosen. ``OUTPUT.counts.json`` has the counts; ``OUTPUT_full`` all stars, if asked for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.tables import table_format, write_table
from scope_ml.selection.class_tree import ClassTree, TreeFilter
from scope_ml.selection.sampling import Chosen, Sampling, choose, kept_labels, reaches
from scope_ml.selection.score_columns import NONVAR, chosen_columns
from scope_ml.stages.known_tables import left_out
from scope_ml.stages.score_tables import read_scores, with_catalogue_columns
from scope_ml.stages.star_scores import Join, StarScores, StarsOptions, star_scores
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["SelectSample", "counts_path", "run"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SelectSample:
    """Options of the stage."""

    predictions: str | tuple[str, ...] = option(
        machine=True, doc="tables of scores: of infer, or one of SCoPe's for each algorithm"
    )
    output: str = option(machine=True, doc="table of the chosen stars: .parquet, .h5 or .csv")
    select: Sampling = option(Sampling(), doc="what is chosen")
    classes: tuple[str, ...] = option(
        (), doc=f"tags, sets of classes, {NONVAR} (what vnv leaves of 1); empty: all that have scores"
    )
    algorithms: tuple[str, ...] = option((), doc="whose scores count; empty: all")
    join: Join = option("mean", doc="one score of several algorithms: mean, max, min")
    columns: Literal["joined", "each", "both"] = option(
        "joined", doc="scores in the output: one a class, one a model, or both"
    )
    stars: StarsOptions = option(StarsOptions(), doc="how light curves become stars")
    features: str | None = option(
        None, machine=True, doc="feature table with ids of catalogues, where the scores have none"
    )
    exclude: str | tuple[str, ...] = option(
        (), machine=True, doc="tables of stars to leave out with all their light curves, such as the training set"
    )
    tree: TreeFilter = option(
        "all",
        doc="stars to choose from: consistent: no conflict; conflicts: only those whose scores contradict the class tree;"
        " confident: those with a class that reaches its threshold together with all that it implies",
    )
    conflict_margin: float = option(
        0.1, doc="how far a class may be above one that it implies before it counts", at_least=0, at_most=1
    )
    full: bool = option(False, machine=True, doc="write all stars to OUTPUT_full as well")
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    machine: Machine = option(Machine(), doc="dry_run writes nothing")


def run(config: SelectSample, *, progress: Progress) -> Report:
    """Choose stars and write them.

    Parameters
    ----------
    config
        Options.
    progress
        Told what is done.

    Raises
    ------
    ConfigError
        If a class or an algorithm has no scores, or options contradict one another.
    SchemaError, DataError
        If a table cannot be read, has no scores, or ids that are not exact.
    OutputError
        If the output cannot be written.
    """
    began = time.monotonic()
    output = Path(config.output)
    table_format(output)
    _check_inputs_stay(config)
    if not config.machine.dry_run:
        check_writable(*_written(config))
    taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
    scores = _scores(config, taxonomy, progress)
    sample = _sampled(config, taxonomy, scores)
    known = left_out(scores.rows.data, scores.stars, as_paths(config.exclude), config.stars.radius_arcsec)
    excluded = known.known
    tree = ClassTree.of(taxonomy, [tag for tag in scores.tags if tag != NONVAR])
    of_tree = _TreeFacts(tree, scores, config.conflict_margin)
    passing = of_tree.passing(config.tree)
    chosen = _choose(config, scores, sample, ~excluded & passing)
    facts = {
        "n_rows_read": scores.rows.n_read,
        "n_light_curves": scores.rows.data.num_rows,
        "stars_by": scores.stars.by,
        "stars_by_place": scores.stars.by_place,
        "mode": config.select.mode,
        "chosen_for": {tag: int(chosen.chosen_for[:, k].sum()) for k, tag in enumerate(sample)},
        "pool": dict(chosen.pool),
        "known_by": dict(known.by),
        "conflicting_stars": int((of_tree.conflicts > 0).sum()),
        "conflicts": tree.conflicting_pairs(of_tree.of_classes, config.conflict_margin),
    }
    dropped = {
        "known": int(excluded.sum()),
        "class_tree": int((~passing & ~excluded).sum()),
        "not_chosen": int((passing & ~excluded & ~chosen.chosen).sum()),
    }
    table = _columns(config, scores, chosen, sample, of_tree)
    members = _members(scores, chosen.chosen)
    outputs: dict[str, str] = {}
    if not config.machine.dry_run:
        record = TableMetadata(
            kind="sample",
            config_digest=science_digest(config),
            inputs=(*scores.rows.inputs, *known.inputs),
            facts={
                "thresholds": dict(zip(scores.tags, scores.thresholds.tolist(), strict=True)),
                "models": dict(scores.rows.models),
            },
        )
        outputs = _write(config, table, chosen, record, {**facts, "members": members, "dropped": dropped})
    return Report(
        stage="select_sample",
        n_in=len(scores.stars),
        n_out=int(chosen.chosen.sum()),
        dropped=dropped,
        seconds=time.monotonic() - began,
        warnings=(*scores.warnings(), *known.warnings, *_short(chosen, config.select)),
        outputs=outputs,
        facts={**facts, "members": members},
    )


def counts_path(output: Path) -> Path:
    """Return where the counts of a sample stand."""
    return output.with_name(f"{output.name}.counts.json")


def _written(config: SelectSample) -> dict[Path, str]:
    """Return the files that the stage writes, and what each is called in the report."""
    output = Path(config.output)
    written = {output: "sample", counts_path(output): "counts"}
    if config.full:
        written[output.with_name(f"{output.stem}_full{output.suffix}")] = "full"
    return written


def _check_inputs_stay(config: SelectSample) -> None:
    read = {*as_paths(config.predictions), *as_paths(config.exclude), *as_paths(config.features or ())}
    for path in _written(config):
        if path.resolve() in {one.resolve() for one in read}:
            raise ConfigError(
                f"{path} is read, and would be overwritten by the sample; give another output", key="output"
            )


def _scores(config: SelectSample, taxonomy: Taxonomy, progress: Progress) -> StarScores:
    paths = as_paths(config.predictions)
    rows = read_scores(paths, taxonomy)
    if config.features is not None:
        rows = with_catalogue_columns(rows, Path(config.features))
    named = [name for name in config.classes if name in taxonomy or name == NONVAR]
    where = ", ".join(str(path) for path in paths)
    columns = chosen_columns(rows.columns, named, config.algorithms, where=where)
    return star_scores(
        rows, columns, config.stars, join=config.join, threshold=config.select.threshold, progress=progress
    )


def _sampled(config: SelectSample, taxonomy: Taxonomy, scores: StarScores) -> tuple[str, ...]:
    """Return the classes that stars are chosen for, in the order of the scores."""
    if not config.classes:
        return scores.tags
    given = [name for name in config.classes if name != NONVAR]
    wanted = {*taxonomy.expand(given), *([NONVAR] if NONVAR in config.classes else [])}
    sampled = tuple(tag for tag in scores.tags if tag in wanted)
    if not sampled:
        raise ConfigError(
            f"none of the classes {', '.join(config.classes)} has scores; there are {', '.join(scores.tags)}",
            key="classes",
        )
    return sampled


class _TreeFacts:
    """What the class tree says of each star."""

    def __init__(self, tree: ClassTree, scores: StarScores, margin: float) -> None:
        n_classes = len(tree.graph.tags)
        self.tags = tree.graph.tags
        self.of_classes = scores.scores[:, :n_classes]
        self.conflicts = tree.conflicts(self.of_classes, margin)
        self.confident = tree.confident(self.of_classes, scores.thresholds[:n_classes])

    def passing(self, which: TreeFilter) -> BoolArray:
        """Return which stars are let through, bool (n_stars,)."""
        if which == "confident":
            return np.asarray(self.confident >= 0)
        if which == "all":
            return np.ones(len(self.conflicts), dtype=bool)
        return np.asarray((self.conflicts > 0) == (which == "conflicts"))


def _choose(config: SelectSample, scores: StarScores, sample: tuple[str, ...], eligible: BoolArray) -> Chosen:
    at = [scores.tags.index(tag) for tag in sample]
    unsure = None
    if config.select.mode == "uncertainty" and config.select.uncertainty in ("algorithms", "seeds"):
        measured = scores.disagreement() if config.select.uncertainty == "algorithms" else scores.seed_spread()
        unsure = None if measured is None else measured[:, at]
    return choose(sample, scores.scores[:, at], scores.thresholds[at], eligible, config.select, unsure)


def _columns(
    config: SelectSample, scores: StarScores, chosen: Chosen, sample: tuple[str, ...], tree: _TreeFacts
) -> pa.Table:
    """Return the output's columns for all stars."""
    models = [column.name for column in scores.columns]
    table = scores.table.drop_columns(models)
    why: list[str | None] = [None] * len(chosen.chosen_for)
    for star in np.flatnonzero(chosen.chosen).tolist():
        why[star] = ";".join(sample[k] for k in np.flatnonzero(chosen.chosen_for[star]).tolist())
    table = table.append_column("chosen_for", pa.array(why, pa.string()))
    labels = pa.array(tree.tags, pa.string())
    confident = labels.take(pa.array(tree.confident, mask=tree.confident < 0))
    table = table.append_column("confident_class", confident)
    table = table.append_column("n_conflicts", pa.array(tree.conflicts))
    chosen_for = np.zeros(scores.scores.shape, dtype=bool)
    chosen_for[:, [scores.tags.index(tag) for tag in sample]] = chosen.chosen_for
    kept = kept_labels(scores.scores, scores.thresholds, chosen_for, config.select.labels)
    for k, tag in enumerate(scores.tags):
        if config.columns != "each":
            table = table.append_column(tag, _score_column(kept[:, k]))
        if config.columns != "joined":
            for column in scores.of(tag):
                values = scores.model_scores(column, tag)
                values = np.where((kept[:, k] == 0) & (scores.scores[:, k] > 0), 0.0, values)
                name = column.name if tag == column.tag else f"{tag}_{column.algorithm}".rstrip("_")
                if name not in table.column_names:
                    table = table.append_column(name, _score_column(values))
    return table


def _score_column(values: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def _members(scores: StarScores, chosen: BoolArray) -> dict[str, int]:
    """Return how many chosen stars reach the threshold of each class."""
    member = reaches(scores.scores, scores.thresholds)
    return {tag: int((member[:, k] & chosen).sum()) for k, tag in enumerate(scores.tags)}


def _write(
    config: SelectSample, table: pa.Table, chosen: Chosen, record: TableMetadata, facts: Mapping[str, Any]
) -> dict[str, str]:
    for path, what in _written(config).items():
        if what == "counts":
            with atomic_path(path) as temporary:
                counts = {"n_stars": int(chosen.chosen.sum()), **facts}
                text = json.dumps(counts, indent=2, sort_keys=True, allow_nan=False)
                temporary.write_text(text + "\n", encoding="utf-8")
        else:
            write_table(table if what == "full" else table.filter(pa.array(chosen.chosen)), path, record)
    return {what: str(path) for path, what in _written(config).items()}


def _short(chosen: Chosen, rules: Sampling) -> tuple[str, ...]:
    if not chosen.short:
        return ()
    classes = ", ".join(f"{tag} {chosen.pool[tag]}" for tag in chosen.short)
    return (f"fewer than {rules.per_class} stars to choose from, so that all of them were taken: {classes}",)
