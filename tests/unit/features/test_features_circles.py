"""Light curves far apart: circles around them give what tiles give, are asked once, and never for much more than tiles."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.protocols import BulkCatalogSource
from scope_ml.errors import ServiceError
from scope_ml.features import circles, sky
from scope_ml.features.circles import FEW, CircleFiles, Circles, cheaper_than_tile, in_batches
from scope_ml.features.sky import CatalogTiles, Query
from scope_ml.features.tiles import tile_codes

QUERY = Query(catalog="cat", columns=("g",), margin_arcsec=60.0)


@pytest.fixture(scope="module")
def far_catalogs(memory_catalogs):
    """A source that takes many circles at once; `bulks` lists how many each time."""

    class Far(memory_catalogs):
        connections, cache = 4, None

        def __init__(self, **tables):
            super().__init__(**tables)
            self.bulks = []

        def cones(self, catalog, ra, dec, *, radius_arcsec, columns, optional=(), below=None):
            self.bulks.append(len(ra))
            asked, found = self.asked, []
            for k, place in enumerate(zip(ra.tolist(), dec.tolist(), strict=True)):
                rows = self.cone_search(
                    catalog, *place, radius_arcsec=radius_arcsec, columns=columns, optional=optional, below=below
                )
                found.append(rows.append_column("position", pa.array(np.full(rows.num_rows, k))))
            self.asked = asked[: len(asked) - len(ra)]
            return pa.concat_tables(found)

    return Far


@pytest.fixture(scope="module")
def stars(anywhere):
    ra, dec = anywhere(3000, seed=1)
    return pa.table({"_id": np.arange(3000) + 2**62, "ra": ra, "dec": dec, "g": np.arange(3000) * 1.0})


def equal(one, other):
    assert one.position.tolist() == other.position.tolist()
    assert one.separation.tolist() == other.separation.tolist()
    assert one.rows.equals(other.rows)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 90), few=st.sampled_from([0, 3, 8, FEW]), radius=st.floats(1, 60)
)
def test_circles_give_what_tiles_give(far_catalogs, memory_catalogs, stars, anywhere, seed, n, few, radius):
    rng = np.random.default_rng(seed)
    ra, dec = anywhere(n, seed=seed)
    ra, dec = np.append(ra, [np.nan, ra[0]]), np.append(dec, [0.0, dec[0]])
    # In several calls, so that circles, tiles and what was asked before are mixed.
    source = far_catalogs(cat=stars)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circles, "FEW", few)
        patch.setattr(circles, "BATCH", 7)
        far = CatalogTiles(source, QUERY)
        near = CatalogTiles(memory_catalogs(cat=stars), QUERY)
        for piece in np.array_split(rng.permutation(n + 2), 3):
            equal(far.within(ra[piece], dec[piece], radius), near.within(ra[piece], dec[piece], radius))
        equal(far.within(ra, dec, radius), near.within(ra, dec, radius))
    assert bool(source.bulks) == (few > 0)


def test_light_curves_far_apart_are_one_request_and_asked_once(far_catalogs, stars, tmp_path, monkeypatch):
    monkeypatch.setattr(circles, "BATCH", 150)
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 400), np.degrees(np.arcsin(rng.uniform(-1, 1, 400)))
    source = far_catalogs(cat=stars)
    assert isinstance(source, BulkCatalogSource)
    first = CatalogTiles(source, QUERY, cache=tmp_path)
    found = first.within(ra, dec, 20.0)
    assert sorted(source.bulks) == [100, 150, 150]
    assert source.asked == []
    # Again, in another order, in memory and from the files; with others between.
    order = rng.permutation(400)
    for again in (first, CatalogTiles(source, QUERY, cache=tmp_path)):
        for piece in np.array_split(order, 4):
            again.within(ra[piece], dec[piece], 60.0)
        equal(again.within(ra, dec, 20.0), found)
    assert len(source.bulks) == 3
    again.within(np.append(ra, 77.0), np.append(dec, 7.0), 20.0)
    assert source.bulks[3:] == [1]
    # Another margin, or another catalogue, is asked anew.
    CatalogTiles(source, replace(QUERY, margin_arcsec=61.0), cache=tmp_path).within(ra, dec, 20.0)
    assert sum(source.bulks[4:]) == 400


def test_a_quadrant_is_asked_by_tiles_in_whatever_pieces_it_comes(far_catalogs, stars, tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(284.0, 284.9, 3000), rng.uniform(5.0, 5.9, 3000)
    n_tiles = len(np.unique(tile_codes(ra, dec)))
    whole = far_catalogs(cat=stars)
    expected = CatalogTiles(whole, QUERY).within(ra, dec, 20.0)
    assert (len(whole.asked), whole.bulks) == (n_tiles, [])
    # A light curve at a time: at most 5 circles a tile, then the tile.
    monkeypatch.setattr(circles, "FEW", 5)
    source = far_catalogs(cat=stars)
    one_by_one = CatalogTiles(source, QUERY, cache=tmp_path)
    for k in range(150):
        one_by_one.within(ra[k : k + 1], dec[k : k + 1], 20.0)
    filled = np.unique(tile_codes(ra[:150], dec[:150]), return_counts=True)[1]
    assert len(source.asked) == np.count_nonzero(filled > 5) >= 3
    assert source.bulks == [1] * int(np.minimum(filled, 5).sum())
    equal(one_by_one.within(ra, dec, 20.0), expected)
    assert len(source.asked) == n_tiles
    # And the second run, in one piece, has all of it.
    asked = len(source.bulks)
    equal(CatalogTiles(source, QUERY, cache=tmp_path).within(ra, dec, 20.0), expected)
    assert (len(source.asked), len(source.bulks)) == (n_tiles, asked)


def test_when_circles_are_cheaper():
    code = int(tile_codes(np.array([10.0]), np.array([20.0]))[0])
    assert cheaper_than_tile(code, FEW, 2.0)
    assert not cheaper_than_tile(code, FEW + 1, 2.0)
    # Halos of bright stars: 300 arcsec circles soon are larger than the tile with its margin, some 1570 arcsec.
    n = max(k for k in range(1, 100) if cheaper_than_tile(code, k, 300.0))
    assert n == int(((tile_radius(code) + 300.0) / 300.0) ** 2)
    assert 20 < n < 30


def tile_radius(code):
    return circles.tile_cone(code).radius_arcsec


@pytest.mark.parametrize("damage", ["cut", "emptied", "foreign", "flipped", "another"])
def test_a_batch_that_was_not_kept_whole_is_asked_again(far_catalogs, stars, anywhere, tmp_path, damage):
    source = far_catalogs(cat=stars)
    ra, dec = anywhere(40, seed=6)
    first = CatalogTiles(source, QUERY, cache=tmp_path).within(ra, dec, 20.0)
    CatalogTiles(source, QUERY, cache=tmp_path).within(ra + 0.001, dec / 2, 20.0)
    asked = len(source.bulks)
    files = CircleFiles(tmp_path, QUERY, source.digest("cat"))
    path = files.path(in_batches(ra, dec)[0])
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "emptied":
        data = b""
    elif damage == "foreign":
        data = b"PAR1 and nothing else PAR1"
    elif damage == "flipped":
        data[200] ^= 0xFF
    else:
        data = next(one for one in path.parent.glob("circles-*") if one != path).read_bytes()
    path.write_bytes(data)
    for _ in range(2):
        equal(CatalogTiles(source, QUERY, cache=tmp_path).within(ra, dec, 20.0), first)
        assert len(source.bulks) == asked + 1


def test_batches_find_their_positions():
    rng = np.random.default_rng(0)
    known, seen = Circles(), {}
    for number in range(20):
        ra, dec = rng.integers(0, 9, 30) * 40.0, rng.integers(-3, 4, 30) * 30.0
        assert known.find(ra, dec).tolist() == [seen.get(one, -1) for one in zip(ra, dec, strict=True)]
        (batch,) = in_batches(ra, dec)
        known.add(batch)
        for one in zip(ra.tolist(), dec.tolist(), strict=True):
            seen.setdefault(one, number)
    places = np.array(list(seen))
    assert known.n_in_tile == Counter(tile_codes(*places.T).tolist())


def test_an_error_is_told_and_the_next_asks_again(far_catalogs, stars, tmp_path):
    source = far_catalogs(cat=stars)
    source.failing = True
    cat = CatalogTiles(source, QUERY, cache=tmp_path)
    place = np.array([5.0, 200.0]), np.array([5.0, 60.0])
    with pytest.raises(ServiceError, match=r"catalogue 'cat', 60 arcsec around 2 positions: no answer within 10 s"):
        cat.within(*place, 20.0)
    assert list(tmp_path.iterdir()) == []
    source.failing = False
    assert cat.within(*place, 20.0).position.size == 0
    assert source.bulks == [2, 2]


def test_threads_ask_once(far_catalogs, stars, anywhere):
    ra, dec = anywhere(60, seed=7)
    source = far_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY)
    source.answering.clear()
    started = threading.Barrier(5)

    def ask(k):
        started.wait(10.0)
        return cat.within(np.roll(ra, k), np.roll(dec, k), 20.0)

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, k) for k in range(4)]
        started.wait(10.0)
        source.answering.set()
        assert len({one.result().position.size for one in answers}) == 1
    assert len(source.bulks) == 1


def test_what_must_be_asked_is_said_once(far_catalogs, stars, monkeypatch):
    monkeypatch.setattr(circles, "FEW", 2)
    source = far_catalogs(cat=stars)
    cat = CatalogTiles(source, QUERY)
    # Three positions in one tile, one alone, one nowhere.
    ra, dec = np.array([10.0, 10.0, 10.0, 200.0, np.nan]), np.array([10.0, 10.01, 10.02, -40.0, 0.0])
    requests = cat.requests(ra, dec)
    assert len(requests) == 2
    assert cat.requests(ra, dec) == []
    assert (source.asked, source.bulks) == ([], [])
    for request in requests:
        request()
    assert (len(source.asked), source.bulks) == (1, [1])
    cat.within(ra, dec, 60.0)
    assert (len(source.asked), source.bulks) == (1, [1])


def test_memory_is_bounded(far_catalogs, stars, anywhere, monkeypatch, tmp_path):
    ra, dec = anywhere(40, seed=8)
    expected = CatalogTiles(far_catalogs(cat=stars), QUERY).within(ra, dec, 20.0)
    monkeypatch.setattr(sky, "HELD_BYTES", 1)
    monkeypatch.setattr(circles, "BATCH", 9)
    for cache, times in ((tmp_path, 1), (None, 2)):
        source = far_catalogs(cat=stars)
        cat = CatalogTiles(source, QUERY, cache=cache)
        for _ in range(2):
            equal(cat.within(ra, dec, 20.0), expected)
            assert len(cat._held) == 1
        assert sum(source.bulks) == 40 * times
