"""Light curves from HATS catalogues that lsdb itself wrote: each object once, in one order, whatever reads them."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import LightCurveSource
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import (
    BackendUnavailableError,
    ConfigError,
    DataError,
    FormatError,
    MissingColumnError,
    SchemaError,
    ServiceError,
)
from scope_ml.io.hats import Cone, HatsOptions, open_hats
from scope_ml.io.hats_columns import find_columns
from scope_ml.io.layouts import LAYOUTS
from scope_ml.io.selection import Positions, Selection

BIG = 2**53 + 1
N = 90
EMPTY = 7


def irsa_rows():
    """Make rows as in ZTF's catalogue: one object a band, positions in float32, two of them on either side of RA 0."""
    rng = np.random.default_rng(5)
    n_obs = rng.integers(1, 5, N)
    n_obs[EMPTY] = 0
    times = [(58000 + rng.uniform(0, 900, k)).tolist() for k in n_obs]
    return pa.table(
        {
            "objectid": pa.array(BIG + 2 * np.arange(N)),
            "filterid": pa.array(rng.integers(1, 4, N), pa.int8()),
            "fieldid": pa.array(np.where(np.arange(N) < 60, 250, 600), pa.int16()),
            "rcid": pa.array(rng.integers(0, 64, N), pa.int8()),
            "objra": pa.array((rng.uniform(-12, 12, N) % 360).astype(np.float32)),
            "objdec": pa.array(rng.uniform(-12, 12, N).astype(np.float32)),
            "nepochs": pa.array(n_obs),
            "hmjd": pa.array(times, pa.list_(pa.float64())),
            "mag": pa.array([rng.uniform(14, 20, k).tolist() for k in n_obs], pa.list_(pa.float32())),
            "magerr": pa.array([rng.uniform(0, 1, k).tolist() for k in n_obs], pa.list_(pa.float32())),
            "clrcoeff": pa.array([[0.0] * k for k in n_obs], pa.list_(pa.float32())),
            "catflags": pa.array([rng.integers(0, 3, k).tolist() for k in n_obs], pa.list_(pa.int32())),
        }
    )


def star_rows():
    """Make rows with all bands of a star interleaved; one star has no epochs."""
    n_obs = [4, 0, 3, 1]
    return pa.table(
        {
            "id": ["s0", "empty", "s2", "s3"],
            "ra": [10.0, 10.1, 10.2, 200.0],
            "dec": [1.0, 1.0, 1.0, -5.0],
            "hjd": [[2458000.0 + i for i in range(k)] for k in n_obs],
            "mag": [[10.0 + i for i in range(k)] for k in n_obs],
            "magerr": [[0.1] * k for k in n_obs],
            "band": pa.array([["r", "g", "r", "g"], [], ["g", "g", "r"], ["i"]], pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def written(tmp_path_factory, monkeypatch_module):
    """Write catalogues with lsdb: ZTF's layout with a margin cache, stars, and lists without a nested column."""
    with warnings.catch_warnings():
        # lsdb's own use of pandas.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(lsdb|hats|nested_pandas)\.")
        import lsdb
        import nested_pandas
        from hats.pixel_tree import pixel_alignment
        from nested_pandas.nestedframe.io import from_pyarrow

        def write(name, table, *, nest, margin=None, **how):
            frame = from_pyarrow(table)
            if nest is not None:
                fields = [column for column in table.column_names if pa.types.is_list(table.schema.field(column).type)]
                frame = nested_pandas.NestedFrame.from_lists(
                    frame,
                    base_columns=[c for c in table.column_names if c not in fields],
                    list_columns=fields,
                    name=nest,
                )
            catalog = lsdb.from_dataframe(frame, margin_threshold=margin, lowest_order=1, highest_order=3, **how)
            folder = tmp_path_factory.mktemp("hats") / name
            catalog.write_catalog(folder, catalog_name=name, progress_bar=False)
            return folder

        # Compiling how hats aligns trees takes seconds, aligning those of four partitions none.
        for name, value in list(vars(pixel_alignment).items()):
            if hasattr(value, "py_func"):
                monkeypatch_module.setattr(pixel_alignment, name, value.py_func)
        ztf = irsa_rows()
        in_ztf = {"ra_column": "objra", "dec_column": "objdec"}
        return SimpleNamespace(
            ztf=write("ztf", ztf, nest="lightcurve", margin=7200, partition_rows=30, **in_ztf),
            lists=write("lists", ztf.slice(0, 20), nest=None, **in_ztf),
            stars=write("stars", star_rows(), nest="lc"),
        )


def read_all(source):
    chunks = list(source.chunks())
    rows = pa.concat_tables([chunk.rows for chunk in chunks])
    batch = LightCurveBatch.concatenate([chunk.batch for chunk in chunks])
    assert rows["id"].to_pylist() == batch.id.tolist()
    return batch, rows


def by_id(batch, rows):
    """Return rows and points by id and band, so that two orders can be compared."""
    points = batch.to_arrow().drop_columns(["id"]).to_pylist()
    return {(row["id"], row["band"]): (row, point) for row, point in zip(rows.to_pylist(), points, strict=True)}


def ids_of(source):
    return [identity for chunk in source.chunks() for identity in chunk.batch.id.tolist()]


def test_ztf_layout_is_that_of_the_bulk_files(written):
    source = open_hats(written.ztf)
    assert isinstance(source, LightCurveSource)
    assert source.n_rows == N
    assert [layout.name for layout in source.layouts] == ["scope"]
    batch, rows = read_all(source)
    wanted = LAYOUTS["irsa"].to_chunk(irsa_rows())
    assert by_id(batch, rows) == by_id(wanted.batch, wanted.rows)
    assert batch.time.dtype == np.float64
    assert sorted(batch.id.tolist()) == (BIG + 2 * np.arange(N)).tolist()
    assert batch.n_obs[batch.id.tolist().index(BIG + 2 * EMPTY)] == 0


def test_margin_copies_nothing(written):
    import hats

    margin = hats.read_hats(written.ztf).default_margin_catalog_dir
    n_copies = sum(pq.read_metadata(path).num_rows for path in margin.glob("dataset/**/*.parquet"))
    assert n_copies > N, "the margin cache holds copies that could be read"
    with_margin, alone = open_hats(written.ztf), open_hats(written.ztf / "ztf")
    assert with_margin.catalog.margin is None
    assert ids_of(with_margin) == ids_of(alone)
    assert len(set(ids_of(with_margin))) == len(ids_of(with_margin)) == N
    with pytest.raises(SchemaError, match="type 'margin', not of objects"):
        open_hats(margin)


def test_interleaved_bands_become_light_curves(written):
    source = open_hats(str(written.stars))
    assert [layout.name for layout in source.layouts] == ["dataset"]
    batch, rows = read_all(source)
    wanted = LAYOUTS["dataset"].to_chunk(star_rows())
    assert by_id(batch, rows) == by_id(wanted.batch, wanted.rows)
    assert set(by_id(batch, rows)) == {("s0", "g"), ("s0", "r"), ("empty", None), ("s2", "g"), ("s2", "r"), ("s3", "i")}
    assert ids_of(open_hats(written.stars, bands=("i",))) == ["s3"]


def test_lists_without_a_nested_column(written):
    batch, rows = read_all(open_hats(written.lists))
    wanted = LAYOUTS["irsa"].to_chunk(irsa_rows().slice(0, 20))
    assert by_id(batch, rows) == by_id(wanted.batch, wanted.rows)


@pytest.mark.parametrize("size", [1, 7, 2048])
def test_chunks_end_at_partitions_and_keep_their_order(written, size):
    source = open_hats(written.ztf, chunk_sources=size)
    assert source.catalog.npartitions >= 3
    lengths = [len(chunk.batch) for chunk in source.chunks()]
    assert max(lengths) <= size
    assert ids_of(source) == ids_of(open_hats(written.ztf))
    assert sum(lengths) == N


# What workers say of pandas is theirs; here they live in this process.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:nested_pandas")
def test_order_is_the_same_on_every_scheduler(written):
    import dask
    from distributed import Client, LocalCluster, default_client

    def read(**options):
        return ids_of(open_hats(written.ztf, bands=("g", "r"), options=HatsOptions(**options)))

    first = read()
    assert first
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            assert read() == first
    in_here = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**in_here) as cluster:
        with Client(cluster):
            for read_ahead in (0, 1, 50):
                assert read(read_ahead=read_ahead) == first
        n_before = sum(cluster.scheduler.task_prefixes["read_pixel"].state_counts.values())
        assert read() == first
        assert sum(cluster.scheduler.task_prefixes["read_pixel"].state_counts.values()) == n_before
        with dask.config.set({"scheduler-address": cluster.scheduler_address}):
            assert read() == first
        assert sum(cluster.scheduler.task_prefixes["read_pixel"].state_counts.values()) > n_before
    with pytest.raises(ValueError, match="No client"):
        default_client()


def test_cluster_that_does_not_answer_is_named(written):
    import dask

    nowhere = {"scheduler-address": "tcp://127.0.0.1:1", "distributed.comm.timeouts.connect": "0.1s"}
    with dask.config.set(nowhere), pytest.raises(ServiceError, match=r"tcp://127.0.0.1:1 does not answer"):
        list(open_hats(written.ztf).chunks())


@pytest.mark.parametrize(("ra", "dec", "radius"), [(0.0, 0.0, 20000.0), (-3.0, 4.0, 15000.0), (3.0, 2.0, 36000.0)])
def test_cone_is_what_brute_force_finds(written, ra, dec, radius):
    table = irsa_rows()
    position = [table[name].to_numpy().astype(np.float64) for name in ("objra", "objdec")]
    distance = separation_arcsec(*position, ra, dec)
    wanted = {int(one) for one in table["objectid"].to_numpy()[distance <= radius]}
    assert 3 < len(wanted) < N
    source = open_hats(written.ztf, options=HatsOptions(cone=Cone(ra=ra, dec=dec, radius_arcsec=radius)))
    found = ids_of(source)
    assert set(found) == wanted
    assert found == [one for one in ids_of(open_hats(written.ztf)) if one in wanted]
    assert source.n_rows is None


def test_cone_includes_its_rim_whatever_the_precision_of_positions(written):
    table = irsa_rows()
    ra, dec = (float(table[name][3].as_py()) for name in ("objra", "objdec"))
    edge = float(separation_arcsec(ra, dec, ra, dec + 0.25))
    for radius, is_in in ((edge * (1 + 1e-9), True), (edge * (1 - 1e-9), False)):
        cone = Cone(ra=ra, dec=dec + 0.25, radius_arcsec=radius)
        assert (BIG + 6 in ids_of(open_hats(written.ztf, options=HatsOptions(cone=cone)))) is is_in


def test_cone_reads_few_partitions_and_may_hold_nothing(written):
    table = irsa_rows()
    cone = Cone(ra=float(table["objra"][0].as_py()), dec=float(table["objdec"][0].as_py()), radius_arcsec=1)
    source = open_hats(written.ztf, options=HatsOptions(cone=cone))
    assert source.catalog.npartitions == 1
    assert ids_of(source) == [BIG]
    far = open_hats(written.ztf, options=HatsOptions(cone=Cone(ra=180, dec=80, radius_arcsec=1)))
    assert list(far.chunks()) == []


def test_only_what_is_needed_is_read(written):
    source = open_hats(written.ztf)
    assert "lightcurve.clrcoeff" not in source.catalog.exploded_columns
    assert "nepochs" not in source.catalog.columns
    assert {"lightcurve.hmjd", "lightcurve.catflags"} <= set(source.catalog.exploded_columns)


def test_selection_of_quadrants_with_bands(written):
    _, rows = read_all(open_hats(written.ztf))
    facts = rows.to_pylist()
    row = next(row for row in facts if row["field"] == 600 and row["band"] == "g")
    for given in ({"field": 600}, {"field": 250}, {"field": 600, "ccd": row["ccd"], "quad": row["quad"]}):
        wanted = [
            one["id"]
            for one in facts
            if one["band"] in ("g", "i") and all(one[key] == value for key, value in given.items())
        ]
        assert wanted
        source = open_hats(written.ztf, bands=("i", "g"), selection=Selection(**given))
        assert ids_of(source) == wanted, given
        assert source.n_rows is None
    assert ids_of(open_hats(written.ztf, selection=Selection(field=1))) == []


def test_selection_of_ids_and_positions(written):
    table = irsa_rows()
    rows = [2, 30, 80]
    ids = table["objectid"].take(rows).combine_chunks()
    assert set(ids_of(open_hats(written.ztf, selection=Selection(ids=ids)))) == set(ids.to_pylist())
    ra, dec = (table[name].take(rows).to_numpy().astype(np.float64) for name in ("objra", "objdec"))
    source = open_hats(written.ztf, selection=Selection(positions=Positions(ra, dec + 0.5 / 3600, 1.0)))
    assert set(ids_of(source)) == set(ids.to_pylist())
    assert source.catalog.npartitions < open_hats(written.ztf).catalog.npartitions
    assert ids_of(open_hats(written.ztf, selection=Selection(positions=Positions(ra, dec + 2 / 3600, 1.0)))) == []
    wide = open_hats(written.ztf, selection=Selection(positions=Positions(ra, dec + 0.4, 1500.0)))
    assert set(ids.to_pylist()) <= set(ids_of(wide))


def test_digest_is_of_content_and_of_what_is_wanted(written, tmp_path):
    import shutil

    shutil.copytree(written.ztf, tmp_path / "elsewhere")
    copy = tmp_path / "elsewhere"
    digest = open_hats(written.ztf).digest
    assert open_hats(copy).digest == digest
    assert open_hats(copy, bands=("g",)).digest == digest
    cone = Cone(ra=0, dec=0, radius_arcsec=20000)
    others = [
        open_hats(copy, options=HatsOptions(cone=cone)).digest,
        open_hats(copy, selection=Selection(field=250)).digest,
        open_hats(copy, options=HatsOptions(columns={"magerr": "clrcoeff"})).digest,
    ]
    assert len({digest, *others}) == 4
    path = next(iter(sorted((copy / "ztf" / "dataset").glob("Norder=*/**/*.parquet"))))
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "objectid", pa.array(range(table.num_rows), pa.int64())), path)
    assert open_hats(copy).digest != digest


def test_broken_partition_is_one_line(written, tmp_path):
    import shutil

    shutil.copytree(written.stars, tmp_path / "stars")
    for path in (tmp_path / "stars").glob("**/Npix=*.parquet"):
        path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FormatError, match=r"partition 'Order: .*' cannot be read"):
        list(open_hats(tmp_path / "stars").chunks())


def test_what_is_no_catalogue(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "notes.txt"):
        with pytest.raises(FormatError, match="is not a readable HATS catalogue"):
            open_hats(path)
    with pytest.raises(ConfigError, match="chunk_sources is 0"):
        open_hats(tmp_path, chunk_sources=0)


def test_without_lsdb_it_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lsdb", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'scope_ml\[hats\]'"):
        open_hats(tmp_path)


def nested(**fields):
    return pa.struct([(name, pa.list_(dtype)) for name, dtype in fields.items()])


LC = nested(hmjd=pa.float64(), mag=pa.float32(), magerr=pa.float32())


def schema(**fields):
    return pa.schema({"objectid": pa.int64(), "ra": pa.float64(), "dec": pa.float64(), **fields})


def test_names_are_found_whatever_their_case():
    upper = pa.struct(
        [("HMJD", pa.list_(pa.float64())), ("Mag", pa.list_(pa.float32())), ("MagErr", pa.list_(pa.float32()))]
    )
    columns = find_columns(pa.schema({"ObjectId": pa.int64(), "LC": upper}), HatsOptions(), "here")
    assert columns.points == {"hmjd": "HMJD", "mag": "Mag", "magerr": "MagErr"}
    assert columns.wanted == ["ObjectId", "LC.HMJD", "LC.Mag", "LC.MagErr"]


def test_positions_follow_the_properties_of_the_catalogue():
    given = schema(meanra=pa.float64(), meandec=pa.float64(), lc=LC)
    columns = find_columns(given, HatsOptions(), "here", position=("meanra", "meandec"))
    assert (columns.rows["ra"], columns.rows["dec"]) == ("meanra", "meandec")


def test_a_filter_is_a_code_or_a_band_by_its_type():
    text = find_columns(schema(filter=pa.string(), lc=LC), HatsOptions(), "here")
    code = find_columns(schema(filter=pa.int16(), lc=LC), HatsOptions(), "here")
    assert ("band" in text.rows, "filter" in text.rows) == (True, False)
    assert ("band" in code.rows, "filter" in code.rows) == (False, True)


def test_codes_of_bands_an_epoch_become_names():
    lists = {"hmjd": pa.list_(pa.float32()), "mag": pa.list_(pa.float32()), "magerr": pa.list_(pa.float32())}
    columns = find_columns(schema(fid=pa.list_(pa.int8()), **{k: v for k, v in lists.items()}), HatsOptions(), "here")
    assert (columns.nested, columns.layout.name) == (None, "dataset")
    points = {name: pa.array([[58000.53125, 1.0, 2.0], None], dtype) for name, dtype in lists.items()}
    points["fid"] = pa.array([[1, 3, 9], None], pa.list_(pa.int8()))
    rows = {"objectid": pa.array([1, 2]), "ra": pa.array([0.0, 0.0]), "dec": pa.array([0.0, 0.0])}
    table = columns.table(rows, points)
    assert table["band"].to_pylist() == [["g", "i", None], []]
    assert table["hjd"].to_pylist()[0][0] == 2458001.03125
    chunk = columns.layout.to_chunk(table)
    assert chunk.rows["band"].to_pylist() == ["g", "i", None, None]


@pytest.mark.parametrize(
    ("fields", "options", "error", "message"),
    [
        (
            {"lc": nested(mjd=pa.float64(), mag=pa.float32(), magerr=pa.float32())},
            {},
            MissingColumnError,
            "hjd or hmjd.*mjd, mag",
        ),
        (
            {"lc": nested(hmjd=pa.float64(), flux=pa.float32())},
            {},
            MissingColumnError,
            "mag, magerr; it has: hmjd, flux",
        ),
        ({"a": LC, "b": LC}, {}, SchemaError, r"choose with source.hats.nested: a \(hmjd, mag, magerr\); b"),
        ({"a": LC}, {"nested": "b"}, SchemaError, "no nested column 'b'; nested are: a"),
        ({"mag": pa.float32()}, {}, SchemaError, "holds no light curves.*columns are: objectid, ra, dec, mag"),
        ({"lc": LC}, {"columns": {"hmjd": "time"}}, MissingColumnError, "source.hats.columns.*time"),
        ({"lc": LC}, {"columns": {"time": "hmjd"}}, ConfigError, "'time' is not a column of ours"),
    ],
)
def test_errors_say_what_was_seen(fields, options, error, message):
    with pytest.raises(error, match=message):
        find_columns(schema(**fields), HatsOptions(**options), "here")


def test_names_that_are_given_count():
    given = schema(
        other=nested(hmjd=pa.float64()), lc=nested(mjd=pa.float64(), psf=pa.float32(), e=pa.float32()), star=pa.int64()
    )
    names = {"hmjd": "mjd", "mag": "psf", "magerr": "e", "id": "star"}
    columns = find_columns(given, HatsOptions(nested="lc", columns=names), "here")
    assert columns.wanted == ["star", "ra", "dec", "lc.mjd", "lc.psf", "lc.e"]


def test_no_id_is_an_error():
    with pytest.raises(MissingColumnError, match="no id is known"):
        find_columns(pa.schema({"ra": pa.float64(), "lc": LC}), HatsOptions(), "here")


def test_types_are_checked_before_anything_is_read(written, tmp_path):
    with pytest.raises(MissingColumnError, match="cannot be searched for field 250"):
        open_hats(written.stars, selection=Selection(field=250))
    with pytest.raises(DataError, match="ids must be whole numbers or text"):
        open_hats(written.ztf, options=HatsOptions(columns={"id": "objra"}))
