"""The README's commands run as they are written, on a small survey; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scope_ml.__main__ import DOORS
from scope_ml.doorway.door import Door

ROOT = Path(__file__).resolve().parents[2]


def commands(page: str) -> list[list[str]]:
    lines = re.findall(r"^ {4}python -m scope_ml\.(.+)$", page, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def door(name: str) -> Door:
    from importlib import import_module

    found: Door = import_module(f"scope_ml.{name}").DOOR
    return found


def test_every_command_names_a_door() -> None:
    assert {words[0] for words in commands((ROOT / "README.md").read_text())} <= set(DOORS)


def test_first_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smaller = {
        "simulate": ["n_sources=600"],
        "generate_features": ["period_search.max_frequency=3", "period_search.samples_per_peak=3"],
    }
    for name, *words in commands((ROOT / "README.md").read_text())[:4]:
        replaced = {word.partition("=")[0] for word in smaller.get(name, [])}
        kept = [word for word in words if word.partition("=")[0] not in replaced]
        assert door(name).open([*kept, *smaller.get(name, [])]) == 0, name
    assert (tmp_path / "predictions.parquet").is_file()


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert (ROOT / "README.md").read_text().count("\n") <= 150
