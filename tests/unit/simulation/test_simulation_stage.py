"""The stage writes a whole survey or none, the same bytes each time, and goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import digest_file
from scope_ml.errors import ConfigError, OutputError
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_table
from scope_ml.simulation.survey import COLLECTIONS
from scope_ml.stages import simulate
from scope_ml.stages.simulate import Simulate, run


def make(folder: Path, **options) -> object:
    return run(Simulate(output=str(folder), **{"n_sources": 60, **options}), progress=NullProgress())


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "one", n_sources=40)
    make(tmp_path / "two", n_sources=40)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rows_do_not_depend_on_the_size_of_files(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "many", sources_per_file=25)
    assert len(list((tmp_path / "many" / "ZTF_sources").iterdir())) == 3
    assert digest_file(tmp_path / "one" / "labels.parquet") == digest_file(tmp_path / "many" / "labels.parquet")
    assert json.loads((tmp_path / "one" / "survey.json").read_text()) == json.loads(
        (tmp_path / "many" / "survey.json").read_text()
    )
    for name in COLLECTIONS:
        keys = [
            column
            for column in ("id", "candid", "_id")
            if column in pq.read_schema(tmp_path / "one" / name / "part-00000.parquet").names
        ]
        one, many = (pq.read_table(tmp_path / folder / name).sort_by(keys[0]) for folder in ("one", "many"))
        assert one.combine_chunks().equals(many.combine_chunks()), name


def test_the_light_curve_reader_reads_it(tmp_path: Path) -> None:
    report = make(tmp_path / "survey")
    source = open_light_curves(tmp_path / "survey" / "ZTF_sources", bands=("r",))
    chunks = list(source.chunks())
    batch, rows = chunks[0].batch, chunks[0].rows
    assert 0 < len(batch) <= 60
    assert set(rows["band"].to_pylist()) == {"r"}
    assert batch.time.dtype == np.float64
    assert batch.time.min() > 2458250.0
    labels = read_table(tmp_path / "survey" / "labels.parquet", kind="labels").data
    assert set(rows["source_id"].to_pylist()) <= set(labels["id"].to_pylist())
    assert labels.num_rows == 60
    assert report.facts["rows"]["ZTF_sources"] == source.n_rows or source.n_rows < report.facts["rows"]["ZTF_sources"]


def test_survey_file_counts_what_is_there(tmp_path: Path) -> None:
    make(tmp_path / "survey")
    facts = json.loads((tmp_path / "survey" / "survey.json").read_text())
    labels = read_table(tmp_path / "survey" / "labels.parquet").data
    assert facts["seed"] == 1
    assert sum(facts["native_classes"].values()) == facts["n_sources"] == 60
    assert len(facts["tags"]) == 52
    assert facts["tags"]["vnv"] == int(labels["vnv"].to_numpy().sum())
    for name in COLLECTIONS:
        assert facts["rows"][name] == pq.read_table(tmp_path / "survey" / name).num_rows


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "whole", sources_per_file=20)
    made: list[int] = []
    real = simulate.simulate_part

    def dies_at_the_last_part(config, start, stop, parents):
        if start == 40 and not made.count(40):
            made.append(start)
            raise KeyboardInterrupt
        made.append(start)
        return real(config, start, stop, parents)

    monkeypatch.setattr(simulate, "simulate_part", dies_at_the_last_part)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "resumed", sources_per_file=20)
    assert not (tmp_path / "resumed").exists()
    make(tmp_path / "resumed", sources_per_file=20)
    assert made == [0, 20, 40, 40]
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed", "whole"]


def test_parts_of_another_seed_are_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "_finish", dies)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "survey", n_sources=20, seed=5)
    make(tmp_path / "survey", n_sources=20, seed=6)
    make(tmp_path / "fresh", n_sources=20, seed=6)
    assert contents(tmp_path / "survey") == contents(tmp_path / "fresh")


def test_files_of_other_code_are_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []
    real = simulate.simulate_part

    def dies(*_):
        raise KeyboardInterrupt

    def counted(config, start, stop, parents):
        starts.append(start)
        return real(config, start, stop, parents)

    for digest, n_made in (("other code", 2), ("this code", 2), ("this code", 0)):
        starts.clear()
        with monkeypatch.context() as patch:
            patch.setattr(simulate, "code_digest", lambda *_, digest=digest: digest)
            patch.setattr(simulate, "simulate_part", counted)
            patch.setattr(simulate, "_finish", dies)
            with pytest.raises(KeyboardInterrupt):
                make(tmp_path / "survey", n_sources=20, sources_per_file=10)
        assert len(starts) == n_made
    assert {"core", "simulation", "taxonomy"} <= set(simulate.CODE)


def test_a_survey_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    make(tmp_path / "survey", n_sources=20, seed=1)
    make(tmp_path / "survey", n_sources=20, seed=2)
    assert json.loads((tmp_path / "survey" / "survey.json").read_text())["seed"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("words")
    with pytest.raises(OutputError, match="does not replace"):
        make(tmp_path / "mine")
    (tmp_path / "file").write_text("words")
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "file")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "words"


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write") as caught:
        make(tmp_path / "file" / "survey")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("n_sources", 0), ("n_sources", 1_000_001), ("seed", -1), ("n_source", 5)])
def test_bad_options_are_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=key):
        build(Simulate, {"output": "survey", key: value})
