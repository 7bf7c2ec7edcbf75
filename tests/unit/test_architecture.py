"""The rooms keep their size, functions fit on a screen, and nothing heavy happens at import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted((ROOT / "scope_ml").rglob("*.py"))
SCIENCE_GROUPS = (
    "algorithm", "class", "cleaning", "crossmatch", "dataset", "experiment", "feature_groups", "feature_set", "period_search",
    "select", "split", "survey", "tune",
)  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("room", ROOMS, ids=name)
def test_room_is_small_and_says_what_it_is(room: Path) -> None:
    text = room.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400, "a room holds at most 400 lines"
    assert ast.get_docstring(tree), "a room says what lives there"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 80, f"{node.name} does not fit on a screen"
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "joblib", "cloudpickle"} & set(names), "no pickle anywhere"


def test_no_room_is_called_after_nothing() -> None:
    words = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert not [name(room) for room in ROOMS if room.stem in words or room.parent.name in words]


def test_architecture_page_names_every_package() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.parent.name for path in (ROOT / "scope_ml").glob("*/__init__.py")}
    assert not sorted(package for package in packages if f"scope_ml/{package}" not in page)
    named = re.findall(r"`((?:scope_ml|pipelines|docs|tests|conf)/[\w./]+)`", page)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_import_is_light() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import scope_ml; took = time.perf_counter() - began;"
        "heavy = {'numba', 'pandas', 'mlflow', 'tensorflow', 'keras', 'xgboost', 'sklearn', 'hydra', 'pyarrow', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)), 'slow' if took >= 0.5 else 'quick')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[] quick"


def test_public_names_are_exactly_those_importable() -> None:
    import scope_ml

    assert sorted(scope_ml.__all__) == sorted(scope_ml._PUBLIC)
    for public in scope_ml.__all__:
        assert getattr(scope_ml, public) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scope_ml.nothing


@pytest.mark.parametrize("group", SCIENCE_GROUPS)
def test_science_configuration_knows_no_machine(group: str) -> None:
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        text = "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
        assert not re.search(r"oc\.env|://|(^|[\s:'\"])/[a-z]|token|password", text), f"{name(path)} names a machine"
