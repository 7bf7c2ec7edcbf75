"""Neighbours against all pairs tried by astropy; tiles cover the sky; a catalogue is asked once, kept whole, or not at all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError, DataError, MissingColumnError, ScopeError, ServiceError
from scope_ml.features import sky, tiles
from scope_ml.features.sky import CatalogTiles, Query
from scope_ml.features.tiles import N_BANDS, tile_codes, tile_cone

QUERY = Query(catalog="cat", columns=("g",), margin_arcsec=60.0)


@pytest.fixture(scope="module")
def stars(anywhere):
    ra, dec = anywhere(3000, seed=1)
    return pa.table({"_id": np.arange(3000) + 2**62, "ra": ra, "dec": dec, "g": np.arange(3000) * 1.0})


@pytest.fixture(scope="module")
def places(anywhere):
    return anywhere(800, seed=2)


def n_tiles(places):
    return len(np.unique(tile_codes(*places)))


def test_every_place_lies_in_the_circle_of_its_tile():
    rng = np.random.default_rng(0)
    ra = np.concatenate(
        [rng.uniform(-360, 360, 4000), rng.choice([0.0, 360.0, -0.0, -1e-300, 359.9999999999999], 2000)]
    )
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, 6000)))
    dec[::3] = np.round(dec[::3] * 2) / 2  # on edges of bands
    dec[:500], dec[500:1000] = 90.0, -90.0
    codes = tile_codes(ra, dec)
    cones = {code: tile_cone(code) for code in np.unique(codes).tolist()}
    radius = np.array([cones[code].radius_arcsec for code in codes.tolist()])
    centre = np.array([cones[code][:2] for code in codes.tolist()])
    assert np.all(separation_arcsec(ra, dec, centre[:, 0], centre[:, 1]) <= radius + 1e-6)
    assert radius.max() < 0.5 * 3600
    assert codes.min() >= 0
    assert codes.max() < N_BANDS * tiles.STEPS
    # The same place by another name is in the same tile.
    assert tile_codes(np.array([0.0, 360.0, -1e-300]), np.full(3, 7.0)).tolist() == [194000] * 3
    whole = np.round(ra[:2000])
    assert np.array_equal(tile_codes(whole, dec[:2000]), tile_codes(whole % 360, dec[:2000]))


@pytest.mark.parametrize("radius", [0.5, 20.0, 60.0])
def test_neighbours_are_those_found_by_trying_all(memory_catalogs, stars, places, apart, radius):
    found = CatalogTiles(memory_catalogs(cat=stars), QUERY).within(*places, radius)
    angle = apart(*places, stars["ra"].to_numpy(), stars["dec"].to_numpy())
    position, row = np.nonzero(angle <= radius)
    assert len(position) > (5 if radius < 1 else 500)
    order = np.lexsort((row, angle[position, row], position))
    assert found.position.tolist() == position.tolist()
    np.testing.assert_allclose(found.separation, angle[position, row][order], rtol=1e-8, atol=1e-8)
    assert found.rows["_id"].to_pylist() == (row[order] + 2**62).tolist()
    assert found.rows["g"].to_pylist() == row[order].tolist()


def test_a_position_does_not_depend_on_the_others(memory_catalogs, stars, places):
    cat = CatalogTiles(memory_catalogs(cat=stars), QUERY)
    together = cat.within(*places, 20.0)
    alone = [
        CatalogTiles(memory_catalogs(cat=stars), QUERY).within(*(x[k : k + 1] for x in places), 20.0) for k in range(60)
    ]
    for k, one in enumerate(alone):
        mine = together.position == k
        assert one.separation.tolist() == together.separation[mine].tolist()
        assert one.rows.equals(together.rows.filter(pa.array(mine)))


def test_one_circle_a_tile_and_none_twice(memory_catalogs, stars, places, tmp_path):
    source = memory_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY, cache=tmp_path)
    first = cat.within(*places, 20.0)
    assert len(source.asked) == n_tiles(places)
    cat.within(*places, 60.0)
    again = CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    assert len(source.asked) == n_tiles(places)
    assert again.rows.equals(first.rows)
    folder = f"cat-{source.digest('cat')[:12]}"
    assert len(list((tmp_path / folder).glob("tile-*.parquet"))) == n_tiles(places)
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    # Another question, or another catalogue, is asked anew.
    CatalogTiles(source, replace(QUERY, margin_arcsec=61.0), cache=tmp_path).within(*places, 20.0)
    assert len(source.asked) == 2 * n_tiles(places)
    source.digest = lambda catalog: "f" * 64
    CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    assert len(source.asked) == 3 * n_tiles(places)


def test_tiles_without_rows_are_kept_too(memory_catalogs, stars, tmp_path):
    source = memory_catalogs(cat=stars.slice(0, 0))
    for _ in range(2):
        found = CatalogTiles(source, QUERY, cache=tmp_path).within(np.array([5.0, 7.0]), np.array([5.0, 5.0]), 20.0)
        assert found.position.size == found.rows.num_rows == 0
    assert len(source.asked) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def foreign(path):
    pq.write_table(pa.table({"_id": [1], "ra": [5.0], "dec": [5.0], "g": [1.0]}), path)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)


def other_tile(path):
    another = next(one for one in sorted(path.parent.iterdir()) if one != path)
    path.write_bytes(another.read_bytes())


@pytest.mark.parametrize("damage", [cut, emptied, foreign, flipped, other_tile])
def test_a_file_that_was_not_made_whole_by_this_query_is_made_again(memory_catalogs, stars, places, tmp_path, damage):
    source = memory_catalogs(cat=stars)
    first = CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    files = sorted((tmp_path / f"cat-{source.digest('cat')[:12]}").iterdir())
    size = files[3].stat().st_size
    damage(files[3])
    for _ in range(2):
        again = CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
        assert again.rows.equals(first.rows)
        assert len(source.asked) == len(files) + 1
    assert abs(files[3].stat().st_size - size) < 200


def test_a_file_of_another_version_is_not_taken(memory_catalogs, stars, places, tmp_path, monkeypatch):
    source = memory_catalogs(cat=stars)
    CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    monkeypatch.setattr(tiles, "CACHE_VERSION", tiles.CACHE_VERSION + 1)
    # The name says it, and so does the record where a name is forged.
    folder = tmp_path / f"cat-{source.digest('cat')[:12]}"
    old = sorted(folder.iterdir())
    key = tiles.TileFiles(tmp_path, QUERY, source.digest("cat")).path(0).stem.rpartition("-")[2]
    for path in old:
        path.rename(folder / f"{path.stem.rpartition('-')[0]}-{key}.parquet")
    CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    assert len(source.asked) == 2 * n_tiles(places)


def test_a_source_that_fails_is_named_and_nothing_is_kept(memory_catalogs, stars, places, tmp_path):
    source = memory_catalogs(cat=stars)
    source.failing = True
    cat = CatalogTiles(source, QUERY, cache=tmp_path)
    with pytest.raises(ServiceError, match=r"catalogue 'cat', 0.\d\d deg around ra=.* dec=.*: no answer within 10 s"):
        cat.within(*places, 20.0)
    assert list(tmp_path.iterdir()) == []
    source.failing = False
    assert cat.within(*places, 20.0).position.size


def test_rows_that_cannot_be_used_are_not_kept(memory_catalogs, stars, places, tmp_path):
    for column, error in (
        (pa.array(np.arange(3000.0)), "is double; ids must"),
        (["x7"] * 3000, "_id='x7' is not a 64"),
    ):
        source = memory_catalogs(cat=stars.set_column(0, "_id", pa.array(column)))
        with pytest.raises(DataError, match=f"catalogue 'cat': .*{error}"):
            CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    source = memory_catalogs(cat=stars.set_column(0, "_id", pa.array(["9223372036854775808"] * 3000)))
    with pytest.raises(DataError, match="beyond int64"):
        CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    source = memory_catalogs(cat=stars)
    source.cone_search = lambda *_, **__: stars.select(["ra", "dec", "g"])
    with pytest.raises(MissingColumnError, match=r"lacks the column\(s\) _id"):
        CatalogTiles(source, QUERY, cache=tmp_path).within(*places, 20.0)
    assert list(tmp_path.iterdir()) == []


def test_threads_ask_once(memory_catalogs, stars, places):
    source = memory_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY)
    source.answering.clear()
    started = threading.Barrier(9)

    def ask(_):
        started.wait(10.0)
        return cat.within(*places, 20.0)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, k) for k in range(8)]
        started.wait(10.0)
        source.answering.set()
        tables = [one.result().rows for one in answers]
    assert len(source.asked) == n_tiles(places)
    assert all(table.equals(tables[0]) for table in tables)


def test_threads_that_wait_get_the_error_too(memory_catalogs, stars):
    source = memory_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY)
    source.answering.clear()
    source.failing = True
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(cat.within, np.array([5.0]), np.array([5.0]), 20.0) for _ in range(4)]
        source.answering.set()
        for one in answers:
            with pytest.raises(ScopeError, match="no answer"):
                one.result(10.0)


def test_memory_is_bounded(memory_catalogs, stars, places, tmp_path, monkeypatch):
    expected = CatalogTiles(memory_catalogs(cat=stars), QUERY).within(*places, 20.0)
    monkeypatch.setattr(sky, "HELD_BYTES", 1)
    source = memory_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY, cache=tmp_path)
    for _ in range(2):
        assert cat.within(*places, 20.0).rows.equals(expected.rows)
        assert len(cat._held) == 1
    assert len(source.asked) == n_tiles(places)


def test_a_row_that_stands_twice_counts_once(memory_catalogs, stars, places):
    expected = CatalogTiles(memory_catalogs(cat=stars), QUERY).within(*places, 20.0)
    doubled = pa.concat_tables([stars, stars.slice(100, 900)])
    found = CatalogTiles(memory_catalogs(cat=doubled), QUERY).within(*places, 20.0)
    assert found.rows.equals(expected.rows)


def test_places_that_are_none_are_counted(memory_catalogs, stars):
    nan = np.nan
    ra, dec = np.array([nan, 284.6, 10.0, -999.0]), np.array([1.0, 5.5, nan, -999.0])
    found = CatalogTiles(memory_catalogs(cat=stars), QUERY).within(ra, dec, 60.0)
    assert set(found.position.tolist()) == {1}
    none = CatalogTiles(memory_catalogs(cat=stars), QUERY).within(ra[:1], dec[:1], 60.0)
    assert (none.position.size, none.nearest().size) == (0, 0)


def test_a_search_beyond_the_margin_is_refused(memory_catalogs, stars, places):
    with pytest.raises(ConfigError, match=r"61.0 arcsec goes beyond the tiles' margin of 60.0"):
        CatalogTiles(memory_catalogs(cat=stars), QUERY).within(*places, 61.0)
