"""The stage `compare`: all models of some folders beside one another, as a page, a table and JSON.

Reads the records of bundles alone; no model is loaded. `write_comparison` is what other stages call.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, ModelNotFoundError
from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.comparison import Comparison, compare_models, read_models
from scope_ml.reporting.comparison_page import comparison_page
from scope_ml.reporting.skipped import skipped_models
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

__all__ = ["Compare", "run", "write_comparison"]

PAGE = ".html"

#: Endings of what is written beside the page.
TABLE, NUMBERS = ".csv", ".json"


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Options of the stage."""

    models: str | tuple[str, ...] = option(doc="folder, or folders, with bundles of train at any depth", machine=True)
    output: str = option("comparison.html", doc="page to write; .csv and .json appear beside it", machine=True)
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    title: str = option("Classes and algorithms compared", doc="heading of the page")

    def __post_init__(self) -> None:
        """Check the name of the page.

        Raises
        ------
        ConfigError
            If it does not end in .html.
        """
        if not self.output.endswith(PAGE):
            raise ConfigError(f"output={self.output} is a page; give a name that ends in {PAGE}", key="output")


def run(config: Compare, *, progress: Progress) -> Report:
    """Write the page, the table and the numbers.

    Raises
    ------
    ModelNotFoundError
        If there is neither a bundle nor a report of one that was skipped.
    OutputError
        If an output cannot be written.
    """
    began = time.monotonic()
    progress.start("reading models", None)
    comparison = write_comparison(
        as_paths(config.models), Path(config.output), title=config.title, class_folders=as_paths(config.class_folders)
    )
    progress.finish()
    ends = {"page": PAGE, "table": TABLE, "numbers": NUMBERS}
    return Report(
        stage="compare",
        seconds=time.monotonic() - began,
        warnings=_warnings(comparison),
        outputs={name: str(Path(config.output).with_suffix(end)) for name, end in ends.items()},
        facts={
            "n_classes": len(comparison.tags),
            "n_models": sum(len(one.models) for one in comparison.contenders),
            "n_skipped": len(comparison.skipped),
        },
    )


def write_comparison(
    folders: Sequence[Path],
    output: Path,
    *,
    title: str = "Classes and algorithms compared",
    class_folders: Sequence[Path] = (),
) -> Comparison:
    """Compare all bundles in some folders and below them.

    Parameters
    ----------
    folders
        Folders of bundles and of reports of training; a bundle that is found twice counts once.
    output
        The page, ``NAME.html``; ``NAME.csv`` (a row a model) and ``NAME.json`` appear beside it.
    title
        Heading of the page.
    class_folders
        Configuration folders with classes of your own, for the names of those that were skipped.

    Returns
    -------
    Comparison
        What was written.

    Raises
    ------
    ModelNotFoundError
        If there is neither a bundle nor a report of one that was skipped.
    OutputError
        If an output cannot be written.
    """
    taxonomy = load_classes(packaged_conf_dir(), *class_folders)
    models, broken = read_models(folders)
    skipped = [one for folder in folders for one in skipped_models(folder, taxonomy)]
    comparison = compare_models(models, [*dict.fromkeys(skipped), *broken])
    if not comparison.contenders and not comparison.skipped:
        shown = ", ".join(str(folder) for folder in folders)
        raise ModelNotFoundError(f"there is no model bundle in {shown or 'no folder'} or below; give models=FOLDER")
    with atomic_path(output.with_suffix(NUMBERS)) as temporary:
        text = json.dumps(comparison.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_path(output.with_suffix(TABLE)) as temporary:
        _write_rows(temporary, comparison)
    with atomic_path(output) as temporary:
        temporary.write_text(comparison_page(comparison, title=title), encoding="utf-8")
    return comparison


def _write_rows(path: Path, comparison: Comparison) -> None:
    """Write the table; what is not known is an empty cell."""
    rows = comparison.rows
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else ["class"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _warnings(comparison: Comparison) -> tuple[str, ...]:
    splits = {model.record.provenance.split_digest for one in comparison.contenders for model in one.models} - {""}
    if len(splits) > 1:
        return (f"the models were tested on {len(splits)} different splits; their numbers cannot be compared strictly",)
    return ()
