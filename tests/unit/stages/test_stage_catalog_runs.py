"""Runs of the catalogue that break, and go on: processes, killed runs, full disks, broken tables."""

from __future__ import annotations

import errno
import operator
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catalog_skies as skies
import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import ConfigError, DataError, FormatError, JobError, MissingColumnError, OutputError
from scope_ml.io.hats_writer import catalogue_partitions
from scope_ml.io.parquet_files import check_columns
from scope_ml.stages import catalog, catalog_build
from scope_ml.stages.catalog_inputs import ScoreFile
from scope_ml.stages.catalog_units import Piece, units_of
from scope_ml.stages.catalog_workers import open_crew
from scope_ml.stages.number_ranges import number_list

pytest.importorskip("hats")

SKIES, assert_same, catalogue, in_fields = skies.SKIES, skies.assert_same, skies.catalogue, skies.in_fields
rows_of, scored, write = skies.rows_of, skies.scored, skies.write


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load_classes", skies.LOAD)


def content(where: Path) -> dict[str, bytes]:
    return {str(path.relative_to(where)): path.read_bytes() for path in sorted(where.rglob("*")) if path.is_file()}


#: What the passes do, and where a run is stopped in each of them.
PASSES = {"find_places": 2, "route": 2, "look": 2, "_make": 2}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], dict[str, int]]:
    """Return a folder of scores, what the catalogue of it is, and how often each pass does something for it."""
    folder = tmp_path_factory.mktemp("unbroken")
    scores = in_fields(folder / "scores", scored(SKIES["field"], n_stars=25))
    calls = dict.fromkeys(PASSES, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "load_classes", skies.LOAD)
        patch.setattr(catalog_build, "UNIT_ROWS", 20)
        for name in PASSES:
            patch.setattr(catalog_build, name, _counting(calls, name, getattr(catalog_build, name)))
        catalogue(folder, scores, partition_rows=20)
    return scores, content(folder / "catalogue"), calls


def test_processes_make_the_same_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: tuple[Path, dict[str, bytes], dict[str, int]]
) -> None:
    folder, wanted, _ = unbroken
    monkeypatch.setattr(catalog_build, "UNIT_ROWS", 20)
    monkeypatch.setattr(catalog, "ROWS_OF_A_PROCESS", 1)
    catalogue(tmp_path, folder, partition_rows=20, machine={"workers": 2})
    assert content(tmp_path / "catalogue") == wanted


def _counting(calls: dict[str, int], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        calls[name] += 1
        return function(*arguments)

    return counted


@pytest.mark.parametrize("function", PASSES)
def test_a_killed_run_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: tuple[Path, dict[str, bytes], dict[str, int]],
    function: str,
) -> None:
    """Stopped in the middle of each pass, it does not do again what is done, and ends the same."""
    folder, wanted, calls = unbroken
    at = PASSES[function]
    assert calls[function] > at
    monkeypatch.setattr(catalog_build, "UNIT_ROWS", 20)
    original: Callable[..., Any] = getattr(catalog_build, function)
    done: list[int] = []

    def stops(*arguments: Any) -> Any:
        if len(done) == at:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments)

    monkeypatch.setattr(catalog_build, function, stops)
    with pytest.raises(KeyboardInterrupt):
        catalogue(tmp_path, folder, partition_rows=20)
    assert not (tmp_path / "catalogue").exists()
    again: list[int] = []

    def counted(*arguments: Any) -> Any:
        again.append(1)
        return original(*arguments)

    monkeypatch.setattr(catalog_build, function, counted)
    catalogue(tmp_path, folder, partition_rows=20)
    assert content(tmp_path / "catalogue") == wanted
    assert len(again) == calls[function] - at
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_left_of_another_run_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = scored(SKIES["field"], n_stars=20)
    folder = in_fields(tmp_path / "scores", table)
    original = catalog_build._make

    def stops(number: int, *rest: Any) -> None:
        original(number, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog_build, "_make", stops)
    with pytest.raises(KeyboardInterrupt):
        catalogue(tmp_path, folder, partition_rows=20)
    monkeypatch.setattr(catalog_build, "_make", original)
    fewer = table.filter(pa.array(np.arange(table.num_rows) % 3 > 0))
    shutil.rmtree(folder)
    in_fields(folder, fewer)
    report = catalogue(tmp_path, folder, partition_rows=20)
    assert report.facts["n_partitions_resumed"] == 0
    assert report.n_out == fewer.num_rows
    catalogue(tmp_path / "anew", folder, partition_rows=20)
    assert_same(rows_of(tmp_path / "catalogue"), rows_of(tmp_path / "anew/catalogue"))


def test_a_full_disk_leaves_the_older_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = in_fields(tmp_path / "scores", scored(SKIES["field"], n_stars=20))
    catalogue(tmp_path, folder)
    before = content(tmp_path / "catalogue")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scope_ml.stages.catalog_partitions.write_parquet", full)
    with pytest.raises(OutputError, match="No space left on device"):
        catalogue(tmp_path, folder, partition_rows=9)
    assert content(tmp_path / "catalogue") == before
    monkeypatch.undo()
    catalogue(tmp_path, folder, partition_rows=9)
    assert len(catalogue_partitions(tmp_path / "catalogue")) > 2


def test_two_runs_at_once_and_torn_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = in_fields(tmp_path / "scores", scored(SKIES["field"], n_stars=20))

    def another(*_: Any, **__: Any) -> Any:
        return catalogue(tmp_path, folder)

    monkeypatch.setattr(catalog, "build_catalogue", another)
    with pytest.raises(JobError, match=r"is being written by process \d+"):
        catalogue(tmp_path, folder)
    monkeypatch.undo()
    torn = sorted(folder.rglob("*.parquet"))[3]
    torn.write_bytes(torn.read_bytes()[:-50])
    with pytest.raises(FormatError, match=torn.name):
        catalogue(tmp_path, folder)
    torn.unlink()
    (tmp_path / "features.parquet").write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        catalogue(tmp_path, [str(tmp_path / "features.parquet")])
    no_scores = scored(SKIES["field"], n_stars=20).select(["id", "ra", "dec"])
    with pytest.raises(MissingColumnError, match="to be part of a catalogue"):
        catalogue(tmp_path, [str(write(tmp_path / "n.parquet", no_scores))])


def test_an_older_catalogue_must_be_one(tmp_path: Path) -> None:
    folder = in_fields(tmp_path / "scores", scored(SKIES["field"], n_stars=20))
    with pytest.raises(FormatError, match="no catalogue of scope_ml"):
        catalogue(tmp_path, folder, previous=str(folder))
    catalogue(tmp_path, folder)
    report = catalogue(tmp_path / "next", folder, previous=str(tmp_path / "catalogue"))
    assert report.facts["n_partitions_kept"] == report.facts["n_partitions"]
    # The files are shared, and neither catalogue goes with the other.
    shutil.rmtree(tmp_path / "catalogue")
    assert rows_of(tmp_path / "next/catalogue").num_rows == report.facts["n_stars"]
    (tmp_path / "next/catalogue/partitions.json").write_text("{]")
    with pytest.raises(FormatError, match=r"partitions.json cannot be read"):
        catalogue(tmp_path, folder, previous=str(tmp_path / "next/catalogue"))


def test_what_processes_say_is_what_they_said() -> None:
    with open_crew(2) as crew:
        assert sorted(crew.map(operator.mul, (2,), [(k,) for k in range(6)])) == [(k, 2 * k) for k in range(6)]
        # An error that is not made of its text alone, and one with more than its text.
        with pytest.raises(MissingColumnError, match=r"^that.parquet lacks the column\(s\) ra; it has: dec"):
            list(crew.map(check_columns, (["dec"],), [(Path("that.parquet"), ["ra"])]))
        with pytest.raises(ConfigError, match="fields=7: fields 7 does not exist"):
            list(crew.map(number_list, (range(1, 5),), [(2, "fields"), (7, "fields")]))
        with pytest.raises(JobError, match="the run goes on where it was"):
            list(crew.map(os._exit, (), [(9,)]))


def test_units_hold_every_row_group_once() -> None:
    sizes = [(5, 5, 5), (), (20,), (3, 4), (1,) * 12]
    files = [
        ScoreFile(path=Path(f"{k}"), n_rows=sum(groups), group_rows=groups, own_id="id", columns=())
        for k, groups in enumerate(sizes)
    ]
    units = units_of(files, 10)
    found = [(piece.file, group) for unit in units for piece in unit.pieces for group in piece.groups]
    assert found == [(file, group) for file, groups in enumerate(sizes) for group in range(len(groups))]
    assert all(unit.n_rows <= 10 or len(unit.pieces[0].groups) == 1 for unit in units)
    assert [unit.n_rows for unit in units[:2]] == [10, 5]
    for unit in units:
        for piece in unit.pieces:
            assert piece.first_row == sum(sizes[piece.file][: piece.groups[0]])
    assert units_of([], 10) == ()
    assert units[0].pieces == (Piece(file=0, groups=(0, 1), first_row=0),)


def test_light_curves_counted_twice_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of partitions are added up, not believed."""
    folder = in_fields(tmp_path / "scores", scored(SKIES["field"], n_stars=20))
    original = catalog_build.make_partition

    def doubled(*arguments: Any) -> dict[str, Any]:
        counts = original(*arguments)
        return {**counts, "n_light_curves": counts["n_light_curves"] + 1}

    monkeypatch.setattr(catalog_build, "make_partition", doubled)
    with pytest.raises(DataError, match="lost or counted twice"):
        catalogue(tmp_path, folder)
    assert not (tmp_path / "catalogue").exists()
