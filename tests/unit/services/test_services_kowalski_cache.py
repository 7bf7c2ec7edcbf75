"""Kept light curves: what is whole comes back exactly, whatever is not is found out."""

from __future__ import annotations

import errno
import os
import resource
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import FormatError, OutputError
from scope_ml.io import atomic
from scope_ml.io.layouts import ROW_SCHEMA, Chunk
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_table, write_table
from scope_ml.services.kowalski.cache import (
    Block,
    LightCurveCache,
    content_digest,
    join,
    no_light_curves,
)
from scope_ml.services.kowalski.plans import PLAN_SCHEMA, Plan

BIG = 2**53 + 1
ASKED = {"catalog": "ZTF_sources", "version": "v1", "programids": [1, 2]}


def chunk(ids, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 9, len(ids))
    points = [np.round(random.normal(2.459e6, 50, n), 5) for n in lengths]
    mags = [np.where(random.random(n) < 0.2, np.nan, random.normal(17, 1, n)) for n in lengths]
    batch = LightCurveBatch.from_lists(
        np.array(ids, np.int64),
        points,
        mags,
        [np.full(n, 0.02) for n in lengths],
        flags=[np.arange(n, dtype=np.int32) for n in lengths],
        programids=[np.ones(n, dtype=np.int32) for n in lengths],
    )
    rows = {"id": batch.id, "source_id": batch.id}
    facts = {name: pa.nulls(len(ids), field.type) for name, field in zip(ROW_SCHEMA.names, ROW_SCHEMA, strict=True)}
    facts |= {"band": pa.array(["g"] * len(ids)), "ra": pa.array([359.9999] * len(ids))}
    return Chunk(batch=batch, rows=pa.table(rows | facts))


def same(one, other):
    points = ("id", "offsets", "time", "mag", "mag_err", "flags", "programid")
    return one.rows.equals(other.rows) and all(
        np.array_equal(getattr(one.batch, name), getattr(other.batch, name), equal_nan=name in ("mag", "time"))
        for name in points
    )


@pytest.fixture
def cache(tmp_path):
    return LightCurveCache(tmp_path / "ZTF_sources-v1", ASKED)


@pytest.fixture
def block():
    return Block(chunk=chunk([BIG, BIG + 2, BIG + 9]), gone={BIG + 4: "not in ZTF_sources"}, n_trimmed=5)


def test_a_block_comes_back_as_it_was(cache, block):
    assert cache.settled(0).tolist() == []
    cache.write(0, block)
    assert sorted(cache.settled(0).tolist()) == [BIG, BIG + 2, BIG + 4, BIG + 9]
    back = cache.read(0)
    assert same(back.chunk, block.chunk)
    assert (back.gone, back.n_trimmed) == (block.gone, 5)
    # It is a file of our layout, which everything else can read too.
    (read,) = open_light_curves(cache.path(0)).chunks()
    assert same(read, block.chunk)


def test_a_block_of_nothing_comes_back(cache):
    cache.write(3, Block(chunk=no_light_curves(), gone={7: "not there"}))
    assert len(cache.read(3).chunk.batch) == 0
    assert cache.settled(3).tolist() == [7]


def test_a_plan_comes_back_with_what_is_open(cache):
    table = pa.table(
        {"id": [5, 6, BIG], "ra": [1.0, None, 3.0], "dec": [0.5, None, -9.0], "nobs": [7, None, 9], "block": [0, 0, 1]},
        schema=PLAN_SCHEMA,
    )
    assert cache.read_plan() is None
    cache.write_plan(Plan(table=table, open={3: "service: busy"}))
    plan = cache.read_plan()
    assert plan.table.equals(table)
    assert plan.open == {3: "service: busy"}
    assert [rows["id"].to_pylist() for rows in plan.blocks()] == [[5, 6], [BIG]]
    assert Plan(table=PLAN_SCHEMA.empty_table()).blocks() == []


def cut(path, _):
    path.write_bytes(path.read_bytes()[:-60])


def emptied(path, _):
    path.write_bytes(b"")


def edited(path, _):
    """As a careful person does it: another magnitude, the record as it was."""
    read = read_table(path)
    mags = [[99.0 for _ in one] for one in read.data["mag"].to_pylist()]
    table = read.data.set_column(read.data.column_names.index("mag"), "mag", pa.array(mags, pa.list_(pa.float64())))
    write_table(table, path, read.metadata)


def less(path, _):
    read = read_table(path)
    write_table(read.data.slice(0, 1), path, read.metadata)


def forgotten(path, _):
    """One id less of those that the service does not have."""
    read = read_table(path)
    facts = {**read.metadata.facts, "detail": {**read.metadata.facts["detail"], "gone": {}}}
    write_table(read.data, path, TableMetadata(kind=read.metadata.kind, facts=facts))


def foreign(path, _):
    pq.write_table(pa.table({"id": [1]}), path)


def of_another_question(path, block):
    other = LightCurveCache(path.parents[2], {**ASKED, "version": "v2"})
    other.write(0, block)
    other.path(0).replace(path)


def of_another_number(path, block):
    other = LightCurveCache(path.parents[2], ASKED)
    other.write(7, block)
    other.path(7).replace(path)


@pytest.mark.parametrize(
    "spoil", [cut, emptied, edited, less, forgotten, foreign, of_another_question, of_another_number]
)
def test_what_is_not_whole_is_found_out(cache, block, spoil):
    cache.write(0, block)
    spoil(cache.path(0), block)
    with pytest.raises(FormatError, match=r"block-00000\.parquet"):
        cache.read(0)


def test_a_flipped_bit_is_found_out_or_does_not_matter(cache, block):
    cache.write(0, block)
    whole, found_out = cache.path(0).read_bytes(), 0
    for at in range(0, len(whole), 41):
        content = bytearray(whole)
        content[at] ^= 0x10
        cache.path(0).write_bytes(bytes(content))
        try:
            assert same(cache.read(0).chunk, block.chunk)
        except FormatError:
            found_out += 1
    assert found_out > len(whole) // 41 // 2


def test_a_broken_plan_is_found_out(cache, block):
    table = pa.table({name: [1] for name in PLAN_SCHEMA.names}, schema=PLAN_SCHEMA)
    path = cache.folder / "plan.parquet"
    cache.write_plan(Plan(table=table))
    read = read_table(path)
    write_table(read.data.set_column(0, PLAN_SCHEMA.field(0), pa.array([2])), path, read.metadata)
    with pytest.raises(FormatError, match="does not hold what its record says"):
        cache.read_plan()
    cache.write(0, block)
    cache.path(0).replace(path)
    with pytest.raises(FormatError, match="is not what was written there"):
        cache.read_plan()


def test_other_questions_lie_in_other_folders(tmp_path):
    folders = {
        LightCurveCache(tmp_path, {**ASKED, **change}).folder
        for change in ({}, {"version": "v2"}, {"programids": [1]}, {"catalog": "other"})
    }
    assert len(folders) == 4
    assert all(folder.parent == tmp_path / "light_curves" for folder in folders)


def test_a_folder_that_cannot_be_written_names_the_option(tmp_path, block):
    (tmp_path / "file").write_text("")
    cache = LightCurveCache(tmp_path / "file", ASKED)
    for write in (cache.check_writable, lambda: cache.write(0, block)):
        with pytest.raises(OutputError, match=r"service\.kowalski\.cache=FOLDER"):
            write()


def test_a_full_disk_leaves_nothing_behind(cache, block, monkeypatch):
    cache.write(0, block)
    before = cache.path(0).read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.Path, "replace", full)
    with pytest.raises(OutputError, match=r"No space left on device.*service\.kowalski\.cache"):
        cache.write(0, Block(chunk=no_light_curves()))
    assert [path.name for path in cache.folder.iterdir()] == ["block-00000.parquet"]
    assert cache.path(0).read_bytes() == before


def test_a_file_that_may_not_grow_is_an_output_error(cache, block):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            cache.write(0, block)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.folder.iterdir()) == []


def test_two_writers_of_one_block_leave_a_whole_one(cache, block):
    less_of_it = Block(chunk=join([block.chunk], np.array([BIG])), gone={})
    start = threading.Barrier(2)

    def write(one):
        start.wait()
        for _ in range(20):
            cache.write(0, one)

    threads = [threading.Thread(target=write, args=(one,)) for one in (block, less_of_it)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        if cache.path(0).exists():
            seen.append(len(cache.read(0).chunk.batch))
    for thread in threads:
        thread.join()
    assert {*seen, len(cache.read(0).chunk.batch)} <= {1, 3}


def test_joined_light_curves_are_in_the_order_of_the_ids():
    first, second = chunk([3, 1]), chunk([9, 5], seed=1)
    joined = join([first, no_light_curves(), second], np.array([1, 2, 3, 5, 9]))
    assert joined.batch.id.tolist() == joined.rows["id"].to_pylist() == [1, 3, 5, 9]
    assert np.array_equal(joined.batch[0].time, first.batch[1].time)
    assert np.array_equal(joined.batch[3].mag, second.batch[0].mag, equal_nan=True)
    assert len(join([], np.array([1])).batch) == 0
    assert join([first], np.array([3])).batch.id.tolist() == [3]
    # Twice in the reply: the first counts.
    assert join([first, chunk([1], seed=4)], np.array([1])).batch[0].time.tolist() == first.batch[1].time.tolist()


def test_the_digest_of_content_is_of_values_alone():
    table = pa.table({"id": [1, 2], "hjd": pa.array([[1.0], [2.0, 3.0]]), "band": ["g", None], "n": [None, 2]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert content_digest(table, {}) == content_digest(chunked, {})
    changes = [
        table.set_column(1, "hjd", pa.array([[1.0, 2.0], [3.0]])),
        table.set_column(2, "band", pa.array([None, "g"])),
        table.set_column(3, "n", pa.array([0, 2])),
        table.rename_columns(["id", "hjd", "band", "m"]),
        table.slice(0, 1),
    ]
    assert content_digest(table, {}) not in {content_digest(one, {}) for one in changes}
    assert content_digest(table, {}) != content_digest(table, {"1": "x"})
