from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from scope_ml.reporting.charts import importance_bars, interval_strip, precision_recall_chart, thin_curve
from scope_ml.reporting.folded import MAX_POINTS, fold, light_curve_panel, magnitude_limits, thin
from scope_ml.reporting.svg import Scale, dots, nice_ticks, number, tick_label
from scope_ml.reporting.view import Estimate, ExampleView


def light_curve(**further: object) -> ExampleView:
    time = 2459000.0 + np.arange(200) * 1.37
    mag = 15 + 0.5 * np.cos(2 * np.pi * time / 0.57)
    values = {"id": "1", "band": "g", "time": time, "mag": mag, "mag_err": np.full(200, 0.02), "period": 0.57}
    return ExampleView(**{**values, **further})


def dot_positions(svg: str) -> np.ndarray:
    path = re.search(r'class="pt" d="([^"]+)"', svg)[1]
    return np.array([[float(part) for part in point.split()] for point in re.findall(r"M([\d. ]+)h0", path)])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, (0, 0.25, 0.5, 0.75, 1)), (14.1, 15.3, (14.25, 14.5, 14.75, 15, 15.25)), (0, 0, ()), (0, float("nan"), ())],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("span", [1e-6, 0.013, 0.9, 7.0, 3.3e4])
def test_there_are_always_two_to_five_ticks(span):
    ticks = nice_ticks(2.5, 2.5 + span)
    assert 2 <= len(ticks) <= 5
    assert len({tick_label(tick, ticks) for tick in ticks}) == len(ticks)


def test_pixels_are_short_and_clipped():
    scale = Scale(0.0, 1.0, 10.0, 110.0)
    assert scale([-1.0, 0.25, 2.0]).tolist() == [10.0, 35.0, 110.0]
    assert [number(value) for value in (1.0, -0.04, 12.345)] == ["1", "0", "12.3"]
    assert dots(np.array([1.0]), np.array([2.25])) == "M1 2.2h0"


@pytest.mark.parametrize(("zero", "extreme"), [("bright", np.argmin), ("faint", np.argmax)])
def test_phase_zero_is_at_the_extreme(zero, extreme):
    example = light_curve()
    phase = fold(example.time, example.mag, 0.57, zero)
    assert phase.min() >= 0
    assert phase.max() < 1
    distance = abs((phase[extreme(example.mag)] + 0.5) % 1 - 0.5)
    assert distance < 0.06


def test_folding_keeps_the_order_of_phases():
    example = light_curve()
    expected = np.mod(example.time / 0.57, 1.0)
    difference = np.mod(fold(example.time, example.mag, 0.57) - expected, 1.0)
    assert np.ptp(np.mod(difference - difference[0] + 0.5, 1.0)) < 1e-6


def test_bright_is_up_and_two_cycles_are_drawn():
    example = light_curve()
    svg = light_curve_panel(example, "k")
    positions = dot_positions(svg)
    assert positions[np.argmin(example.mag), 1] < positions[np.argmax(example.mag), 1]
    assert '<use href="#k" x="145"/>' in svg
    assert positions[:, 0].max() <= 44 + 145


def test_unfolded_where_there_is_no_period():
    for period in (float("nan"), 0.0, -1.0):
        svg = light_curve_panel(light_curve(period=period), "k")
        assert "<use" not in svg
        assert "HJD \N{MINUS SIGN} 2459000" in svg
        assert np.all(np.diff(dot_positions(svg)[:, 0]) >= 0)


def test_many_points_are_thinned_evenly():
    kept = thin(10_000)
    assert (len(kept), kept[0], kept[-1]) == (MAX_POINTS, 0, 9999)
    assert np.ptp(np.diff(kept)) <= 1
    assert thin(5).tolist() == [0, 1, 2, 3, 4]


def test_outliers_do_not_squeeze_the_curve_but_eclipses_stay():
    rng = np.random.default_rng(1)
    quiet = rng.normal(15, 0.02, 1000)
    faint, bright = magnitude_limits(np.append(quiet, [8.0, 22.0]))
    assert bright > 14.5
    assert faint < 15.5
    eclipse = np.where(np.arange(1000) < 30, 16.5, quiet)
    assert magnitude_limits(eclipse)[0] > 16.5
    svg = light_curve_panel(light_curve(mag=np.append(quiet[:199], 8.0)), "k")
    assert "1 points beyond the frame" in svg


@pytest.mark.parametrize("n_obs", [1, 2])
def test_panels_of_hardly_any_points(n_obs):
    svg = light_curve_panel(
        light_curve(time=np.full(n_obs, 2459000.5), mag=np.full(n_obs, 15.0), mag_err=np.ones(n_obs)), "k"
    )
    assert len(dot_positions(svg)) == n_obs
    assert "nan" not in svg


def test_strip_draws_what_is_known():
    full = interval_strip(Estimate(value=0.5, low=0.25, high=0.75), 0.1, "xgb")
    assert 'class="range" d="M43 9H117"' in full
    assert 'cx="80"' in full
    assert "range" not in interval_strip(Estimate(value=0.5), 0.1, "xgb")
    assert "circle" not in interval_strip(Estimate(value=float("nan")), float("nan"), "xgb")


def test_curves_of_all_seeds_with_the_champion_on_top(page):
    svg = precision_recall_chart(page.classes[0])
    kinds = re.findall(r'class="curve (\w+) (\w+)"', svg)
    assert kinds == [("faint", "xgb")] * 2 + [("faint", "dnn")] * 2 + [("strong", "xgb"), ("strong", "dnn")]
    assert svg.count('class="area') == 2


def test_thinned_curve_keeps_ends_and_shape():
    x = np.linspace(0, 1, 20_000)
    y = np.where(x < 0.5, 1.0, 0.4)
    kept = thin_curve(x, y, 100)
    assert len(kept) <= 101
    assert (kept[0], kept[-1]) == (0, 19_999)
    assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() <= 0.6
    assert np.mean(np.abs(np.interp(x, x[kept], y[kept]) - y)) < 0.01


def test_importance_is_sorted_and_sums_over_all_features(page):
    item = replace(page.classes[0].algorithms[0], importance=(("a", 1.0), ("b", 6.0), ("c", 3.0)))
    bars = importance_bars(item, 2)
    assert re.findall(r'"name">(\w)<', bars) == ["b", "c"]
    assert re.findall(r"([\d.]+) %<", bars) == ["60.0", "30.0"]
    assert importance_bars(replace(item, importance=())) == ""
