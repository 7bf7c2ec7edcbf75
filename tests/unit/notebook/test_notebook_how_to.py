"""The how-to of the period search: its Python runs, its tables name what there is."""

from __future__ import annotations

import re

import pytest

from scope_ml.core.configuration import describe
from scope_ml.features.legacy import SUFFIX
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import group_columns
from scope_ml.features.spec import METHODS
from scope_ml.kernels.registry import KERNELS
from scope_ml.notebook.periodogram import REASONS


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "how-to" / "period-search.md").read_text()


def test_its_python_runs_as_it_is_written(page):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    try:
        for block in blocks:
            exec(block, names)
    finally:
        pyplot.close("all")
    assert names["r"].period[0] == pytest.approx(0.5713, rel=1e-4)
    assert names["table"]["period"].to_pylist() == pytest.approx([0.5713, 0.5713], rel=1e-4)


def test_it_names_every_method_and_status_and_agreement_column(page):
    listed = re.findall(r"^\| `(\w+)` \|.*\|(?: more| less) \|$", page, flags=re.MULTILINE)
    assert tuple(listed) == METHODS
    assert all(f"`{status}`" in page for status in REASONS)
    assert all(f"`{spec.name}`" in page for spec in group_columns("agreement"))
    assert all(f"(`{suffix}`)" in page for method, suffix in SUFFIX.items() if method != "ls_ce_aov")


def test_what_is_better_is_what_the_kernels_say(page):
    for kernel in KERNELS.values():
        if kernel.kind == "search":
            line = re.search(rf"^\| `{kernel.short}` \|.*$", page, flags=re.MULTILINE)
            assert line is not None
            assert line[0].endswith("| more |" if kernel.best == "max" else "| less |")


def test_every_option_it_names_is_one(page):
    options = {line.key for line in describe(PeriodSearch, "period_search")}
    named = set(re.findall(r"`?(period_search\.(?!md\b)\w+)", page))
    assert len(named) > 5
    assert named <= options
