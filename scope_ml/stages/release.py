"""Stage `release`: pack, verify, unpack. What there is goes into one folder, in the layout of SCoPe's published releases.

The same inputs give the same bytes. What is packed is named by the options; nothing else is looked for, and nothing of
the configuration goes in but what `publication` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, OutputError
from scope_ml.io.output_lock import output_lock
from scope_ml.stages import release_parts
from scope_ml.stages.release_check import unpack_release, verify_release
from scope_ml.stages.release_pack import Packed, Workshop, make_release
from scope_ml.stages.release_publication import Publication
from scope_ml.stages.release_secrets import known_secrets, refuse_secret_files
from scope_ml.stages.release_tables import find_scores
from scope_ml.tracking.resolve import resolve_models
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["Release", "run"]

#: What an action cannot do without.
NEEDED = {
    "pack": {"output": "output=FOLDER to write"},
    "verify": {"path": "path=FOLDER of a release"},
    "unpack": {"path": "path=FOLDER of a release", "output": "output=FOLDER to write"},
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """Options of the stage."""

    action: Literal["pack", "verify", "unpack"] = option(machine=True, doc="what to do: the first word of the command")
    output: str | None = option(None, machine=True, doc="pack: folder of the release; unpack: folder to write")
    path: str | None = option(None, machine=True, doc="verify, unpack: folder of the release")
    predictions: str | tuple[str, ...] = option((), machine=True, doc="pack: score tables of infer, folders of them")
    predictions_format: Literal["parquet", "csv"] = option(
        "parquet", machine=True, doc="pack: as infer wrote them, or as the published releases have them"
    )
    models: str | None = option(
        None, machine=True, doc="pack: lock file, folder of bundles, champion or lock; null: no models"
    )
    bundles: str | None = option(None, machine=True, doc="pack: folder in which bundles of a lock are looked for first")
    training_set: str | None = option(None, machine=True, doc="pack: folder of build_dataset, for the training set")
    catalogue: str | None = option(None, machine=True, doc="pack: folder that catalog wrote")
    web_page: str | None = option(None, machine=True, doc="pack: HTML page, where it is not in the catalogue's folder")
    parts: tuple[str, ...] = option((), machine=True, doc="unpack: these files, or kinds of files; empty: all")
    n_example_rows: int = option(100, machine=True, doc="pack: rows of the CSV example", at_least=0, at_most=100_000)
    publication: Publication = option(Publication(), doc="what the release says about itself")
    tracking: TrackingConfig = option(TrackingConfig(), doc="the registry that models=champion reads")
    machine: Machine = option(Machine(), doc="dry_run says what would be packed")

    def __post_init__(self) -> None:
        """Check that the action has what it needs."""
        for key, example in NEEDED[self.action].items():
            if getattr(self, key) is None:
                raise ConfigError(f"release {self.action} needs {example}", key=key)


def run(config: Release, *, progress: Progress) -> Report:
    """Do what `config.action` says.

    Raises
    ------
    ConfigError
        If options are missing or do not fit.
    SchemaError, ModelError
        If an input is not what it should be.
    DataError
        If a file changed while it was packed, or holds a secret.
    OutputError
        If the output cannot be written, or something else is there.
    """
    began = time.monotonic()
    actions: Mapping[str, Callable[[Release, Progress], Report]] = {
        "pack": _pack,
        "verify": _verify,
        "unpack": _unpack,
    }
    report = actions[config.action](config, progress)
    return Report(**{**vars(report), "seconds": time.monotonic() - began})


def _pack(config: Release, progress: Progress) -> Report:
    config.publication.check()
    output = Path(config.output or "").absolute()
    workshop = Workshop(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}; choose another output") from error
    with output_lock(output.parent / f".{output.name}.lock", output):
        workshop.open()
        try:
            parts, facts, warnings = _looked_at(config, workshop, progress)
            if config.machine.dry_run:
                workshop.leave()
                text = "\n".join([*map(_line, parts), f"{len(parts)} file(s) to pack; nothing was written"])
                return Report(stage="release", warnings=tuple(warnings), facts={"text": text, **facts})
            packed = make_release(workshop, parts, config.publication, facts, progress)
        finally:
            workshop.clear()
        workshop.close()
    return _packed_report(config, output, packed, facts, warnings)


def _looked_at(
    config: Release, workshop: Workshop, progress: Progress
) -> tuple[list[release_parts.Part], dict[str, Any], list[str]]:
    """Return the parts of the release, facts and warnings, after the last look at what is in the files."""
    progress.start("looking at what is to be packed")
    parts, facts, warnings = _gathered(config, workshop.stage)
    release_parts.refuse_nothing(parts)
    files = sorted({member.path for part in parts for member in part.members.values()})
    refuse_secret_files(files, known_secrets())
    progress.finish()
    if config.publication.doi is None:
        warnings.append("no DOI yet: reserve one and pack again with publication.doi=10.NNNN/...")
    return parts, facts, warnings


def _gathered(config: Release, stage: Path) -> tuple[list[release_parts.Part], dict[str, Any], list[str]]:
    """Return the parts of the release, what its manifest says of them, and warnings."""
    parts: list[release_parts.Part] = []
    facts: dict[str, Any] = {}
    warnings: list[str] = []
    scores = find_scores(as_paths(config.predictions), stage) if as_paths(config.predictions) else None
    if scores is not None:
        parts += release_parts.predictions_parts(
            scores, form=config.predictions_format, n_example_rows=config.n_example_rows
        )
        facts |= {"fields": list(scores.fields), "n_light_curves": scores.n_rows}
    if config.models is not None:
        bundles = Path(config.bundles) if config.bundles is not None else None
        models = resolve_models(config.models, config.tracking, bundles=bundles)
        if scores is not None:
            release_parts.check_models(scores, models)
        parts += release_parts.model_parts(models, stage)
        facts["models"] = [
            {"name": one.pin.name, "version": one.pin.version, "digest": one.pin.digest} for one in models
        ]
    if config.training_set is not None:
        parts.append(release_parts.training_set_part(Path(config.training_set), stage))
    page = Path(config.web_page) if config.web_page is not None else None
    if page is not None and not page.is_file():
        raise ConfigError(f"web_page={page} does not exist", key="web_page")
    if config.catalogue is not None:
        found, left = release_parts.catalogue_parts(Path(config.catalogue), page)
        parts += found
        if left:
            warnings.append(f"{len(left)} other file(s) of {config.catalogue} were left out, such as {left[0]}")
    elif page is not None:
        parts.append(release_parts.Part(name=page.name, kind="page", members={page.name: release_parts.member(page)}))
    if scores is not None and not any(part.name == "fields.json" for part in parts):
        parts.append(release_parts.fields_part(scores.fields, stage))
    return parts, facts, warnings


def _packed_report(
    config: Release, output: Path, packed: Packed, facts: Mapping[str, Any], warnings: list[str]
) -> Report:
    entries = packed.manifest.files
    total = sum(entry.bytes for entry in entries)
    state = "is new" if packed.is_new else "stood there already, just as it is"
    lines = [
        f"{entry.name:<44} {entry.bytes / 1e6:>10.2f} MB  "
        + (f"{entry.n_records:,} {entry.unit}" if entry.n_records is not None else "")
        + ("  (kept)" if entry.name in packed.kept else "")
        for entry in entries
    ]
    lines.append(f"{config.output}: {len(entries)} files and SHA256SUMS, {total / 1e6:.1f} MB; the release {state}")
    told = {**facts, "n_files": len(entries), "bytes": total, "kept": list(packed.kept), "written": packed.is_new}
    return Report(
        stage="release",
        warnings=tuple(warnings),
        outputs={"release": str(output)},
        facts={**told, "text": "\n".join(lines)},
    )


def _verify(config: Release, progress: Progress) -> Report:
    path = Path(config.path or "")
    found = verify_release(path, progress)
    n_files = len(found.manifest.files)
    dropped = {what: list(found.wrong.values()).count(what) for what in sorted(set(found.wrong.values()))}
    facts = {
        "wrong": found.wrong,
        "extra": list(found.extra),
        "n_failed": len(found.wrong),
        "text": "\n".join(found.lines(path)),
    }
    return Report(stage="release", n_in=n_files, n_out=n_files - len(found.wrong), dropped=dropped, facts=facts)


def _unpack(config: Release, progress: Progress) -> Report:
    path, output = Path(config.path or ""), Path(config.output or "").absolute()
    if config.machine.dry_run:
        return Report(stage="release", facts={"text": f"{path} would be unpacked into {output}; nothing was written"})
    names = unpack_release(path, output, config.parts, progress)
    text = "\n".join([*(f"  {name}" for name in names), f"{len(names)} part(s) of {path} in {output}"])
    return Report(stage="release", outputs={"folder": str(output)}, facts={"parts": names, "text": text})


def _line(part: release_parts.Part) -> str:
    size = sum(member.sum.bytes for member in part.members.values())
    return f"{part.name:<44} of {len(part.members)} file(s), {size / 1e6:.2f} MB"
