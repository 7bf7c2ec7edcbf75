"""A second look at periods with the class known, on stars of known shape."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError, DataError, ScopeError
from scope_ml.kernels.refinement import refine_period, refine_periods
from scope_ml.kernels.refinement.expectations import EXPECTED, Minima, expected_minima
from scope_ml.taxonomy import load_classes, packaged_conf_dir

PERIOD = 0.7321


def dips(phase, *, second):
    """Magnitude of a binary whose second minimum is `second` times as deep as the first."""
    distance = np.abs((phase + 0.25) % 0.5 - 0.25)
    return np.where((phase + 0.25) % 1.0 < 0.5, 1.0, second) * np.exp(-0.5 * (distance / 0.04) ** 2)


def ellipsoid(phase, *, second):
    """Magnitude of a contact binary, a little different in its two minima."""
    return -0.5 * np.cos(4 * np.pi * phase + np.pi) + 0.1 * (1.0 - second) * np.cos(2 * np.pi * phase)


def sawtooth(phase, *, second):
    del second
    return phase % 1.0 - 0.5


def observe(shape, *, second=1.0, n=220, seed=0, noise=0.03, period=PERIOD):
    random = np.random.default_rng(seed)
    time = np.sort(random.choice(1200, n, replace=False) + random.uniform(-0.15, 0.15, n)) + 2458000.0
    mag = 15.0 + 0.5 * shape((time - 2458000.0) / period, second=second) + random.normal(0, noise, n)
    return time, mag, np.full(n, noise)


@pytest.mark.parametrize("start", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("shape", "second", "tag"),
    [(dips, 1.0, "ea"), (dips, 0.4, "ea"), (ellipsoid, 1.0, "ew"), (ellipsoid, 0.0, "wuma")],
)
def test_every_start_leads_to_the_same_period(shape, second, tag, start):
    # A little off, as the period of a grid is.
    refined = refine_period(*observe(shape, second=second), start * PERIOD * (1 + 2e-5), tag)
    assert refined.period == pytest.approx(PERIOD, rel=1e-4)
    assert refined.factor == 1.0 / start
    assert refined.confidence > 0.5


def test_refining_twice_changes_nothing():
    light_curve = observe(dips, second=0.8)
    once = refine_period(*light_curve, PERIOD / 2, "ea")
    twice = refine_period(*light_curve, once.period, "ea")
    assert twice.factor == 1.0
    assert twice.period == pytest.approx(once.period, rel=1e-5)


def test_pulsating_stars_take_the_shortest_cycle_and_are_never_doubled():
    for start in (1.0, 2.0):
        assert refine_period(*observe(sawtooth), start * PERIOD, "rrab").period == pytest.approx(PERIOD, rel=1e-4)
    for seed in range(5):
        assert refine_period(*observe(ellipsoid, second=0.0, seed=seed), PERIOD / 2, "rrc").factor <= 1.0


def test_slow_spotted_stars_keep_one_minimum():
    slow = observe(lambda phase, second: np.cos(2 * np.pi * phase), period=60.0)
    assert refine_period(*slow, 60.0, "rscvn").factor == 1.0
    assert refine_period(*slow, 60.0, "el").factor == 2.0


@pytest.mark.parametrize(("tag", "factor"), [("hp", 2.0), ("dp", 0.5), ("agn", 1.0), ("vnv", 1.0)])
def test_classes_that_decide_alone(tag, factor):
    refined = refine_period(*observe(sawtooth), 0.4, tag)
    assert (refined.period, refined.factor, refined.confidence) == (0.4 * factor, factor, 1.0)


def test_every_class_of_the_taxonomy_is_expected_to_be_something():
    assert set(EXPECTED) == set(load_classes(packaged_conf_dir()).tags)
    assert expected_minima("ea") is Minima.TWO
    assert expected_minima("rrab") is Minima.ONE


def test_no_child_contradicts_its_parent():
    taxonomy = load_classes(packaged_conf_dir())
    for tag in taxonomy.tags:
        for parent in taxonomy.parents(tag):
            if EXPECTED[parent] in (Minima.ONE, Minima.TWO):
                assert EXPECTED[tag] in (EXPECTED[parent], Minima.TWO_OR_ONE, Minima.ANY), (tag, parent)


def test_bad_points_are_left_out_and_too_few_are_said():
    time, mag, mag_err = observe(dips)
    mag[3], mag_err[5], time[7] = np.nan, 0.0, np.inf
    assert refine_period(time, mag, mag_err, PERIOD / 2, "ea").period == pytest.approx(PERIOD, rel=1e-4)
    few = refine_period(time[10:16], mag[10:16], mag_err[10:16], 0.3, "ea")
    assert (few.period, few.factor, few.confidence) == (0.3, 1.0, 0.0)


def test_bands_are_fitted_together():
    time, mag, mag_err = observe(dips)
    band = np.where(np.arange(time.size) % 2 == 0, "g", "r")
    mag = mag + np.where(band == "r", 2.0, 0.0)
    assert refine_period(time, mag, mag_err, PERIOD / 2, "ea", band).period == pytest.approx(PERIOD, rel=1e-4)


def test_batch_is_row_by_row():
    stars = [observe(dips, seed=1), observe(sawtooth, seed=2), observe(dips, seed=3)]
    batch = LightCurveBatch.from_lists([1, 2, 3], *map(list, zip(*stars, strict=True)))
    refined = refine_periods(batch, [PERIOD / 2, PERIOD, np.nan], ["ea", "rrab", "ea"])
    assert refined[:2] == [refine_period(*stars[0], PERIOD / 2, "ea"), refine_period(*stars[1], PERIOD, "rrab")]
    assert np.isnan(refined[2].period)
    assert refined[2].confidence == 0.0


def test_what_is_wrong_is_said():
    light_curve = observe(sawtooth, n=20)
    with pytest.raises(ConfigError, match="did you mean 'rrab'"):
        refine_period(*light_curve, 0.5, "rraab")
    with pytest.raises(ConfigError, match="light curve 0 is -1"):
        refine_period(*light_curve, -1.0, "ea")
    with pytest.raises(DataError, match="have"):
        refine_period(light_curve[0][:5], *light_curve[1:], 0.5, "ea")
    with pytest.raises(DataError, match="1 periods"):
        refine_periods(LightCurveBatch.from_lists([], [], [], []), [0.5], [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"period": None}, "positive number of days"),
        ({"period": "x"}, "positive number of days"),
        ({"class_tag": "EA"}, "did you mean 'ea'"),
        ({"class_tag": None}, "tag of a class"),
        ({"mag": [[1.0, 2.0]]}, "one number a point"),
        ({"mag_err": ["a", "b"]}, "no list of numbers"),
    ],
)
def test_bad_arguments_are_one_line(given, message):
    good = {"time": [1.0, 2.0], "mag": [15.0, 15.1], "mag_err": [0.1, 0.1], "period": 0.7, "class_tag": "ea"}
    with pytest.raises(ScopeError, match=message) as caught:
        refine_period(**good | given)
    assert "\n" not in str(caught.value)
