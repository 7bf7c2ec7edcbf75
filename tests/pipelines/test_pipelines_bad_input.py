"""What a user gets wrong ends in one line and exit code 2, with nothing under the final name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def door(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scope_ml.train", "class=foo"], "Could not find 'class/foo'"),
        (["scope_ml.train", "class=rrlyr", "sed=1"], "sed"),
        (["scope_ml.train", "class=rrlyr", "seed=abc"], "seed='abc' is not a whole number"),
        (["scope_ml.train", "class=all"], "add -m"),
        (["scope_ml.simulate", "n_sources=-5", "output=o"], "n_sources=-5 is not a whole number of at least"),
        (["scope_ml.simulate", "n_sources=20"], "'output' has no value"),
        (["scope_ml.generate_features", "source.path=missing.parquet", "output=o.parquet"], "missing.parquet"),
        (["scope_ml.generate_features", "source=fits", "output=o.parquet"], "Could not find 'source/fits'"),
        (["scope_ml.generate_features", "target=field", "target.field=1", "source.path=p", "output=o.csv"], "output=o"),
        (["scope_ml.analyze_logs", "logs=missing.jsonl"], "cannot read the run log missing.jsonl"),
        (["scope_ml.infer", "features=missing.parquet", "output=o.parquet"], "missing.parquet"),
        (["scope_ml.train", "class=rrlyr", "tracking.uri=https://me:sentinel@host"], "tracking.uri holds a user name"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = door(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "sentinel" not in done.stderr + done.stdout
    assert not [path for path in tmp_path.iterdir() if path.name not in {"outputs"}]


def test_scope_lists_its_doors(tmp_path: Path) -> None:
    done = door("scope_ml", cwd=tmp_path)
    assert done.returncode == 0
    assert "generate-features" in done.stdout
    done = door("scope_ml", "trian", cwd=tmp_path)
    assert done.returncode == 2
    assert "no door 'trian'" in done.stderr
