"""Laws of LightCurveBatch on arbitrary light curves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.lightcurve import LightCurveBatch

ids_of_kind = st.sampled_from(
    [st.integers(-(2**63), 2**63 - 1), st.text(max_size=5).filter(lambda text: "\0" not in text)]
)
FEW = settings(max_examples=60, deadline=None)


@st.composite
def batches(draw):
    kind = draw(ids_of_kind)
    ids = draw(st.lists(kind, max_size=8))
    lengths = draw(st.lists(st.integers(0, 6), min_size=len(ids), max_size=len(ids)))
    n_points = sum(lengths)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    precision = draw(st.sampled_from([np.float32, np.float64]))
    mag = rng.normal(15, 2, n_points).astype(precision)
    mag[rng.uniform(size=n_points) < 0.1] = np.nan
    text = bool(ids) and isinstance(ids[0], str)
    return LightCurveBatch(
        id=np.array(ids, dtype=object if text else np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        time=rng.uniform(2458000, 2460000, n_points),
        mag=mag,
        mag_err=rng.normal(0.05, 0.05, n_points).astype(precision),
        band=rng.choice(np.array(["g", "r", "i"]), n_points) if draw(st.booleans()) else None,
        flags=rng.integers(0, 2**15, n_points).astype(np.int32) if draw(st.booleans()) else None,
    )


def assert_same(found, expected):
    assert found.id.tolist() == expected.id.tolist()
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    for name in ("time", "mag", "mag_err", "band", "flags"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other)
            if name != "band":
                assert one.dtype == other.dtype


def holds_invariants(batch):
    assert batch.offsets[0] == 0
    assert batch.offsets[-1] == len(batch.time) == len(batch.mag) == len(batch.mag_err)
    assert len(batch.offsets) == len(batch.id) + 1
    assert (batch.n_obs >= 0).all()
    for name in ("id", "offsets", "time", "mag", "mag_err"):
        assert not getattr(batch, name).flags.writeable
        assert getattr(batch, name).flags.c_contiguous


def band_name(batch):
    return None if batch.band is None else "band"


@FEW
@given(batches())
def test_arrow_round_trip_shares_memory(batch):
    table = batch.to_arrow()
    again = LightCurveBatch.from_arrow(table, band=band_name(batch))
    assert_same(again, batch)
    holds_invariants(again)
    for name in ("time", "mag", "mag_err", "flags"):
        values = getattr(batch, name)
        if values is not None and len(values):
            assert np.shares_memory(getattr(again, name), values), name


@FEW
@given(batches(), st.integers(0, 8), st.integers(0, 8))
def test_slice_of_the_batch_is_the_batch_of_the_slice(batch, start, stop):
    sliced = LightCurveBatch.from_arrow(batch.to_arrow().slice(start, max(0, stop - start)), band=band_name(batch))
    piece = batch.slice(start, stop)
    holds_invariants(piece)
    assert_same(sliced, piece)
    if piece.n_points:
        assert np.shares_memory(piece.time, batch.time)
        assert np.shares_memory(sliced.time, batch.time)


@FEW
@given(batches(), st.lists(st.integers(0, 8), max_size=4), st.booleans())
def test_chunks_do_not_matter(batch, cuts, large):
    table = batch.to_arrow()
    if large:
        fields = [
            pa.field(f.name, pa.large_list(f.type.value_type) if pa.types.is_list(f.type) else f.type)
            for f in table.schema
        ]
        table = table.cast(pa.schema(fields))
    edges = sorted({0, len(batch), *(min(cut, len(batch)) for cut in cuts)})
    pieces = [table.slice(start, stop - start) for start, stop in pairwise(edges)]
    chunked = pa.concat_tables(pieces) if pieces else table
    assert_same(LightCurveBatch.from_arrow(chunked, band=band_name(batch)), batch)


@FEW
@given(batches(), st.data())
def test_take_is_concatenation_of_single_light_curves(batch, data):
    indices = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=10)) if len(batch) else []
    taken = batch.take(indices)
    holds_invariants(taken)
    singles = [batch.slice(index, index + 1) for index in indices]
    assert_same(taken, LightCurveBatch.concatenate([batch.slice(0, 0), *singles]))


@FEW
@given(batches(), st.integers(0, 8))
def test_cut_and_joined_again_is_the_same(batch, cut):
    assert_same(LightCurveBatch.concatenate([batch.slice(0, cut), batch.slice(cut)]), batch)


@FEW
@given(batches(), st.data())
def test_select_is_a_mask_per_light_curve(batch, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=batch.n_points, max_size=batch.n_points)), dtype=bool)
    kept = batch.select(mask)
    holds_invariants(kept)
    assert kept.id.tolist() == batch.id.tolist()
    for index, light_curve in enumerate(batch):
        own = mask[batch.offsets[index] : batch.offsets[index + 1]]
        np.testing.assert_array_equal(kept[index].time, light_curve.time[own])
        np.testing.assert_array_equal(kept[index].mag, light_curve.mag[own])


@FEW
@given(batches(), st.data())
def test_take_and_select_commute(batch, data):
    if not len(batch):
        return
    order = data.draw(st.permutations(range(len(batch))))
    assert_same(
        batch.select(np.isfinite(batch.mag)).take(order),
        (taken := batch.take(order)).select(np.isfinite(taken.mag)),
    )
