"""Which files a data release is made of, in the layout of SCoPe's published ones, and what each is made from.

::

    predictions_dnn_xgb_2_fields.zip   score tables           fields.json           list of fields
    trained_dnn_models.zip             bundles, importable    training_set.parquet  features, labels, split
    trained_xgb_models.zip                                    field_296_100rows.csv the first rows, to look at
    catalogue_hats.zip                 one row a star         *.csv, *.html         subset and page of the catalogue

Nothing is written here but what has to be gathered first (models, in a folder of the caller's).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.provenance import digest_json
from scope_ml.datasets.assemble import load_built
from scope_ml.datasets.training_set import write_training_set
from scope_ml.errors import ConfigError, EmptySelectionError, FormatError
from scope_ml.io.archives import Member
from scope_ml.io.checksums import relative_files, sum_of
from scope_ml.models.record import read_record
from scope_ml.stages.release_manifest import LAYOUT, MODELS
from scope_ml.stages.release_tables import Scores
from scope_ml.tracking.bundles import model_record
from scope_ml.tracking.lock import LOCK_NAME, write_lock
from scope_ml.tracking.records import ModelVersion
from scope_ml.tracking.resolve import ResolvedModel
from scope_ml.tracking.transfer import Parcel, write_parcel

__all__ = ["Part", "catalogue_parts", "model_parts", "predictions_parts", "training_set_part"]

#: What of a HATS catalogue's folder goes into its archive, beside ``dataset/`` and the maps.
HATS_FILES = frozenset({"properties", "hats.properties", "collection.properties", "partition_info.csv"})
PROPERTIES = ("hats.properties", "properties")

#: SCoPe's list of fields.
FIELDS = "fields.json"

#: Endings of a catalogue's own records, which go with it, and of what stands beside its archive: ending -> kind.
RECORDS = frozenset({".json", ".parquet"})
BESIDE = {".csv": "subset", ".html": "page"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file to make.

    Attributes
    ----------
    name, kind
        As in the manifest.
    members
        What it is made from, by name: the files of an archive, the one file to copy, or what `make` reads.
    make
        Writes it to a path; None packs `members` (``.zip``) or copies the one.
    of
        What else decides its content.
    is_quick
        It is made anew each time: what it is made by may have changed too.
    n_records, unit
        How many of what it holds.
    """

    name: str
    kind: str
    members: Mapping[str, Member]
    make: Callable[[Path], None] | None = None
    of: Any = None
    is_quick: bool = False
    n_records: int | None = None
    unit: str = ""

    @property
    def key(self) -> str:
        """Digest of all that decides its content."""
        sums = {name: member.sum.sha256 for name, member in self.members.items()}
        return digest_json([LAYOUT, self.name, self.kind, sums, self.of])


def member(path: Path) -> Member:
    """Return a file with its sum as it is now."""
    return Member(path=path, sum=sum_of(path))


def predictions_parts(scores: Scores, *, form: str, n_example_rows: int) -> list[Part]:
    """Return the archive of score tables, and an example of their first rows as CSV.

    Parameters
    ----------
    scores
        The tables.
    form
        ``parquet`` packs them as they are, ``csv`` turns them into CSV with a record beside each.
    n_example_rows
        Rows of the example; 0: none.
    """
    algorithms = "_".join(sorted({column.partition("_")[2] for column in scores.models})) or "scores"
    name = f"predictions_{algorithms}_{len(scores.fields)}_fields.zip"
    files = scores.as_csv() if form == "csv" else scores.files
    members = {inside: member(path) for inside, path in files.items()}
    parts = [
        Part(name=name, kind="predictions", members=members, n_records=scores.n_rows, unit="light curves", of=form)
    ]
    first = scores.first_with_rows
    if n_example_rows and first is not None:
        of_field = scores.first_field
        field_name = "predictions" if of_field is None else f"field_{of_field}"
        n_rows = min(n_example_rows, first.n_rows)
        parts.append(
            Part(
                name=f"{field_name}_{n_rows}rows.csv",
                kind="example",
                members={first.path.name: member(first.path)},
                make=lambda target: scores.write_example(target, n_rows),
                of=n_rows,
                is_quick=True,
                n_records=n_rows,
                unit="light curves",
            )
        )
    return parts


def model_parts(models: tuple[ResolvedModel, ...], stage: Path) -> list[Part]:
    """Return one archive of bundles for each algorithm, in the form that `registry import` reads, and their lock file.

    Parameters
    ----------
    models
        Which.
    stage
        An empty folder in which they are gathered.
    """
    parts = []
    for algorithm in sorted({model.pin.algorithm for model in models}):
        of_it = [model for model in models if model.pin.algorithm == algorithm]
        name = f"trained_{algorithm}_models"
        write_parcel(stage / name, [_parcel(model) for model in of_it])
        members = {inside: member(path) for inside, path in relative_files(stage / name).items()}
        parts.append(Part(name=f"{name}.zip", kind=MODELS, members=members, n_records=len(of_it), unit="models"))
    write_lock(stage / LOCK_NAME, [model.pin for model in models])
    parts.append(Part(name=LOCK_NAME, kind="lock", members={LOCK_NAME: member(stage / LOCK_NAME)}))
    return parts


def _parcel(model: ResolvedModel) -> Parcel:
    record = model_record(model.folder, read_record(model.folder))
    alias = model.pin.alias or "champion"
    version = ModelVersion.from_tags(record.name, model.pin.version or 1, (alias,), record.tags())
    return Parcel(version=version, record=record, history=(), alias=alias)


def training_set_part(folder: Path, stage: Path) -> Part:
    """Return the training set of a folder of `build_dataset` as one table; `stage` is where it is made."""
    if not folder.is_dir():
        raise FormatError(f"training_set={folder} is no folder of python -m scope_ml.build_dataset")
    dataset, split = load_built(folder)
    members = {path.name: member(path) for path in sorted(folder.glob("*.parquet"))}

    def make(target: Path) -> None:
        # A table's name says its format, the target's is a temporary one.
        write_training_set(stage / "training_set.parquet", dataset, split)
        (stage / "training_set.parquet").replace(target)

    return Part(
        name="training_set.parquet",
        kind="training_set",
        members=members,
        make=make,
        is_quick=True,
        n_records=len(dataset),
        unit="light curves",
    )


def catalogue_parts(folder: Path, page: Path | None) -> tuple[list[Part], list[str]]:
    """Return the parts of a catalogue, and names of what its folder holds besides, which stays here.

    Raises
    ------
    FormatError
        If it is no HATS catalogue.
    """
    root = _hats_root(folder)
    inside: dict[str, Member] = {}
    parts: list[Part] = []
    left: list[str] = []
    for name, path in relative_files(root).items():
        top = name.partition("/")[0]
        is_beside = top == name and _kind_beside(name) is not None
        is_record = top == name and path.suffix in RECORDS and (not is_beside or name == FIELDS)
        if top == "dataset" or name in HATS_FILES or path.suffix == ".fits" or is_record:
            inside[name] = member(path)
        elif not is_beside:
            left.append(name)
    beside = {path.name: path for place in {folder, root} for path in sorted(place.iterdir()) if path.is_file()}
    if page is not None:
        beside[page.name] = page
    for name, path in sorted(beside.items()):
        kind = _kind_beside(name)
        if kind is not None:
            parts.append(Part(name=name, kind=kind, members={name: member(path)}))
    n_stars = _properties(root).get("hats_nrows", "")
    hats = Part(
        name="catalogue_hats.zip",
        kind="catalogue",
        members=inside,
        n_records=int(n_stars) if n_stars.isdigit() else None,
        unit="stars",
    )
    return [hats, *parts], left


def _kind_beside(name: str) -> str | None:
    """Return the kind of a file of a catalogue's folder that stands beside its archive, or None."""
    if name in HATS_FILES or name.startswith("."):
        return None
    if name.startswith("changes."):
        return "changes"
    return "fields" if name == FIELDS else BESIDE.get(Path(name).suffix)


def fields_part(fields: tuple[int, ...], stage: Path) -> Part:
    """Return ``fields.json``, SCoPe's list of fields, for a release without a catalogue."""
    path = stage / FIELDS
    path.write_text(json.dumps(list(fields)) + "\n", encoding="utf-8")
    return Part(name=FIELDS, kind="fields", members={path.name: member(path)}, n_records=len(fields), unit="fields")


def check_models(scores: Scores, models: tuple[ResolvedModel, ...]) -> None:
    """Check that the models to pack are those that made the scores.

    Raises
    ------
    ConfigError
        If a score is of another bundle, or of a model that is not packed.
    """
    packed = {f"{model.pin.tag}_{model.pin.algorithm}": model.pin.digest for model in models}
    for column, digest in sorted(scores.models.items()):
        if packed.get(column) != digest:
            there = f"{packed[column][:12]}" if column in packed else "none"
            raise ConfigError(
                f"the scores {column} were made by the bundle {digest[:12]}, to be packed is {there}; give"
                " models=PREDICTIONS.models.lock.json, which infer wrote beside the scores",
                key="models",
            )


def _hats_root(folder: Path) -> Path:
    if not folder.is_dir():
        raise FormatError(f"catalogue={folder} is no folder; type python -m scope_ml.catalog ... output={folder}")
    for root in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (root / "dataset").is_dir() and any((root / name).is_file() for name in PROPERTIES):
            return root
    raise FormatError(
        f"catalogue={folder} holds no HATS catalogue (no dataset/ beside hats.properties); give the folder that"
        " python -m scope_ml.catalog wrote"
    )


def _properties(root: Path) -> dict[str, str]:
    path = next(root / name for name in PROPERTIES if (root / name).is_file())
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}


def refuse_nothing(parts: list[Part]) -> None:
    """Refuse a release without anything in it, or with two files of one name."""
    if not parts:
        raise EmptySelectionError(
            "there is nothing to pack; give predictions=[...], models=..., training_set=... or catalogue=..."
        )
    names = [part.name for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two parts of the release would be called {twice[0]}; rename one", key="web_page")
