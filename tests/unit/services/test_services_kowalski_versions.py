"""A catalogue's version is asked once, remembered between runs, and another where the catalogue has grown."""

from __future__ import annotations

import json

import pytest

from scope_ml.errors import OutputError, ReplyError
from scope_ml.services.kowalski.versions import Versions, catalog_folder, version_of


class Counts:
    """Says how many documents there are, and remembers who asked."""

    def __init__(self, **counts):
        self.counts = counts
        self.asked = []

    def __call__(self, query, *, catalog):
        assert query == {"query_type": "estimated_document_count", "query": {"catalog": catalog}}
        self.asked.append(catalog)
        return json.dumps({"status": "success", "message": "", "data": self.counts[catalog]}).encode()


def test_a_second_run_asks_nothing(tmp_path):
    counts = Counts(a=5, b=6)
    first = Versions(counts, tmp_path)
    assert first.version("a") == first.version("a") == version_of("a", 5)
    assert first.version("b") == version_of("b", 6)
    assert Versions(counts, tmp_path).version("a") == version_of("a", 5)
    assert counts.asked == ["a", "b"]
    kept = json.loads((tmp_path / "versions.json").read_text())
    assert kept["catalogs"]["a"] == {"count": 5, "version": version_of("a", 5), "asked": kept["catalogs"]["a"]["asked"]}
    assert kept["catalogs"]["a"]["asked"].endswith("+00:00")


def test_refresh_asks_again_once(tmp_path):
    counts = Counts(a=5)
    before = Versions(counts, tmp_path).version("a")
    counts.counts["a"] = 7
    assert Versions(counts, tmp_path).version("a") == before
    renewed = Versions(counts, tmp_path, refresh=True)
    assert renewed.version("a") == renewed.version("a") == version_of("a", 7) != before
    assert counts.asked == ["a", "a"]
    assert Versions(counts, tmp_path).version("a") == version_of("a", 7)


def test_without_a_cache_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = Counts(a=5)
    versions = Versions(counts, None)
    assert versions.version("a") == versions.version("a")
    assert counts.asked == ["a"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "broken",
    [
        "",
        '{"format": 1, "catalogs": {"a"',
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 99, "catalogs": {"a": {"count": 4}}}',
        '{"format": 1, "catalogs": {"a": {"count": "4"}}}',
        '{"format": 1, "catalogs": {"a": {"count": -4}}}',
        '{"format": 1, "catalogs": {"a": 4}}',
        "\x00\xff",
    ],
)
def test_a_broken_file_is_asked_anew(tmp_path, broken):
    (tmp_path / "versions.json").write_bytes(broken.encode("latin-1"))
    counts = Counts(a=5)
    assert Versions(counts, tmp_path).version("a") == version_of("a", 5)
    assert Versions(counts, tmp_path).version("a") == version_of("a", 5)
    assert counts.asked == ["a"]


def test_what_others_wrote_stays(tmp_path):
    counts = Counts(a=5, b=6)
    one, other = Versions(counts, tmp_path), Versions(counts, tmp_path)
    one.version("a")
    other.version("b")
    assert set(json.loads((tmp_path / "versions.json").read_text())["catalogs"]) == {"a", "b"}


@pytest.mark.parametrize("count", ["many", -1, None, True, 1.5, [3]])
def test_a_size_that_is_none_is_an_error_and_not_kept(tmp_path, count):
    with pytest.raises(ReplyError, match="catalogue 'a'"):
        Versions(Counts(a=count), tmp_path).version("a")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Versions(Counts(a=5), tmp_path / "file").version("a")


def test_versions_and_folders_tell_catalogues_apart(tmp_path):
    assert len({version_of("a", 1), version_of("a", 2), version_of("b", 1)}) == 3
    version = version_of("a", 1)
    assert catalog_folder(tmp_path, "ZTF_sources_20240117", version).name == f"ZTF_sources_20240117-{version[:12]}"
    folder = catalog_folder(tmp_path, "../a/b", version)
    assert folder.parent == tmp_path
