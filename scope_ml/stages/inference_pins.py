"""The models of a run of many processes, pinned and at hand in the folder of the run.

A champion may be replaced, and a registry be out of reach of a worker, while the run goes on: its processes take the
bundles that were champions when it was planned. May import tracking, io, core and errors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scope_ml.core.provenance import digest_json
from scope_ml.errors import OutputError
from scope_ml.io.atomic import clear_leftovers, hidden_sibling
from scope_ml.stages.inference_options import Infer
from scope_ml.tracking.lock import LOCK_NAME, write_lock
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["pinned"]


def pinned(config: Infer, chosen: Sequence[ResolvedModel]) -> Infer:
    """Return the configuration with `chosen` as its models, whose bundles are put into the folder of the run.

    Raises
    ------
    OutputError
        If they cannot be.
    """
    run = config.executor.run_folder(config.output_path)
    folder = run / f"models-{digest_json(sorted(model.pin.digest for model in chosen))[:12]}"
    if not (folder / LOCK_NAME).is_file():
        clear_leftovers(folder)
        unfinished = hidden_sibling(folder)
        try:
            for model in chosen:
                _put(model.folder, unfinished / model.pin.tag / model.pin.algorithm)
            write_lock(unfinished / LOCK_NAME, [model.pin for model in chosen])
            if not folder.exists():
                unfinished.rename(folder)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot put the models into {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return replace(config, models=str(folder / LOCK_NAME), bundles=str(folder))


def _put(bundle: Path, into: Path) -> None:
    """Link the files of a bundle, or copy them to another disk."""
    for path in sorted(bundle.rglob("*")):
        if path.is_dir():
            continue
        target = into / path.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
