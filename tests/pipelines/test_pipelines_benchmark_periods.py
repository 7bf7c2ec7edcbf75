"""The program that times period searches: its table, on tiny light curves and without other packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import period_accuracy, period_gpu, period_sources, period_table, periods
from benchmarks.period_peers import Peer
from scope_ml.errors import ConfigError, OutputError
from scope_ml.kernels import registry


def missing(source):
    raise ImportError("no such package")


def same_as_ours(source):
    """A peer that computes the definition, with one wrong value where the accuracy looks."""

    def call():
        options = period_table.SearchOptions()
        values = period_accuracy.definition("ls", source, source.grid.frequencies(0), options)
        values[0] += 0.25
        return values

    return call


@pytest.fixture
def peers(monkeypatch):
    found = {
        "nifty_ls": Peer(label="stand-in", install="", prepare=same_as_ours),
        "light_curve": Peer(label="absent", install="pip install absent", prepare=missing),
    }
    monkeypatch.setattr(period_table, "PEERS", found)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ls |") and line.count("|") == 12]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_of_tiny_light_curves(peers):
    text = period_table.tables(methods=["ls"], n_obs=[20], max_frequency=0.2, repeats=1, is_accuracy_wanted=True)
    first, second = rows_of(text)
    assert first[3] == "stand-in"
    assert first[5] == f"{float(first[2]) / float(first[4]):.3f}" or float(first[2]) < 5.0
    assert first[8] == "yes"
    assert float(first[9]) <= 1e-6
    assert first[10] == "2e-01", "the stand-in's wrong value must show"
    assert second[3:5] == ["absent", "not installed: pip install absent"]
    assert second[5] == "-"
    assert "12 light curves of 200 epochs" in text


def test_unknown_kernel_is_a_line(peers):
    text = period_table.tables(methods=["nothing"], n_obs=[20], max_frequency=0.2, repeats=1, is_accuracy_wanted=False)
    assert "| nothing | 20 | not there yet | stand-in | - |" in text


def test_goals_are_judged():
    comparison = period_table.Comparison(
        method="ls", label="ls", peers=("nifty_ls",), must=(0.25, 0.5, 0.8), aim=(0.1, 0.2, 0.3)
    )
    row = period_table.Row(comparison=comparison, n_obs=200, ours=0.03, theirs=0.1)
    assert "| ls | 200 | 30.0 | nifty-ls LS float64 | 100.0 | 0.300 | 0.5 met | 0.2 **not met** |" in row.line()
    assert "| 0.300 |  |  |" in period_table.Row(comparison=comparison, n_obs=77, ours=0.03, theirs=0.1).line()


def test_calls_take_turns():
    seen: list[str] = []
    times = period_table.in_turn([lambda: seen.append("a"), lambda: seen.append("b")], 3)
    assert "".join(seen) == "ab" * 4
    assert len(times) == 2


def test_errors_in_words():
    right = np.full(1000, 2.0)
    found = right.copy()
    found[3] += 0.1
    assert period_accuracy.describe("ls", found, right) == "1e-01"
    assert period_accuracy.describe("ls", right, right) == "0e+00"


def test_light_curves_are_seeded_and_fill_the_grid_of_the_goals():
    source = period_sources.simulate(50, seed=1)
    assert source.n_frequencies == 876_580
    np.testing.assert_array_equal(source.time, period_sources.simulate(50, seed=1).time)
    assert np.all(np.diff(source.time) > 0)
    stretched = period_sources.longer_grid(source)
    assert stretched.step[0] * period_sources.LONGER == pytest.approx(source.step, rel=1e-12)
    _, grid = period_gpu.problem(20, 3, 5000)
    assert grid.n_frequencies.tolist() == [5000] * 3


def test_unweighted_power_is_that_of_a_fit_without_errors():
    source = period_sources.simulate(40, seed=3, max_frequency=1.0)
    centred = source.mag - source.mag.mean()
    expected = []
    for frequency in (0.7, 0.31):
        angle = 2 * np.pi * frequency * source.time
        design = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        _, left, *_ = np.linalg.lstsq(design, centred, rcond=None)
        expected.append(1 - left[0] / np.sum(centred**2))
    power = period_accuracy.unweighted_power(source, np.array([0.7, 0.31]))
    np.testing.assert_allclose(power, expected, rtol=1e-9)


def test_tables_go_between_the_markers(tmp_path: Path):
    page = tmp_path / "benchmarks.md"
    page.write_text("a\n<!-- periods:begin -->\nold\n<!-- periods:end -->\nb\n")
    periods.write("new\n", "periods", page)
    assert page.read_text() == "a\n<!-- periods:begin -->\nnew\n\n<!-- periods:end -->\nb\n"
    with pytest.raises(OutputError, match="periods-gpu:begin"):
        periods.write("new\n", "periods-gpu", page)


def test_command_line(capsys, monkeypatch):
    for name in periods.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    assert periods.arguments([]).n == [50, 200, 1000]
    assert periods.arguments(["--device", "gpu"]).methods == ["ls", "ce", "aov"]
    with pytest.raises(ConfigError, match="--repeats"):
        periods.arguments(["--repeats", "0"])
    if "gpu" in registry.available_devices("ls"):
        pytest.skip("this machine has a GPU")
    assert periods.main(["--device", "gpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("periods: ")
