from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, DataError
from scope_ml.features.cleaning import POINT_REASONS, Cleaning, CleaningStatus, clean, thin


def batch_of(*times, mags=None, errors=None, flags=None):
    times = [np.asarray(t, dtype=float) for t in times]
    mags = mags or [np.arange(len(t), dtype=float) for t in times]
    errors = errors or [np.full(len(t), 0.1) for t in times]
    if flags is not None:
        flags = [np.asarray(one, dtype=np.int32) for one in flags]
    return LightCurveBatch.from_lists(list(range(len(times))), times, mags, errors, flags=flags)


LOOSE = Cleaning(min_n_obs=1, min_cadence_minutes=0.0)


def greedy(time, spacing):
    """The rule of SCoPe, point by point."""
    keep, last = [], None
    for t in time:
        stays = last is None or (t - last >= spacing and t > last)
        keep.append(stays)
        last = t if stays else last
    return keep


def test_every_point_lost_is_counted_by_the_first_cut_that_takes_it():
    t = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 8.0, 8.01, 9.0])
    m = np.array([0, 1, np.nan, 3, 4, 5, 6, 7, 8, 9, 10.0])
    e = np.array([1, 1, 1, 0, -1, np.nan, 1, 1, 1, 1, np.inf])
    flags = np.array([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    t[6] = np.inf
    cleaned = clean(batch_of(t, mags=[m], errors=[e], flags=[flags]), Cleaning(min_n_obs=1, min_cadence_minutes=30))
    np.testing.assert_array_equal(cleaned.batch[0].time, [1.0, 8.0])
    np.testing.assert_array_equal(cleaned.batch[0].mag, [0.0, 7.0])
    assert dict(cleaned.points_dropped) == {
        "flagged": 1,
        "not_finite": 2,
        "bad_error": 4,
        "after_max_timestamp": 0,
        "other_programid": 0,
        "duplicate_time": 1,
        "high_cadence": 1,
    }
    assert tuple(cleaned.points_dropped) == POINT_REASONS


def test_errors_without_a_weight_are_bad_ones():
    e = np.array([0.02, 1e-200, 5e-324, 1e200, 1e-30, 1e30])
    cleaned = clean(batch_of(np.arange(6.0), errors=[e]), LOOSE)
    np.testing.assert_array_equal(cleaned.batch[0].mag_err, [0.02, 1e-30, 1e30])
    assert cleaned.points_dropped["bad_error"] == 3


def test_each_light_curve_has_its_reason():
    flags = [[0, 0], [], [1, 2], [0, 0], [0, 0], [0, 1]]
    times = [[1.0, 2.0], [], [1.0, 2.0], [1.0, 2.0], [11.0, 12.0], [1.0, 2.0]]
    errors = [np.full(len(t), 0.1) for t in times]
    errors[3] = np.array([-0.1, np.nan])
    config = Cleaning(min_n_obs=2, min_cadence_minutes=0, max_timestamp_hjd=10.0)
    cleaned = clean(batch_of(*times, errors=errors, flags=flags), config)
    assert [CleaningStatus(code).label for code in cleaned.status] == [
        "ok",
        "no_points",
        "all_flagged",
        "no_valid_points",
        "all_after_max_timestamp",
        "too_few_points",
    ]
    assert len(cleaned.batch) == 6
    assert sum(cleaned.points_dropped.values()) + cleaned.batch.n_points == 10


def test_the_time_cut_is_per_point_and_takes_its_bound():
    cleaned = clean(batch_of([1.0, 2.0, 3.0]), Cleaning(min_n_obs=1, min_cadence_minutes=0, max_timestamp_hjd=2.0))
    np.testing.assert_array_equal(cleaned.batch.time, [1.0, 2.0])


def test_flagged_points_stay_if_asked():
    config = Cleaning(min_n_obs=1, min_cadence_minutes=0, keep_flagged=True)
    cleaned = clean(batch_of([1.0, 2.0], flags=[[0, 32768]]), config)
    assert cleaned.batch.n_points == 2


def test_points_are_sorted_and_of_equal_times_the_first_stays():
    cleaned = clean(batch_of([3.0, 1.0, 2.0, 1.0], [5.0, 4.0]), LOOSE)
    np.testing.assert_array_equal(cleaned.batch.time, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(cleaned.batch.mag, [1, 2, 0, 1, 0])
    assert cleaned.points_dropped["duplicate_time"] == 1


@pytest.mark.parametrize("spacing", [0.0, 0.01, 0.5, 30.0])
def test_thinning_is_the_greedy_rule(spacing):
    random = np.random.default_rng(1)
    times = [np.sort(np.round(random.uniform(0, 20, n), 2)) for n in (0, 1, 2, 150, 0, 80, 3, 0)]
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])])
    expected = [stays for t in times for stays in greedy(t, spacing)]
    np.testing.assert_array_equal(thin(np.concatenate(times), offsets, spacing), expected)


def test_points_exactly_at_the_spacing_stay():
    half_hour = 30 / 1440
    cleaned = clean(batch_of([0.0, half_hour, half_hour * 1.9]), Cleaning(min_n_obs=1))
    np.testing.assert_array_equal(cleaned.batch.time, [0.0, half_hour])


def test_the_batch_is_not_changed_and_a_clean_one_is_passed_on():
    batch = batch_of([1.0, 2.0, 3.0], [4.0, 5.0])
    cleaned = clean(batch, Cleaning(min_n_obs=3))
    assert np.shares_memory(cleaned.batch.time, batch.time)
    assert list(cleaned.status) == [CleaningStatus.OK, CleaningStatus.TOO_FEW_POINTS]


def test_no_light_curves():
    cleaned = clean(batch_of(), Cleaning())
    assert len(cleaned.batch) == 0
    assert cleaned.status.size == 0


def test_float32_magnitudes_stay_float32():
    batch = LightCurveBatch.from_lists(
        [1], [[2.0, 1.0]], [np.array([1, 2], dtype=np.float32)], [np.array([0.1, 0.1], dtype=np.float32)]
    )
    assert clean(batch, LOOSE).batch.mag.dtype == np.float32


@pytest.mark.parametrize(
    "values", [{"min_n_obs": 0}, {"min_cadence_minutes": -1}, {"min_nobs": 5}, {"max_timestamp_hjd": "today"}]
)
def test_mistakes_in_the_configuration_are_named(values):
    with pytest.raises(ConfigError, match=f"cleaning.{next(iter(values))}"):
        build(Cleaning, values, "cleaning")


def test_points_of_other_programmes_go_one_by_one():
    batch = LightCurveBatch.from_lists(
        [1, 2],
        [[1.0, 2.0, 3.0], [1.0, 2.0]],
        [[10.0, 11.0, 12.0], [10.0, 11.0]],
        [[0.1] * 3, [0.1] * 2],
        programids=[np.array([1, 2, 1]), np.array([3, 3])],
    )
    cleaned = clean(batch, Cleaning(min_n_obs=1, min_cadence_minutes=0, programids=(1,)))
    np.testing.assert_array_equal(cleaned.batch[0].mag, [10.0, 12.0])
    assert list(cleaned.status) == [CleaningStatus.OK, CleaningStatus.ALL_OTHER_PROGRAMIDS]
    assert cleaned.points_dropped["other_programid"] == 3
    with pytest.raises(ConfigError, match="names no programme"):
        Cleaning(programids=())
    with pytest.raises(DataError, match="no column programid"):
        clean(batch_of([1.0, 2.0]), Cleaning(programids=(1,)))


def test_a_light_curve_near_a_bright_star_goes_whatever_its_points():
    batch = batch_of([1.0, 2.0], [], [1.0, 2.0])
    cleaned = clean(batch, LOOSE, near_bright_star=np.array([True, True, False]))
    assert [CleaningStatus(code).label for code in cleaned.status] == ["near_bright_star", "near_bright_star", "ok"]


def test_the_order_of_the_file_does_not_choose_among_points_at_one_time():
    t, m, e = np.array([2.0, 1.0, 2.0, 2.0]), np.array([5.0, 1.0, 4.0, 4.0]), np.array([0.1, 0.1, 0.3, 0.2])
    expected = clean(batch_of(t, mags=[m], errors=[e]), LOOSE).batch[0]
    assert (expected.mag[1], expected.mag_err[1]) == (4.0, 0.2)
    for order in ([3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]):
        found = clean(batch_of(t[order], mags=[m[order]], errors=[e[order]]), LOOSE).batch[0]
        np.testing.assert_array_equal(found.mag, expected.mag)
        np.testing.assert_array_equal(found.mag_err, expected.mag_err)
