"""The program that times features: its tables, on tiny light curves and without other packages."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import feature_stage, feature_table, features
from benchmarks.periods import PAGE, THREAD_VARIABLES
from scope_ml.errors import DataError
from scope_ml.kernels.dmdt import DmDtOptions, reference


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """The program sets these for itself; they are put back."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")


def missing():
    raise ImportError("no such package")


def slow():
    """A peer that counts pairs as we do, but with numpy."""
    options = DmDtOptions()
    return lambda one: np.histogram2d(*differences(one), bins=[options.dt_edges, options.dm_edges])[0]


def differences(one):
    i, j = np.triu_indices(len(one), 1)
    return one.time[j] - one.time[i], one.mag[j] - one.mag[i]


def wrong():
    return lambda one: slow()(one) + 1


def rows_of(text):
    lines = [line for line in text.splitlines() if line.startswith("| dm-dt")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_of_tiny_light_curves(monkeypatch):
    dmdt = feature_table.COMPARISONS[-1]
    assert dmdt.kernel == "dmdt"
    peers = [replace(dmdt, peer=peer, peer_label=peer.__name__) for peer in (slow, wrong, missing)]
    monkeypatch.setattr(feature_table, "COMPARISONS", tuple(peers))
    monkeypatch.setattr(feature_table, "light_curve_dmdt", missing)
    text = feature_table.tables(kernels=["dmdt"], n_obs=[50], repeats=1, n_points=400)
    right, off, absent = rows_of(text)
    assert right[3] == "slow"
    # Whether it is met is a matter of the moment; that it is said is not.
    assert right[6:] == [*dmdt.verdicts(50, float(right[5])), "yes"]
    assert float(right[5]) == pytest.approx(float(right[2]) / float(right[4]), rel=0.05)
    assert off[-1] == "no"
    assert absent[4:] == ["not installed: pip install light-curve", "-", "0.75", "0.4", "-"]
    assert feature_table.tables(kernels=["statistics"], n_obs=[50], repeats=1).count("|") == 20


def test_verdicts_name_what_is_missed():
    dmdt = feature_table.COMPARISONS[-1]
    assert dmdt.verdicts(50, 0.5) == ["0.75 met", "0.4 **not met**"]
    assert dmdt.verdicts(1000, 0.3) == ["0.2 **not met**", "0.08 **not met**"]
    assert dmdt.verdicts(77, 0.5) == ["", ""]


def test_light_curves_are_of_the_length_asked_for_and_ours_is_the_kernel():
    batch = feature_table.batch_of(20, 400)
    assert len(batch) == 20
    assert batch.n_obs.min() >= 18
    assert batch.n_obs.max() <= 22
    found = feature_table.ours("dmdt", batch)()
    np.testing.assert_array_equal(found["dmdt"], reference.run(batch, DmDtOptions())["dmdt"])


def events(n_in, n_out, seconds, groups, peak):
    shard = {"event": "shard", "cpu_seconds": sum(groups.values()) / 2, "resumed": False}
    half = {name: value / 2 for name, value in groups.items()}
    end = {"event": "end", "n_in": n_in, "n_out": n_out, "seconds": seconds, "peak_rss_mb": peak}
    return [{"event": "start"}, *[shard | {"seconds_by_group": half}] * 2, end]


def test_tables_of_the_stage_leave_out_what_is_paid_once():
    small = feature_stage.Run.from_events(events(100, 50, 5.0, {"basic": 2.0, "drw": 1.0}, 300.0), "log")
    large = feature_stage.Run.from_events(events(400, 200, 12.0, {"basic": 2.5, "drw": 4.0, "none": 0.0}, 320.0), "log")
    assert small.cpu == 3.0
    more = feature_stage.further(small, large)
    assert (more.n_in, more.n_out, more.cpu, more.peak_mb) == (300, 150, 3.5, 20.0)
    assert feature_stage.further(large, large) is large
    rates = feature_stage.rate_table(small, large).splitlines()
    assert rates[2] == "| smaller | 100 | 50 | 33.3 | 5.0 | 300 |"
    assert rates[4] == "| difference | 300 | 150 | 85.7 | 7.0 | 20 |"
    assert feature_stage.group_table(more).splitlines()[2:] == [
        "| drw | 10.000 | 20.000 | 85.7 % |",
        "| basic | 1.667 | 3.333 | 14.3 % |",
    ]
    words = feature_stage.two_line(large, [replace(large, wall=13.0), replace(large, wall=14.0)])
    assert "14.0 s over 24.0 s, 0.58 (must 0.6 met, aim 0.52 **not met**)" in words
    with pytest.raises(DataError, match="no finished run"):
        feature_stage.Run.from_events(events(1, 1, 1.0, {}, 1.0)[:-1], "log")


def test_a_process_that_fails_is_one_line(tmp_path):
    program = [sys.executable, "-c", "import sys; print('first'); sys.exit('the last words')"]
    with pytest.raises(DataError, match="code 1: the last words"):
        feature_stage.runs([program], [tmp_path / "x"])


def test_options_of_the_stage_come_after_ours(tmp_path):
    words = feature_stage.command("field", tmp_path / "f.parquet", tmp_path, 7, ["limit=3", "period_search=none"])
    assert words.index("limit=7") < words.index("limit=3")
    assert "source=parquet" in words
    assert f"run_log={tmp_path / 'log.jsonl'}" in words


def test_what_cannot_be_timed_is_one_line_and_code_2(capsys):
    for words in (["--kernels", "nothing"], ["--repeats", "0"], ["--n", "2"]):
        assert features.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_page_has_places_for_the_tables(monkeypatch, capsys):
    written = []
    monkeypatch.setattr(features, "write", lambda text, place: written.append(place))
    monkeypatch.setattr(feature_table, "tables", lambda **_: "text")
    monkeypatch.setattr(feature_stage, "tables", lambda **given: f"{given['name']} {given['limit']}")
    assert features.main(["--write"]) == 0
    assert features.main(["--survey", "folder", "--write"]) == 0
    assert features.main(["--field", "file", "--limit", "9", "--write"]) == 0
    assert capsys.readouterr().out.splitlines() == ["text", "survey 250", "field 9"]
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- {place}:begin -->" in page and f"<!-- {place}:end -->" in page for place in written)
    assert written == ["features", "features-survey", "features-field"]
