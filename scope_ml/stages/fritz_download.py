"""Stage `fritz_download`: sources of Fritz as tables, with features beside them and votes in a training set.

Writes one row a source, and tables of classifications, periods, votes and of what was not found; `fritz_tables` says what is in
them, `fritz_votes` what votes decide, `training_set_update` what becomes of a training set. Nothing on Fritz is changed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import science_digest
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, OutputError
from scope_ml.io.atomic import check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.tables import table_format, write_table
from scope_ml.services.fritz.client import Fritz, FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.records import Group
from scope_ml.services.kowalski.client import Asks, KowalskiClient
from scope_ml.stages.fritz_download_options import KOWALSKI, FritzDownload, Outputs, changes_of, check_apart
from scope_ml.stages.fritz_fetch import Fetched, by_groups, by_rows, discard
from scope_ml.stages.fritz_merge import Collection, LightCurves, check_features, from_kowalski, from_table, merged_table
from scope_ml.stages.fritz_rows import read_rows
from scope_ml.stages.fritz_tables import (
    classification_table,
    legacy_sources,
    miss_table,
    period_table,
    source_table,
    unknown_classes,
    vote_table,
)
from scope_ml.stages.fritz_votes import VoteRule, decide, tallies
from scope_ml.stages.training_set_file import TrainingSet, empty_set, read_training_set
from scope_ml.stages.training_set_update import NEW_NAME, Updated, updated
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.fritz_mappers import Mapper, read_mapper
from scope_ml.taxonomy.fritz_names import NONVAR, FritzNames, load_names, mapper_of, old_mapper
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["FritzDownload", "run"]

#: Classes without a name here that a warning lists.
N_NAMED = 6


@dataclass(kw_only=True, eq=False)
class _Work:
    """One run: what it works with, and what it has written."""

    config: FritzDownload
    taxonomy: Taxonomy
    names: FritzNames
    mapper: Mapper
    rule: VoteRule
    outputs: Outputs
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)

    def write(self, what: str, table: pa.Table, *, path: Path | None = None, **record: Any) -> None:
        """Write a table with the record of this run."""
        path = path or self.outputs.of(what)
        facts = {**self.facts, **record.pop("facts", {})}
        metadata = TableMetadata(
            kind=record.pop("kind", f"fritz_{what}"), config_digest=science_digest(self.config), **record
        )
        write_table(table, path, replace(metadata, facts=facts))
        if not self.config.machine.dry_run:
            self.written[what] = str(path)


def run(config: FritzDownload, *, progress: Progress, fritz: Fritz | None = None, asks: Asks | None = None) -> Report:
    """Download sources.

    Parameters
    ----------
    config
        Options.
    progress
        Told the sources and light curves that are done.
    fritz, asks
        Fritz and Kowalski; None: as `config` says.

    Raises
    ------
    ConfigError
        If there is no such group, mapper or training set; if the new training set is there already.
    SchemaError, DataError
        If a file has not what is needed of it.
    ServiceError
        If a service does not answer; what came is kept for the next run.
    OutputError
        If nothing can be written.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        outputs = Outputs(output=Path(config.output))
        if config.machine.dry_run:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="scope-fritz-")))
            outputs = Outputs(output=folder / outputs.output.name)
        work = _work(config, outputs)
        old = _training_set(work)
        if config.features not in (None, KOWALSKI):
            check_features(Path(str(config.features)))
        stack.enter_context(output_lock(outputs.kept, outputs.output))
        client = stack.enter_context(FritzClient(config.service.fritz)) if fritz is None else fritz
        fetched, carried = _fetch(work, client, progress)
        sources = _sources(work, fetched, carried)
        light_curves = _light_curves(work, fetched, asks, progress, stack)
        merged = None
        if light_curves is not None:
            merged = _merge(work, light_curves, sources, fetched)
        _votes(work, fetched, old, light_curves, merged)
        discard(outputs.kept)
    progress.finish()
    missed = Counter(miss.reason for miss in fetched.missed)
    return Report(
        stage="fritz_download",
        n_in=fetched.asked,
        n_out=len(fetched.sources),
        dropped=dict(sorted(missed.items())),
        seconds=time.monotonic() - began,
        warnings=(*fetched.warnings, *work.warnings),
        outputs=work.written,
        facts=work.facts,
    )


def _work(config: FritzDownload, outputs: Outputs) -> _Work:
    """Read what classes there are, and look whether the output can be written."""
    if outputs.output.suffix and not outputs.is_table:
        table_format(outputs.output)
    if config.dmdt and outputs.output.suffix.lower() == ".csv":
        raise ConfigError("dm-dt images do not fit into .csv; write .parquet or .h5, or leave dmdt=false", key="dmdt")
    check_writable(outputs.of("sources"))
    folders = as_paths(config.class_folders)
    taxonomy = load_classes(packaged_conf_dir(), *folders)
    names = load_names(taxonomy, *folders)
    return _Work(
        config=config,
        taxonomy=taxonomy,
        names=names,
        mapper=_mapper(config, taxonomy, names),
        rule=VoteRule.of(config.min_net_votes, config.training.exclusive, taxonomy),
        outputs=outputs,
    )


def _mapper(config: FritzDownload, taxonomy: Taxonomy, names: FritzNames) -> Mapper:
    """Return which columns the classes have."""
    given = config.mapper or ("golden" if config.names == "legacy" else None)
    if given is None:
        return mapper_of(taxonomy, (*taxonomy.tags, NONVAR), names=names)
    return read_mapper(Path(given), names=names) if given.endswith(".json") else old_mapper(given, names)


def _training_set(work: _Work) -> tuple[TrainingSet, Path] | None:
    """Read the old training set and look where the new one goes, before anything is asked for."""
    config = work.config
    update = config.training
    if not config.update_training_set:
        if update.path or update.output:
            raise ConfigError(
                "a training set is given but not to be updated; type update_training_set=true", key="training"
            )
        check_apart(config, None)
        return None
    old_path = Path(update.path) if update.path else None
    folder = old_path.parent if old_path else work.outputs.of("sources").parent
    new = (
        Path(update.output) if update.output else folder / f"{update.prefix}_{old_path.name if old_path else NEW_NAME}"
    )
    table_format(new)
    if new.exists():
        is_old = old_path is not None and old_path.exists() and new.samefile(old_path)
        raise OutputError(
            f"{new} is {'the old training set' if is_old else 'there already'}, and no training set is overwritten; give"
            " training.prefix=ANOTHER or training.output=FILE, or move it away"
        )
    check_apart(config, new)
    old = (
        read_training_set(old_path, work.taxonomy, work.names)
        if old_path
        else empty_set(work.taxonomy, by_id=config.features is not None)
    )
    if old.key is not None and config.features is None:
        raise ConfigError(
            f"{old.name} goes by '{old.key}', which Fritz does not know; give features=FEATURES or features=kowalski, which say"
            " whose light curves these are",
            key="features",
        )
    if not config.machine.dry_run:
        check_writable(new)
    return old, new if not config.machine.dry_run else work.outputs.of("sources").parent / new.name


def _fetch(work: _Work, fritz: Fritz, progress: Progress) -> tuple[Fetched, pa.Table | None]:
    """Return the sources, and the file's columns of each that Fritz does not have."""
    config, settings = work.config, work.config.service.fritz
    work.facts["service"] = settings.url
    if config.file is None:
        groups = Directory(fritz).groups(config.asked_groups)
        fetched = by_groups(
            fritz,
            settings,
            [group.id for group in groups],
            start=config.start,
            folder=work.outputs.kept,
            progress=progress,
        )
        _note_groups(work, groups, fetched)
        table = None
    else:
        path = Path(config.file)
        rows, table = read_rows(path, start=config.start)
        fetched = by_rows(
            fritz, settings, rows, radius_arcsec=config.radius_arcsec, folder=work.outputs.kept, progress=progress
        )
        work.facts["file"] = {"name": path.name, "digest": digest_file(path)}
        table = table.take(pa.array(fetched.rows, pa.int64()))
    work.facts["downloaded"] = fetched.since.strftime("%Y-%m-%dT%H:%M:%SZ")
    return fetched, table


def _note_groups(work: _Work, groups: Sequence[Group], fetched: Fetched) -> None:
    """Note how many sources each group has, and which has none."""
    counts = Counter(group for source in fetched.sources for group in source.group_ids)
    work.facts["groups"] = {group.name: counts[group.id] for group in groups}
    work.facts["n_lacking"] = fetched.n_lacking
    empty = [f"{group.name} ({group.id})" for group in groups if not counts[group.id]]
    if empty:
        where = f"on page {work.config.start} or later" if work.config.start > 1 else "or the token may not see them"
        work.warnings.append(f"no source is saved to {', '.join(empty)}, {where}")


def _sources(work: _Work, fetched: Fetched, carried: pa.Table | None) -> pa.Table:
    """Write all that was downloaded; return the table of sources."""
    sources, mapper = fetched.sources, work.mapper
    unknown = unknown_classes(sources, mapper)
    work.facts |= {"names": work.config.names, "unknown_classes": unknown}
    if unknown:
        told = [f"{name} ({count})" for name, count in sorted(unknown.items(), key=lambda one: -one[1])]
        more = f" and {len(told) - N_NAMED} more" if len(told) > N_NAMED else ""
        work.warnings.append(
            f"classes without a column: {', '.join(told[:N_NAMED])}{more}; they are in the classifications"
        )
    table = (legacy_sources if work.config.names == "legacy" else source_table)(sources, mapper)
    for name in carried.column_names if carried is not None else ():
        # The file's own columns go on, but for those that Fritz tells.
        if carried is not None and name not in table.column_names:
            table = table.append_column(carried.schema.field(name), carried[name])
            work.carried.append(name)
    work.write("sources", table)
    work.write("classifications", classification_table(sources, mapper))
    work.write("periods", period_table(sources))
    if work.config.file is not None:
        work.write("not_found", miss_table(fetched.missed))
    work.facts |= {
        "n_classifications": sum(len(source.classifications) for source in sources),
        "n_without_classification": sum(not source.classifications for source in sources),
    }
    return table


def _light_curves(
    work: _Work, fetched: Fetched, asks: Asks | None, progress: Progress, stack: ExitStack
) -> LightCurves | None:
    """Return the light curves of the sources, if features are given."""
    config = work.config
    if config.features is None:
        return None
    if config.features != KOWALSKI:
        return from_table(
            Path(config.features), fetched.sources, radius_arcsec=config.radius_arcsec, impute=config.impute
        )
    settings = config.service.kowalski
    asks = stack.enter_context(KowalskiClient(settings)) if asks is None else asks
    found = from_kowalski(
        Collection(asks=asks, settings=settings, catalog=config.catalog, dmdt=config.dmdt),
        fetched.sources,
        radius_arcsec=config.radius_arcsec,
        impute=config.impute,
        output=work.outputs.of("features"),
        progress=progress,
    )
    if not config.machine.dry_run:
        work.written["features"] = str(work.outputs.of("features"))
    return found


def _merge(work: _Work, light_curves: LightCurves, sources: pa.Table, fetched: Fetched) -> pa.Table:
    """Write the sources' light curves with their features."""
    legacy = work.config.names == "legacy"
    # A band or a feature that a file has of its rows is not that of their light curves.
    measured = [name for name in work.carried if name in light_curves.table.column_names]
    merged = merged_table(light_curves, sources.drop_columns(measured), legacy=legacy)
    without = light_curves.without(len(fetched.sources)).tolist()
    work.facts |= {
        "n_light_curves": merged.num_rows,
        "n_without_features": len(without),
        "n_contested": light_curves.n_contested,
        "light_curves_dropped": dict(light_curves.dropped),
    }
    if without:
        shown = ", ".join(fetched.sources[one].id for one in without[:3]) + (", ..." if len(without) > 3 else "")
        work.warnings.append(
            f"{len(without)} sources have no light curve with features within {work.config.radius_arcsec:g} arcsec: {shown}"
        )
    record = light_curves.record
    work.write(
        "merged",
        merged,
        kind="features",
        inputs=record.inputs,
        facts={**record.facts, "fritz_names": work.config.names},
    )
    return merged


def _votes(
    work: _Work,
    fetched: Fetched,
    training: tuple[TrainingSet, Path] | None,
    light_curves: LightCurves | None,
    merged: pa.Table | None,
) -> None:
    """Write what the votes decide, and the new training set."""
    tags: Mapping[str, str] = dict(work.names.labels) | {
        str(entry.label): entry.tag for entry in work.mapper.usable if entry.tag is not None
    }
    votes = [tallies(source.classifications, tags) for source in fetched.sources]
    decisions = [decide(one, work.taxonomy, work.rule) for one in votes]
    names = [source.id for source in fetched.sources]
    cases = dict(zip(names, zip(votes, decisions, strict=True), strict=True))
    work.write("votes", vote_table(cases), facts={"min_net_votes": work.rule.min_net_votes})
    if training is None:
        return
    old, new = training
    result = updated(
        old,
        fetched.sources,
        decisions,
        light_curves,
        merged,
        work.config.training,
        radius_arcsec=work.config.radius_arcsec,
    )
    _write_training_set(work, old, new, result, merged)


def _write_training_set(work: _Work, old: TrainingSet, new: Path, result: Updated, merged: pa.Table | None) -> None:
    counts = {
        "rows_before": result.n_old,
        "rows_added": result.n_added,
        "rows_changed": result.n_changed,
        "rows_confirmed": result.n_same,
        "rows": result.table.num_rows,
        "labels_changed": result.changes.filter(pa.compute.equal(result.changes["kind"], "changed")).num_rows,
        "sources_left_out": dict(sorted(result.left_out.items())),
    }
    inputs = (Input(name="training_set", digest=old.digest, n_rows=result.n_old),) if old.digest else ()
    facts: dict[str, Any] = {"min_net_votes": work.rule.min_net_votes, **counts}
    table, kind = result.table, "labels"
    if old.form == "one_table":
        kind = "features"
        # What our doors call the id of a light curve.
        if "id" not in table.column_names:
            table = table.append_column("id", table[str(old.key)])
    work.write("changes", result.changes, path=changes_of(new), facts=facts)
    work.write("training_set", table, path=new, kind=kind, inputs=inputs, facts=facts)
    work.facts["training_set"] = counts
    left_out = "; ".join(f"{reason} {count}" for reason, count in sorted(result.left_out.items()) if count)
    work.warnings.append(
        f"training set: {result.n_old} rows, {result.n_changed} changed, {result.n_same} confirmed, {result.n_added} added, none"
        f" removed{f'; sources left out: {left_out}' if left_out else ''}"
    )
    work.warnings += result.warnings
    if not result.n_added + result.n_changed:
        work.warnings.append(f"no vote changes {old.name}; {new.name} says the same")
