"""What is drawn; how it looks was judged by eye."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import scope_ml
from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.kernels.peaks import Spectrum
from scope_ml.notebook.plot import envelope

mpl = pytest.importorskip("matplotlib")

PERIOD = 0.7731


@pytest.fixture(autouse=True)
def no_windows():
    from matplotlib import pyplot

    before = mpl.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)


def search(method="ls", band=None, **options):
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(2459000, 2459400, 150))
    m = 15 + 0.3 * np.sin(2 * np.pi * t / PERIOD) + rng.normal(0, 0.02, 150)
    return scope_ml.periodogram(t, m, 0.02, band, method, None, 3.0, 5, 3, **options)


def drawn(axes):
    """Arrays of the longest line."""
    line = max(axes.lines, key=lambda one: len(one.get_xdata()))
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


@pytest.mark.parametrize("method", ["ls", "ce", "aov", "ls_ce_aov"])
def test_periodogram_above_and_folded_light_curve_below(method, tmp_path):
    found = search(method)
    figure = found.plot()
    upper, lower = figure.axes
    frequency, statistic = drawn(upper)
    whole = found.with_spectrum().spectrum
    np.testing.assert_array_equal(frequency, whole.frequency)
    np.testing.assert_array_equal(statistic, whole.statistic)
    assert "frequency [1/d]" in upper.get_xlabel()
    assert f"{found.period[0]:.7g}" in upper.get_title(loc="left")
    assert "1" in [text.get_text() for text in upper.texts]
    phase, mag = drawn(lower)
    assert phase.size == 300
    assert 0 <= phase.min() < 0.05
    assert 1.95 < phase.max() < 2
    np.testing.assert_allclose(np.sort(phase)[:150], np.sort(phase)[150:] - 1, atol=1e-12)
    assert lower.yaxis_inverted()
    # Folded with the right period, neighbours in phase have nearly one magnitude.
    assert np.abs(np.diff(mag[np.argsort(phase)])).mean() < 0.05
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_peaks_of_an_entropy_are_marked_below_it():
    upper = search("ce").plot().axes[0]
    label = next(text for text in upper.texts if text.get_text() == "1")
    assert label.xyann[1] < 0
    assert next(text for text in search("ls").plot().axes[0].texts if text.get_text() == "1").xyann[1] > 0


def test_another_period_can_be_folded_with_and_is_marked():
    upper, lower = search().plot(period=2 * PERIOD).axes
    assert f"{2 * PERIOD:.7g}" in lower.get_xlabel()
    assert [
        line.get_xdata()[0] for line in upper.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ] == [pytest.approx(0.5 / PERIOD)]
    for wrong in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="no period to fold with"):
            search().plot(period=wrong)


@pytest.mark.parametrize(
    ("names", "order"),
    [(["zr", "zg", "x"], ["zg", "zr", "x"]), (["i", "u", "g"], ["u", "g", "i"]), ([3, 1, 2], ["1", "2", "3"])],
)
def test_bands_have_colours_of_their_own_from_blue_to_red(names, order):
    lower = search(band=names * 50).plot().axes[1]
    legend = lower.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == order
    colours = {mpl.colors.to_hex(container.lines[0].get_color()) for container in lower.containers}
    assert len(colours) == 3
    assert sum(len(container.lines[0].get_xdata()) for container in lower.containers) == 300


def test_one_band_without_a_name_needs_no_legend():
    assert search().plot().axes[1].get_legend() is None


def test_excluded_windows_are_shaded():
    plain, shaded = search().plot(), search(exclude_terrestrial=True).plot()
    assert len(shaded.axes[0].patches) - len(plain.axes[0].patches) == len(search().search.terrestrial_windows)


@pytest.mark.parametrize("points", [0, 1, 20])
def test_without_a_period_the_points_are_shown_and_the_reason(points):
    t = 2459000 + np.arange(float(points))
    found = scope_ml.periodogram(t, np.full(points, 15.0), 0.1)
    upper, lower = found.plot().axes
    assert found.reason in [text.get_text() for text in upper.texts]
    assert "days since" in lower.get_xlabel()
    assert sum(len(container.lines[0].get_xdata()) for container in lower.containers) == points


def test_the_envelope_keeps_every_extreme():
    values = np.random.default_rng(0).normal(size=100_003)
    spectrum = Spectrum(frequency=np.linspace(0, 5, values.size), statistic=values)
    frequency, statistic = envelope(spectrum, 500)
    assert frequency.size == statistic.size == 1000
    assert (statistic.min(), statistic.max()) == (values.min(), values.max())
    assert (np.diff(frequency) >= 0).all()
    for start in range(0, 100_003 - 500, 500):
        piece = slice(start, start + 500)
        at = np.abs(frequency - spectrum.frequency[start]).argmin()
        assert statistic[max(at - 2, 0) : at + 8].max() >= values[piece].max()
    short = Spectrum(frequency=np.arange(10.0), statistic=np.arange(10.0))
    np.testing.assert_array_equal(envelope(short)[1], short.statistic)


def test_a_notebook_shows_the_figure_once(monkeypatch):
    from matplotlib import pyplot

    search().plot()
    assert pyplot.get_fignums()
    pyplot.close("all")
    monkeypatch.setattr(mpl, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    search().plot()
    assert pyplot.get_fignums() == []


def test_matplotlib_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(BackendUnavailableError, match="pip install matplotlib"):
        search().plot()
