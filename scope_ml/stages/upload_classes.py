"""Which columns of a table `fritz_upload` posts, as which classes of Fritz, and which models made them.

May import `datasets` (lists of folders), taxonomy, tracking, core and errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, MissingColumnError, SchemaError, suggest
from scope_ml.stages.upload_table import InputTable
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.fritz_mappers import Mapper, read_mapper
from scope_ml.taxonomy.fritz_names import FritzNames, load_names, mapper_of, old_mapper
from scope_ml.tracking.lock import LOCK_NAME, read_lock

__all__ = ["READ", "chosen_mapper", "model_facts"]

#: Word for all columns of the mapper.
READ = "read"

#: Missing columns that an error names.
N_SHOWN = 6


def chosen_mapper(
    classifications: str | Sequence[str],
    mapper: str | None,
    class_folders: str | Sequence[str],
    columns: Sequence[str],
    where: str,
) -> Mapper:
    """Return the columns to post and their classes.

    Parameters
    ----------
    classifications
        ``read`` for all of the mapper, or some of its columns or tags; nothing for none.
    mapper
        One of SCoPe's four, by name; a file of their form; None: what of `columns` is a class of ours.
    class_folders
        Folders with further classes.
    columns
        Of the table.
    where
        The table, for messages.

    Raises
    ------
    ConfigError
        If the mapper is none, or has no such column or class; or if a column is not to be uploaded.
    MissingColumnError
        If the table lacks columns.
    """
    given = (classifications,) if isinstance(classifications, str) else tuple(classifications)
    known = _mapper(mapper, _names(as_paths(class_folders)), columns)
    if not given:
        return known.only(())
    if given == (READ,):
        if not known.usable:
            raise ConfigError(
                f"no column of {where} is a class (columns are called vnv, vnv_dnn, ... or by a mapper: mapper=golden);"
                f" it has {', '.join(columns[:12])}",
                key="classifications",
            )
        wanted = [one.column for one in known.usable]
    else:
        wanted = [column for name in given for column in _columns_of(name, known)]
    missing = [column for column in dict.fromkeys(wanted) if column not in columns]
    if missing:
        more = f", {len(missing)} in all" if len(missing) > N_SHOWN else ""
        raise MissingColumnError(f"{where} ({known.name}{more})", missing[:N_SHOWN], list(columns))
    return known.only(wanted)


def _names(folders: tuple[Path, ...]) -> FritzNames:
    return load_names(load_classes(packaged_conf_dir(), *folders), *folders)


def _mapper(mapper: str | None, names: FritzNames, columns: Sequence[str]) -> Mapper:
    if mapper is None:
        return mapper_of(names.taxonomy, columns, names=names)
    if mapper in names.old_files:
        # The numbers in SCoPe's files are those of one service; which they are here is found by name.
        return old_mapper(mapper, names).without_ids()
    if not mapper.lower().endswith(".json"):
        raise ConfigError(
            f"mapper={mapper} is neither one of {', '.join(names.old_files)} nor a .json file{suggest(mapper, names.old_files)}",
            key="mapper",
        )
    return read_mapper(Path(mapper), names=names)


def _columns_of(name: str, mapper: Mapper) -> list[str]:
    """Return the columns that a word of `classifications` means: a column, or all of a tag."""
    if name in mapper:
        if mapper[name].label is None:
            raise ConfigError(f"{mapper.name} does not upload '{name}'; leave it out", key="classifications")
        return [name]
    of_tag = [one.column for one in mapper.usable if one.tag == name]
    if not of_tag:
        known = (*mapper.columns, *dict.fromkeys(one.tag for one in mapper.usable if one.tag))
        raise ConfigError(
            f"{mapper.name}: no column or class '{name}'; there are {', '.join(dict.fromkeys(known)) or 'none'}"
            f"{suggest(name, known)}",
            key="classifications",
            choices=known,
        )
    return of_tag


def model_facts(table: InputTable, mapper: Mapper) -> dict[str, Any]:
    """Return which models made the scores that are posted: digest, threshold, and version where the table's lock tells it."""
    digests = table.facts.get("models")
    if not isinstance(digests, dict):
        return {}
    versions: dict[str, int | None] = {}
    # Where `infer` pins the models of a table, whose room would have to load all of theirs.
    lock = table.path.with_name(f"{table.path.name}.{LOCK_NAME}")
    if lock.is_file():
        # Which models it was says the table itself; a broken lock only hides their numbers.
        with suppress(SchemaError):
            versions = {entry.digest: entry.version for entry in read_lock(lock)}
    thresholds = table.facts.get("thresholds") or {}
    return {
        "models": {
            name: {"digest": digests[name], "version": versions.get(digests[name]), "threshold": thresholds.get(name)}
            for name in sorted({one.column for one in mapper.usable} & set(digests))
        }
    }
