"""Only what is wanted is read: by field, ccd and quadrant, by exact id, by position on the sphere."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import DataError, FormatError, MissingColumnError, SchemaError
from scope_ml.io.irsa_tree import parse_name
from scope_ml.io.lightcurves import light_curve_table, open_irsa_tree, open_light_curves
from scope_ml.io.selection import Positions, Selection, nearest_positions, positions_within

BIG = 2**53
ARCSEC = 1 / 3600


def ids_of(source):
    """Return the ids that a source yields, after checking that its counts are those of its chunks."""
    chunks = list(source.chunks())
    assert source.n_rows == sum(chunk.rows.num_rows for chunk in chunks)
    assert source.n_chunks == len(chunks)
    return [one for chunk in chunks for one in chunk.batch.id.tolist()]


def table_of(ids, **columns):
    """Make a table of our layout, one epoch a light curve, whose magnitude says the row."""
    n = len(ids)
    lists = {"hjd": [[1.0]] * n, "mag": [[float(row)] for row in range(n)], "magerr": [[0.1]] * n}
    return pa.table({"id": ids, **lists, **columns})


def at(ra, dec, radius=2.0):
    return Selection(positions=Positions(np.atleast_1d(ra).astype(float), np.atleast_1d(dec).astype(float), radius))


def bulk_table(field, ccd, quad, band, n=3, first=0, channel=None):
    rcid = (ccd - 1) * 4 + quad - 1 if channel is None else channel
    code = "gri".index(band) + 1
    number = field * 10**12 + code * 10**11 + ccd * 10**9 + quad * 10**8 + first
    return pa.table(
        {
            "objectid": pa.array(range(number, number + n), pa.int64()),
            "filterid": pa.array([code] * n, pa.uint8()),
            "fieldid": pa.array([field] * n, pa.int16()),
            "rcid": pa.array([rcid] * n, pa.uint8()),
            "objra": pa.array([float(ccd)] * n, pa.float32()),
            "objdec": pa.array([quad + 0.1 * i for i in range(n)], pa.float32()),
            "nepochs": pa.array([1] * n),
            **{name: pa.array([[1.0]] * n, pa.list_(pa.float32())) for name in ("hmjd", "mag", "magerr", "clrcoeff")},
            "catflags": pa.array([[0]] * n, pa.list_(pa.uint16())),
        }
    )


def bulk_file(root, field, ccd, quad, band="g", *, sharded=False, release=5, **made):
    folder = root / str(field // 1000) if sharded else root
    path = folder / f"field{field:06d}" / f"ztf_{field:06d}_z{band}_c{ccd:02d}_q{quad}_dr{release}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(bulk_table(field, ccd, quad, band, **made), path)
    return path


@pytest.fixture
def mirror(tmp_path):
    for field in (250, 1250):
        for ccd, quad, band in ((1, 1, "g"), (1, 1, "r"), (1, 2, "g"), (16, 4, "g")):
            bulk_file(tmp_path, field, ccd, quad, band, sharded=True)
    return tmp_path


def test_selection_says_what_it_wants():
    assert Selection().everything
    assert str(Selection()) == "all"
    assert str(Selection(field=250, quad=2)) == "field 250 quad 2"
    assert not Selection(ids=pa.array([], pa.int64())).everything
    assert str(at([1.0, 2.0], [0.0, 0.0], 1.5)) == "2 positions within 1.5 arcsec"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ccd": 0}, "ccd 0 does not exist; it is 1 to 16"),
        ({"quad": 5}, "quad 5 does not exist; it is 1 to 4"),
        ({"field": -1}, "field -1 does not exist"),
        ({"ids": pa.array([1.0])}, "'ids' is double"),
        ({"positions": ([1.0, 400.0], [0.0, 0.0], 1.0)}, "row 2 is at ra=400 dec=0"),
        ({"positions": ([1.0], [float("nan")], 1.0)}, "row 1 is at ra=1 dec=nan"),
        ({"positions": ([1.0], [-90.5], 1.0)}, "dec=-90.5"),
        ({"positions": ([1.0], [0.0], 0.0)}, "radius is 0 arcsec; give more than 0"),
    ],
)
def test_selection_refuses(wrong, message):
    with pytest.raises(DataError, match=message):
        Selection(**wrong)


def test_digest_is_of_what_is_wanted():
    digests = [
        Selection(ids=pa.array([1, 2])).digest,
        Selection(ids=pa.array([2, 1, 1])).digest,
        Selection(ids=pa.array([1, 3])).digest,
        Selection(field=250).digest,
        Selection(ccd=1).digest,
        at([1.0, 2.0], [0.0, 0.0]).digest,
        at([2.0, 1.0], [0.0, 0.0]).digest,
        at([2.0, 1.0], [0.0, 0.0], 3.0).digest,
    ]
    assert digests[0] == digests[1]
    assert digests[5] == digests[6]
    assert len(set(digests)) == 6


def test_field_ccd_and_quadrant_choose_rows_and_row_groups(tmp_path):
    path = tmp_path / "lc.parquet"
    quads = [1, 1, 1, 2, 2, 1, 3, 3, None]
    table = table_of(
        list(range(9)),
        field=pa.array([250] * 9, pa.int32()),
        ccd=pa.array([1] * 9, pa.int32()),
        quad=pa.array(quads, pa.int32()),
    )
    pq.write_table(table, path, row_group_size=3)
    for quad, ids, groups in ((1, [0, 1, 2, 5], (0, 1)), (2, [3, 4], (1,)), (3, [6, 7], (2,))):
        source = open_light_curves(path, selection=Selection(field=250, ccd=1, quad=quad), chunk_sources=3)
        assert ids_of(source) == ids
        assert source.groups == (groups,)
    # What is not known to be of a quadrant is of none.
    assert ids_of(open_light_curves(path, selection=Selection(field=250))) == list(range(9))
    for empty in (Selection(quad=4), Selection(field=251), Selection(ccd=2, quad=1)):
        source = open_light_curves(path, selection=empty)
        assert (source.files, source.n_rows, ids_of(source)) == ((), 0, [])


def test_an_unknown_field_is_not_field_zero(tmp_path):
    pq.write_table(table_of([1, 2, 3], field=pa.array([0, None, 250], pa.int32())), tmp_path / "lc.parquet")
    assert ids_of(open_light_curves(tmp_path, selection=Selection(field=0))) == [1]


def test_row_groups_that_cannot_match_are_never_read(tmp_path):
    path = tmp_path / "lc.parquet"
    pq.write_table(
        table_of(list(range(BIG, BIG + 6))), path, row_group_size=2, compression="none", use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    # The first and the last group are made unreadable; statistics are at the end of the file.
    with pq.ParquetFile(path) as file:
        starts = [file.metadata.row_group(group).column(0).data_page_offset for group in range(3)]
    content[starts[0] : starts[0] + 8] = content[starts[2] : starts[2] + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert ids_of(open_light_curves(path, selection=Selection(ids=pa.array([BIG + 3])))) == [BIG + 3]
    with pytest.raises(FormatError, match=r"lc\.parquet is not a readable Parquet file"):
        list(open_light_curves(path).chunks())


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("as_text", [True, False])
def test_ids_are_exact_beyond_the_floats(tmp_path, as_text, statistics):
    path = tmp_path / "lc.parquet"
    numbers = [BIG, BIG + 1, BIG + 2, 7]
    ids = [str(one) for one in numbers] if as_text else numbers
    pq.write_table(table_of(ids), path, row_group_size=2, write_statistics=statistics)
    wanted = pa.array([BIG + 1, 8])
    for asked in (wanted, wanted.cast(pa.string())):
        assert ids_of(open_light_curves(path, selection=Selection(ids=asked))) == [ids[1]]
    # Other ways to write the number 7 are other ids.
    for other in ("07", "7.0", " 7", "+7", "x", str(7 + 2**64)):
        assert ids_of(open_light_curves(path, selection=Selection(ids=pa.array([other])))) == []
    assert ids_of(open_light_curves(path, selection=Selection(ids=pa.array([], pa.int64())))) == []


def test_ids_and_a_quadrant_must_both_hold(tmp_path):
    path = tmp_path / "lc.parquet"
    pq.write_table(table_of([1, 2, 3], quad=[1, 2, 1]), path)
    assert ids_of(open_light_curves(path, selection=Selection(ids=pa.array([1, 2]), quad=1))) == [1]


def test_chunks_of_a_selection_do_not_depend_on_row_groups(tmp_path):
    wanted = Selection(ids=pa.array(range(0, 40, 3)))
    for size in (40, 7, 1):
        path = tmp_path / f"{size}.parquet"
        pq.write_table(table_of(list(range(40))), path, row_group_size=size)
        source = open_light_curves(path, selection=wanted, chunk_sources=5)
        assert [len(chunk.batch) for chunk in source.chunks()] == [5, 5, 4]
        assert ids_of(source) == list(range(0, 40, 3))


def test_all_bands_of_an_interleaved_star_are_taken(tmp_path):
    lists = {"hjd": [[1.0, 2.0]] * 2, "mag": [[1.0, 2.0]] * 2, "magerr": [[0.1, 0.1]] * 2, "band": [["g", "r"]] * 2}
    pq.write_table(
        pa.table({"id": ["a", "b"], **lists, "ra": [10.0, 20.0], "dec": [0.0, 0.0]}), tmp_path / "lc.parquet"
    )
    for wanted in (Selection(ids=pa.array(["b"])), at(20.0, 0.0)):
        source = open_light_curves(tmp_path, selection=wanted)
        assert source.n_rows == 1
        assert [chunk.rows["band"].to_pylist() for chunk in source.chunks()] == [["g", "r"]]


@pytest.mark.parametrize(
    ("asked", "star", "apart"),
    [
        ((359.9999, 0.0), (0.0001, 0.0), 0.72),
        ((0.0, 0.0), (360.0, 0.0), 0.0),
        ((12.0, 90.0), (200.0, 90.0 - 1.5 * ARCSEC), 1.5),
        ((10.0, 90.0 - 1.0 * ARCSEC), (190.0, 90.0 - 0.5 * ARCSEC), 1.5),
        ((77.0, -90.0), (0.0, -90.0), 0.0),
        ((100.0, 60.0), (100.0 + 3.0 * ARCSEC, 60.0), 1.5),
        ((100.0, 20.0), (100.0, 20.0 + 1e-3 * ARCSEC), 1e-3),
    ],
)
def test_positions_are_compared_on_the_sphere(tmp_path, asked, star, apart):
    path = tmp_path / "lc.parquet"
    pq.write_table(table_of([1], ra=[star[0]], dec=[star[1]]), path)
    assert ids_of(open_light_curves(path, selection=at(*asked, apart * 1.001 + 1e-7))) == [1]
    if apart:
        assert ids_of(open_light_curves(path, selection=at(*asked, apart * 0.999))) == []


def test_the_radius_itself_counts():
    for radius in (1e-3, 2.0, 300.0):
        assert at(100.0, 20.0, radius).near(np.array([100.0]), np.array([20.0 + radius * ARCSEC])).all()


def test_positions_against_haversines(tmp_path):
    rng = np.random.default_rng(5)
    dec = np.concatenate([rng.uniform(-90, 90, 150), rng.uniform(89.99, 90, 150)])
    ra = rng.uniform(0, 360, 300)
    asked_ra = (ra[:200] + rng.uniform(-3, 3, 200) * ARCSEC / np.maximum(np.cos(np.deg2rad(dec[:200])), 1e-6)) % 360
    asked_dec = np.clip(dec[:200] + rng.uniform(-3, 3, 200) * ARCSEC, -90, 90)
    half = np.deg2rad(dec[:, None] - asked_dec) / 2, np.deg2rad(ra[:, None] - asked_ra) / 2
    cosines = np.cos(np.deg2rad(dec))[:, None] * np.cos(np.deg2rad(asked_dec))
    apart = np.rad2deg(2 * np.arcsin(np.sqrt(np.sin(half[0]) ** 2 + cosines * np.sin(half[1]) ** 2))) / ARCSEC
    wanted = at(asked_ra, asked_dec, 2.5)
    expected = np.flatnonzero((apart <= 2.5).any(axis=1))
    assert 50 < len(expected) < 250
    assert np.flatnonzero(wanted.near(ra, dec)).tolist() == expected.tolist()
    nearest = nearest_positions(wanted.tree, ra, dec, 2.5)
    assert nearest[expected].tolist() == apart.argmin(axis=1)[expected].tolist()
    found = positions_within(wanted.tree, ra, dec, 2.5)
    assert found.tolist() == np.flatnonzero((apart <= 2.5).any(axis=0)).tolist()
    order = np.argsort(dec)
    pq.write_table(table_of(order, ra=ra[order], dec=dec[order]), tmp_path / "lc.parquet", row_group_size=20)
    assert sorted(ids_of(open_light_curves(tmp_path, selection=wanted))) == expected.tolist()


def test_unknown_positions_are_near_nothing(tmp_path):
    table = table_of([1, 2, 3], ra=[None, float("nan"), 10.0], dec=[0.0, 0.0, None])
    pq.write_table(table, tmp_path / "lc.parquet")
    assert ids_of(open_light_curves(tmp_path, selection=at([0.0, 10.0], [0.0, 0.0], 3600.0))) == []


def test_columns_that_decide_must_be_there(tmp_path):
    path = tmp_path / "lc.parquet"
    pq.write_table(table_of([1]), path)
    with pytest.raises(MissingColumnError, match=r"cannot be searched for field 250: it lacks the column\(s\) field"):
        open_light_curves(path, selection=Selection(field=250))
    with pytest.raises(MissingColumnError, match=r"1 positions within 2 arcsec: it lacks the column\(s\) ra, dec"):
        open_light_curves(path, selection=at(1.0, 1.0))
    pq.write_table(table_of([1.5]), path)
    with pytest.raises(DataError, match=r"lc\.parquet: .*column 'id' is double"):
        open_light_curves(path, selection=Selection(ids=pa.array([1])))
    pq.write_table(table_of([1], quad=["one"]), path)
    with pytest.raises(DataError, match=r"lc\.parquet: column 'quad' cannot be read as int64"):
        open_light_curves(path, selection=Selection(quad=1))


def test_digest_covers_the_files_read_and_what_is_wanted(tmp_path):
    for name, first in (("a", 0), ("b", 10)):
        pq.write_table(table_of(list(range(first, first + 5))), tmp_path / f"{name}.parquet")
    one = open_light_curves(tmp_path, selection=Selection(ids=pa.array([3]))).digest
    assert open_light_curves(tmp_path, selection=Selection(ids=pa.array([4]))).digest != one
    assert open_light_curves(tmp_path).digest != one
    pq.write_table(table_of(list(range(20, 26))), tmp_path / "b.parquet")
    assert open_light_curves(tmp_path, selection=Selection(ids=pa.array([3]))).digest == one
    pq.write_table(table_of(list(range(6))), tmp_path / "a.parquet")
    assert open_light_curves(tmp_path, selection=Selection(ids=pa.array([3]))).digest != one


def test_programid_comes_along(tmp_path):
    lists = {"hjd": [[1.0, 2.0]], "mag": [[1.0, 2.0]], "magerr": [[0.1, 0.1]], "programid": [[1, 3]]}
    pq.write_table(pa.table({"id": [1], **lists}), tmp_path / "scope.parquet")
    pq.write_table(pa.table({"id": [1], **lists, "band": [["r", "g"]]}), tmp_path / "dataset.parquet")
    for name, expected in (("scope", [1, 3]), ("dataset", [3, 1])):
        (chunk,) = open_light_curves(tmp_path / f"{name}.parquet").chunks()
        assert chunk.batch.programid.tolist() == expected
    assert light_curve_table(chunk.batch, chunk.rows)["programid"].to_pylist() == [[3], [1]]
    with pytest.raises(SchemaError, match="programid stand both in the rows and in the light curves"):
        light_curve_table(chunk.batch, chunk.rows.append_column("programid", [[[3], [1]]]))


def test_names_of_bulk_files():
    name = parse_name("ztf_000250_zg_c01_q3_dr5.parquet")
    assert (name.field, name.band, name.ccd, name.quad, name.release) == (250, "g", 1, 3, 5)
    for other in (
        "ztf_000250_zg_c17_q1_dr5.parquet",
        "ztf_000250_zg_c01_q5_dr5.parquet",
        "ztf_000250_zg_c01_q1.parquet",
    ):
        assert parse_name(other) is None


def test_bulk_files_are_chosen_by_name(mirror):
    # Not even opened, or these would be errors.
    for folder in ("0/field000250", "1/field001250"):
        (mirror / folder / f"ztf_00{folder[-4:]}_zg_c02_q2_dr5.parquet").write_bytes(b"not Parquet")
    one = open_irsa_tree(mirror, selection=Selection(field=250, ccd=1, quad=1))
    assert [path.name for path in one.files] == ["ztf_000250_zg_c01_q1_dr5.parquet", "ztf_000250_zr_c01_q1_dr5.parquet"]
    assert len(ids_of(one)) == 6
    assert open_irsa_tree(mirror, selection=Selection(field=250, ccd=1, quad=1), bands=("r",)).n_rows == 3
    assert open_irsa_tree(mirror, selection=Selection(field=1250, quad=4)).n_rows == 3
    folder = mirror / "0" / "field000250"
    assert open_irsa_tree(folder, selection=Selection(ccd=1)).n_rows == 9
    assert open_light_curves(folder, selection=Selection(field=250, ccd=1)).n_rows == 9
    with pytest.raises(FormatError, match="zg_c02_q2_dr5"):
        open_irsa_tree(mirror)


def test_whole_mirror_and_its_parts(mirror):
    whole = open_irsa_tree(mirror)
    assert whole.n_rows == 24
    parts = [
        open_irsa_tree(mirror, selection=Selection(field=field, ccd=ccd, quad=quad))
        for field in (250, 1250)
        for ccd in range(1, 17)
        for quad in range(1, 5)
    ]
    assert sorted(one for part in parts for one in ids_of(part)) == sorted(ids_of(whole))
    assert sum(part.n_rows > 0 for part in parts) == 6
    (path,) = open_irsa_tree(mirror, selection=Selection(field=250, ccd=16)).files
    assert open_irsa_tree(path).n_rows == 3


def test_folders_of_other_fields_are_not_looked_into(mirror, monkeypatch):
    import scope_ml.io.irsa_tree as room

    looked = []
    monkeypatch.setattr(room, "parse_name", lambda name: looked.append(name) or parse_name(name))
    open_irsa_tree(mirror, selection=Selection(field=250, ccd=1))
    assert {name[:10] for name in looked} == {"ztf_000250"}


def test_ids_and_positions_in_a_mirror(mirror):
    wanted = ids_of(open_irsa_tree(mirror))[5:20:7]
    assert sorted(ids_of(open_irsa_tree(mirror, selection=Selection(ids=pa.array(wanted))))) == sorted(wanted)
    stars = open_irsa_tree(mirror, selection=at([16.0, 3.0], [4.1, 3.0]))
    assert len(ids_of(stars)) == 2


def test_quadrant_without_sources_is_no_error(mirror):
    source = open_irsa_tree(mirror, selection=Selection(field=250, ccd=7, quad=1))
    assert (source.files, source.n_rows, source.n_chunks, list(source.chunks())) == ((), 0, 0, [])
    assert source.digest != open_irsa_tree(mirror, selection=Selection(field=250, ccd=8, quad=1)).digest


def test_folder_that_is_no_mirror(tmp_path):
    with pytest.raises(FormatError, match="holds no bulk file of IRSA"):
        open_irsa_tree(tmp_path, selection=Selection(field=250))
    with pytest.raises(FormatError, match="does not exist"):
        open_irsa_tree(tmp_path / "none")
    pq.write_table(table_of([1]), tmp_path / "ours.parquet")
    with pytest.raises(MissingColumnError, match=r"ours\.parquet \(light-curve layout 'irsa'\)"):
        open_irsa_tree(tmp_path, selection=Selection(field=250))


def test_incomplete_mirror_is_an_error(tmp_path):
    path = bulk_file(tmp_path, 250, 1, 1)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:-3], b"PAR1"):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match=r"zg_c01_q1_dr5\.parquet is not a readable Parquet"):
            open_irsa_tree(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match=r"q1_dr5\.parquet is empty \(0 bytes\)"):
        open_irsa_tree(tmp_path)
    bulk_file(tmp_path, 250, 1, 1, n=0)
    for wanted in (Selection(), Selection(field=250, ccd=1, quad=1)):
        with pytest.raises(FormatError, match=r"q1_dr5\.parquet has no rows, as no bulk file of IRSA should"):
            open_irsa_tree(tmp_path, selection=wanted)


def test_rows_must_be_those_of_the_name(tmp_path):
    bulk_file(tmp_path, 250, 1, 1, channel=1)
    with pytest.raises(FormatError, match="3 of 3 rows are not of the field 250 ccd 1 quad 1 that its name says"):
        open_irsa_tree(tmp_path)


def test_two_releases_are_not_mixed(tmp_path):
    for release in (5, 23):
        bulk_file(tmp_path / f"lc_dr{release}", 250, 1, 1, release=release)
    with pytest.raises(DataError, match=r"same light curves twice: lc_dr23/.* and lc_dr5/.*; give source\.path"):
        open_irsa_tree(tmp_path)
    assert open_irsa_tree(tmp_path / "lc_dr5").n_rows == 3


def test_links_in_a_mirror_are_followed_once(mirror, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("mirror")
    (elsewhere / "0").symlink_to(mirror / "0")
    (mirror / "0" / "field000250" / "up").symlink_to(mirror / "0")
    assert open_irsa_tree(elsewhere).n_rows == 12


def test_few_wanted_of_many_take_little_memory(tmp_path):
    n, n_obs = 20_000, 50
    batch = LightCurveBatch(
        id=np.arange(n),
        offsets=np.arange(n + 1) * n_obs,
        time=np.zeros(n * n_obs),
        mag=np.zeros(n * n_obs),
        mag_err=np.ones(n * n_obs),
    )
    pq.write_table(batch.to_arrow(), tmp_path / "lc.parquet", row_group_size=2000)
    wanted = Selection(ids=pa.array(range(0, n, 2000)))
    before = pa.total_allocated_bytes()
    (chunk,) = open_light_curves(tmp_path / "lc.parquet", selection=wanted).chunks()
    assert chunk.batch.id.tolist() == list(range(0, n, 2000))
    # Ten light curves, and not the blocks that they were filtered from: 24 MB.
    assert pa.total_allocated_bytes() - before < 10 * n_obs * 24 * 20
