"""Stage `post_taxonomy`: post, list, show, mappers, guide.

Posting is planned first: the tree is made or read and checked, the target is looked at, and the plan says what would be
posted under which name and version, and who may use it. ``apply=true`` carries it out and writes a receipt with the
number there. The service keeps one taxonomy of each name and version, so that a second run finds it and does nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, suggest
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.services.fritz.client import Fritz, FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.rights import Right, check_rights
from scope_ml.services.fritz.taxonomies import labels_of, list_taxonomies
from scope_ml.services.fritz.taxonomy_posting import post_taxonomy, posted_already
from scope_ml.services.settings import BrokerConfig
from scope_ml.stages.field_guide import write_guide
from scope_ml.stages.registry_view import aligned, rendered
from scope_ml.stages.taxonomy_plans import Planned, plan_of, sentence, warnings_of
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.fritz_names import FritzNames, load_names, old_mapper
from scope_ml.taxonomy.hierarchy import (
    Which,
    class_hierarchy,
    hierarchy_digest,
    read_descriptions,
    read_hierarchy,
    walk,
)

__all__ = ["MAPPER_FILES", "PostTaxonomy", "run"]

#: Our trees; anything else is a file.
OURS: tuple[Which, ...] = ("phenomenological", "ontological", "all")

#: SCoPe's files, by their names.
MAPPER_FILES = {
    "golden": "golden_dataset_mapper.json",
    "fritz": "fritz_mapper.json",
    "DNN_AL": "DNN_AL_mapper.json",
    "XGB_AL": "XGB_AL_mapper.json",
}

#: What an action cannot do without.
NEEDED = {"mappers": "output=FOLDER to write", "guide": "output=PAGE.html to write"}

#: What a token must be allowed.
NEEDED_RIGHTS: tuple[Right, ...] = ("Post taxonomy",)


@dataclass(frozen=True, kw_only=True)
class PostTaxonomy:
    """Options of the stage."""

    action: Literal["post", "list", "show", "mappers", "guide"] = option(
        "post", machine=True, doc="what to do: the first word of the command"
    )
    taxonomy: str = option(
        "phenomenological", doc="phenomenological, ontological, all: our classes; else a file in the tdtax form"
    )
    name: str | None = option(None, doc="name on Fritz; null: that of our tree; a file needs one")
    version: int | float | str | None = option(None, doc="its version, text; null: that of our tree; a file needs one")
    provenance: str | None = option(None, doc="where it comes from; null: our own, or the file's name")
    groups: int | str | tuple[int | str, ...] = option(
        (), doc="ids or names of groups that may use it; empty: the service's public group alone"
    )
    is_latest: bool = option(True, doc="whether it takes the place of earlier versions of its name")
    apply: bool = option(False, machine=True, doc="true: post; false: say what would be done")
    format: Literal["table", "json", "csv"] = option("table", machine=True, doc="list, show: how it is shown")
    examples: str | None = option(
        None, machine=True, doc="guide: folder of simulate, for light curves and numbers; null: none"
    )
    n_examples: int = option(4, unit="light curves", doc="guide: of each class", at_least=0, at_most=12)
    output: str | None = option(
        None, machine=True, doc="post: folder for plan and receipt; mappers: folder; guide: page; show: file"
    )
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    service: BrokerConfig = option(BrokerConfig(), doc="how Fritz is asked", machine=True)
    machine: Machine = option(Machine(), doc="dry_run posts and writes nothing")

    def __post_init__(self) -> None:
        """Check that the action has what it needs.

        Raises
        ------
        ConfigError
            If an output is missing, or a file's name or version, before anything is asked.
        """
        if isinstance(self.version, float):
            raise ConfigError(
                f"version={self.version} was read as a number, which loses zeros at its end; put quotes around it twice, as"
                " in \"version='1.10'\"",
                key="version",
            )
        if self.action in NEEDED and self.output is None:
            raise ConfigError(f"post_taxonomy {self.action} needs {NEEDED[self.action]}", key="output")
        if self.action == "post" and self.apply and self.output is None:
            raise ConfigError("post_taxonomy post apply=true needs output=FOLDER for the receipt", key="output")
        if self.action == "post" and self.taxonomy not in OURS and (self.name is None or self.version is None):
            if not Path(self.taxonomy).exists():
                raise ConfigError(_no_tree(self.taxonomy), key="taxonomy")
            raise ConfigError(
                f"the tree of {self.taxonomy} needs a name and a version: name='My taxonomy' version=1.0.0", key="name"
            )
        if self.format == "csv" and self.action == "show":
            raise ConfigError("format=csv is for post_taxonomy list; for show give format=json", key="format")

    @property
    def asked_groups(self) -> tuple[int | str, ...]:
        """Return the groups as a tuple."""
        return self.groups if isinstance(self.groups, tuple) else (self.groups,)


def run(config: PostTaxonomy, *, progress: Progress, fritz: Fritz | None = None) -> Report:
    """Do what `config.action` says.

    Parameters
    ----------
    config
        Options.
    progress
        Told what is asked and read.
    fritz
        The service; None: as `config` says. ``show``, ``mappers`` and ``guide`` ask nothing.

    Raises
    ------
    ConfigError
        If the tree is not of the form, a group is not there, or the name and version are there with another tree.
    NotAllowedError
        If the token has not the right "Post taxonomy".
    ServiceError
        If the service does not answer.
    ScopeError
        If a survey cannot be read or an output not written.
    """
    began = time.monotonic()
    if config.action in ("post", "list"):
        with ExitStack() as stack:
            service = stack.enter_context(FritzClient(config.service.fritz)) if fritz is None else fritz
            asked: Callable[[PostTaxonomy, Fritz, Progress], Report] = _post if config.action == "post" else _list
            report = asked(config, service, progress)
    else:
        alone: Mapping[str, Callable[[PostTaxonomy, Progress], Report]] = {
            "show": _show,
            "mappers": _mappers,
            "guide": _guide,
        }
        report = alone[config.action](config, progress)
    progress.finish()
    return Report(
        **{one.name: getattr(report, one.name) for one in fields(report)} | {"seconds": time.monotonic() - began}
    )


def _post(config: PostTaxonomy, fritz: Fritz, progress: Progress) -> Report:
    planned = _planned(config)
    folder = Path(config.output) if config.output is not None and not config.machine.dry_run else None
    if folder is not None:
        check_writable(folder / "plan.json", folder / "receipt.json")
    progress.start("looking at the taxonomies of Fritz")
    found = posted_already(list_taxonomies(fritz), name=planned.name, version=planned.version, hierarchy=planned.tree)
    group_ids = tuple(group.id for group in Directory(fritz).groups(config.asked_groups)) if config.asked_groups else ()
    if found is None:
        check_rights(fritz, NEEDED_RIGHTS)
    plan = plan_of(planned, found, group_ids)
    warnings = warnings_of(planned, found, group_ids)
    if folder is not None:
        _write_json(folder / "plan.json", plan)
    facts: dict[str, Any] = {"action": plan["action"], "name": planned.name, "version": planned.version}
    facts |= {"digest": planned.digest, "n_classes": plan["n_classes"]}
    text = sentence(planned, found, group_ids, ", ".join(map(str, config.asked_groups)))
    if folder is None or not config.apply:
        outputs = {"plan": str(folder / "plan.json")} if folder is not None else {}
        end = "" if found is not None else "; type apply=true to post it"
        return Report(stage="post_taxonomy", warnings=warnings, outputs=outputs, facts={**facts, "text": text + end})
    number, is_new = post_taxonomy(
        fritz,
        name=planned.name,
        version=planned.version,
        provenance=planned.provenance,
        hierarchy=planned.tree,
        group_ids=group_ids,
        is_latest=planned.is_latest,
    )
    receipt = folder / "receipt.json"
    # Who types the command again keeps the receipt of the run that posted.
    if is_new or _id_in(receipt) != number:
        _write_json(receipt, {**plan, "taxonomy_id": number, "posted": is_new})
    outputs = {"plan": str(folder / "plan.json"), "receipt": str(receipt)}
    done = f"posted as taxonomy {number}: '{planned.name}' {planned.version}" if is_new else text
    facts |= {"taxonomy_id": number, "posted": is_new, "text": done}
    return Report(stage="post_taxonomy", warnings=warnings, outputs=outputs, facts=facts)


def _list(config: PostTaxonomy, fritz: Fritz, progress: Progress) -> Report:
    progress.start("asking for the taxonomies of Fritz")
    there = list_taxonomies(fritz)
    names = _names(config)
    descriptions = read_descriptions(*as_paths(config.class_folders))
    ours = {names.trees[which].name: (which, class_hierarchy(names, which, descriptions)) for which in OURS}
    rows = []
    for one in there:
        which, tree = ours.get(one.name, (None, None))
        rows.append(
            {
                "id": one.id,
                "name": one.name,
                "version": one.version,
                "latest": "yes" if one.is_latest else "no",
                "classes": len(labels_of(one.hierarchy)),
                "groups": ",".join(map(str, one.group_ids)),
                "ours": "" if which is None else which if one.hierarchy == tree else f"{which}, another tree",
            }
        )
    columns = ("id", "name", "version", "latest", "classes", "groups", "ours")
    if config.format == "table":
        text = aligned([[str(row[column]) for column in columns] for row in rows], columns)
    else:
        text = rendered(rows, config.format, columns)
    if not rows and config.format == "table":
        text = "the token sees no taxonomy on this Fritz; type post_taxonomy post to make one"
    return Report(stage="post_taxonomy", facts={"rows": rows, "text": text})


def _show(config: PostTaxonomy, progress: Progress) -> Report:
    del progress
    import yaml  # type: ignore[import-untyped]

    tree = _tree(config)[1]
    as_json = json.dumps(tree, indent=2, ensure_ascii=False)
    if config.format == "json" or str(config.output).endswith(".json"):
        text = as_json
    else:
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100).rstrip()
    outputs = {}
    if config.output is not None and not config.machine.dry_run:
        with atomic_path(Path(config.output)) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
        outputs = {"taxonomy": config.output}
    facts = {"n_classes": sum(1 for _ in walk(tree)), "digest": hierarchy_digest(tree)}
    shown = text if not outputs else f"{facts['n_classes']} classes in {config.output}"
    return Report(stage="post_taxonomy", outputs=outputs, facts={**facts, "text": shown})


def _mappers(config: PostTaxonomy, progress: Progress) -> Report:
    del progress
    # The ids in them are of the instance that SCoPe's files were written for: classes of one's own are not there.
    names = load_names(load_classes(packaged_conf_dir()))
    folder = Path(config.output or "")
    outputs, lines = {}, []
    for name, file in MAPPER_FILES.items():
        mapper = old_mapper(name, names)
        if not config.machine.dry_run:
            with atomic_path(folder / file) as partial:
                partial.write_text(mapper.to_json(), encoding="utf-8")
            outputs[name] = str(folder / file)
        lines.append(f"{file}: {len(mapper)} columns, {len(mapper.usable)} of them with a class on Fritz")
    return Report(stage="post_taxonomy", outputs=outputs, facts={"text": "\n".join(lines)})


def _guide(config: PostTaxonomy, progress: Progress) -> Report:
    names = _names(config)
    survey = Path(config.examples) if config.examples is not None else None
    path = Path(config.output or "")
    if path.suffix != ".html":
        raise ConfigError(f"output={path} must end in .html", key="output")
    if config.machine.dry_run:
        return Report(
            stage="post_taxonomy", facts={"text": f"a page of {len(names.taxonomy)} classes; nothing was written"}
        )
    check_writable(path)
    page = write_guide(path, names, as_paths(config.class_folders), survey, config.n_examples, progress)
    return Report(
        stage="post_taxonomy",
        warnings=page.warnings,
        outputs={"guide": str(path)},
        facts={"n_classes": page.n_classes, "n_examples": page.n_examples, "n_bytes": page.n_bytes},
    )


def _planned(config: PostTaxonomy) -> Planned:
    names, tree = _tree(config)
    if config.taxonomy in OURS:
        ours = names.trees[config.taxonomy]
        name, version, provenance = ours.name, ours.version, names.provenance
    else:
        name, version, provenance = "", "", Path(config.taxonomy).name
    return Planned(
        name=config.name or name,
        version=version if config.version is None else str(config.version),
        provenance=config.provenance or provenance,
        tree=tree,
        is_latest=config.is_latest,
    )


def _tree(config: PostTaxonomy) -> tuple[FritzNames, dict[str, Any]]:
    names = _names(config)
    if config.taxonomy in OURS:
        descriptions = read_descriptions(*as_paths(config.class_folders))
        return names, class_hierarchy(names, config.taxonomy, descriptions)
    path = Path(config.taxonomy)
    if not path.exists():
        raise ConfigError(_no_tree(config.taxonomy), key="taxonomy")
    return names, read_hierarchy(path)


def _no_tree(given: str) -> str:
    shown = ", ".join(OURS)
    return f"taxonomy={given} is neither one of our trees ({shown}) nor a file{suggest(given, OURS)}"


def _names(config: PostTaxonomy) -> FritzNames:
    folders = as_paths(config.class_folders)
    return load_names(load_classes(packaged_conf_dir(), *folders), *folders)


def _id_in(receipt: Path) -> int | None:
    """Return the taxonomy that a receipt is about; None where there is none that can be read."""
    try:
        number = json.loads(receipt.read_text(encoding="utf-8"))["taxonomy_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
