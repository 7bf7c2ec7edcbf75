"""LightCurveBatch: invariants, views, conversion from and to Arrow."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import DataError, MissingColumnError, SchemaError

BIG = 2**53 + 1
GAIA = 4_521_234_567_890_123_457


def columns(**changed):
    given = {
        "id": np.array([BIG, GAIA, 7]),
        "offsets": np.array([0, 2, 2, 5]),
        "time": np.array([1.0, 2.0, 3.0, 5.0, 4.0]),
        "mag": np.array([10.0, 11.0, 12.0, np.nan, 14.0]),
        "mag_err": np.array([0.1, 0.1, -1.0, 0.0, 0.1]),
    }
    return given | changed


def table(**changed):
    lists = {
        "id": pa.array([BIG, GAIA, 7]),
        "hjd": pa.array([[1.0, 2.0], [], [3.0, 5.0, 4.0]]),
        "mag": pa.array([[10.0, 11.0], [], [12.0, 13.0, 14.0]], pa.list_(pa.float32())),
        "magerr": pa.array([[0.1, 0.1], [], [0.2, 0.2, 0.2]], pa.list_(pa.float32())),
        "catflags": pa.array([[0, 1], [], [0, 0, 32768]], pa.list_(pa.uint16())),
    }
    return pa.table({name: values for name, values in (lists | changed).items() if values is not None})


def values_of(column):
    """The values beneath a list column of one chunk, as they lie in memory."""
    return column.chunk(0).values.to_numpy()


def test_batch_knows_its_light_curves():
    batch = LightCurveBatch(**columns(flags=np.arange(5, dtype=np.uint16)))
    assert len(batch) == 3
    assert batch.n_points == 5
    assert batch.n_obs.tolist() == [2, 0, 3]
    assert batch.n_obs.dtype == np.int64
    last = batch[-1]
    assert (last.id, len(last), last.time.tolist(), last.flags.tolist()) == (7, 3, [3.0, 5.0, 4.0], [2, 3, 4])
    assert np.shares_memory(last.mag, batch.mag)
    assert [lc.id for lc in batch] == [BIG, GAIA, 7]
    assert "3 light curves, 5 points" in repr(batch)
    with pytest.raises(IndexError, match="light curve 3 of a batch of 3"):
        batch[3]


def test_columns_are_read_only_and_the_given_arrays_stay_writable():
    given = columns()
    batch = LightCurveBatch(**given)
    for name in ("id", "offsets", "time", "mag", "mag_err"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(batch, name)[0] = 0
        assert np.shares_memory(getattr(batch, name), given[name])
        assert given[name].flags.writeable
    with pytest.raises(FrozenInstanceError):
        batch.time = given["time"]


def test_copies_such_as_other_processes_get_are_read_only_too():
    batch = LightCurveBatch(**columns())
    copied = copy.deepcopy(batch)
    assert not np.shares_memory(copied.time, batch.time)
    for name in ("id", "offsets", "time", "mag", "mag_err"):
        assert not getattr(copied, name).flags.writeable


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"time": np.zeros(5, np.float32)}, r"time is float32, whose step is 0\.25 d"),
        ({"time": np.zeros(5, np.int64)}, "time is int64; it must be float64"),
        ({"mag": np.zeros(5, np.int32)}, "mag is int32"),
        ({"mag": np.zeros(5, np.float32)}, "mag is float32 but mag_err is float64"),
        ({"mag": np.zeros(4)}, "mag has 4 points but time has 5"),
        ({"time": np.zeros((5, 1))}, r"'time' has shape \(5, 1\)"),
        ({"flags": np.zeros(5)}, "flags are float64; they must be integers"),
        ({"flags": np.zeros(3, np.int32)}, "flags has 3 points"),
        ({"band": np.zeros(5)}, "band is float64"),
        ({"offsets": np.array([0, 2, 5])}, "3 ids need 4 offsets, not 3"),
        ({"offsets": np.array([0, 3, 2, 5])}, "offsets must rise from 0 to the 5 points"),
        ({"offsets": np.array([0, 2, 2, 4])}, "offsets must rise from 0 to the 5 points"),
        ({"offsets": np.array([1, 2, 2, 5])}, "offsets must rise from 0"),
        ({"offsets": np.array([0, 2, 2, 5], np.int32)}, "offsets are int32"),
        ({"id": np.array([1.0, 2.0, 3.0])}, "ids are float64; they must be int64 or strings"),
        ({"id": np.array(["a", 2, "c"], dtype=object)}, "ids are object"),
        ({"id": np.array([1, 2, 3], dtype=np.uint64)}, "ids are uint64"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        LightCurveBatch(**columns(**changed))


def test_slice_shares_points_and_follows_python():
    batch = LightCurveBatch(**columns())
    piece = batch.slice(1, 3)
    assert piece.id.tolist() == [GAIA, 7]
    assert piece.offsets.tolist() == [0, 0, 3]
    assert np.shares_memory(piece.time, batch.time)
    assert batch.slice(-1).id.tolist() == [7]
    assert len(batch.slice(2, 1)) == 0
    assert batch.slice(2, 1).offsets.tolist() == [0]


def test_take_repeats_reorders_and_refuses_masks():
    batch = LightCurveBatch(**columns(band=np.array(["g", "r", "g", "g", "i"])))
    taken = batch.take([2, 0, 2, -2])
    assert taken.id.tolist() == [7, BIG, 7, GAIA]
    assert taken.offsets.tolist() == [0, 3, 5, 8, 8]
    assert taken.time.tolist() == [3.0, 5.0, 4.0, 1.0, 2.0, 3.0, 5.0, 4.0]
    assert taken.band.tolist() == ["g", "g", "i", "g", "r", "g", "g", "i"]
    assert len(batch.take([])) == 0
    with pytest.raises(IndexError, match="integer indices"):
        batch.take(np.array([True, False, True]))
    with pytest.raises(IndexError):
        batch.take([3])


def test_select_keeps_every_light_curve():
    batch = LightCurveBatch(**columns())
    kept = batch.select(batch.mag_err > 0)
    assert kept.id.tolist() == batch.id.tolist()
    assert kept.n_obs.tolist() == [2, 0, 1]
    assert kept.time.tolist() == [1.0, 2.0, 4.0]
    assert batch.select(np.zeros(5, bool)).n_obs.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="point_mask must be bool"):
        batch.select(np.ones(5, np.int64))


def test_concatenate_joins_and_refuses_what_does_not_go_together():
    batch = LightCurveBatch(**columns())
    single = {name: np.zeros(5, np.float32) for name in ("mag", "mag_err")}
    both = LightCurveBatch.concatenate([batch, LightCurveBatch(**columns(**single))])
    assert both.id.tolist() == [BIG, GAIA, 7] * 2
    assert both.offsets.tolist() == [0, 2, 2, 5, 7, 7, 10]
    assert both.mag.dtype == both.mag_err.dtype == np.float64
    with pytest.raises(DataError, match="'flags' is of different kinds or missing"):
        LightCurveBatch.concatenate([batch, LightCurveBatch(**columns(flags=np.zeros(5, np.int32)))])
    with pytest.raises(DataError, match="'id' is of different kinds"):
        LightCurveBatch.concatenate([batch, LightCurveBatch(**columns(id=np.array(["a", "b", "c"])))])
    with pytest.raises(DataError, match="at least one"):
        LightCurveBatch.concatenate([])


def test_from_lists_and_lengths():
    batch = LightCurveBatch.from_lists(["a", "b"], [[1.0], [2.0, 3.0]], [[9.0], [8.0, 7.0]], [[0.1], [0.1, 0.1]])
    assert batch.id.tolist() == ["a", "b"]
    assert batch.n_obs.tolist() == [1, 2]
    assert len(LightCurveBatch.from_lists([], [], [], [])) == 0
    assert LightCurveBatch.from_lists([1], [[]], [[]], [[]], flags=[[]], bands=[[]]).n_obs.tolist() == [0]
    mixed = LightCurveBatch.from_lists(
        [1, 2], [[1, 2], []], [np.ones(2, np.float32), []], [np.ones(2, np.float32), []], flags=[[0, 1], []]
    )
    assert (mixed.time.dtype, mixed.mag.dtype, mixed.flags.dtype) == (np.float64, np.float32, np.int64)
    with pytest.raises(DataError, match="light curve b: 'time' has 2 points but 'mag' has 1"):
        LightCurveBatch.from_lists(["a", "b"], [[1.0], [2.0, 3.0]], [[9.0], [8.0]], [[0.1], [0.1, 0.1]])


def test_arrow_memory_is_shared_and_precision_kept():
    source = table()
    batch = LightCurveBatch.from_arrow(source)
    assert batch.id.tolist() == [BIG, GAIA, 7]
    for name, values in {"hjd": batch.time, "mag": batch.mag, "magerr": batch.mag_err, "catflags": batch.flags}.items():
        assert np.shares_memory(values, values_of(source[name])), name
    assert np.shares_memory(batch.id, source["id"].chunk(0).to_numpy())
    assert batch.mag.dtype == np.float32
    assert batch.flags.dtype == np.uint16
    again = batch.to_arrow()
    for name, values in {"hjd": batch.time, "mag": batch.mag, "catflags": batch.flags}.items():
        assert np.shares_memory(values, values_of(again[name])), name
    assert again.equals(source)


def test_sliced_table_shares_memory_though_offsets_do_not_start_at_zero():
    source = table().slice(2, 1)
    batch = LightCurveBatch.from_arrow(source)
    assert batch.id.tolist() == [7]
    assert batch.offsets.tolist() == [0, 3]
    assert batch.time.tolist() == [3.0, 5.0, 4.0]
    assert np.shares_memory(batch.time, values_of(source["hjd"]))


@pytest.mark.parametrize("make", [pa.list_, pa.large_list])
def test_chunked_table_and_both_list_types(make):
    whole = table(hjd=table()["hjd"].cast(make(pa.float64())))
    chunked = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1, 2)])
    assert chunked["hjd"].num_chunks > 1
    batch = LightCurveBatch.from_arrow(chunked)
    assert batch.offsets.tolist() == [0, 2, 2, 5]
    assert batch.time.tolist() == [1.0, 2.0, 3.0, 5.0, 4.0]
    assert batch.to_arrow().equals(table())


def test_fixed_size_lists_and_tables_without_chunks():
    same = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
    batch = LightCurveBatch.from_arrow(pa.table({"id": [1, 2], "hjd": same, "mag": same, "magerr": same}))
    assert batch.offsets.tolist() == [0, 2, 4]
    empty = table().schema.empty_table()
    assert len(LightCurveBatch.from_arrow(empty)) == 0
    assert len(LightCurveBatch.from_arrow(pa.Table.from_batches([], empty.schema))) == 0


def test_null_lists_are_empty_light_curves_even_with_values_beneath():
    # Arrow allows a null row to cover values; they are no data.
    valid = pa.array([True, False, True])
    covered = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1.0, 2.0, 8.0, 9.0, 3.0]), mask=pa.array([False, True, False])
    )
    assert covered.is_valid().equals(valid)
    source = pa.table({"id": [1, 2, 3], "hjd": covered, "mag": covered, "magerr": covered})
    batch = LightCurveBatch.from_arrow(source)
    assert batch.n_obs.tolist() == [2, 0, 1]
    assert batch.time.tolist() == [1.0, 2.0, 3.0]


def test_null_points_become_nan_and_null_flags_are_never_clean():
    source = table(
        mag=pa.array([[10.0, None], [], [12.0, 13.0, 14.0]], pa.list_(pa.float32())),
        catflags=pa.array([[0, None], [], [0, 0, 0]], pa.list_(pa.int32())),
    )
    batch = LightCurveBatch.from_arrow(source)
    assert batch.mag.dtype == np.float32
    assert np.isnan(batch.mag).tolist() == [False, True, False, False, False]
    assert batch.flags.tolist() == [0, -1, 0, 0, 0]
    assert (
        LightCurveBatch.from_arrow(table(catflags=pa.array([[None] * 2, [], [0] * 3], pa.list_(pa.uint16())))).flags[0]
        == 65535
    )


def test_mixed_precision_becomes_float64():
    batch = LightCurveBatch.from_arrow(table(mag=table()["hjd"]))
    assert batch.mag.dtype == batch.mag_err.dtype == np.float64


def test_per_point_bands_and_optional_flags():
    band = pa.array([["g", "r"], [], ["g", None, "g"]])
    batch = LightCurveBatch.from_arrow(table(band=band, catflags=None), band="band")
    assert batch.band.tolist() == ["g", "r", "g", "", "g"]
    assert batch.flags is None
    assert batch.to_arrow()["band"].to_pylist() == [["g", "r"], [], ["g", "", "g"]]
    codes = pa.array([[1, 2], [], [1, 1, 1]], pa.list_(pa.int8()))
    assert LightCurveBatch.from_arrow(table(band=codes), band="band").band.dtype == np.int8


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_string_ids_are_kept(kind):
    batch = LightCurveBatch.from_arrow(table(id=pa.array(["007", "a b", "ü"]).cast(kind)))
    assert batch.id.tolist() == ["007", "a b", "ü"]
    assert batch[0].id == "007"
    assert batch.to_arrow()["id"].to_pylist() == ["007", "a b", "ü"]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"id": pa.array([1, None, 2])}, DataError, "light-curve table: column 'id' has no value in row 2"),
        ({"id": pa.array([1.0, 2.0, 3.0])}, DataError, "'id' is double; ids must be whole numbers or text"),
        ({"id": pa.array([2**63, 1, 2], pa.uint64())}, DataError, "beyond int64"),
        ({"magerr": None}, MissingColumnError, "lacks the column.*magerr"),
        ({"hjd": pa.array([1.0, 2.0, 3.0])}, SchemaError, "'hjd' is double, not a list"),
        ({"hjd": table()["mag"]}, DataError, "time is float32"),
        ({"mag": pa.array([[1.0, 2.0], [], [3.0]])}, DataError, r"light curve 7: 'hjd' has 3 points but 'mag' has 1"),
        ({"catflags": pa.array([[1], [1], [3]])}, DataError, rf"light curve {BIG} \(and 2 more\): 'hjd' has 2"),
    ],
)
def test_arrow_tables_that_do_not_fit_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        LightCurveBatch.from_arrow(table(**changed))
