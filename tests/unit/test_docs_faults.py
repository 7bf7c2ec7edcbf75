"""The table of faults names tests that exist, and leaves no fault out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    line for line in (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| [BCF]\d", line)
]


def test_all_faults_are_there():
    assert [line.split("|")[1].strip() for line in LINES] == [
        *(f"B{number}" for number in range(1, 36)),
        *(f"C{number}" for number in range(1, 12)),
        *(f"F{number}" for number in range(1, 23)),
    ]


@pytest.mark.parametrize("line", LINES, ids=[line.split("|")[1].strip() for line in LINES])
def test_each_has_a_test_or_a_reason(line):
    answer = line.split("|")[3]
    named = re.findall(r"`(tests/[^:`]+)::(\w*)`", answer)
    assert named or len(answer.split()) > 5
    for path, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path}::{name}"
