"""Downloaded features: every id is in the table or named, runs go on where they were, models take the tables."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.datasets.labels import read_labels
from scope_ml.errors import (
    ConfigError,
    EmptySelectionError,
    FeatureMismatchError,
    MissingColumnError,
    SchemaError,
    ServiceUnavailableError,
)
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.preparation import Preparation
from scope_ml.models.record import read_record
from scope_ml.models.scope_inputs import FEATURE_LISTS, read_features
from scope_ml.stages import feature_downloads
from scope_ml.stages.build_dataset import BuildDataset
from scope_ml.stages.build_dataset import run as run_build
from scope_ml.stages.get_features import GetFeatures, run
from scope_ml.stages.import_models import ImportModels
from scope_ml.stages.import_models import run as run_import
from scope_ml.stages.infer import Infer
from scope_ml.stages.infer import run as run_infer
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

FIRST = 10245362000000
CATALOG = "ZTF_source_features_DR16"
FEATURES = read_features("ontological", "ontological", "ELS_ECE_EAOV")


def document(number: int) -> dict[str, Any]:
    """One light curve of field 245, of rc 36: ccd 10, quad 1; what depends on the number is easily recognised."""
    values: dict[str, Any] = {one.column: float(number) + place / 100 for place, one in enumerate(FEATURES)}
    values["n_ztf_alerts"] = number
    values["Gaia_EDR3___id"] = str(2**60 + 1 + number)
    if number % 3 == 1:
        values |= {
            "Gaia_EDR3___id": None,
            "Gaia_EDR3__parallax": None,
            "PS1_DR1__gMeanPSFMag": {"$numberDouble": "NaN"},
        }
    place = {"ra": 10.0 + number / 1000, "dec": -5.0, "field": 245, "ccd": 10, "quad": 1, "n": 30 + number}
    position = {"radec_geojson": {"type": "Point", "coordinates": [place["ra"] - 180, -5.0]}}
    image = None if number == 2 else np.full((26, 26), number).tolist()
    return {
        "_id": FIRST + number,
        **place,
        "coordinates": position,
        **values,
        "AllWISE__ph_qual": "AAUU",
        "dmdt": image,
    }


class Documents:
    """Answers as the service would, from a list; `lost` ids get no answer, `asked` counts the questions by kind."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.documents = {one["_id"]: one for one in documents}
        self.lost: set[int] = set()
        self.asked: list[Mapping[str, Any]] = []
        self.fails_after: int | None = None

    def version(self, catalog: str) -> str:
        return f"{len(self.documents):064x}"

    def ask(self, query: Mapping[str, Any], *, catalog: str | None) -> bytes:
        self.asked.append(query)
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise ServiceUnavailableError("no answer")
        inner, options = query["query"], query.get("kwargs", {})
        wanted = inner["filter"]
        ids = wanted.get("_id", {}).get("$in") if isinstance(wanted.get("_id"), Mapping) else None
        if ids is not None:
            if self.lost & set(ids):
                raise ServiceUnavailableError("no answer")
            found = [self.documents[one] for one in reversed(ids) if one in self.documents]
        else:
            found = [one for one in self.documents.values() if all(_fits(one, *item) for item in wanted.items())]
        if query["query_type"] == "count_documents":
            return _body(len(found))
        for name, order in options.get("sort", []):
            found = sorted(found, key=lambda one: one[name] * order)
        found = found[options.get("skip", 0) :][: options.get("limit") or None]
        projection = inner.get("projection") or {}
        return _body(
            [{name: value for name, value in one.items() if not projection or name in projection} for one in found]
        )


def _fits(one: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(one.get(name) == wanted)
    tests = {
        "$exists": lambda value: (name in one) == value,
        "$ne": lambda value: one.get(name) != value,
        "$gt": lambda value: one[name] > value,
        "$gte": lambda value: one[name] >= value,
        "$lt": lambda value: one[name] < value,
    }
    return all(tests[sign](value) for sign, value in wanted.items())


def _body(data: Any) -> bytes:
    return json.dumps({"status": "success", "message": "", "data": data}).encode()


@pytest.fixture
def service() -> Documents:
    return Documents([document(number) for number in range(40)])


def id_list(path: Path, ids: list[int]) -> Path:
    path.write_text("_id\n" + "".join(f"{one}\n" for one in ids))
    return path


def download(service: Documents, output: Path, target: Mapping[str, Any], **options: Any) -> Report:
    kowalski = {
        "cache": None,
        "query_limit": options.pop("query_limit", 7),
        "connections": options.pop("connections", 4),
    }
    values = {"output": str(output), "target": target, "service": {"kowalski": kowalski}, **options}
    return run(build(GetFeatures, values), progress=NullProgress(), asks=service)


def by_ids(tmp_path: Path, ids: list[int]) -> dict[str, Any]:
    return {"kind": "source_ids", "path": str(id_list(tmp_path / "ids.csv", ids))}


def missing_of(output: Path) -> dict[int, str]:
    table = read_table(output.with_name(f"{output.name}.not_found.parquet")).data
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".csv"])
def test_rows_come_in_the_order_of_the_list_with_exact_values(tmp_path: Path, service: Documents, suffix: str) -> None:
    wanted = [FIRST + 30, FIRST + 1, 5, FIRST + 2, FIRST + 1]
    output = tmp_path / f"f{suffix}"
    report = download(service, output, by_ids(tmp_path, wanted))
    table = read_table(output, kind="features")
    rows = table.data.to_pylist()
    assert [row["_id"] for row in rows] == [row["id"] for row in rows] == [FIRST + 30, FIRST + 1, FIRST + 2]
    assert [row["Gaia_EDR3___id"] for row in rows] == [2**60 + 31, None, 2**60 + 3]
    assert [(row["filter"], row["band"]) for row in rows] == [(2, "r")] * 3
    assert rows[1]["Gaia_EDR3__parallax"] is None
    assert math.isnan(rows[1]["PS1_DR1__gMeanPSFMag"])
    assert rows[0]["median"] == 30 + [one.column for one in FEATURES].index("median") / 100
    assert table.data.column_names[:7] == ["_id", "ra", "dec", "field", "ccd", "quad", "filter"]
    assert table.data.schema.field("median").metadata == {b"unit": b"mag"}
    assert missing_of(output) == {5: f"not in {CATALOG}"}
    assert (report.n_in, report.n_out, report.dropped) == (4, 3, {"not_in_catalog": 1})
    assert "repeat a source" in report.warnings[0]
    facts = table.metadata.facts
    assert (facts["catalog"], facts["data_release"], facts["imputed"], facts["names"]) == (
        CATALOG,
        "DR16",
        False,
        "legacy",
    )
    assert facts["catalog_version"] == service.version(CATALOG)
    assert facts["downloaded"].endswith("Z")
    assert not list(tmp_path.glob("*.parts"))


def test_columns_are_projected_and_unknown_ones_refused(tmp_path: Path, service: Documents) -> None:
    target = by_ids(tmp_path, [FIRST])
    # In the middle, where no look at the ends of the collection finds it.
    service.documents |= {FIRST + number: document(number) for number in range(40, 80)}
    service.documents[FIRST + 40]["rare"] = 1.5
    output = tmp_path / "f.parquet"
    download(service, output, target, columns=["wstd", "rare", "median"])
    found = read_table(output).data
    assert found.column_names[7:] == ["wstd", "rare", "median", "id", "band"]
    assert found["rare"].to_pylist() == [None]
    assert set(service.asked[-1]["query"]["projection"]) == {
        "_id",
        "ra",
        "dec",
        "field",
        "ccd",
        "quad",
        "wstd",
        "rare",
        "median",
    }
    with pytest.raises(MissingColumnError, match=r"ZTF_source_features_DR16 lacks .*medain.*did you mean 'median'"):
        download(service, output, target, columns=["medain"])
    service.documents[FIRST]["history"] = [1, 2]
    with pytest.raises(ConfigError, match="lists or documents"):
        download(service, output, target, columns=["history"])
    with pytest.raises(EmptySelectionError, match="has no documents"):
        download(Documents([]), output, target)
    with pytest.raises(ConfigError, match="has none of the features of SCoPe's tables"):
        download(Documents([{"_id": FIRST, "designation": "J0"}]), output, target)
    service.documents[FIRST]["median"] = "bright"
    with pytest.raises(SchemaError, match="'median'"):
        download(service, tmp_path / "g.parquet", target)


def test_images_are_lists_of_one_length(tmp_path: Path, service: Documents) -> None:
    output = tmp_path / "f.h5"
    report = download(service, output, by_ids(tmp_path, [FIRST + 3, FIRST + 2]), dmdt=True)
    found = read_table(output).data["dmdt"].combine_chunks()
    np.testing.assert_array_equal(np.asarray(found.flatten()).reshape(2, 676), [[3.0] * 676, [0.0] * 676])
    assert "1 light curves have no dm-dt image" in report.warnings[-1]
    with pytest.raises(SchemaError, match=r"\.csv files cannot hold"):
        download(service, tmp_path / "f.csv", by_ids(tmp_path, [FIRST]), dmdt=True)
    for one in service.documents.values():
        one["dmdt"] = None
    with pytest.raises(MissingColumnError, match="dmdt"):
        download(service, output, by_ids(tmp_path, [FIRST]), dmdt=True)


def test_a_quadrant_is_listed_by_the_collection(tmp_path: Path, service: Documents) -> None:
    quadrant = {"kind": "quadrant", "field": 245, "ccd": 10, "quad": 1}
    report = download(service, tmp_path / "f.parquet", quadrant, min_obs=60)
    assert (report.n_in, report.n_out) == (10, 10)
    report = download(service, tmp_path / "g.parquet", quadrant, start=35, end=38)
    assert read_table(tmp_path / "g.parquet").data["_id"].to_pylist() == [FIRST + 35, FIRST + 36, FIRST + 37]
    report = download(service, tmp_path / "empty.parquet", {**quadrant, "quad": 2})
    assert (report.n_in, report.n_out) == (0, 0)
    assert "no light curves in field 245 ccd 10 quad 2" in report.warnings[0]
    assert read_table(tmp_path / "empty.parquet", kind="features").data.num_rows == 0


def test_a_field_is_a_folder_and_long_lists_are_cut_into_files(tmp_path: Path, service: Documents) -> None:
    report = download(service, tmp_path / "out", {"kind": "field", "field": 245, "index": 36}, max_sources=15)
    names = sorted(
        path.name for path in (tmp_path / "out" / "field_000245").glob("*.parquet") if "not" not in path.name
    )
    assert names == [f"ccd_10_quad_1_iter_{number}.parquet" for number in range(3)]
    assert (report.n_in, report.n_out, report.facts["n_tables"]) == (40, 40, 3)
    sizes = [read_table(tmp_path / "out" / "field_000245" / name).data.num_rows for name in names]
    assert sizes == [15, 15, 10]
    assert not report.warnings
    again = download(service, tmp_path / "out", {"kind": "field", "field": 245, "index": 36}, max_sources=30)
    assert again.n_out == 40
    (warning,) = again.warnings
    assert "1 files" in warning and "ccd_10_quad_1_iter_2.parquet; they hold some of the same" in warning


def test_a_finished_table_is_not_asked_for_again(tmp_path: Path, service: Documents) -> None:
    output, target = tmp_path / "f.parquet", by_ids(tmp_path, [FIRST, FIRST + 1, 7])
    first = download(service, output, target)
    before = (output.read_bytes(), len(service.asked))
    assert replace(download(service, output, target), seconds=first.seconds) == first
    assert output.read_bytes() == before[0]
    finds = [one for one in service.asked[before[1] :] if "$in" in str(one)]
    assert finds == []
    # Another version of the catalogue, other columns, columns of another type: made again.
    del service.documents[FIRST]
    assert download(service, output, target).n_out == 1
    for value in (1, "one"):
        for one in service.documents.values():
            one["x"] = value
        download(service, output, target, columns=["x"])
        assert read_table(output).data["x"].to_pylist() == [value]


def test_a_killed_run_goes_on_and_ends_with_the_same_table(
    tmp_path: Path, service: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_downloads, "BLOCK_IDS", 10)
    target = by_ids(tmp_path, [FIRST + number for number in range(40)])
    download(service, tmp_path / "whole.parquet", target)
    service.asked.clear()
    # Two questions about the columns, then pieces 0, 1 and 2 of 8: one block of two pieces is whole.
    service.fails_after = 5
    output = tmp_path / "f.parquet"
    with pytest.raises(ServiceUnavailableError, match="gives no answers any more"):
        download(service, output, target, query_limit=5, connections=1)
    assert not output.exists()
    service.fails_after = None
    service.asked.clear()
    report = download(service, output, target, query_limit=5)
    asked = [key for one in service.asked if "$in" in str(one) for key in one["query"]["filter"]["_id"]["$in"]]
    assert sorted(asked) == [FIRST + number for number in range(10, 40)]
    assert report.n_out == 40
    assert repr(read_table(output).data.to_pylist()) == repr(read_table(tmp_path / "whole.parquet").data.to_pylist())


def test_ids_without_an_answer_are_named_and_asked_for_alone_the_next_time(
    tmp_path: Path, service: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_downloads, "BLOCK_IDS", 10)
    output, target = tmp_path / "f.parquet", by_ids(tmp_path, [FIRST + number for number in range(40)])
    service.lost = {FIRST + 13}
    report = download(service, output, target)
    assert (report.n_in, report.n_out, report.dropped) == (40, 39, {"no_answer": 1})
    assert missing_of(output) == {FIRST + 13: "service: no answer"}
    assert "1 ids were not answered" in report.warnings[-1]
    service.lost = set()
    service.asked.clear()
    assert download(service, output, target).n_out == 40
    asked = [one["query"]["filter"]["_id"]["$in"] for one in service.asked if "$in" in str(one)]
    assert sorted(key for keys in asked for key in keys) == [FIRST + number for number in range(10, 20)]
    assert missing_of(output) == {}
    assert not (tmp_path / "f.parquet.parts").exists()


def training_table(path: Path) -> Path:
    """A table of SCoPe's training set, without `_id`; medians are 7, means 8, of parallax 70."""
    columns: dict[str, list[float | None]] = {one.column: [6.0, 7.0, 11.0, float("nan")] for one in FEATURES}
    columns["Gaia_EDR3__parallax"] = [60.0, 70.0, 110.0, None]
    write_table(pa.table(columns), path, TableMetadata(kind="labels"))
    return path


def test_imputation_by_a_training_table_drops_what_scope_drops(tmp_path: Path, service: Documents) -> None:
    training = training_table(tmp_path / "training.parquet")
    service.documents[FIRST + 4]["wmean"] = {"$numberDouble": "NaN"}
    service.documents[FIRST + 4]["ad"] = None
    service.documents[FIRST + 5]["n_ztf_alerts"] = None
    output = tmp_path / "f.parquet"
    target = by_ids(tmp_path, [FIRST + number for number in (1, 3, 4, 5)])
    report = download(service, output, target, impute=str(training))
    rows = {row["_id"] - FIRST: row for row in read_table(output).data.to_pylist()}
    assert sorted(rows) == [1, 3, 5]
    assert (rows[1]["Gaia_EDR3__parallax"], rows[1]["PS1_DR1__gMeanPSFMag"]) == (70.0, 7.0)
    assert rows[3]["Gaia_EDR3__parallax"] == service.documents[FIRST + 3]["Gaia_EDR3__parallax"]
    assert rows[5]["n_ztf_alerts"] == 0
    assert rows[1]["Gaia_EDR3___id"] is None
    assert report.dropped == {"cannot_be_imputed": 1}
    assert missing_of(output) == {FIRST + 4: "cannot be imputed: ad, wmean"}
    facts = read_table(output).metadata.facts
    assert facts["imputed"] is True
    assert facts["imputed_by"]["training_table"] == "training.parquet"
    # Other statistics are another table.
    write_table(pa.table({one.column: [1.0] for one in FEATURES}), training, TableMetadata(kind="labels"))
    download(service, output, target, impute=str(training))
    assert read_table(output).data["Gaia_EDR3__parallax"][0].as_py() == 1.0
    write_table(pa.table({"median": [1.0]}), training, TableMetadata(kind="labels"))
    with pytest.raises(FeatureMismatchError, match=r"lacks .*AllWISE"):
        download(service, output, target, impute=str(training))
    with pytest.raises(ConfigError, match="neither none, nor a bundle"):
        download(service, output, target, impute="nothing")


def trees(folder: Path, names: tuple[str, ...]) -> Path:
    """A model as SCoPe saves it, and the bundle that import_models makes of it."""
    import xgboost

    rng = np.random.default_rng(1)
    x = rng.normal(20.0, 12.0, (80, len(names)))
    data = xgboost.DMatrix(x, label=x[:, 3] > 20.0)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, data, 4)
    folder.mkdir()
    booster.save_model(folder / "vnv.json")
    stats = folder / "stats.yaml"
    stats.write_text(
        json.dumps({name: {"min": 0.0, "max": 1.0, "median": 3.5, "mean": 4.5, "std": 1.0} for name in names})
    )
    given = {
        "path": str(folder / "vnv.json"),
        "output": str(folder / "bundles"),
        "stats": str(stats),
        "scaling": "none",
    }
    run_import(build(ImportModels, {**given, "features": "ontological"}), progress=NullProgress())
    return folder / "bundles"


def test_imported_models_score_downloaded_features(tmp_path: Path, service: Documents) -> None:
    bundles = trees(tmp_path / "models", FEATURE_LISTS["ontological"])
    folder = bundles / "vnv" / "xgb" / "scope"
    output = tmp_path / "f.parquet"
    download(service, output, by_ids(tmp_path, [FIRST + number for number in (1, 3, 30)]), impute=str(folder))
    table = read_table(output)
    assert table.metadata.facts["imputed_by"]["bundle"] == "vnv_xgb"
    assert table.data["Gaia_EDR3__parallax"][0].as_py() == 3.5
    config = {"features": str(output), "output": str(tmp_path / "p.csv"), "models": str(bundles), "drift": False}
    report = run_infer(build(Infer, config), progress=NullProgress())
    scores = read_table(tmp_path / "p.csv", kind="predictions").data
    assert report.n_out == 3
    assert scores["_id"].to_pylist() == [FIRST + 1, FIRST + 3, FIRST + 30]
    assert scores["period"].to_pylist() == table.data["period_ELS_ECE_EAOV"].to_pylist()
    expected = ModelBundle.load(folder).predict(table.data)
    np.testing.assert_array_equal(scores["vnv_xgb"].to_numpy(), expected)
    # The same from a file that SCoPe wrote: attrs in the place of our record, images nested.
    old = tmp_path / "ccd_10_quad_1_iter_0.parquet"
    columns = [name for name in table.data.column_names if name not in ("id", "band")]
    entries = {b"scope": b'{"features_ztf_dataRelease": "DR16", "features_imputed": true}'}
    pq.write_table(table.data.select(columns).replace_schema_metadata(entries), old)
    config |= {"features": str(old), "output": str(tmp_path / "q.csv")}
    run_infer(build(Infer, config), progress=NullProgress())
    again = read_table(tmp_path / "q.csv").data
    assert again.select(["_id", "period", "vnv_xgb"]) == scores.select(["_id", "period", "vnv_xgb"])
    # Rows that are filled before are scored as the bundle itself fills them.
    download(service, tmp_path / "raw.parquet", by_ids(tmp_path, [FIRST + number for number in (1, 3, 30)]))
    np.testing.assert_array_equal(ModelBundle.load(folder).predict(read_table(tmp_path / "raw.parquet").data), expected)
    assert isinstance(read_record(folder).preparation, Preparation)


@pytest.mark.parametrize("old", [False, True])
def test_downloaded_features_become_a_data_set(tmp_path: Path, service: Documents, old: bool) -> None:
    output = tmp_path / "f.parquet"
    download(service, output, by_ids(tmp_path, [FIRST + number for number in range(40)]))
    if old:
        data = read_table(output).data.drop_columns(["id", "band"])
        pq.write_table(data.replace_schema_metadata({b"scope": b"{}"}), output)
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "id,class\n" + "".join(f"{FIRST + number},{'ew' if number % 2 else 'rrab'}\n" for number in range(40))
    )
    config = {"features": str(output), "labels": str(labels), "output": str(tmp_path / "set")}
    report = run_build(build(BuildDataset, config), progress=NullProgress())
    assert report.n_out == 40


def test_ids_come_from_the_lists_of_a_folder(tmp_path: Path, service: Documents) -> None:
    folder = tmp_path / "ids" / "field_245"
    folder.mkdir(parents=True)
    for quad, ids in ((1, [FIRST, FIRST + 1]), (2, [FIRST + 1, FIRST + 2])):
        with h5py.File(folder / f"data_ccd_10_quad_{quad}.h5", "w") as file:
            file[f"dataset_ccd_10_quad_{quad}_field_245"] = np.array(ids)
    (folder / "meta.json").write_text('{"total": 10002}')
    output = tmp_path / "f.parquet"
    report = download(service, output, {"kind": "source_ids", "path": str(folder)})
    assert read_table(output).data["_id"].to_pylist() == [FIRST, FIRST + 1, FIRST + 2]
    assert "has 3 ids, but meta.json counts 10002" in report.warnings[0]
    assert "1 of 4 rows repeat a source" in report.warnings[1]


def test_dry_run_writes_nothing_and_options_are_checked(tmp_path: Path, service: Documents) -> None:
    target = by_ids(tmp_path, [FIRST, 3])
    output = tmp_path / "f.parquet"
    report = download(service, output, target, machine={"dry_run": True})
    assert (report.n_in, report.n_out, dict(report.outputs)) == (2, 1, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.csv"]
    with pytest.raises(ConfigError, match="target=all would be a whole collection"):
        download(service, output, {"kind": "all"})
    with pytest.raises(ConfigError, match="end=2 is not behind start=3"):
        download(service, output, target, start=3, end=2)
    places = tmp_path / "places.csv"
    places.write_text("ra,dec\n10,5\n")
    with pytest.raises(ConfigError, match="positions alone"):
        download(service, output, {"kind": "source_ids", "path": str(places)})
    assert service.asked


def test_labels_of_a_training_set_in_hdf5(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parents[2] / "data" / "pandas_hdf5.tar.xz") as archive:
        (tmp_path / "training.h5").write_bytes(archive.extractfile("./training.h5").read())
    labels = read_labels(tmp_path / "training.h5", load_classes(packaged_conf_dir()))
    assert labels.id is not None
    assert labels.id.to_pylist() == [FIRST, FIRST + 1, FIRST + 2]
    place = labels.tags.index("vnv")
    assert labels.y[:, place].tolist() == [1, 0, 0]
