"""Files of `get_quad_ids`: one list of sources each, and per field a `meta.json` that says what was really written.

In the layout `ours` they are tables with our record, named as feature tables are; in the layout `scope` they are what
SCoPe's `get-quad-ids` wrote and its other tools read, ids alone. May import io, core and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, FormatError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.hdf5_files import hdf5_in_memory
from scope_ml.io.tables import FORMATS, write_table
from scope_ml.stages.quadrant_list import Quadrant

__all__ = ["FileFormat", "FileLayout", "FolderLayout", "Meta", "SourceFile"]

FileFormat = Literal["parquet", "hdf5", "csv"]
FileLayout = Literal["ours", "scope"]

#: Suffix of each format.
SUFFIXES: dict[FileFormat, str] = {"parquet": ".parquet", "hdf5": ".h5", "csv": ".csv"}

META = "meta.json"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One list of sources to make.

    Attributes
    ----------
    name
        For messages: ``field 301 ccd 1 quad 2`` or ``field 301``.
    quadrants
        Whose sources it lists: one, or those of a field.
    paths
        Where it goes, in one format or two.
    dataset
        Name of the ids in SCoPe's HDF5 files.
    """

    name: str
    quadrants: tuple[Quadrant, ...]
    paths: tuple[Path, ...]
    dataset: str

    @property
    def field(self) -> int:
        """Return the field."""
        return self.quadrants[0].field


@dataclass(frozen=True, kw_only=True)
class FolderLayout:
    """How the files of a folder are named and what is in them.

    Attributes
    ----------
    folder
        The output.
    layout
        ``ours`` or ``scope``.
    formats
        Of each file; several only in the layout ``scope``, whose tools write HDF5 and CSV side by side.
    """

    folder: Path
    layout: FileLayout
    formats: tuple[FileFormat, ...]

    @classmethod
    def of(cls, folder: Path, layout: FileLayout, form: FileFormat | None) -> FolderLayout:
        """Return the layout with the formats that go with it.

        Raises
        ------
        ConfigError
            If `folder` is named as a file or is one, or SCoPe has no such format.
        """
        if folder.suffix.lower() in FORMATS or (folder.exists() and not folder.is_dir()):
            raise ConfigError(
                f"output={folder} is a file, but there is a file for each quadrant; give a folder, such as"
                f" output={folder.with_suffix('')}",
                key="output",
            )
        if layout == "ours":
            return cls(folder=folder, layout=layout, formats=(form or "parquet",))
        if form == "parquet":
            raise ConfigError(
                "layout=scope has no Parquet files; give format=hdf5, format=csv, or null for both", key="format"
            )
        return cls(folder=folder, layout=layout, formats=(form,) if form else ("hdf5", "csv"))

    def of_field(self, number: int) -> Path:
        """Return the folder of a field."""
        return self.folder / (f"field_{number:06d}" if self.layout == "ours" else f"ids/field_{number}")

    def quadrant(self, one: Quadrant) -> SourceFile:
        """Return the file of a quadrant."""
        where = self.of_field(one.field)
        end = f"ccd_{one.ccd}_quad_{one.quad}_field_{one.field}"
        names: dict[FileFormat, str] = {form: f"ccd_{one.ccd:02d}_quad_{one.quad}" for form in SUFFIXES}
        if self.layout == "scope":
            # SCoPe pads the ccd in the names of its HDF5 files, and nowhere else.
            names = {"hdf5": f"data_ccd_{one.ccd:02d}_quad_{one.quad}", "csv": f"data_{end}"}
        return SourceFile(
            name=str(one.selection),
            quadrants=(one,),
            paths=tuple(where / f"{names[form]}{SUFFIXES[form]}" for form in self.formats),
            dataset=f"dataset_{end}",
        )

    def whole(self, number: int, quadrants: Sequence[Quadrant]) -> SourceFile:
        """Return the one file of a field."""
        where = self.of_field(number)
        name = where.name
        return SourceFile(
            name=f"field {number}",
            quadrants=tuple(quadrants),
            paths=tuple(where / f"{name}{SUFFIXES[form]}" for form in self.formats),
            dataset=f"dataset_field_{number}",
        )

    def write(self, file: SourceFile, sources: pa.Table, record: TableMetadata) -> None:
        """Write a list of sources in all its formats, each atomically.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        for path, form in zip(file.paths, self.formats, strict=True):
            if self.layout == "ours":
                write_table(sources, path, record)
            else:
                _write_ids(sources["id"], path, form, file.dataset)


def _write_ids(ids: pa.ChunkedArray, path: Path, form: FileFormat, dataset: str) -> None:
    """Write ids alone, as 64-bit whole numbers: a dataset of one dimension, or a CSV without names."""
    numbers = ids.to_numpy().astype(np.int64)
    with atomic_path(path) as temporary:
        if form == "csv":
            temporary.write_text("".join(f"{number}\n" for number in numbers.tolist()), encoding="utf-8")
            return
        with hdf5_in_memory(temporary) as file:
            file.create_dataset(dataset, data=numbers)


@dataclass(kw_only=True)
class Meta:
    """The `meta.json` of a field's folder: SCoPe's keys about the files of one set of options, ours about each file.

    Attributes
    ----------
    path
        Where it stands.
    options
        What all its counted files were made with: `catalog` and its `edition`, `min_obs`, `skip`, `limit`.
    files
        By name: `made_with` (None where sources are missing), `n_bytes`, `n_sources`, `counted`, `quadrants` as
        [ccd, quad, sources], and `options`.
    """

    path: Path
    options: Mapping[str, Any]
    files: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, folder: Path, options: Mapping[str, Any]) -> Meta:
        """Read what stands in a field's folder; entries of files that are gone or were changed are left out.

        Raises
        ------
        FormatError
            If `meta.json` is no JSON.
        """
        path = folder / META
        files: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                held = json.loads(path.read_bytes())
                entries = held.get("files", {})
                files = {name: one for name, one in entries.items() if _stands(folder / name, one)}
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                raise FormatError(f"{path} cannot be read ({error}); remove it, its files are made again") from error
        return cls(path=path, options=options, files=files)

    def finished(self, file: SourceFile, made_with: str) -> dict[str, Any] | None:
        """Return the entry of a file that was made with the same, in all its formats, or None."""
        entries = [self.files.get(path.name) for path in file.paths]
        first = entries[0]
        if first is None or any(one is None or one["made_with"] != made_with for one in entries):
            return None
        return first

    def begin(self, file: SourceFile) -> None:
        """Forget a file before it is written again: killed in between, it does not pass for finished."""
        if any(self.files.pop(path.name, None) is not None for path in file.paths):
            self.write(file.field)

    def add(self, file: SourceFile, entry: Mapping[str, Any]) -> None:
        """Put down what was written."""
        for path in file.paths:
            self.files[path.name] = {**entry, "n_bytes": path.stat().st_size, "options": dict(self.options)}
        self.write(file.field)

    @property
    def others(self) -> list[str]:
        """Return the names of files that were made with other options."""
        return sorted(name for name, one in self.files.items() if one["options"] != self.options)

    def write(self, number: int) -> None:
        """Write the file, atomically."""
        counts: dict[int, dict[int, int]] = {}
        for entry in self.files.values():
            if entry["options"] == self.options:
                for ccd, quad, n in entry["quadrants"]:
                    counts.setdefault(ccd, {})[quad] = n
        quads = sorted({quad for of_ccd in counts.values() for quad in of_ccd})
        text = {
            "catalog": self.options["catalog"],
            "minobs": self.options["min_obs"],
            "field": number,
            "ccd_range": [min(counts), max(counts)] if counts else [],
            "quad_range": [quads[0], quads[-1]] if quads else [],
            "ccd": {str(ccd): {"quad": {str(q): n for q, n in sorted(counts[ccd].items())}} for ccd in sorted(counts)},
            "total": sum(n for of_ccd in counts.values() for n in of_ccd.values()),
            "edition": self.options["edition"],
            "skip": self.options["skip"],
            "limit": self.options["limit"],
            "files": dict(sorted(self.files.items())),
        }
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(text, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _stands(path: Path, entry: Mapping[str, Any]) -> bool:
    """Return whether the file of an entry is there and as long as it was."""
    if not {"made_with", "n_sources", "counted", "quadrants", "options"} <= set(entry):
        return False
    return path.is_file() and path.stat().st_size == entry["n_bytes"]
