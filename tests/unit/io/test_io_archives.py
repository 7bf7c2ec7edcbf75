"""Archives: the same bytes for the same files, and nothing unpacked that should not be."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from scope_ml.errors import DataError, FormatError, OutputError
from scope_ml.io import archives
from scope_ml.io.archives import Member, archive_members, unpack_archive, write_archive
from scope_ml.io.checksums import relative_files, sum_of


def members(folder: Path) -> dict[str, Member]:
    return {name: Member(path=path, sum=sum_of(path)) for name, path in relative_files(folder).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "text.csv").write_text("a,b\n" * 10_000)
    (made / "table.parquet").write_bytes(os.urandom(5000))
    (made / "empty.json").write_bytes(b"")
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "one.zip", members(folder))
    for path in relative_files(folder).values():
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    later = dict(reversed(members(folder).items()))
    write_archive(tmp_path / "two.zip", later)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert list(kinds) == ["deep/text.csv", "empty.json", "table.parquet"]
    assert (kinds["table.parquet"], kinds["deep/text.csv"]) == (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def test_what_goes_in_comes_out(folder: Path, target: Path, tmp_path: Path) -> None:
    packed, seen = members(folder), []
    write_archive(tmp_path / "a.zip", packed, advance=seen.append)
    assert sum(seen) == sum(member.sum.bytes for member in packed.values())
    sums = {name: member.sum for name, member in packed.items()}
    assert archive_members(tmp_path / "a.zip") == {name: one.bytes for name, one in sums.items()}
    assert unpack_archive(tmp_path / "a.zip", target, expected=sums) == sums
    assert {name: sum_of(path) for name, path in relative_files(target).items()} == sums


def test_a_file_that_changes_stops_the_packing(folder: Path, tmp_path: Path) -> None:
    packed = members(folder)
    (folder / "table.parquet").write_bytes(os.urandom(5000))
    with pytest.raises(DataError, match=r"table\.parquet changed while it was packed"):
        write_archive(tmp_path / "a.zip", packed)
    with pytest.raises(FormatError, match="cannot be the name of a file"):
        write_archive(tmp_path / "b.zip", {"../x": packed["empty.json"]})


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:/evil", "x\x00y"])
def test_names_that_lead_out_are_refused(tmp_path: Path, target: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        info = zipfile.ZipInfo("p" * len(name.encode()))
        archive.writestr(info, b"x")
    raw = (tmp_path / "slip.zip").read_bytes().replace(b"p" * len(name.encode()), name.encode())
    (tmp_path / "slip.zip").write_bytes(raw)
    with pytest.raises(FormatError, match=r"slip\.zip must not be unpacked: the name .* leads out of the folder"):
        unpack_archive(tmp_path / "slip.zip", target)
    assert list(tmp_path.rglob("*evil*")) == []


def test_links_and_devices_are_refused(tmp_path: Path, target: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
            info = zipfile.ZipInfo("data.csv")
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(FormatError, match=r"data\.csv is a link or a device"):
            unpack_archive(tmp_path / "link.zip", target)


@pytest.mark.parametrize(("claimed", "message"), [(1000, "is damaged"), (50_500_000, "is shorter than the 50500000")])
def test_a_member_of_another_size_than_it_says_is_stopped(
    tmp_path: Path, target: Path, claimed: int, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))
    raw = bytearray((tmp_path / "bomb.zip").read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", claimed)
    (tmp_path / "bomb.zip").write_bytes(bytes(raw))
    with pytest.raises(FormatError, match=message):
        unpack_archive(tmp_path / "bomb.zip", target)
    assert all(path.stat().st_size <= claimed for path in relative_files(target).values())


def test_claims_that_no_compression_can_keep_are_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "claim.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", b"abc")
    raw = bytearray((tmp_path / "claim.zip").read_bytes())
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 4_000_000_000)
    (tmp_path / "claim.zip").write_bytes(bytes(raw))
    with pytest.raises(FormatError, match="claims 4000000000 bytes from"):
        unpack_archive(tmp_path / "claim.zip", target)


def test_an_archive_larger_than_the_disk_is_refused(
    folder: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "a.zip", members(folder))
    usage = namedtuple("usage", "total used free")(10, 10, 10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="MB left; choose another output"):
        unpack_archive(tmp_path / "a.zip", target)


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("kernel", os.urandom(3000))
        for number in range(50):
            archive.writestr(f"f{number}", b"x")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    start = raw.index(b"PK\x01\x02")
    for _ in range(51):
        # every member begins where the first does, and says that it is as large
        raw[start + 20 : start + 24] = struct.pack("<I", 3000)
        raw[start + 42 : start + 46] = struct.pack("<I", 0)
        lengths = struct.unpack("<HHH", raw[start + 28 : start + 34])
        start += 46 + sum(lengths)
    (tmp_path / "a.zip").write_bytes(bytes(raw))
    with pytest.raises(FormatError, match="its members overlap"):
        archive_members(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_and_a_file_that_is_a_folder_are_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "1")
        archive.writestr("x", "2")
    with pytest.raises(FormatError, match="x is in it twice"):
        unpack_archive(tmp_path / "a.zip", target)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x", "1")
        archive.writestr("x/y", "2")
    with pytest.raises(FormatError, match="a file and a folder"):
        unpack_archive(tmp_path / "b.zip", target)


def test_damage_is_one_line(folder: Path, target: Path, tmp_path: Path) -> None:
    packed = members(folder)
    write_archive(tmp_path / "a.zip", packed)
    raw = (tmp_path / "a.zip").read_bytes()
    torn = bytearray(raw)
    torn[raw.index(b"deep/text.csv") + 20] ^= 0xFF
    for content in (b"", b"not a zip", raw[: len(raw) // 2], bytes(torn)):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(FormatError, match="fetch it again"):
            unpack_archive(tmp_path / "b.zip", target)
        for path in relative_files(target).values():
            path.unlink()
    with pytest.raises(FormatError, match="does not exist"):
        archive_members(tmp_path / "absent.zip")
    sums = {name: member.sum for name, member in packed.items()}
    with pytest.raises(FormatError, match="is in the archive or in the manifest, but not in both"):
        unpack_archive(tmp_path / "a.zip", target, expected=sums | {"more": sums["empty.json"]})
    other = sums | {"empty.json": sums["table.parquet"]}
    with pytest.raises(FormatError, match=r"empty\.json is not the file that the manifest names"):
        unpack_archive(tmp_path / "a.zip", target, expected=other)
