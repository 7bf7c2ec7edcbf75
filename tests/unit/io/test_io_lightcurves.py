"""Light-curve files in three layouts, streamed in chunks that depend on nothing but the file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import LightCurveSource
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, FormatError, MissingColumnError, OutputError, SchemaError
from scope_ml.io.layouts import LAYOUTS
from scope_ml.io.lightcurves import light_curve_table, light_curve_writer, open_light_curves, write_light_curves
from scope_ml.io.tables import read_table

ROW_COLUMNS = ["id", "source_id", "band", "ra", "dec", "field", "ccd", "quad", "filter"]
BIG = 2**53 + 1


def made(n, *, start=0, n_obs=3, text=False):
    """Make light curves whose points say which they are."""
    number = np.arange(start, start + n)
    return LightCurveBatch(
        id=np.array([f"s{i}" for i in number], dtype=object) if text else BIG + number,
        offsets=np.arange(n + 1) * n_obs,
        time=np.repeat(number * 1000.0, n_obs) + np.tile(np.arange(n_obs, dtype=float), n),
        mag=np.repeat(number, n_obs).astype(np.float32),
        mag_err=np.full(n * n_obs, 0.1, np.float32),
        flags=np.zeros(n * n_obs, np.int32),
    )


def facts(n, **changed):
    given = {
        "source_id": pa.array(range(100, 100 + n), pa.int64()),
        "band": pa.array([("g", "r", None)[i % 3] for i in range(n)], pa.string()),
        "ra": pa.array([float(i) for i in range(n)]),
        "dec": pa.array([-float(i) if i % 2 else None for i in range(n)], pa.float64()),
        "field": pa.array([250] * n, pa.int32()),
        "ccd": pa.array([1] * n, pa.int32()),
        "quad": pa.array([2] * n, pa.int32()),
        "filter": pa.array([(1, 2, None)[i % 3] for i in range(n)], pa.int32()),
    }
    return pa.table(given | changed)


def read_all(source):
    chunks = list(source.chunks())
    rows = pa.concat_tables([chunk.rows for chunk in chunks])
    batch = LightCurveBatch.concatenate([chunk.batch for chunk in chunks])
    assert rows["id"].to_pylist() == batch.id.tolist()
    return batch, rows


def dataset_table():
    return pa.table(
        {
            "id": ["a", "b", "empty", "c"],
            "survey": ["x"] * 4,
            "hjd": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0], [], [7.0, 8.0, 9.0]],
            "mag": [[10.0, 20.0, 11.0, 21.0], [30.0, 31.0], [], [40.0, 50.0, 41.0]],
            "magerr": [[0.1, 0.2, 0.3, 0.4], [0.1, 0.1], [], [0.1, 0.2, 0.3]],
            "band": [["r", "g", "r", "g"], ["g", "g"], [], ["i", None, "i"]],
            "catflags": pa.array([[0, 1, 2, 3], [4, 5], [], [6, 7, 8]], pa.list_(pa.int32())),
        }
    )


def irsa_table(time_type=None):
    return pa.table(
        {
            "objectid": pa.array([BIG, 250101100012909]),
            "filterid": pa.array([1, 2], pa.uint8()),
            "fieldid": pa.array([250, 250], pa.int16()),
            "rcid": pa.array([0, 63], pa.uint8()),
            "objra": pa.array([41.5, 41.75], pa.float32()),
            "objdec": pa.array([-26.5, -26.25], pa.float32()),
            "nepochs": pa.array([2, 1]),
            "hmjd": pa.array([[58000.25, 58001.25], [58002.125]], pa.list_(time_type or pa.float32())),
            "mag": pa.array([[15.0, 15.5], [16.0]], pa.list_(pa.float32())),
            "magerr": pa.array([[0.1, 0.1], [0.2]], pa.list_(pa.float32())),
            "clrcoeff": pa.array([[0.0, 0.0], [0.0]], pa.list_(pa.float32())),
            "catflags": pa.array([[0, 32768], [0]], pa.list_(pa.uint16())),
            "__index_level_0__": pa.array([5, 9]),
        }
    )


def test_own_layout_round_trip(tmp_path):
    path = tmp_path / "lc.parquet"
    batch, rows = made(7), facts(7)
    write_light_curves(batch, rows, path)
    source = open_light_curves(path)
    assert isinstance(source, LightCurveSource)
    assert (source.n_rows, source.n_chunks) == (7, 1)
    found, found_rows = read_all(source)
    assert found_rows.column_names == ROW_COLUMNS
    assert found.id.tolist() == batch.id.tolist()
    assert found.to_arrow().equals(batch.to_arrow())
    for name in rows.column_names:
        assert found_rows[name].to_pylist() == rows[name].to_pylist(), name
    table = read_table(path, kind="light_curves")
    assert table.metadata.n_rows == 7
    assert {column.name: column.unit for column in table.metadata.columns}["hjd"] == "d"


def test_smallest_file_of_a_user(tmp_path):
    lists = {"hjd": [[1.0, 2.0]], "mag": [[3.0, 4.0]], "magerr": [[0.1, 0.1]]}
    pq.write_table(pa.table({"id": ["mine"], **lists}), tmp_path / "lc.parquet")
    batch, rows = read_all(open_light_curves(tmp_path / "lc.parquet"))
    assert rows.to_pylist() == [dict.fromkeys(ROW_COLUMNS) | {"id": "mine", "source_id": "mine"}]
    assert (batch.mag.dtype, batch.flags) == (np.float64, None)


def test_band_follows_from_filter_where_the_file_has_none(tmp_path):
    table = light_curve_table(made(4), pa.table({"filter": pa.array([1, 2, 3, 4])}))
    pq.write_table(table, tmp_path / "lc.parquet")
    _, rows = read_all(open_light_curves(tmp_path / "lc.parquet"))
    assert rows["band"].to_pylist() == ["g", "r", "i", None]
    assert rows.schema.field("filter").type == pa.int32()


@pytest.mark.parametrize("groups", [[20], [1] * 20, [7, 0, 13], [3, 16, 1]])
@pytest.mark.parametrize("text", [True, False])
def test_chunks_do_not_depend_on_row_groups(tmp_path, groups, text):
    with light_curve_writer(tmp_path / "lc.parquet") as writer:
        start = 0
        for n in groups:
            writer.write(made(n, start=start, text=text), facts(n))
            start += n
    source = open_light_curves(tmp_path / "lc.parquet", chunk_sources=6)
    chunks = list(source.chunks())
    assert [len(chunk.batch) for chunk in chunks] == [6, 6, 6, 2]
    assert source.n_chunks == 4
    assert read_all(source)[0].to_arrow().equals(made(20, text=text).to_arrow())


def test_folder_is_read_by_name_without_what_is_no_light_curves(tmp_path):
    for name, start in (("part-1", 5), ("part-0", 0)):
        write_light_curves(made(5, start=start), facts(5), tmp_path / f"{name}.parquet")
    for name in ("labels.parquet", "labels_2.parquet", ".part-2.parquet.tmp", ".x.parquet", "out.dropped.parquet"):
        (tmp_path / name).write_bytes(b"not light curves")
    (tmp_path / "README.md").write_text("notes")
    source = open_light_curves(tmp_path, chunk_sources=3)
    assert [len(chunk.batch) for chunk in source.chunks()] == [3, 2, 3, 2]
    assert (source.n_rows, source.n_chunks) == (10, 4)
    assert read_all(source)[0].id.tolist() == made(10).id.tolist()


def test_digest_is_of_the_content(tmp_path):
    write_light_curves(made(3), facts(3), tmp_path / "a.parquet")
    write_light_curves(made(3), facts(3), tmp_path / "b.parquet")
    write_light_curves(made(3, start=1), facts(3), tmp_path / "c.parquet")
    digests = [open_light_curves(tmp_path / f"{name}.parquet").digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert open_light_curves(tmp_path).digest not in digests


def test_irsa_time_is_computed_in_float64(tmp_path):
    pq.write_table(irsa_table(), tmp_path / "ztf.parquet")
    batch, rows = read_all(open_light_curves(tmp_path / "ztf.parquet"))
    assert batch.id.tolist() == [BIG, 250101100012909]
    assert batch.time.tolist() == [2458000.75, 2458001.75, 2458002.625]
    assert batch.mag.dtype == np.float32
    assert batch.flags.tolist() == [0, 32768, 0]
    assert rows.column_names == ROW_COLUMNS
    assert rows.to_pylist() == [
        {
            "id": BIG,
            "source_id": BIG,
            "band": "g",
            "ra": 41.5,
            "dec": -26.5,
            "field": 250,
            "ccd": 1,
            "quad": 1,
            "filter": 1,
        },
        {
            "id": 250101100012909,
            "source_id": 250101100012909,
            "band": "r",
            "ra": 41.75,
            "dec": -26.25,
            "field": 250,
            "ccd": 16,
            "quad": 4,
            "filter": 2,
        },
    ]


def test_irsa_time_of_later_releases_keeps_its_precision(tmp_path):
    table = irsa_table(pa.float64())
    fine = pa.array([[58000.123456789, 58001.0], [58002.0]])
    pq.write_table(table.set_column(table.column_names.index("hmjd"), "hmjd", fine), tmp_path / "ztf.parquet")
    batch, _ = read_all(open_light_curves(tmp_path / "ztf.parquet"))
    assert batch.time[0] == 58000.123456789 + 2400000.5


def test_irsa_ccd_and_quadrant_of_every_readout_channel(tmp_path):
    one = irsa_table().slice(1)
    rcid = pa.array(range(64), pa.uint8())
    many = pa.concat_tables([one] * 64).set_column(3, "rcid", rcid)
    pq.write_table(many, tmp_path / "ztf.parquet")
    _, rows = read_all(open_light_curves(tmp_path / "ztf.parquet"))
    assert rows["ccd"].to_pylist() == [channel // 4 + 1 for channel in range(64)]
    assert rows["quad"].to_pylist() == [channel % 4 + 1 for channel in range(64)]


def test_interleaved_bands_are_split(tmp_path):
    pq.write_table(dataset_table(), tmp_path / "lightcurves.parquet")
    source = open_light_curves(tmp_path)
    assert source.n_rows == 4
    batch, rows = read_all(source)
    assert list(zip(rows["id"].to_pylist(), rows["band"].to_pylist(), strict=True)) == [
        ("a", "g"),
        ("a", "r"),
        ("b", "g"),
        ("empty", None),
        ("c", "i"),
        ("c", None),
    ]
    assert batch.n_obs.tolist() == [2, 2, 2, 0, 2, 1]
    assert batch.time.tolist() == [2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 7.0, 9.0, 8.0]
    assert batch.mag.tolist() == [20.0, 21.0, 10.0, 11.0, 30.0, 31.0, 40.0, 41.0, 50.0]
    assert batch.flags.tolist() == [1, 3, 0, 2, 4, 5, 6, 8, 7]
    assert rows["ra"].null_count == 6
    assert rows["source_id"].to_pylist() == rows["id"].to_pylist()


def test_interleaved_bands_against_a_plain_loop(tmp_path):
    rng = np.random.default_rng(3)
    rows = []
    for star in range(40):
        n = int(rng.integers(0, 12))
        band = [None if b == "none" else str(b) for b in rng.choice(["r", "g", "i", "none"], n)]
        rows.append(
            {
                "id": star,
                "hjd": rng.normal(size=n),
                "mag": rng.normal(size=n),
                "magerr": rng.uniform(size=n),
                "band": band,
            }
        )
    schema = pa.schema(
        [
            ("id", pa.int64()),
            *((name, pa.list_(pa.float64())) for name in ("hjd", "mag", "magerr")),
            ("band", pa.list_(pa.string())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "lightcurves.parquet")
    expected = []
    for row in rows:
        for name in sorted({b for b in row["band"] if b}) + ([None] if None in row["band"] or not row["band"] else []):
            at = [i for i, b in enumerate(row["band"]) if b == name]
            expected.append((row["id"], name, row["hjd"][at].tolist(), row["magerr"][at].tolist()))
    batch, facts_found = read_all(open_light_curves(tmp_path / "lightcurves.parquet", chunk_sources=7))
    names = facts_found["band"].to_pylist()
    found = [(lc.id, name, lc.time.tolist(), lc.mag_err.tolist()) for lc, name in zip(batch, names, strict=True)]
    assert found == expected


def test_bands_are_selected_in_every_layout(tmp_path):
    pq.write_table(dataset_table(), tmp_path / "dataset.parquet")
    pq.write_table(irsa_table(), tmp_path / "irsa.parquet")
    write_light_curves(made(6), facts(6), tmp_path / "scope.parquet")
    for name, bands, ids in (
        ("dataset", ("g",), ["a", "b"]),
        ("dataset", ("r", "i"), ["a", "c"]),
        ("irsa", ("r",), [250101100012909]),
        ("scope", ["g"], [BIG, BIG + 3]),
        ("scope", ("g", "r"), [BIG, BIG + 1, BIG + 3, BIG + 4]),
        ("scope", ("z",), []),
    ):
        batch, rows = read_all(open_light_curves(tmp_path / f"{name}.parquet", bands=bands))
        assert batch.id.tolist() == ids, name
        assert set(rows["band"].to_pylist()) <= set(bands)


def test_single_band_dataset_shares_the_memory_of_the_file_buffers():
    single = dataset_table().slice(1, 1)
    chunk = LAYOUTS["dataset"].to_chunk(single)
    assert np.shares_memory(chunk.batch.time, single["hjd"].chunk(0).values.to_numpy())


def test_empty_files(tmp_path):
    write_light_curves(made(0), facts(0), tmp_path / "scope.parquet")
    pq.write_table(dataset_table().slice(0, 0), tmp_path / "dataset.parquet")
    pq.write_table(irsa_table().slice(0, 0), tmp_path / "irsa.parquet")
    for name in LAYOUTS:
        source = open_light_curves(tmp_path / f"{name}.parquet")
        assert (source.n_rows, source.n_chunks, list(source.chunks())) == (0, 0, [])
    for table in (dataset_table().slice(2, 1), dataset_table().slice(0, 0)):
        assert len(LAYOUTS["dataset"].to_chunk(table).batch) == table.num_rows


def test_no_layout_fits(tmp_path):
    path = tmp_path / "lc.parquet"
    pq.write_table(pa.table({"id": [1], "jd": [[1.0]], "magnitude": [[1.0]]}), path)
    with pytest.raises(
        MissingColumnError, match=r"fits no light-curve layout \(scope: id, hjd, mag, magerr \| irsa: obj"
    ):
        open_light_curves(path)
    with pytest.raises(MissingColumnError, match=r"\(light-curve layout 'irsa'\) lacks the column\(s\) objectid"):
        open_light_curves(path, layout="irsa")
    pq.write_table(irsa_table().drop_columns(["rcid"]), path)
    with pytest.raises(MissingColumnError, match=r"as 'irsa' it lacks the column\(s\) rcid"):
        open_light_curves(path)
    pq.write_table(pa.table({name: [1.0] for name in ("id", "hjd", "mag", "magerr")}), path)
    with pytest.raises(SchemaError, match="column 'hjd' is double, not a list"):
        open_light_curves(path)
    with pytest.raises(ConfigError, match="layout 'ztf' is unknown; use one of auto, scope, irsa, dataset"):
        open_light_curves(path, layout="ztf")
    with pytest.raises(ConfigError, match="chunk_sources is 0"):
        open_light_curves(path, chunk_sources=0)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        open_light_curves(tmp_path / "none.parquet")
    with pytest.raises(FormatError, match=r"holds no light-curve file \(\*\.parquet\); files named labels"):
        open_light_curves(tmp_path)
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(FormatError, match=r"empty \(0 bytes\)"):
        open_light_curves(tmp_path)
    (tmp_path / "empty.parquet").unlink()
    write_light_curves(made(2), facts(2), tmp_path / "ZTF_sources" / "lc.parquet")
    with pytest.raises(FormatError, match=r"did you mean .*ZTF_sources"):
        open_light_curves(tmp_path)
    content = bytearray((tmp_path / "ZTF_sources" / "lc.parquet").read_bytes())
    content[4:40] = b"\0" * 36
    (tmp_path / "broken.parquet").write_bytes(content)
    source = open_light_curves(tmp_path / "broken.parquet")
    with pytest.raises(FormatError, match=r"broken\.parquet is not a readable Parquet file"):
        list(source.chunks())


def test_content_that_cannot_be_used_names_the_file(tmp_path):
    path = tmp_path / "lc.parquet"
    table = light_curve_table(made(2), facts(2))
    for column, values, message in (
        ("id", pa.array([1, None]), r"lc\.parquet: light-curve table: column 'id' has no value in row 2"),
        ("id", pa.array([1.5, 2.5]), r"'id' is double; ids must be whole numbers or text"),
        ("source_id", pa.array([1.0, 2.0]), "'source_id' is double"),
        ("ra", pa.array(["12:30", "13:00"]), "column 'ra' cannot be read as double"),
        ("hjd", pa.array([[1.0, 2.0, 3.0], [1.0]]), rf"light curve {BIG + 1}: 'hjd' has 1 points but 'mag' has 3"),
        ("hjd", pa.array([[1.0] * 3] * 2, pa.list_(pa.float32())), "time is float32"),
    ):
        index = table.column_names.index(column)
        pq.write_table(table.set_column(index, column, values), path)
        with pytest.raises(DataError, match=message):
            list(open_light_curves(path).chunks())


def test_memory_does_not_grow_with_the_file(tmp_path):
    n, n_obs = 200, 300
    with light_curve_writer(tmp_path / "lc.parquet") as writer:
        for part in range(40):
            writer.write(made(n, start=part * n, n_obs=n_obs), facts(n))
    pq.write_table(pq.read_table(tmp_path / "lc.parquet"), tmp_path / "one_group.parquet")
    chunk_bytes = n * n_obs * (8 + 4 + 4 + 4)
    for name in ("lc", "one_group"):
        before, peak, seen = pa.total_allocated_bytes(), 0, 0
        for chunk in open_light_curves(tmp_path / f"{name}.parquet", chunk_sources=n).chunks():
            peak = max(peak, pa.total_allocated_bytes() - before)
            seen += len(chunk.batch)
        assert seen == 40 * n
        # The chunk in hand, the one before it and the read buffers of a few columns; the file holds 40 chunks.
        assert peak < 10 * chunk_bytes, name


def test_writer_leaves_nothing_when_it_fails(tmp_path):
    path = tmp_path / "lc.parquet"
    with pytest.raises(SchemaError, match=r"in columns or types: ra$"), light_curve_writer(path) as writer:
        writer.write(made(2), facts(2))
        writer.write(made(2), facts(2).drop_columns(["ra"]))
    with pytest.raises(DataError, match="no light curves were given"), light_curve_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="it is a folder"), light_curve_writer(tmp_path):
        pass


def test_rows_must_belong_to_the_light_curves():
    with pytest.raises(SchemaError, match="2 rows do not fit 3 light curves"):
        light_curve_table(made(3), facts(2))
    with pytest.raises(SchemaError, match="'id' of the rows is not the id"):
        light_curve_table(made(2), pa.table({"id": [1, 2]}))
    banded = LightCurveBatch.from_lists([1], [[1.0]], [[1.0]], [[1.0]], bands=[["g"]])
    with pytest.raises(SchemaError, match="one band a light curve"):
        light_curve_table(banded, pa.table({"band": ["g"]}))
    with pytest.raises(SchemaError, match="'ccd' of the rows cannot be written as int32"):
        light_curve_table(made(1), pa.table({"ccd": ["one"]}))


def test_writer_takes_columns_of_ones_own_and_a_record(tmp_path):
    rows = pa.table({"id": made(2).id, "programid": [[1, 1, 2], [1, 2, 3]], "nobs": [3, 3]})
    record = TableMetadata(kind="light_curves", config_digest="abc", facts={"seed": 1})
    write_light_curves(made(2), rows, tmp_path / "lc.parquet", record)
    table = read_table(tmp_path / "lc.parquet")
    assert table.metadata.config_digest == "abc"
    assert table.data["programid"].to_pylist() == rows["programid"].to_pylist()
    assert table.data.column_names[0] == "id"
