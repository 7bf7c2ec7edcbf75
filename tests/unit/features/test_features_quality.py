from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.quality import QualityFlag, quality_flags

QUIET = {"t": np.arange(100.0), "m": 15.0 + 0.1 * np.sin(np.arange(100.0)), "frequency": 0.37, "raw": 100}


def flags_of(*light_curves, **given):
    curves = [QUIET | one for one in light_curves]
    batch = LightCurveBatch.from_lists(
        list(range(len(curves))),
        [one["t"] for one in curves],
        [one["m"] for one in curves],
        [np.full(len(one["t"]), 0.02) for one in curves],
    )
    return quality_flags(
        batch,
        n_obs_raw=np.array([one["raw"] for one in curves], dtype=np.int64),
        median=np.array([np.median(one["m"]) if len(one["m"]) else np.nan for one in curves]),
        saturation_mag=12.5,
        **({"frequency": np.array([one["frequency"] for one in curves])} | given),
    )


@pytest.mark.parametrize(
    ("light_curve", "expected"),
    [
        ({}, 0),
        ({"m": np.full(100, 15.0)}, QualityFlag.CONSTANT),
        ({"raw": 200}, 0),
        ({"raw": 201}, QualityFlag.MOST_POINTS_DROPPED),
        ({"t": np.append(np.arange(99.0), 250.0)}, QualityFlag.GAP),
        ({"t": np.append(np.arange(99.0), 190.0)}, 0),
        ({"frequency": 2.1 / 99}, 0),
        ({"frequency": 1.9 / 99}, QualityFlag.FEW_CYCLES),
        ({"frequency": 1.0 + 1.9 / 99}, QualityFlag.DAILY_ALIAS),
        ({"frequency": 3.0 - 1.9 / 99}, QualityFlag.DAILY_ALIAS),
        ({"frequency": 2.0 + 2.1 / 99}, 0),
        ({"frequency": np.nan}, QualityFlag.NO_PERIOD),
        ({"m": QUIET["m"] - 2.6}, QualityFlag.SATURATED),
        ({"m": QUIET["m"] - 2.6, "raw": 400}, QualityFlag.SATURATED | QualityFlag.MOST_POINTS_DROPPED),
        ({"t": np.empty(0), "m": np.empty(0), "raw": 0}, 0),
    ],
)
def test_each_flag_at_its_threshold(light_curve, expected):
    assert flags_of(light_curve)[0] == expected
    # Beside others, an empty one among them, it is the same.
    beside = flags_of({"t": np.empty(0), "m": np.empty(0), "raw": 0}, light_curve, {})
    assert list(beside) == [0, expected, 0]


def test_what_the_light_curve_does_not_tell_is_given():
    found = flags_of({}, {}, {}, without_position=np.array([True, False, False]), blended=np.array([True, True, False]))
    assert list(found) == [QualityFlag.NO_POSITION | QualityFlag.BLENDED, QualityFlag.BLENDED, 0]


def test_without_search_nothing_is_said_about_the_period():
    assert flags_of({"frequency": np.nan}, frequency=None)[0] == 0


def test_no_light_curves_have_no_flags():
    found = flags_of(frequency=np.empty(0))
    assert found.shape == (0,)
    assert found.dtype == np.int32


def test_flags_are_distinct_bits():
    assert sum(flag.value for flag in QualityFlag) == 2 ** len(QualityFlag) - 1
    assert QualityFlag.FEW_CYCLES.label == "few_cycles"
