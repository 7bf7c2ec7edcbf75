"""Files that SCoPe wrote are read as what they are: frames of pandas, lists of ids, Parquet with attrs.

`tests/data/pandas_hdf5.tar.xz` holds true files of pandas and PyTables (`make_pandas_hdf5.py` beside it made them).
"""

from __future__ import annotations

import json
import math
import pickle
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError, EmptySelectionError, FormatError, MetadataError, MissingColumnError, SchemaError
from scope_ml.io.pytables_literals import literal
from scope_ml.io.scope_files import adopt, flat_images, read_id_folder
from scope_ml.io.scope_records import scope_attrs
from scope_ml.io.tables import read_batches, read_foreign_table, read_table, table_columns, write_table

ARCHIVE = Path(__file__).parents[2] / "data" / "pandas_hdf5.tar.xz"
IDS = [10245362000000, 10245362000001, 10245362000002]
ATTRS = {"scope_code_version": "0.9.5", "ZTF_source_catalog": "ZTF_sources_20240117", "n": 3}
PLAIN = {
    "_id": IDS,
    "ra": [0.5, 120.25, 359.75],
    "field": [245, 245, 245],
    "filter": [2, 2, 2],
    "wstd": [0.25, 0.5, 0.75],
    "known": [True, False, True],
    "variable": [1.0, 0.25, 0.0],
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    with tarfile.open(ARCHIVE) as archive:
        # Early releases of Python 3.11 cannot filter what they extract, later ones warn where it is not.
        for member in archive.getmembers():
            if member.isfile():
                (folder / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    return folder


@pytest.mark.parametrize("name", ["fixed", "table", "indexed"])
def test_frames_of_pandas_come_back_exactly(frames: Path, name: str) -> None:
    table = read_table(frames / f"{name}.h5", kind="features")
    found = table.data
    assert {column: found[column].to_pylist() for column in PLAIN} == PLAIN
    assert math.isnan(found["median"][1].as_py())
    types = {field.name: str(field.type) for field in found.schema}
    assert [types[one] for one in ("_id", "filter", "wstd", "known", "median")] == [
        "int64",
        "int32",
        "float",
        "bool",
        "double",
    ]
    assert found.column_names[:4] == ["_id", "ra", "field", "filter"]
    assert table.metadata.facts == {"scope": ATTRS, "names": "legacy"}
    assert table.metadata.code_version == "scope-ml 0.9.5"
    assert table.metadata.n_rows == 3
    assert [column.name for column in table.metadata.columns] == found.column_names


def test_text_of_a_table_and_columns_in_the_order_asked_for(frames: Path) -> None:
    assert read_foreign_table(frames / "table.h5")["obj_id"].to_pylist() == ["ZTFJ1", None, "ZTFJ3"]
    assert read_table(frames / "table.h5", columns=["median", "_id"]).data.column_names == ["median", "_id"]
    with pytest.raises(MissingColumnError, match="did you mean 'median'"):
        read_foreign_table(frames / "fixed.h5", ["medain"])


def test_a_frame_without_rows_has_its_columns(frames: Path) -> None:
    found = read_table(frames / "empty.h5")
    assert (found.data.num_rows, found.metadata.n_rows) == (0, 0)
    assert str(found.data.schema.field("_id").type) == "int64"
    assert str(found.data.schema.field("known").type) == "bool"


def test_pickled_columns_are_named_and_never_run(frames: Path) -> None:
    for name, what in (
        ("training", r"coordinates \(pickled objects\), dmdt \(pickled objects\)"),
        ("fixed_text", r"obj_id \(pickled objects\)"),
        ("categories", r"c \(categories\)"),
        ("blosc", r"_id \(compressed by blosc\).*Readable: none"),
    ):
        with pytest.raises(
            FormatError, match=what + r".*" if "none" in what else what + r"; write .* as Parquet with SCoPe"
        ):
            read_foreign_table(frames / f"{name}.h5")
    # What is wanted of a training set can be read all the same.
    path = frames / "training.h5"
    assert "dmdt" not in table_columns(path)
    assert read_foreign_table(path, ["_id", "variable"]).to_pydict() == {"_id": IDS, "variable": [1.0, 0.25, 0.0]}
    assert set(read_foreign_table(path, readable_only=True).column_names) == {*PLAIN, "median"}
    assert [batch.num_rows for batch in read_batches(path, ["_id"], n_rows=2)] == [2, 1]
    with pytest.raises(FormatError, match="compressed by blosc"):
        table_columns(frames / "blosc.h5")


def test_a_frame_that_was_not_written_whole_is_refused(frames: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes((frames / "fixed.h5").read_bytes())
    with h5py.File(path, "a") as file:
        del file["df/block1_values"]
    with pytest.raises(FormatError, match="not written whole"):
        read_foreign_table(path)
    with h5py.File(path, "a") as file:
        file.move("df", "a")
        file.copy("a", "b")
    with pytest.raises(FormatError, match=r"several tables of pandas \(a, b\)"):
        read_foreign_table(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("name", "place", "put"),
    [
        ("training", "df", h5py.SoftLink("/nowhere")),
        ("training", "df/axis1", np.float64(1)),
        ("training", "df/block0_values", np.zeros((0, 0))),
        ("training", "dmdt/values", None),
        ("table", "df/table", np.zeros((2, 2))),
    ],
)
def test_a_frame_with_odd_parts_is_one_line(frames: Path, tmp_path: Path, name: str, place: str, put: object) -> None:
    path = tmp_path / "odd.h5"
    path.write_bytes((frames / f"{name}.h5").read_bytes())
    with h5py.File(path, "a") as file:
        del file[place]
        if put is not None:
            file[place] = put
    with pytest.raises(FormatError, match=r"odd\.h5"):
        read_foreign_table(path)


@given(value=values, protocol=st.sampled_from([0, 2, 4]))
def test_literals_are_read_as_they_were_written(value: object, protocol: int) -> None:
    assert literal(pickle.dumps(value, protocol)) == value


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("it-was-run"),))  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_would_run_is_no_literal(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert literal(pickle.dumps({"a": _Runs()}, protocol)) is None
    assert not list(tmp_path.iterdir())
    assert literal(b"") is None
    assert literal(b"no pickle.") is None


def scope_parquet(path: Path, data: pa.Table, attrs: dict[str, object]) -> Path:
    """Write Parquet as SCoPe does: attrs as JSON under the key `scope`, beside those of pandas."""
    entries = {b"scope": json.dumps(attrs).encode(), b"pandas": b'{"columns": []}'}
    pq.write_table(data.replace_schema_metadata(entries), path)
    return path


def features(n: int = 3, **more: object) -> pa.Table:
    return pa.table(
        {
            "_id": pa.array(IDS[:n], pa.int64()),
            "radec_geojson": pa.array([{"coordinates": [-179.5, 1.0]}] * n),
            "ra": [0.5] * n,
            "dec": [1.0] * n,
            "filter": pa.array([1, 2, None][:n], pa.int64()),
            "Gaia_EDR3___id": pa.array([2**60 + 1, None, 5][:n], pa.int64()),
            "wmean": [15.0, None, float("nan")][:n],
            "period_ELS_ECE_EAOV": [0.5] * n,
            **more,
        }
    )


def test_parquet_of_scope_is_a_table_with_its_attrs(tmp_path: Path) -> None:
    path = scope_parquet(tmp_path / "gen_features_field_245_ccd_1_quad_1.parquet", features(), ATTRS)
    table = read_table(path, kind="features")
    assert table.metadata.facts["scope"] == ATTRS
    assert table.data["Gaia_EDR3___id"].to_pylist() == [2**60 + 1, None, 5]
    assert table.metadata.n_rows == 3
    assert sum(batch.num_rows for batch in read_batches(path, ["_id", "wmean"], n_rows=2)) == 3
    with pytest.raises(MetadataError, match="is a 'features' table; a 'predictions' table is needed"):
        read_table(path, kind="predictions")
    scores = scope_parquet(tmp_path / "scores.parquet", pa.table({"_id": IDS, "vnv_xgb": [0.1, 0.2, 0.3]}), {})
    assert read_table(scores).metadata.kind == "predictions"
    other = scope_parquet(tmp_path / "other.parquet", pa.table({"a": [1]}), {"x": 1})
    with pytest.raises(MetadataError, match="is a 'scope' table"):
        read_table(other, kind="features")


def test_our_record_is_never_taken_for_attrs() -> None:
    assert scope_attrs(TableMetadata(kind="features").to_json()) is None
    assert scope_attrs(b"{}") == {}
    assert scope_attrs(b"{broken") is None
    assert scope_attrs(b"[1]") is None


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
@pytest.mark.parametrize("form", ["nested", "text", "flat"])
def test_adopted_tables_are_ours(tmp_path: Path, suffix: str, form: str) -> None:
    image = np.arange(676.0).reshape(26, 26)
    column = {
        "nested": pa.array([image.tolist(), None, image.tolist()], pa.list_(pa.list_(pa.float64()))),
        "text": pa.array([json.dumps(image.tolist()), None, json.dumps(image.tolist())]),
        "flat": pa.array([image.ravel().tolist(), None, image.ravel().tolist()]),
    }[form]
    source = scope_parquet(tmp_path / "old.parquet", features(dmdt=column), ATTRS)
    metadata = adopt(source, tmp_path / f"new{suffix}")
    table = read_table(tmp_path / f"new{suffix}", kind="features")
    assert metadata == table.metadata
    assert metadata.facts == {"scope": ATTRS, "names": "legacy", "images_missing": 1}
    assert table.data["id"].to_pylist() == IDS
    assert table.data["band"].to_pylist() == ["g", "r", None]
    assert "radec_geojson" not in table.data.column_names
    found = np.asarray(table.data["dmdt"].combine_chunks().flatten()).reshape(3, 26, 26)
    np.testing.assert_array_equal(found, [image, np.zeros((26, 26)), image])


def test_adopting_a_csv_and_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("_id,median,period_ELS_ECE_EAOV\n10245362000000,15.5,0.5\n10245362000001,,0.25\n")
    assert adopt(path, tmp_path / "new.parquet").kind == "features"
    assert read_table(tmp_path / "new.parquet").data["median"].to_pylist() == [15.5, None]
    with pytest.raises(MetadataError, match="adopt"):
        read_table(path, kind="features")
    path.write_text("_id,median\n1.0245362e13,15.5\n")
    with pytest.raises(DataError, match="_id"):
        adopt(path, tmp_path / "other.parquet")
    with pytest.raises(SchemaError, match="26 x 26"):
        flat_images(pa.array([[1.0, 2.0]]), where="t")


def id_file(path: Path, name: str, ids: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=ids)
    return path


def test_lists_of_ids_of_a_quadrant_and_of_a_field(tmp_path: Path) -> None:
    one = id_file(tmp_path / "data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_301", IDS)
    assert read_foreign_table(one).to_pydict() == {"_id": IDS}
    assert table_columns(one) == ("_id",)
    whole = id_file(tmp_path / "field_301.h5", "dataset_field_301", np.array(IDS, dtype=np.float64))
    found = read_foreign_table(whole, ["_id"])
    assert found.to_pydict() == {"_id": IDS}
    assert str(found.schema.field("_id").type) == "int64"
    text = tmp_path / "data_ccd_1_quad_1_field_301.csv"
    text.write_text("".join(f"{one}\n" for one in IDS))
    assert read_foreign_table(text).to_pydict() == {"_id": IDS}
    # Another dataset keeps its name, and a table with names its first row.
    other = id_file(tmp_path / "other.h5", "ids", IDS)
    assert read_foreign_table(other).column_names == ["ids"]


@pytest.mark.parametrize("bad", [2.0**53, 1.5, float("nan"), float("inf"), -(2.0**53)])
def test_ids_that_went_through_a_float_are_refused(tmp_path: Path, bad: float) -> None:
    path = id_file(tmp_path / "field_301.h5", "dataset_field_301", np.array([1.0, bad]))
    with pytest.raises(FormatError, match="row 2 went through a float"):
        read_foreign_table(path)
    exact = id_file(tmp_path / "field_302.h5", "dataset_field_302", np.array([2.0**53 - 1]))
    assert read_foreign_table(exact)["_id"].to_pylist() == [2**53 - 1]


def test_a_folder_of_lists_and_its_counts(tmp_path: Path) -> None:
    folder = tmp_path / "ids" / "field_301"
    id_file(folder / "data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_301", IDS)
    id_file(folder / "data_ccd_01_quad_2.h5", "dataset_ccd_1_quad_2_field_301", [IDS[0], 7])
    # The same ids once more, as SCoPe writes them, and what is no list.
    (folder / "data_ccd_1_quad_1_field_301.csv").write_text("10245362000000\n")
    write_table(
        pa.table({"id": [99], "reason": ["x"]}), folder / "a.parquet.not_found.parquet", TableMetadata(kind="x")
    )
    (folder / "meta.json").write_text(json.dumps({"catalog": "c", "total": 4}))
    found = read_id_folder(tmp_path)
    assert found.ids.to_pylist() == [*IDS, 7]
    assert (found.n_files, found.n_repeated, found.warnings) == (2, 1, ())
    (folder / "meta.json").write_text(json.dumps({"total": 20_000}))
    assert "has 4 ids, but meta.json counts 20000" in read_id_folder(folder).warnings[0]
    (folder / "meta.json").write_text("{")
    assert "cannot be read" in read_id_folder(folder).warnings[0]
    with pytest.raises(EmptySelectionError, match="no list of ids"):
        read_id_folder(tmp_path / "ids" / "field_302")
    write_table(pa.table({"a": [1]}), folder / "b.parquet", TableMetadata(kind="x"))
    with pytest.raises(MissingColumnError, match="_id"):
        read_id_folder(folder)
