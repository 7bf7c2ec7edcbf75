"""Options that contradict one another, tables in every format, imputed and streamed features: with a service made of lists."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, FormatError, MissingColumnError, NotFoundError, ServiceUnavailableError
from scope_ml.io.tables import read_table, write_table
from scope_ml.services.fritz.records import Source
from scope_ml.stages.fritz_download import FritzDownload, run
from scope_ml.stages.fritz_fetch import packed, unpacked
from scope_ml.stages.fritz_rows import read_rows
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())

SOURCE = {
    "id": "A",
    "ra": 359.9999,
    "dec": 0.0,
    "created_at": "2026-01-02T03:04:05",
    "groups": [{"id": 7}],
    "labellers": [{"id": 1, "labeller_id": 44, "obj_id": "A"}],
    "annotations": [{"id": 3, "origin": "x", "data": {"period": "0.5", "other": {"deep": [1]}}, "groups": []}],
    "classifications": [
        {
            "id": 5,
            "classification": "RRab",
            "probability": None,
            "taxonomy_id": 2,
            "created_at": "2026-01-02T03:04:05.5",
            "groups": [{"id": 7}],
            "votes": [{"id": 1, "voter_id": 44, "vote": 1, "modified": "2026-01-03T00:00:00"}],
        }
    ],
}


class Portal:
    """Fritz with one group of some sources."""

    page = 500

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        self.sources = sources

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        if path == "/api/groups":
            return {"user_groups": [{"id": 7, "name": "Voters"}], "user_accessible_groups": [], "all_groups": []}
        return {"sources": list(self.sources), "totalMatches": len(self.sources), "numPerPage": 500}

    def change(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a download changes nothing")


@pytest.fixture(autouse=True)
def classes_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scope_ml.stages.fritz_download.load_classes", lambda *_: TAXONOMY)


def download(output: Path, *sources: Mapping[str, Any], **options: Any) -> Report:
    values = {"output": str(output), "groups": 7, **options}
    return run(build(FritzDownload, values), progress=NullProgress(), fritz=Portal(*sources))


def test_a_kept_source_comes_back_as_it_was() -> None:
    source = Source.from_json(SOURCE)
    assert unpacked(packed(source)) == source
    alone = Source(id="B", ra=1.0, dec=2.0)
    assert unpacked(packed(alone)) == alone


def test_periods_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    odd = [float("nan"), 10**400, {"deep": 1}, True, "0.25"]
    annotations = [{"id": at, "origin": f"o{at}", "data": {"period": value}} for at, value in enumerate(odd)]
    download(tmp_path / "f", SOURCE | {"annotations": annotations})
    found = read_table(tmp_path / "f" / "periods.parquet").data["period"].to_pylist()
    assert found[0] is None or found[0] != found[0]
    assert found[1:] == [None, None, None, 0.25]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"groups": ()}, "neither is given"),
        ({"file": "f.csv"}, "both are given"),
        ({"impute": "models/x"}, "give features="),
        ({"dmdt": True}, r"do not fit into \.csv"),
        ({"mapper": "gold"}, "did you mean 'golden'"),
        ({"mapper": "no.json"}, "no.json cannot be read"),
        ({"training": {"exclusive": ("rrlyr,rrab",)}}, "is a kind of"),
        ({"groups": "Voter"}, "did you mean 'Voters'"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        download(tmp_path / "f.csv", SOURCE, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    "options",
    [
        {"groups": (), "file": "{0}/stars.csv", "output": "{0}/stars.csv"},
        {"groups": (), "file": "{0}/sub/../stars.classifications.csv", "output": "{0}/stars.csv"},
        {"features": "{0}/fritz/merged.parquet", "output": "{0}/fritz"},
        {"features": "f.parquet", "impute": "{0}/fritz/sources.parquet", "output": "{0}/fritz"},
        {"update_training_set": True, "training": {"path": "{0}/fritz/votes.parquet"}, "output": "{0}/fritz"},
        {"update_training_set": True, "training": {"output": "{0}/fritz/votes.parquet"}, "output": "{0}/fritz"},
        {"update_training_set": True, "training": {"output": "{0}/s.x.csv"}, "output": "{0}/s.x.csv"},
    ],
)
def test_nothing_that_is_read_or_just_written_is_written_over(options: dict[str, Any], tmp_path: Path) -> None:
    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: placed(one) for name, one in value.items()}
        return value.format(tmp_path) if isinstance(value, str) else value

    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match=r"would be written over by this run|is this run's table of") as caught:
        download(output=Path(placed(options["output"])), **placed({k: v for k, v in options.items() if k != "output"}))
    assert caught.value.key in ("output", "training.output")


@pytest.mark.parametrize(("columns", "error"), [(("id", "ra"), MissingColumnError), (None, FormatError)])
def test_features_that_do_not_serve_are_refused_before_fritz_is_asked(
    columns: tuple[str, ...] | None, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    if columns is not None:
        write_table(pa.table({name: [1.0] for name in columns}), path, TableMetadata(kind="features"))
    service = {"fritz": {"url": "http://127.0.0.1:1"}}
    values = {"output": str(tmp_path / "o"), "groups": 7, "features": str(path), "service": service}
    with pytest.raises(error):
        run(build(FritzDownload, values), progress=NullProgress())


def test_an_end_does_not_wait_for_a_silent_service(tmp_path: Path) -> None:
    asked, end = threading.Event(), threading.Event()

    class Silent(Portal):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
            if path.endswith("/B"):
                asked.set()
                end.wait(10.0)
                raise NotFoundError("no B")
            asked.wait(10.0)
            raise ServiceUnavailableError("no answer")

    (tmp_path / "f.csv").write_text("obj_id\nA\nB\n")
    config = build(FritzDownload, {"output": str(tmp_path / "o"), "file": str(tmp_path / "f.csv")})
    began = time.monotonic()
    with pytest.raises(ServiceUnavailableError):
        run(config, progress=NullProgress(), fritz=Silent())
    assert time.monotonic() - began < 5.0
    end.set()


def test_the_folder_that_one_is_in_is_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert download(Path(), SOURCE).n_out == 1
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["classifications", "periods", "sources", "votes"]


def test_names_in_a_text_file_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("obj_id,ra,dec\n0012,1.5,\n0007,400,1\n")
    (first, second), table = read_rows(path, start=0)
    assert (first.obj_id, second.obj_id, table["ra"].to_pylist()) == ("0012", "0007", [1.5, 400.0])
    assert (second.reason, "right ascension" in second.detail) == ("", True)


def test_outputs_of_no_format_are_refused_and_dry_runs_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"\.fits"):
        download(tmp_path / "f.fits", SOURCE)
    report = download(tmp_path / "f", SOURCE, machine={"dry_run": True}, update_training_set=True)
    assert (report.n_out, dict(report.outputs), list(tmp_path.iterdir())) == (1, {}, [])


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".csv"])
@pytest.mark.parametrize("names", ["tags", "legacy"])
def test_every_format_keeps_what_is_missing(suffix: str, names: str, tmp_path: Path) -> None:
    empty = {"id": "B", "ra": 1.0, "dec": 2.0, "groups": [{"id": 7}]}
    output = tmp_path / f"s{suffix}"
    download(output, SOURCE, empty, names=names)
    first, second = read_table(output, kind="fritz_sources").data.to_pylist()
    if names == "tags":
        assert (first["rrab"], first["rrab_votes"], first["rrc_votes"], first["labellers"]) == (None, 1, None, "44")
        assert (second["rrab_votes"], second["classifications"], first["period"]) == (None, 0, 0.5)
    else:
        assert (first["RR Lyrae ab"], second["RR Lyrae ab"], first["sum_votes"]) == (None, 0.0, "1")
    verdict = read_table(tmp_path / f"s.votes{suffix}").data.to_pylist()[0]
    assert (verdict["class"], verdict["verdict"], verdict["net_votes"]) == ("rrab", "member", 1)


def test_features_of_a_table_are_streamed_matched_across_zero_and_imputed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scope_ml.stages.fritz_merge.BLOCK_ROWS", 2)
    table = pa.table(
        {
            "_id": [1, 2, 3, 4],
            "ra": [100.0, 0.0002, 359.9999, 0.0001],
            "dec": [0.0, 0.0, 0.0, 0.0],
            "band": ["r", "g", "r", "i"],
            "median": [1.0, 2.0, 3.0, None],
            "n_ztf_alerts": pa.array([1, 2, None, 4]),
        }
    )
    write_table(table, tmp_path / "features.parquet", TableMetadata(kind="features", facts={"feature_digest": "d"}))
    training = pa.table({"median": [7.0, 9.0], "n_ztf_alerts": [1, 1]})
    write_table(training, tmp_path / "training.parquet", TableMetadata(kind="features"))
    options = {"features": str(tmp_path / "features.parquet")}
    report = download(tmp_path / "a", SOURCE, **options)
    rows = read_table(tmp_path / "a" / "merged.parquet", kind="features")
    assert [(row["id"], row["obj_id"], row["band"], row["ra"]) for row in rows.data.to_pylist()] == [
        (2, "A", "g", 359.9999),
        (3, "A", "r", 359.9999),
        (4, "A", "i", 359.9999),
    ]
    assert rows.metadata.facts["feature_digest"] == "d"
    assert report.facts["n_light_curves"] == 3
    report = download(tmp_path / "b", SOURCE, **options, impute=str(tmp_path / "training.parquet"))
    found = read_table(tmp_path / "b" / "merged.parquet").data.to_pylist()
    assert [row["n_ztf_alerts"] for row in found] == [2, 0]
    assert report.facts["light_curves_dropped"] == {"cannot_be_imputed": 1}
    write_table(table.drop_columns(["ra"]), tmp_path / "bad.parquet", TableMetadata(kind="features"))
    with pytest.raises(MissingColumnError, match="ra"):
        download(tmp_path / "c", SOURCE, features=str(tmp_path / "bad.parquet"))
    (tmp_path / "stars.csv").write_text("obj_id,band,note\nA,z,mine\n")
    with monkeypatch.context() as patched:
        patched.setattr(Portal, "get", lambda *_: SOURCE)
        download(tmp_path / "e", **options, groups=(), file=str(tmp_path / "stars.csv"))
    (row,) = read_table(tmp_path / "e" / "sources.parquet").data.to_pylist()
    assert (row["band"], row["note"]) == ("z", "mine")
    found = read_table(tmp_path / "e" / "merged.parquet").data.to_pylist()
    assert [(row["band"], row["note"]) for row in found] == [("g", "mine"), ("r", "mine"), ("i", "mine")]
    none = download(tmp_path / "d", **options)
    assert none.facts["n_light_curves"] == 0
