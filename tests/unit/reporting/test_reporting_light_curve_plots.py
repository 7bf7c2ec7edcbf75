"""Plots for a page that takes PNG: what stands where, folded as SCoPe folds, and the same bytes every time."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scope_ml.errors import DataError
from scope_ml.reporting.light_curve_plots import BandPoints, folded_png, light_curve_figure, time_series_png

PERIOD = 0.5


def points(band="g", n=20, mag=17.0):
    """A saw of one mag, whose first point is at MJD 58000.1."""
    mjd = 58_000.1 + 1.7 * np.arange(n)
    mags = mag + np.mod((mjd - 58_000.0) / PERIOD, 1.0)
    return BandPoints(band=band, mjd=mjd, mag=mags.astype(np.float32), mag_err=np.full(n, 0.02, np.float32))


def drawn(figure):
    """Label, colour, marker, x and y of each set of points."""
    (axes,) = figure.axes
    lines = [(container.get_label(), container.lines[0]) for container in axes.containers]
    return {
        label: (line.get_color(), line.get_marker(), np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for label, line in lines
    }


def test_bands_have_their_signs_and_bright_is_up():
    figure = light_curve_figure([points("g"), points("r", 5, 16.0), points("i", 3, 15.0), points("z", 2)], "A: RRab")
    (axes,) = figure.axes
    found = drawn(figure)
    signs = {label[0]: value[:2] for label, value in found.items()}
    assert signs == {"g": ("green", "o"), "r": ("red", "d"), "i": ("gold", "s"), "z": ("dimgrey", "x")}
    assert tuple(figure.get_size_inches()) == (6.0, 4.0)
    bottom, top = axes.get_ylim()
    assert bottom > 18.0, "fainter is lower"
    assert top < 15.0
    np.testing.assert_allclose(found["g (20)"][2], 0.1 + 1.7 * np.arange(20))
    assert axes.get_title() == "A: RRab"
    assert axes.get_xlabel() == "MJD - 58000 [d]"


def test_folded_points_have_the_phase_since_58000_twice():
    figure = light_curve_figure([points()], "A", PERIOD)
    _, _, x, y = drawn(figure)["g (20)"]
    phase = np.mod((0.1 + 1.7 * np.arange(20)) / PERIOD, 1.0)
    np.testing.assert_allclose(x, np.concatenate([phase, phase + 1.0]), atol=1e-9)
    np.testing.assert_allclose(y - 17.0, np.mod(x, 1.0), atol=1e-5)
    assert figure.axes[0].get_xlim() == (0.0, 2.0)
    assert "P = 0.5 d" in figure.axes[0].get_xlabel()


def test_a_long_title_is_cut():
    title = light_curve_figure([points()], f"A: {'RR Lyrae, ' * 30}").axes[0].get_title()
    assert len(title) <= 78
    assert title.endswith("...")


def test_pngs_are_of_one_size_and_the_same_whatever_else_is_drawn():
    alone = [time_series_png([points()], "A"), folded_png([points()], "A", PERIOD)]
    with ThreadPoolExecutor(2) as pool:
        together = list(
            pool.map(
                lambda made: made(),
                [lambda: time_series_png([points()], "A"), lambda: folded_png([points()], "A", PERIOD)],
            )
        )
    assert together == alone
    for body in alone:
        assert body[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", body[16:24]) == (1200, 800)
        assert b"Matplotlib" not in body
    assert alone[0] != alone[1]


@pytest.mark.parametrize(
    ("curves", "period"), [([], None), ([points(n=0)], None), ([points()], 0.0), ([points()], np.nan)]
)
def test_what_cannot_be_drawn_is_said(curves, period):
    with pytest.raises(DataError, match="A: "):
        light_curve_figure(curves, "A", period)
