"""docs/features.md is what the registry and the stored distributions give, and these are no more than a few numbers."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.features.registry import FEATURES, GROUPS
from scope_ml.io.tables import write_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_feature_page", ROOT / "docs" / "make_feature_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(script, monkeypatch, tmp_path):
    """Let the script write into a folder of the test."""
    monkeypatch.setattr(script, "PAGE", tmp_path / "features.md")
    monkeypatch.setattr(script, "DISTRIBUTIONS", tmp_path / "distributions.json")
    return tmp_path


def rows(text):
    return [line.split(" | ") for line in text.splitlines() if re.match(r"\| \*?`", line)]


def test_page_is_up_to_date(script, capsys):
    assert script.main(["--check"]) == 0, capsys.readouterr().out


def test_every_feature_stands_in_its_group(script):
    text = script.page({"about": "", "columns": {}})
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        group = section.split("\n", 1)[0]
        found |= {re.search(r"`(.+)`", cells[0]).group(1): group for cells in rows(section)}
    assert found == {spec.name: spec.group for spec in FEATURES.values()}
    assert set(found.values()) == set(GROUPS)
    table_lines = [line for line in text.splitlines() if re.match(r"\| \*?`", line)]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table_lines} == {9}, "a bar in a formula would end its cell"


def test_stale_page_is_found(script, elsewhere, capsys):
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    page = elsewhere / "features.md"
    page.write_text(page.read_text().replace("median(m)", "mean(m)"))
    assert script.main(["--check"]) == 1
    assert "run python docs/make_feature_page.py" in capsys.readouterr().out


def feature_table():
    rng = np.random.default_rng(2)
    return pa.table(
        {
            "id": pa.array(range(2000)),
            "n": pa.array(rng.integers(50, 90, 2000), pa.int32()),
            "median": pa.array(rng.uniform(14, 16, 2000)),
            "skew": pa.array(np.r_[rng.standard_t(1, 1900), np.full(100, np.nan)]),
            "iqr": pa.array([None] * 2000, pa.float64()),
            "sw": pa.array([0.5] * 2000),
            "period_ls": pa.array(10 ** rng.uniform(-1, 2, 2000)),
            "period_2_ls": pa.array(rng.uniform(1, 2, 2000)),
            "not_ours": pa.array(rng.uniform(1, 2, 2000)),
        }
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".h5"])
def test_measured_from_any_format(script, elsewhere, suffix):
    table = feature_table()
    halves = [elsewhere / f"features_{half}{suffix}" for half in (0, 1)]
    for half, path in enumerate(halves):
        write_table(table.slice(1000 * half, 1000), path, TableMetadata(kind="features"))
    assert script.main(["--features", *map(str, halves), "--about", "made up for a test"]) == 0
    kept = json.loads((elsewhere / "distributions.json").read_text())
    columns = kept["columns"]
    assert list(columns) == ["n", "median", "skew", "iqr", "sw", "period_ls"]
    values = table["median"].to_numpy()
    assert columns["median"]["percentiles"] == pytest.approx(np.percentile(values, (1, 50, 99)), rel=1e-3)
    assert sum(columns["median"]["counts"]) == 2000 - 2 * 20
    assert {columns[name]["n"] for name in columns} == {2000}
    assert {name: columns[name]["missing"] for name in columns if columns[name]["missing"]} == {
        "skew": 0.05,
        "iqr": 1.0,
    }
    assert {name: columns[name]["scale"] for name in columns if columns[name]["scale"] != "linear"} == {
        "skew": "asinh",
        "period_ls": "log",
    }
    assert (columns["iqr"]["counts"], columns["sw"]["counts"]) == ([], [])
    text = (elsewhere / "features.md").read_text()
    assert "made up for a test" in text
    cells = {re.search(r"`(.+)`", row[0]).group(1): row[-1] for row in rows(text)}
    assert cells["period"].startswith("`period_ls` `")
    assert "no values" in cells["iqr"]
    assert cells["sw"].startswith("0.5 throughout")
    assert "5.0 % without" in cells["skew"]
    assert cells["f1_power"].startswith("–")
    assert script.main(["--check"]) == 0


def test_bins_are_even_on_the_scale_that_is_said(script):
    log = script.summary(np.logspace(-1, 3, 100_001))
    assert max(log["counts"]) - min(log["counts"]) <= 2
    assert len(log["counts"]) == 16
    even = script.summary(np.linspace(-1, 1, 100_001))
    assert even["scale"] == "linear"
    assert max(even["counts"]) - min(even["counts"]) <= 2


def test_sparkline_is_linear_in_height(script):
    assert script.sparkline([0, 1, 2, 4, 8, 7]) == "·▁▂▄█▇"
    assert script.sparkline([1, 10_000]) == "▁█"
    assert script.sparkline([]) == ""


def test_broken_table_is_one_line(script, elsewhere, capsys):
    assert script.main(["--features", str(elsewhere / "missing.parquet")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (elsewhere / "features.md").exists()


def test_nothing_but_summaries_is_committed():
    path = ROOT / "docs" / "feature_distributions.json"
    assert path.stat().st_size < 100_000
    for name, kept in json.loads(path.read_text())["columns"].items():
        assert set(kept) == {"n", "missing", "percentiles", "scale", "counts"}, name
        assert len(kept["percentiles"]) in (0, 3)
        assert len(kept["counts"]) in (0, 16)
