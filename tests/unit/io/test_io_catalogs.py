"""Catalogues in folders of Parquet: the rows in a circle against all rows tried, layouts, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import angular_separation

from scope_ml.core.protocols import CatalogSource
from scope_ml.errors import FormatError, MissingColumnError, SchemaError
from scope_ml.io import catalogs
from scope_ml.io.catalogs import ParquetCatalogs

CENTRES = [(0.0, 0.0), (359.99, 12.0), (0.003, -45.0), (77.0, 90.0), (200.0, -89.97), (200.0, 89.5), (180.0, 30.0)]


@pytest.fixture(scope="module")
def sky():
    """Rows all over the sky and around `CENTRES`, in no order."""
    rng = np.random.default_rng(0)
    around = np.array(CENTRES)[rng.integers(0, len(CENTRES), 3000)]
    dec = np.clip(around[:, 1] + rng.normal(0, 0.2, 3000), -90, 90)
    ra = around[:, 0] + rng.normal(0, 0.2, 3000) / np.maximum(np.cos(np.radians(dec)), 1e-3)
    ra, dec = np.append(ra, rng.uniform(0, 360, 1000)), np.append(dec, np.degrees(np.arcsin(rng.uniform(-1, 1, 1000))))
    ids = pa.array(2**60 + np.arange(4000))
    return pa.table({"_id": ids, "ra": ra % 360, "dec": dec, "g": rng.uniform(10, 20, 4000)}).take(
        pa.array(rng.permutation(4000))
    )


def written(table, folder, name="cat", n_files=1, rows_per_group=1000):
    (folder / name).mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(table.num_rows), n_files)):
        piece = table.take(pa.array(part))
        pq.write_table(piece, folder / name / f"part-{number:03d}.parquet", row_group_size=rows_per_group)
    return ParquetCatalogs(folder)


def inside(table, ra, dec, radius):
    there = np.radians([table["ra"].to_numpy(), table["dec"].to_numpy()])
    return np.degrees(angular_separation(there[0], there[1], np.radians(ra), np.radians(dec))) * 3600 <= radius


@pytest.mark.parametrize("order", ["ra", "dec", "none"])
def test_rows_of_a_circle_are_those_found_by_trying_all(sky, tmp_path, order):
    table = sky if order == "none" else sky.sort_by(order)
    source = written(table, tmp_path, n_files=3, rows_per_group=50)
    assert isinstance(source, CatalogSource)
    for ra, dec in CENTRES:
        for radius in (5.0, 400.0, 4000.0):
            found = source.cone_search("cat", ra, dec, radius_arcsec=radius, columns=("_id", "g"))
            assert found.equals(
                table.filter(pa.array(inside(table, ra, dec, radius))).select(["ra", "dec", "_id", "g"])
            )


def test_right_ascension_may_run_from_minus_180(sky, tmp_path):
    ra = sky["ra"].to_numpy()
    table = sky.set_column(1, "ra", pa.array(np.where(ra > 180, ra - 360, ra))).sort_by("ra")
    source = written(table, tmp_path, rows_per_group=50)
    for where in CENTRES:
        found = source.cone_search("cat", *where, radius_arcsec=900.0, columns=("_id",))
        assert found["_id"].to_pylist() == table.filter(pa.array(inside(table, *where, 900.0)))["_id"].to_pylist()
        assert found.num_rows


def test_row_groups_out_of_reach_are_not_read(sky, tmp_path, monkeypatch):
    source = written(sky.sort_by("dec"), tmp_path, n_files=4, rows_per_group=100)
    read = []

    def opened(path):
        file = original(path)
        batches = file.iter_batches
        file.iter_batches = lambda **how: (read.extend(how["row_groups"]), batches(**how))[1]
        return file

    original = catalogs.open_parquet
    monkeypatch.setattr(catalogs, "open_parquet", opened)
    found = source.cone_search("cat", 180.0, 30.0, radius_arcsec=60.0, columns=("_id",))
    assert found.num_rows
    assert 1 <= len(read) <= 2
    # Around a pole every right ascension is near, elsewhere hardly any.
    read.clear()
    written(sky.sort_by("ra"), tmp_path / "by_ra", rows_per_group=100).cone_search(
        "cat", 180.0, 30.0, radius_arcsec=60.0, columns=("_id",)
    )
    assert 1 <= len(read) <= 8


def test_one_file_a_collection_and_part_files_at_any_depth(sky, tmp_path):
    pq.write_table(sky, tmp_path / "single.parquet")
    for part in (0, 1):
        (tmp_path / "deep" / f"Npix={part}").mkdir(parents=True)
        pq.write_table(sky.slice(part * 2000, 2000), tmp_path / "deep" / f"Npix={part}" / "x.parquet")
    (tmp_path / "deep" / "_metadata.parquet").write_bytes(b"not data")
    (tmp_path / "nothing").mkdir()
    source = ParquetCatalogs(tmp_path)
    assert source.collections() == ("deep", "single")
    one, other = (
        source.cone_search(name, 180.0, 30.0, radius_arcsec=900.0, columns=("_id",)) for name in ("single", "deep")
    )
    assert one.equals(other)
    assert one.num_rows


def document(**columns):
    return pa.table({"ra": [10.0, 20.0], "dec": [1.0, 2.0], **columns})


@pytest.mark.parametrize(
    "table",
    [
        document(candid=[7, 8], classifications_braai=[0.25, 0.5]),
        document(_id=["7", "8"], candid=[7, 8], classifications=[{"acai": 1.0, "braai": 0.25}, {"braai": 0.5}]),
        document(id=[7, 8], **{"classifications.braai": [0.25, 0.5]}),
        document(_id=[7, 8], braai=[0.25, 0.5]),
        pa.table(
            {
                "candid": [7, 8],
                "candidate": [{"ra": 10.0, "dec": 1.0, "jd": 3.0}, {"ra": 20.0, "dec": 2.0}],
                "classifications__braai": [0.25, 0.5],
            }
        ),
        pa.table(
            {
                "candid": [7, 8, 9],
                "coordinates": [
                    {"radec_geojson": {"type": "Point", "coordinates": [-170.0, 1.0]}},
                    {"radec_geojson": {"type": "Point", "coordinates": [-160.0, 2.0]}},
                    {"radec_geojson": {"type": "Point", "coordinates": None}},
                ],
                "braai": [0.25, 0.5, 0.75],
            }
        ),
    ],
    ids=["flat", "struct", "dotted", "short", "candidate", "geojson"],
)  # fmt: skip
def test_documents_however_flattened(table, tmp_path):
    pq.write_table(table, tmp_path / "ZTF_alerts.parquet")
    found = ParquetCatalogs(tmp_path).cone_search(
        "ZTF_alerts", 10.0, 1.0, radius_arcsec=3.0, columns=("candid",), optional=("classifications.braai",)
    )
    assert found.to_pylist() == [{"ra": 10.0, "dec": 1.0, "candid": 7, "classifications.braai": 0.25}]


def test_optional_columns_limits_and_rows_without_position(tmp_path):
    nan = float("nan")
    (tmp_path / "cat").mkdir()
    first = {"_id": ["a", "b", "c", "d"], "ra": [10.0] * 4, "dec": [1.0, 1.0, nan, None], "g": [12.0, 13.0, 1.0, 1.0]}
    pq.write_table(pa.table(first), tmp_path / "cat" / "1.parquet")
    second = {"_id": pa.array(["e", "f"]).dictionary_encode(), "ra": [10.0] * 2, "dec": [1.0] * 2, "g": [None, 11.0]}
    pq.write_table(pa.table({**second, "colour": [1.0, 2.0]}), tmp_path / "cat" / "2.parquet")
    source = ParquetCatalogs(tmp_path)

    def ask(ra=10.0, **how):
        return source.cone_search(
            "cat", ra, 1.0, radius_arcsec=1.0, columns=("_id", "g"), optional=("colour", "bp_rp"), **how
        )

    assert ask()["_id"].to_pylist() == ["a", "b", "e", "f"]
    assert ask()["colour"].to_pylist() == [None, None, 1.0, 2.0]
    assert ask(below={"g": 13.0})["_id"].to_pylist() == ["a", "f"]
    # An answer without rows has the same columns.
    assert ask(ra=50.0).schema == ask().schema
    assert "bp_rp" not in ask().column_names


def test_digest_is_of_the_contents(sky, tmp_path):
    one, same, other = (
        written(table, tmp_path / name, n_files=2)
        for name, table in (("a", sky), ("b", sky), ("c", sky.slice(0, 3999)))
    )
    assert one.digest("cat") == same.digest("cat") != other.digest("cat")


def test_a_collection_that_is_not_there_is_named_with_what_is(sky, tmp_path):
    source = written(sky, tmp_path, name="Gaia_EDR3")
    pq.write_table(sky, tmp_path / "AllWISE.parquet")
    (tmp_path / "PS1_DR1").mkdir()
    with pytest.raises(
        FormatError, match=r"no catalogue 'Gaia_EDR'; it holds: AllWISE, Gaia_EDR3; did you mean 'Gaia_EDR3'"
    ):
        source.cone_search("Gaia_EDR", 0, 0, radius_arcsec=1, columns=("_id",))
    with pytest.raises(FormatError, match=r"no catalogue 'PS1_DR1'.*catalogs.path=FOLDER"):
        source.digest("PS1_DR1")
    pq.write_table(sky, tmp_path / "Gaia_EDR3.parquet")
    with pytest.raises(FormatError, match="are both there"):
        ParquetCatalogs(tmp_path).digest("Gaia_EDR3")
    with pytest.raises(FormatError, match="does not exist; give the folder"):
        ParquetCatalogs(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="is a file; give the folder"):
        ParquetCatalogs(tmp_path / "AllWISE.parquet")


def test_files_that_cannot_be_used_are_named(sky, tmp_path):
    def ask(table, columns=("_id",), more=None):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        source = written(table, folder)
        if more is not None:
            pq.write_table(more, folder / "cat" / "second.parquet")
        return source.cone_search("cat", 180.0, 30.0, radius_arcsec=4000.0, columns=columns)

    with pytest.raises(MissingColumnError, match=r"part-000.parquet lacks the column\(s\) parallax; it has: _id, ra"):
        ask(sky, ("_id", "parallax"))
    with pytest.raises(MissingColumnError, match=r"positions in degrees\) lacks the column\(s\) ra, dec"):
        ask(sky.rename_columns(["_id", "alpha", "delta", "g"]))
    with pytest.raises(SchemaError, match=r"column 'ra' is string, not a number"):
        ask(sky.set_column(1, "ra", sky["ra"].cast(pa.string())))
    with pytest.raises(SchemaError, match="do not fit together"):
        ask(sky, more=sky.set_column(0, "_id", sky["_id"].cast(pa.string())))
    with pytest.raises(MissingColumnError, match=r"second.parquet lacks the column\(s\) g"):
        ask(sky, ("_id", "g"), more=sky.drop_columns(["g"]))
    folder = tmp_path / "broken"
    broken = written(sky, folder)
    path = folder / "cat" / "part-000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="not a readable Parquet file"):
        broken.cone_search("cat", 0, 0, radius_arcsec=1, columns=("_id",))


def test_a_collection_without_rows_answers_with_none(sky, tmp_path):
    source = written(sky.slice(0, 0), tmp_path)
    found = source.cone_search("cat", 180.0, 30.0, radius_arcsec=4000.0, columns=("_id", "g"))
    assert found.num_rows == 0
    assert found.schema.types == [pa.float64(), pa.float64(), pa.int64(), pa.float64()]
