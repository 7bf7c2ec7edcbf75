"""Tables keep their content, dtypes, units and record in every format."""

from __future__ import annotations

import gc
import json
import math
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.provenance import Column, Input, TableMetadata
from scope_ml.errors import FormatError, MetadataError, MissingColumnError, OutputError, SchemaError
from scope_ml.io.csv_files import record_path
from scope_ml.io.tables import check_columns_fit, read_foreign_table, read_table, write_table

SUFFIXES = [".parquet", ".h5", ".hdf5", ".csv"]
GAIA = 4_521_234_567_890_123_457

every_format = pytest.mark.parametrize("suffix", SUFFIXES)


def full_table():
    schema = pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("gaia", pa.int64()),
            pa.field("largest", pa.uint64()),
            pa.field("count", pa.int8()),
            pa.field("name", pa.string()),
            pa.field("note", pa.large_string()),
            pa.field("known", pa.bool_()),
            pa.field("period", pa.float64(), metadata={b"unit": b"d"}),
            pa.field("amplitude", pa.float32(), metadata={b"unit": b"mag"}),
        ]
    )
    rows = {
        "id": [2**53 + 1, 2**53 + 3, -(2**63), 2**63 - 1],
        "gaia": [GAIA, None, GAIA + 1, None],
        "largest": [2**64 - 1, 0, None, 1],
        "count": [None, -128, 127, 0],
        "name": ["", None, 'a "quoted", text\nof two lines', "NA"],
        "note": ["null", "nan", "ζ Gem", None],
        "known": [True, False, None, True],
        "period": [0.1, None, float("inf"), 5e-324],
        "amplitude": [0.1, 1e-45, None, -0.0],
    }
    return pa.table(rows, schema=schema)


def metadata(**changed):
    given = {
        "kind": "features",
        "config_digest": "abc",
        "inputs": (Input(name="light_curves", digest="def", n_rows=4),),
        "facts": {"dropped": {"too_few": 2}},
    }
    return TableMetadata(**(given | changed))


@every_format
def test_everything_comes_back_exactly(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    write_table(full_table(), path, metadata())
    table = read_table(path, kind="features")
    assert table.data.equals(full_table(), check_metadata=True)
    assert math.copysign(1, table.data["amplitude"][3].as_py()) == -1
    assert table.metadata.facts == {"dropped": {"too_few": 2}}
    assert table.metadata.inputs == metadata().inputs
    assert table.metadata.n_rows == 4
    assert table.metadata.columns[0] == Column(name="id", dtype="int64")
    assert table.metadata.columns[7] == Column(name="period", dtype="double", unit="d")


@every_format
def test_nan_is_not_null(tmp_path, suffix):
    source = pa.table({"id": [1, 2, 3], "x": [float("nan"), None, 1.0]})
    write_table(source, tmp_path / f"t{suffix}", metadata())
    found = read_table(tmp_path / f"t{suffix}").data["x"]
    assert found.is_null().to_pylist() == [False, True, False]
    assert math.isnan(found[0].as_py())


def test_record_is_the_same_in_all_formats(tmp_path):
    records = []
    for suffix in SUFFIXES:
        write_table(full_table(), tmp_path / f"t{suffix}", metadata())
        records.append(read_table(tmp_path / f"t{suffix}").metadata)
    assert all(record == records[0] for record in records)


@every_format
def test_same_table_gives_same_bytes_however_chunked(tmp_path, suffix):
    table = full_table()
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    write_table(table, tmp_path / f"a{suffix}", metadata())
    write_table(chunked, tmp_path / f"b{suffix}", metadata())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@every_format
def test_columns_are_read_in_the_order_asked_for(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(full_table(), path, metadata())
    table = read_table(path, columns=["period", "id"])
    assert table.data.column_names == ["period", "id"]
    assert table.data["id"].to_pylist() == full_table()["id"].to_pylist()
    assert read_foreign_table(path, ["id"]).column_names == ["id"]
    with pytest.raises(MissingColumnError, match=r"perod; it has: .*did you mean 'period'"):
        read_table(path, columns=["perod"])


@every_format
def test_table_without_rows_and_long_table(tmp_path, suffix):
    empty = full_table().slice(0, 0)
    write_table(empty, tmp_path / f"empty{suffix}", metadata())
    assert read_table(tmp_path / f"empty{suffix}").data.equals(empty)
    assert read_table(tmp_path / f"empty{suffix}", columns=["name"]).data.num_rows == 0
    long = pa.concat_tables([full_table()] * 600)
    write_table(long, tmp_path / f"long{suffix}", metadata())
    assert read_table(tmp_path / f"long{suffix}").data.equals(long)


@every_format
def test_another_kind_is_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(full_table(), path, metadata(kind="labels"))
    with pytest.raises(MetadataError, match="is a 'labels' table; a 'features' table is needed"):
        read_table(path, kind="features")


BIG = 2**60 + 1


@every_format
def test_identifiers_beyond_53_bits_with_nulls(tmp_path, suffix):
    schema = pa.schema([("Gaia_EDR3___id", pa.int64()), ("ph_qual", pa.string()), ("n", pa.int64())])
    rows = {"Gaia_EDR3___id": [BIG, None, -BIG, None], "ph_qual": ["AAUU", None, "", None], "n": [1, 2, 3, 4]}
    given = pa.table(rows, schema=schema)
    write_table(given, tmp_path / f"t{suffix}", metadata())
    assert read_table(tmp_path / f"t{suffix}").data.equals(given)
    # A column that is null throughout keeps its type too, and so do columns read alone.
    none = given.slice(1, 1)
    write_table(none, tmp_path / f"none{suffix}", metadata())
    assert read_table(tmp_path / f"none{suffix}").data.equals(none)
    assert read_table(tmp_path / f"t{suffix}", columns=["Gaia_EDR3___id"]).data.column(0).to_pylist() == [
        BIG,
        None,
        -BIG,
        None,
    ]


def images(n, size=676):
    """A table with an image a row, with the values that are easily lost: NaN, -0.0, the smallest float32."""
    values = np.random.default_rng(n).normal(size=n * size).astype(np.float32)
    values[:3] = np.nan, -0.0, 1e-45
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), size)
    ids = pa.array([BIG, *[None] * (n - 1)], pa.int64())
    return pa.table({"id": ids, "name": pa.array([None] * (n - 1) + ["a"]), "dmdt": column}), values.reshape(n, size)


every_list_format = pytest.mark.parametrize("suffix", [".parquet", ".h5"])


@every_list_format
@pytest.mark.parametrize("n", [1, 5, 1500])
def test_lists_of_one_length_come_back_exactly(tmp_path, suffix, n):
    given, values = images(n)
    path = tmp_path / f"t{suffix}"
    write_table(given, path, metadata())
    table = read_table(path)
    assert table.data.schema.equals(given.schema)
    assert str(table.data.schema.field("dmdt").type) == "fixed_size_list<item: float>[676]"
    assert table.metadata.columns[2] == Column(name="dmdt", dtype="fixed_size_list<item: float>[676]")
    for found in (table.data, read_table(path, columns=["dmdt"]).data, read_foreign_table(path)):
        rows = found["dmdt"].combine_chunks().flatten().to_numpy().reshape(n, 676)
        np.testing.assert_array_equal(rows.view(np.uint32), values.view(np.uint32))
    assert table.data["id"].to_pylist() == given["id"].to_pylist()
    assert table.data["name"].to_pylist() == given["name"].to_pylist()


@every_list_format
def test_lists_sliced_chunked_and_of_no_rows(tmp_path, suffix):
    given, values = images(9)
    pieces = pa.concat_tables([given.slice(2, 3), given.slice(0, 0), given.slice(7)])
    write_table(pieces, tmp_path / f"t{suffix}", metadata())
    found = read_table(tmp_path / f"t{suffix}").data["dmdt"].combine_chunks()
    np.testing.assert_array_equal(found.flatten().to_numpy().reshape(-1, 676), values[[2, 3, 4, 7, 8]])
    write_table(pieces.combine_chunks(), tmp_path / f"same{suffix}", metadata())
    assert (tmp_path / f"t{suffix}").read_bytes() == (tmp_path / f"same{suffix}").read_bytes()
    write_table(given.slice(0, 0), tmp_path / f"empty{suffix}", metadata())
    assert read_table(tmp_path / f"empty{suffix}").data.equals(given.slice(0, 0))


@every_list_format
def test_nulls_in_lists_of_one_length_are_refused(tmp_path, suffix):
    row, element = [[1.0, 2.0], None], [[1.0, None], [3.0, 4.0]]
    for values in (row, element):
        table = pa.table({"id": [1, 2], "dmdt": pa.array(values, pa.list_(pa.float32(), 2))})
        with pytest.raises(SchemaError, match="'dmdt' of lists of one length has nulls; put NaN"):
            write_table(table, tmp_path / f"t{suffix}", metadata())
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_known_before_there_are_rows(tmp_path):
    schema = images(1)[0].schema
    for suffix in (".parquet", ".h5", ".hdf5"):
        check_columns_fit(tmp_path / f"t{suffix}", schema)
    words = r"'dmdt' is fixed_size_list.*which \.csv files cannot hold; write \.parquet or \.h5, or leave .*features\.groups"
    with pytest.raises(SchemaError, match=words) as early:
        check_columns_fit(tmp_path / "t.csv", schema)
    with pytest.raises(SchemaError) as late:
        write_table(images(1)[0], tmp_path / "t.csv", metadata())
    assert str(early.value) == str(late.value)
    assert "\n" not in str(late.value)
    texts = pa.schema([("names", pa.list_(pa.string(), 2))])
    with pytest.raises(SchemaError, match=r"'names'.*\.h5 files cannot hold; write \.parquet, or"):
        check_columns_fit(tmp_path / "t.h5", texts)
    with pytest.raises(FormatError, match="suffix"):
        check_columns_fit(tmp_path / "t.txt", schema)
    check_columns_fit(tmp_path / "t.csv", pa.schema([("band", pa.dictionary(pa.int8(), pa.string()))]))


def test_datasets_of_two_dimensions_of_others_are_left(tmp_path):
    import h5py

    with h5py.File(tmp_path / "others.h5", "w") as file:
        file["id"] = [BIG, 2]
        file["covariance"] = np.eye(5)
    assert read_foreign_table(tmp_path / "others.h5").to_pydict() == {"id": [BIG, 2]}


def test_units_may_come_from_the_record(tmp_path):
    units = (Column(name="ra", dtype="", unit="deg"),)
    write_table(pa.table({"ra": [1.5]}), tmp_path / "t.parquet", metadata(columns=units))
    table = read_table(tmp_path / "t.parquet")
    assert table.metadata.columns == (Column(name="ra", dtype="double", unit="deg"),)
    assert table.data.schema.field("ra").metadata == {b"unit": b"deg"}


@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_categories_become_their_values_and_lists_are_refused(tmp_path, suffix):
    band = pa.array(["g", "r", "g", None]).dictionary_encode()
    write_table(pa.table({"id": range(4), "band": band}), tmp_path / f"t{suffix}", metadata())
    assert read_table(tmp_path / f"t{suffix}").data["band"].to_pylist() == ["g", "r", "g", None]
    with pytest.raises(SchemaError, match=r"column 'hjd' is list.*; write .parquet"):
        write_table(pa.table({"hjd": [[1.0]]}), tmp_path / f"lists{suffix}", metadata())
    assert not (tmp_path / f"lists{suffix}").exists()


def test_parquet_holds_lists(tmp_path):
    table = pa.table({"id": [1], "hjd": [[1.0, 2.0]]})
    write_table(table, tmp_path / "t.parquet", metadata())
    assert read_table(tmp_path / "t.parquet").data.equals(table)


@every_format
def test_missing_empty_and_wrong_files(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    for read in (read_table, read_foreign_table):
        with pytest.raises(FormatError, match="does not exist"):
            read(path)
    path.touch()
    for read in (read_table, read_foreign_table):
        with pytest.raises(FormatError, match=r"is empty \(0 bytes\)"):
            read(path)
    path.unlink()
    path.mkdir()
    for read in (read_table, read_foreign_table):
        with pytest.raises(FormatError, match="is a folder"):
            read(path)
    with pytest.raises(OutputError, match="it is a folder"):
        write_table(full_table(), path, metadata())


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.98])
def test_truncated_files_are_one_line(tmp_path, suffix, keep):
    path = tmp_path / f"t{suffix}"
    write_table(full_table(), path, metadata())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(FormatError, match="is not a readable") as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flipped_bits_in_parquet_are_found(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(pa.table({"x": np.random.default_rng(1).normal(size=10_000)}), path, metadata())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not a readable Parquet file"):
        read_table(path)


@every_format
def test_files_of_another_format(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00,\n1,2,3,4,5\n")
    with pytest.raises(FormatError) as caught:
        read_foreign_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ragged_and_cut_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,x\n1,2\n3\n")
    with pytest.raises(FormatError, match=r"t\.csv is not a readable CSV file \(.*2 columns"):
        read_foreign_table(path)
    write_table(pa.table({"id": [1, 2], "x": [1.0, 2.0]}), path, metadata())
    path.write_text('"id","x"\n1,1\n')
    with pytest.raises(FormatError, match="has 1 rows but its record says 2"):
        read_table(path)
    path.write_text('"id","x"\n1,1\nabc,2\n')
    with pytest.raises(FormatError, match="abc"):
        read_table(path)
    path.write_text("id,id\n1,1\n")
    with pytest.raises(FormatError, match=r"column name\(s\) id twice"):
        read_foreign_table(path, ["id"])


@every_format
def test_foreign_files_are_refused_as_ours_and_read_as_foreign(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": [GAIA], "x": [1.5]}), path)
    elif suffix == ".csv":
        path.write_text(f"id,x\n{GAIA},1.5\n")
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["id"] = np.array([GAIA], dtype=">i8")
            file["x"] = np.array([1.5])
    with pytest.raises(MetadataError, match=r"no metadata record.*write_table\(read_foreign_table"):
        read_table(path)
    table = read_foreign_table(path)
    assert table["id"].to_pylist() == [GAIA]
    assert table.schema.field("id").type == pa.int64()
    write_table(table, path, metadata(kind="labels"))
    assert read_table(path).data.equals(table)


def test_foreign_csv_keeps_identifiers(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"\ufeffid,gaia_id,class,x\n{2**64},{GAIA},rrlyr,1\n7,,ea,2.5\n", encoding="utf-8")
    table = read_foreign_table(path)
    assert table["id"].to_pylist() == [str(2**64), "7"]
    assert table["gaia_id"].to_pylist() == [GAIA, None]
    assert table["x"].to_pylist() == [1.0, 2.5]


def test_foreign_csv_takes_its_types_from_the_whole_text(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,class\n" + "1234567890,ea\n" * 100_000 + "star,ew\n")
    assert read_foreign_table(path)["id"][-1].as_py() == "star"


def test_foreign_hdf5_that_has_no_columns(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_group("df")["axis0"] = [1, 2]
    with pytest.raises(FormatError, match=r"has no columns.*\(it holds: df\); convert it"):
        read_foreign_table(tmp_path / "t.h5")
    with h5py.File(tmp_path / "u.h5", "w") as file:
        file["a"], file["b"] = [1], [1, 2]
    with pytest.raises(FormatError, match="columns of different lengths"):
        read_foreign_table(tmp_path / "u.h5")


def test_unknown_suffix_and_repeated_names(tmp_path):
    with pytest.raises(FormatError, match=r"suffix '.txt'; tables end in one of .parquet"):
        write_table(full_table(), tmp_path / "t.txt", metadata())
    with pytest.raises(FormatError, match=r"suffix '.fits'"):
        read_table(tmp_path / "t.fits")
    twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(SchemaError, match="two columns are named a"):
        write_table(twice, tmp_path / "t.csv", metadata())


def test_hdf5_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(SchemaError, match="column name 'a/b' cannot stand in HDF5"):
        write_table(pa.table({"a/b": [1]}), tmp_path / "t.h5", metadata())
    with pytest.raises(SchemaError, match="'a' has a string with a NUL"):
        write_table(pa.table({"a": ["x\0y"]}), tmp_path / "t.h5", metadata())
    assert list(tmp_path.iterdir()) == []


def test_large_record_fits_every_format(tmp_path):
    facts = {"names": [f"feature_{index:06d}" for index in range(10_000)]}
    for suffix in SUFFIXES:
        write_table(full_table(), tmp_path / f"t{suffix}", metadata(facts=facts))
        assert read_table(tmp_path / f"t{suffix}").metadata.facts == facts


def test_csv_without_its_record_is_refused_and_a_rewrite_replaces_both(tmp_path):
    path = tmp_path / "t.csv"
    write_table(full_table(), path, metadata())
    assert json.loads(record_path(path).read_text())["kind"] == "features"
    record_path(path).unlink()
    with pytest.raises(MetadataError, match=r"\(no t\.csv\.meta\.json beside it\)"):
        read_table(path)
    write_table(pa.table({"id": [1]}), path, metadata(kind="labels"))
    assert read_table(path, kind="labels").data["id"].to_pylist() == [1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t.csv", "t.csv.meta.json"]


def test_record_of_a_newer_schema_is_refused(tmp_path):
    write_table(full_table(), tmp_path / "t.parquet", metadata(schema_version=99))
    with pytest.raises(MetadataError, match="newer than 1; update scope_ml"):
        read_table(tmp_path / "t.parquet")


@every_format
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(tmp_path, suffix, capfd):
    table = pa.table({"id": np.arange(5000), "value": np.random.default_rng(1).normal(size=5000)})
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, largest[1]))
    try:
        with pytest.raises(OutputError, match=rf"cannot write .*out{suffix}: File too large"):
            write_table(table, tmp_path / f"out{suffix}", metadata())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_csv_beside_a_meta_json_of_others_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("id,ra\n1,2.5\n")
    record_path(tmp_path / "t.csv").write_text('{"total": 1}')
    assert read_foreign_table(tmp_path / "t.csv").to_pylist() == [{"id": 1, "ra": 2.5}]
    table = read_table(tmp_path / "t.csv")
    assert table.data.to_pylist() == [{"id": 1, "ra": 2.5}]
    assert table.metadata.kind == "scope"
