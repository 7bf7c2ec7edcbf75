"""Tuned settings: the files in which `tune` leaves what a study found best, and how `train` takes them up.

Such a file is a choice of the configuration group ``tuned``: for each algorithm its settings. ``tuned=each`` means each
class's own file, ``tuned/<tag>.yaml``, where there is one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, OutputError, suggest
from scope_ml.io.atomic import atomic_path
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.stages.training_options import Train
from scope_ml.taxonomy.classes import packaged_conf_dir

__all__ = ["read_tuned", "tuned_settings", "write_tuned"]

#: Key of ``conf/tuned/each.yaml``: every class takes its own file.
EACH = "each"


def tuned_settings(config: Train) -> Mapping[str, Any]:
    """Return the tuned settings of the class and algorithm; empty where there are none.

    Raises
    ------
    ConfigError
        If they are no settings by algorithm.
    """
    known, where = config.tuned, "tuned"
    if known.get(EACH) is True:
        # The later folder wins, as it does for classes.
        folders = [packaged_conf_dir(), *map(Path, as_paths(config.class_folders))]
        paths = [folder / "tuned" / f"{config.class_spec.tag}.yaml" for folder in folders]
        path = next((path for path in reversed(paths) if path.is_file()), None)
        if path is None:
            return {}
        known, where = read_tuned(path), str(path)
    _check(known, where)
    return dict(known.get(config.algorithm_name) or {})


def read_tuned(path: Path) -> dict[str, Any]:
    """Return the settings by algorithm of a file; empty if there is none.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds something else.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    if not path.exists():
        return {}
    try:
        read = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"tuned settings {path} cannot be read: {' '.join(str(error).split())}") from error
    _check(read, str(path))
    return {str(key): value for key, value in read.items()} if isinstance(read, dict) else {}


def write_tuned(path: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Write the settings of algorithm `name` into `path`; what stands there of other algorithms stays.

    Raises
    ------
    ConfigError
        If the file is there and is none of tuned settings.
    OutputError
        If it cannot be written.
    """
    from omegaconf import OmegaConf

    head = f"# Settings that studies found best: python -m scope_ml.train class={path.stem} tuned={path.stem}\n"
    with _alone(path.parent):
        known = {**read_tuned(path), name: dict(settings)}
        with atomic_path(path) as temporary:
            temporary.write_text(head + OmegaConf.to_yaml(OmegaConf.create(known)), encoding="utf-8")


def _check(known: Any, where: str) -> None:
    if not isinstance(known, Mapping):
        raise ConfigError(f"{where} holds no settings by algorithm, such as 'xgb: {{max_depth: 5}}'", key="tuned")
    for name, settings in known.items():
        if name not in ALGORITHMS:
            raise ConfigError(
                f"{where} names {name!r}, which is no algorithm{suggest(str(name), ALGORITHMS)}; its settings stand below the"
                f" name of one: {', '.join(ALGORITHMS)}",
                key="tuned",
                choices=ALGORITHMS,
            )
        if settings is not None and not isinstance(settings, Mapping):
            raise ConfigError(f"{where}: {name} is {settings!r}, not settings such as {{max_depth: 5}}", key="tuned")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time read and write the files of a folder: the studies of two algorithms share a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}; give output=FILE") from error
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
