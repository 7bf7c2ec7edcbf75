"""Sums of files: the form of sha256sum, and files that are not what they were."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from scope_ml.errors import DataError, FormatError
from scope_ml.io.checksums import (
    SUMS_NAME,
    FileSum,
    check_files,
    copy_checked,
    is_plain_name,
    read_sums,
    relative_files,
    sum_of,
    write_sums,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a b.csv").write_text("1\n")
    (tmp_path / "data" / "deep" / "ä.txt").write_bytes(b"x" * 3_000_000)
    (tmp_path / "data" / ".hidden").write_text("h")
    (tmp_path / "data" / "link").symlink_to("/etc/hostname")
    return tmp_path / "data"


def test_sums_are_those_of_sha256sum(folder: Path) -> None:
    sums = {name: sum_of(path) for name, path in relative_files(folder).items()}
    assert list(sums) == ["a b.csv", "deep/ä.txt"], "neither hidden files nor links"
    write_sums(folder / SUMS_NAME, sums)
    done = subprocess.run(["sha256sum", "-c", SUMS_NAME], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_sums(folder / SUMS_NAME) == {name: one.sha256 for name, one in sums.items()}
    assert check_files(folder, sums) == {}
    assert set(relative_files(folder, hidden=True)) == {"a b.csv", "deep/ä.txt", ".hidden", SUMS_NAME}


def test_missing_and_changed_files_are_told_apart(folder: Path) -> None:
    sums = {name: sum_of(path) for name, path in relative_files(folder).items()}
    (folder / "a b.csv").write_text("2\n")
    (folder / "deep" / "ä.txt").unlink()
    assert check_files(folder, sums) == {"a b.csv": "changed", "deep/ä.txt": "missing"}
    (folder / "deep" / "ä.txt").symlink_to(folder / "a b.csv")
    assert check_files(folder, sums, ["deep/ä.txt"]) == {"deep/ä.txt": "missing"}, "a link is no file of the folder"


def test_a_file_that_changed_is_noticed_while_it_is_copied(folder: Path) -> None:
    before = sum_of(folder / "a b.csv")
    out = io.BytesIO()
    assert copy_checked(folder / "a b.csv", out, before) == before
    assert out.getvalue() == b"1\n"
    (folder / "a b.csv").write_text("9\n")
    with pytest.raises(DataError, match=r"a b\.csv changed while it was packed"):
        copy_checked(folder / "a b.csv", io.BytesIO(), before)


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../x", "a//b", "./a", "a\\b", "C:/x", "a\n", "a/", "a\0b"])
def test_names_that_leave_the_folder_are_known(name: str) -> None:
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.c", "..a/b..", "field_000296/ccd_01_quad_2.parquet", "Norder=1/Npix=3"])
def test_plain_names_are_plain(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("line", ["abc  x", f"{'0' * 64}  ../x", f"{'0' * 64}", "<html>"])
def test_a_file_that_holds_no_sums_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / SUMS_NAME).write_text(f"{'0' * 64}  good\n{line}\n")
    with pytest.raises(FormatError, match="line 2 is no SHA-256 sum"):
        read_sums(tmp_path / SUMS_NAME)
    with pytest.raises(FormatError, match="cannot be read"):
        read_sums(tmp_path / "absent")


def test_a_sum_is_its_bytes_and_digest(folder: Path) -> None:
    empty = FileSum(bytes=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    (folder / "a b.csv").write_bytes(b"")
    assert sum_of(folder / "a b.csv") == empty
