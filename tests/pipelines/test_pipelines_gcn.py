"""The pipeline that cron runs: what was measured is kept, nothing new is nothing to do, a killed run goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.io.output_lock import output_lock
from scope_ml.io.run_log import read_run_log
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.feature_targets import TargetConfig
from scope_ml.stages.generate_features import GenerateFeatures, SourceConfig
from scope_ml.testing.skyportal import SkyPortalServer

WORDS = {"light_curves": ["source=survey"], "features": ["feature_groups=all"]}


def script(root: Path, name: str) -> ModuleType:
    """A program of the pipeline, as a module."""
    spec = spec_from_file_location(f"pipelines_gcn_{name}", root / "pipelines" / "gcn" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_sources(*rows: tuple[int, str, int], event: str = "2026-11-20T03:04:05") -> None:
    """Write what fritz_gcn would: id, name of the source, epochs."""
    ids, names, epochs = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "ra": pa.array([float(one) for one in ids], pa.float64()),
            "dec": pa.array([1.0] * len(ids), pa.float64()),
            "fritz_name": pa.array(names, pa.string()),
            "event": pa.array([event] * len(ids), pa.string()),
            "n_epochs": pa.array(epochs, pa.int64()),
        }
    )
    write_table(table, Path("results/gcn/sources.parquet"), TableMetadata(kind="gcn_sources"))


# ---- features.py


@pytest.fixture
def features(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with a stand-in for generate_features that writes down what it is asked to measure.

    Ids from 90 on are too short to be kept, those from 80 on are not sent by the service at first.
    """
    monkeypatch.chdir(tmp_path)
    module = script(root, "features")
    module.asked = []
    module.deaf = True

    def composed(words: Any, path: Path, output: Path) -> GenerateFeatures:
        return GenerateFeatures(
            source=SourceConfig(
                kind="survey", path="x", band=words[-2].removeprefix("band=") if len(words) > 3 else None
            ),
            target=TargetConfig(kind="source_ids", path=str(path)),
            output=str(output),
        )

    def generate(config: GenerateFeatures, *, progress: Any) -> Report:
        rows = read_table(Path(str(config.target.path))).data.to_pylist()
        module.asked.append([row["id"] for row in rows])
        output = Path(config.output)
        open_ids = [row["id"] for row in rows if 80 <= row["id"] < 90 and module.deaf]
        if open_ids:
            path = output.with_name(f"{output.name}.unanswered.parquet")
            write_table(pa.table({"id": open_ids}), path, TableMetadata(kind="ids_unanswered"))
        kept = [row for row in rows if row["id"] < 90 and row["id"] not in open_ids]
        table = pa.table(
            {
                "id": pa.array([row["id"] for row in kept], pa.int64()),
                "band": pa.array(["g"] * len(kept), pa.string()),
                "n": pa.array([row["n_epochs"] for row in kept], pa.int64()),
                "fritz_name": pa.array([row["fritz_name"] for row in kept], pa.string()),
            }
        )
        write_table(table, output, TableMetadata(kind="features", facts={"features": ["n"], "target": {"kind": "x"}}))
        return Report(stage="generate_features")

    monkeypatch.setattr(module, "composed", composed)
    monkeypatch.setattr(module, "generate", generate)
    return module


def measured() -> dict[int, tuple[int, str]]:
    rows = read_table(Path("results/gcn/features/features.parquet"), kind="features").data.to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    return {row["id"]: (row["n"], row["fritz_name"]) for row in rows}


def test_only_what_is_new_is_measured(features: ModuleType) -> None:
    write_sources((1, "A", 50), (2, "A", 60), (95, "B", 9))
    features.update(WORDS)
    before = Path("results/gcn/features/features.parquet").read_bytes()
    features.update(WORDS)
    assert features.asked == [[1, 2, 95]], "short light curves are not asked for again"
    write_sources((1, "A", 50), (2, "A", 60), (95, "B", 9), event="another;event")
    features.update(WORDS)
    assert Path("results/gcn/features/features.parquet").read_bytes() == before, "events say nothing of features"

    write_sources((1, "A", 50), (2, "A", 60), (3, "C", 70), (95, "B", 9))
    features.update(WORDS)
    assert features.asked[1:] == [[3]]
    assert measured() == {1: (50, "A"), 2: (60, "A"), 3: (70, "C")}


def test_a_source_is_measured_whole_when_it_has_more(features: ModuleType) -> None:
    write_sources((1, "A", 50), (2, "A", 60), (3, "C", 70))
    features.update(WORDS)
    write_sources((1, "A", 55), (2, "A", 60), (3, "C", 70))
    features.update(WORDS)
    assert features.asked[1:] == [[1, 2]]
    assert measured() == {1: (55, "A"), 2: (60, "A"), 3: (70, "C")}
    # What the list says counts, not what was measured last.
    write_sources((1, "A", 50), (2, "A", 60), (3, "C", 70))
    features.update(WORDS)
    assert (features.asked[2:], measured()[1]) == ([], (50, "A"))
    write_sources((1, "A", 55), (2, "A", 60), (3, "C", 70), (4, "C", 20))
    features.update(WORDS)
    assert features.asked[-1] == [3, 4]


def test_what_is_no_longer_wanted_goes(features: ModuleType) -> None:
    write_sources((1, "A", 50))
    features.update(WORDS)
    write_sources((1, "A", 50), (2, "B", 60))
    features.update(WORDS)
    write_sources((2, "B2", 60))
    features.update(WORDS)
    assert features.asked == [[1], [2]]
    assert measured() == {2: (60, "B2")}, "a source that was renamed keeps its features"
    assert [path.name for path in Path("results/gcn/features/batches").iterdir()] == ["000002"]


def test_other_settings_measure_all_again(features: ModuleType) -> None:
    write_sources((1, "A", 50), (2, "B", 60))
    features.update(WORDS)
    features.update({**WORDS, "features": ["feature_groups=all", "band=g"]})
    assert features.asked == [[1, 2], [1, 2]]
    assert [path.name for path in Path("results/gcn/features/batches").iterdir()] == ["000001"]


def test_a_killed_batch_is_gone_on_with(features: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sources((1, "A", 50))
    features.update(WORDS)
    write_sources((1, "A", 50), (2, "B", 60))
    generate = features.generate
    monkeypatch.setattr(features, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        features.update(WORDS)
    assert measured() == {1: (50, "A")}
    monkeypatch.setattr(features, "generate", generate)
    features.update(WORDS)
    assert features.asked == [[1], [2]]
    assert measured() == {1: (50, "A"), 2: (60, "B")}
    assert len(list(Path("results/gcn/features/batches").iterdir())) == 2


def killed(config: GenerateFeatures, *, progress: Any) -> Report:
    raise KeyboardInterrupt


def test_what_a_service_did_not_send_is_open_and_asked_for_again(features: ModuleType) -> None:
    write_sources((1, "A", 50), (80, "B", 60))
    features.update(WORDS)
    record = read_table(Path("results/gcn/features/features.parquet")).metadata
    assert record.facts[features.OPEN] == 1
    # What has come stays, also where it is asked for once more beside something new and does not come.
    write_sources((1, "A", 50), (80, "B", 60), (81, "A", 70))
    features.update(WORDS)
    assert measured() == {1: (50, "A")}
    features.update(WORDS)
    assert len(list(Path("results/gcn/features/batches").iterdir())) <= 2, "those that brought nothing are not kept"
    write_sources((1, "A", 50), (80, "B", 60))
    features.asked.clear()
    features.deaf = False
    features.update(WORDS)
    assert features.asked == [[80]]
    assert measured() == {1: (50, "A"), 80: (60, "B")}
    assert features.OPEN not in read_table(Path("results/gcn/features/features.parquet")).metadata.facts


# ---- scores.py


def test_one_row_a_source_mean_of_light_curves_then_of_algorithms(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = script(root, "scores")
    write_sources((1, "A", 50), (2, "A", 60), (3, "B", 70), (5, "C", 9))
    predictions = pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int64()),
            "ra": [359.99999, 0.00001, 20.0, 30.0],
            "dec": [1.0, 1.0, 2.0, 3.0],
            "period": [0.5, 0.6, 0.7, 0.8],
            "vnv_xgb": pa.array([0.2, 0.6, 1.0, 0.1], pa.float32()),
            "vnv_dnn": pa.array([0.8, 1.0, 0.0, 0.1], pa.float32()),
            "vnv_dnn_spread": pa.array([0.1] * 4, pa.float32()),
            "ea_xgb": pa.array([0.25, 0.75, 0.5, 0.1], pa.float32()),
        }
    )
    path = Path("results/gcn/predictions/predictions.parquet")
    write_table(predictions, path, TableMetadata(kind="predictions", facts={"models": {"m": "d"}}))
    scores.join(scores.Joining())
    table = read_table(scores.OUTPUT, kind="source_scores")
    rows = {row["obj_id"]: row for row in table.data.to_pylist()}
    assert sorted(rows) == ["A", "B"], "4 is no source's any more, C has no scores"
    assert rows["A"]["vnv"] == pytest.approx(((0.2 + 0.6) / 2 + (0.8 + 1.0) / 2) / 2)
    assert (rows["A"]["ea"], rows["B"]["vnv"]) == (0.5, 0.5)
    assert min(rows["A"]["ra"], 360 - rows["A"]["ra"]) < 1e-6, "not 180"
    assert rows["A"]["n_light_curves"] == 2
    assert {name for name in table.data.column_names if name.startswith(("vnv", "ea"))} == {"vnv", "ea"}
    assert table.metadata.facts["models"] == {"m": "d"}
    by_algorithm = read_table(scores.BY_ALGORITHM).data
    assert dict(zip(by_algorithm["obj_id"].to_pylist(), by_algorithm["vnv_dnn"].to_pylist(), strict=True))["A"] == (
        pytest.approx(0.9)
    )
    scores.join(scores.Joining(over_light_curves="max", over_algorithms="max"))
    rows = {row["obj_id"]: row for row in read_table(scores.OUTPUT).data.to_pylist()}
    assert (rows["A"]["vnv"], rows["B"]["vnv"]) == (1.0, 1.0)


# ---- gcn.py


@pytest.fixture
def cron(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program in a folder of its own; doors and DVC are noted, and do what `module.doors` says."""
    module = script(root, "gcn")
    (tmp_path / "pipelines" / "gcn").mkdir(parents=True)
    shutil.copy(root / "pipelines" / "gcn" / "params.yaml", tmp_path / "pipelines" / "gcn")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "argv", ["gcn.py"])
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/models.lock.json").write_text("[]")
    module.called, module.codes, module.rows, module.score = [], {}, [(1, "A", 50), (2, "B", 9)], 0.9

    def call(command: list[str]) -> int:
        name = command[2].removeprefix("scope_ml.")
        module.called.append((name, command[3:]))
        if name == "fritz_gcn":
            write_sources(*module.rows)
        elif name == "dvc":
            record = TableMetadata(kind="features", facts={module.OPEN: 1} if module.rows[-1][0] == 80 else {})
            write_table(pa.table({"id": [1]}), module.FEATURES, record)
            table = {"obj_id": ["A", "B"], "ra": [1.0, 2.0], "vnv": pa.array([module.score, 0.1], pa.float32())}
            write_table(pa.table(table), module.SCORES, TableMetadata(kind="source_scores"))
        return int(module.codes.get(name, 0))

    monkeypatch.setattr(module, "_call", call)
    return module


def params(**values: Any) -> None:
    from omegaconf import OmegaConf

    path = Path("pipelines/gcn/params.yaml")
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), values), path)


def last_line() -> dict[str, Any]:
    return read_run_log(Path("results/gcn/gcn.log.jsonl"))[-1]


def test_a_run_is_one_line_in_the_log(cron: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cron.main() == 0
    assert [name for name, _ in cron.called] == ["fritz_gcn", "dvc"]
    assert "min_epochs=50" in cron.called[0][1]
    assert "source=kowalski" in cron.called[0][1]
    line = last_line()
    assert {name: line[name] for name in ("status", "code", "n_sources", "n_light_curves", "n_scored", "is_new")} == {
        "status": "done",
        "code": 0,
        "n_sources": 2,
        "n_light_curves": 2,
        "n_scored": 2,
        "is_new": True,
    }
    assert capsys.readouterr().out.startswith("gcn: done: 2 sources with 2 light curves, 2 scored (new), upload: none")
    assert cron.main() == 0
    assert (last_line()["is_new"], len(read_run_log(Path("results/gcn/gcn.log.jsonl")))) == (False, 2)
    assert not Path("results/gcn/running").exists()


def test_no_source_is_nothing_to_do(cron: ModuleType) -> None:
    cron.rows = []
    assert cron.main() == 0
    assert [name for name, _ in cron.called] == ["fritz_gcn"]
    assert last_line()["status"] == "no light curves"


def test_scores_are_sent_once(cron: ModuleType) -> None:
    params(upload={"groups": ["Variables", 7], "p_threshold": 0.7, "words": ["rows.period=null"]}, service=["s=1"])
    for n_sent, told in ((1, "planned"), (1, "as before")):
        assert cron.main() == 0
        sent = [words for name, words in cron.called if name == "fritz_upload"]
        assert (len(sent), last_line()["upload"]) == (n_sent, told)
    assert {"s=1", "groups=[Variables,7]", "p_threshold=0.7", "apply=false", "rows.period=null"} <= set(sent[0])
    params(apply=True)
    assert cron.main() == 0
    assert last_line()["upload"] == "applied"
    assert "apply=true" in cron.called[-1][1]
    cron.score = 0.8
    assert cron.main() == 0
    assert (cron.called[-1][0], last_line()["upload"]) == ("fritz_upload", "applied")
    cron.score = 0.6
    cron.called.clear()
    assert cron.main() == 0
    assert [name for name, _ in cron.called] == ["fritz_gcn", "dvc"]
    assert last_line()["upload"] == "no class reaches 0.7"


def test_annotations_are_changed_where_they_are_and_posted_where_not(cron: ModuleType) -> None:
    params(annotate={"groups": [7], "origin": "o"}, apply=True)
    assert cron.main() == 0
    sent = [words for name, words in cron.called if name == "fritz_annotate"]
    assert [words[0] for words in sent] == ["update", "post"]
    assert all({"keys=[vnv]", "origin=o", "apply=true"} <= set(words) for words in sent)
    assert ["groups=[7]" in words for words in sent] == [False, True]
    assert len({word for words in sent for word in words if word.startswith("output=")}) == 2
    assert cron.main() == 0
    assert (last_line()["annotate"], last_line()["upload"]) == ("as before", "none")
    params(upload={"groups": [7]})
    assert cron.main() == 0
    assert (last_line()["annotate"], last_line()["upload"]) == ("as before", "applied")
    cron.codes["fritz_annotate"] = 1
    params(annotate={"keys": ["ea"]})
    assert cron.main() == 1
    assert (last_line()["annotate"], last_line()["upload"]) == ("partly", "as before")


@pytest.mark.parametrize(("code", "status"), [(1, "done"), (2, "failed")])
def test_what_was_not_sent_is_sent_by_the_next_run(cron: ModuleType, code: int, status: str) -> None:
    params(upload={"groups": [7]})
    cron.codes["fritz_upload"] = code
    assert cron.main() == code
    assert last_line()["status"] == status
    cron.codes.clear()
    assert cron.main() == 0
    assert last_line()["upload"] == "planned"


@pytest.mark.parametrize("name", ["fritz_gcn", "dvc"])
def test_a_failure_is_told_and_nothing_follows(cron: ModuleType, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    params(upload={"groups": [7]})
    cron.codes[name] = 2
    assert cron.main() == 2
    assert cron.called[-1][0] == name
    assert (last_line()["status"], last_line()["code"]) == ("failed", 2)
    assert "failed" in capsys.readouterr().err


def test_what_did_not_come_is_asked_for_though_nothing_changed(cron: ModuleType) -> None:
    cron.rows = [(80, "A", 50)]
    assert cron.main() == 1
    assert last_line()["reasons"] == ["some light curves were not sent"]
    cron.called.clear()
    assert cron.main() == 1
    assert [words for name, words in cron.called if name == "dvc"] == [
        ["repro", "--force", "--single-item", "pipelines/gcn/dvc.yaml:features"],
        ["repro", "pipelines/gcn/dvc.yaml"],
    ]


def test_two_runs_do_not_meet(cron: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with output_lock(Path("results/gcn/running"), Path("results/gcn")):
        assert cron.main() == 3
    assert cron.called == []
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert cron.main() == 0


def test_a_command_that_outlives_a_killed_run_keeps_the_next_one_out(
    root: Path, cron: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "gcn.py").write_bytes((root / "pipelines/gcn/gcn.py").read_bytes())
    # The run is killed while its first command goes on; both ends of the pipe are the command's, which ends with the test.
    killed = (
        "import os, sys, pathlib, gcn; gcn.ROOT = pathlib.Path(sys.argv[1]);"
        " gcn._door = lambda *words: gcn._call([sys.executable, '-c', 'import os, signal, sys;"
        " os.kill(os.getppid(), signal.SIGKILL); sys.stdin.read()']); sys.argv[1:] = []; gcn.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", killed, str(tmp_path)], cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        assert process.wait(60) == -signal.SIGKILL
        assert cron.main() == 3
        assert cron.called == []
    # Its input is at an end, and so is the command.
    with output_lock(Path("results/gcn/running"), Path("results/gcn"), wait=True):
        pass
    assert cron.main() == 0


@pytest.mark.parametrize("code", [1, 2])
def test_what_was_begun_is_not_taken_for_what_was_sent_before(cron: ModuleType, code: int) -> None:
    params(apply=True, annotate={"groups": [1], "origin": "o"})
    assert cron.main() == 0
    cron.score, cron.codes = 0.8, {"fritz_annotate": code}
    assert cron.main() == code
    cron.score, cron.codes = 0.9, {}
    cron.called.clear()
    assert cron.main() == 0
    assert last_line()["annotate"] == "applied"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"uplod": None}, "did you mean 'upload'"),
        ({"upload": {"p_threshold": 0.7}}, "upload.groups"),
        ({"upload": {"groups": [1], "p_threshold": 7}}, "p_threshold"),
        ({"models": "nowhere.json"}, "nowhere.json does not exist"),
        ({"events": "since_days=7"}, "events"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    cron: ModuleType, values: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    params(**values)
    assert cron.main() == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_models_are_pinned_and_the_pin_is_left_alone(cron: ModuleType) -> None:
    cron.main()
    before = cron.LOCK.stat().st_mtime_ns
    cron.main()
    assert cron.LOCK.stat().st_mtime_ns == before
    Path("results/models.lock.json").write_text("[1]")
    cron.main()
    assert cron.LOCK.read_text() == "[1]"


def test_what_the_page_says_is_what_the_program_takes(root: Path, cron: ModuleType) -> None:
    from omegaconf import OmegaConf

    page = (root / "docs" / "how-to" / "gcn.md").read_text()
    blocks = {kind: re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("yaml", "python")}
    params(**OmegaConf.to_container(OmegaConf.create(blocks["yaml"][0])))
    assert cron.main() == 0
    assert "service.fritz.url=http://127.0.0.1:40001" in cron.called[0][1]
    assert last_line()["upload"] == "applied"
    compile(blocks["python"][0], "try_gcn.py", "exec")
    settings = {one.name for one in fields(cron.Settings)}
    assert settings <= set(re.findall(r"`(\w+)`", page.partition("| key | |")[2].partition("Begin with")[0]))


# ---- The whole chain

#: The main pipeline, small: some 80 stars, two classes.
TINY = """
survey: {n_sources: 240, seed: 1}
period_search: {max_frequency: 3, samples_per_peak: 3}
classes: [vnv, e]
algorithms: [xgb]
seeds: "1"
"""

#: What changes in params.yaml to run on it.
HERE = {
    "light_curves": ["source=survey", "source.path=results/survey", "survey=ztf"],
    "features": ["feature_groups=all", "period_search.max_frequency=3", "period_search.samples_per_peak=3"],
    "upload": {"groups": ["Variables"], "p_threshold": 0.05, "words": ["rows.period=null", "settle_s=1"]},
    "annotate": {"groups": ["Variables"], "origin": "scores", "keys": ["vnv"], "words": ["settle_s=1"]},
    "apply": True,
}

WHEN = datetime.now().replace(microsecond=0) - timedelta(days=1)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A checkout with a survey and champions of two classes."""
    folder = tmp_path_factory.mktemp("gcn") / "checkout"
    for name in ("scope_ml", "conf", "pipelines"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(root / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(root / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "conf" / "pipeline.yaml").write_text(TINY)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    done = start(folder, [sys.executable, "pipelines/repro.py", "register"])
    assert done.wait(500) == 0, (folder / "out.log").read_text()[-3000:]
    return folder


@pytest.fixture
def portal(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SkyPortalServer]:
    """A SkyPortal with an event, and sources where some stars of the survey are; the pipeline asks it."""
    with SkyPortalServer() as server:
        monkeypatch.setenv(server.variable, server.token)
        fill(server, checkout)
        path = checkout / "pipelines" / "gcn" / "params.yaml"
        shutil.copy(Path(__file__).parents[2] / "pipelines" / "gcn" / "params.yaml", path)
        fast = [f"service.fritz.{name}={value}" for name, value in server.config.items()]
        monkeypatch.chdir(checkout)
        params(**HERE, service=fast)
        shutil.rmtree(checkout / "results" / "gcn", ignore_errors=True)
        (checkout / "pipelines" / "gcn" / "dvc.lock").unlink(missing_ok=True)
        yield server


def fill(server: SkyPortalServer, checkout: Path) -> None:
    server.add("event", dateobs=WHEN.isoformat(), localizations=[("sky", [(0.0, 0.0, 181.0, 0.9)])])
    for number in range(12):
        add_source(server, checkout, number)


def add_source(server: SkyPortalServer, checkout: Path, number: int) -> None:
    """Add a source to the server where the star of this number is."""
    table = read_table(checkout / "results" / "survey" / "labels.parquet").data
    row = table.slice(number, 1).to_pylist()[0]
    seen = 40587 + (WHEN - datetime(1970, 1, 1)) / timedelta(days=1) + 0.2
    server.add("source", obj_id=f"ZTF26x{number:02d}", ra=row["ra"], dec=row["dec"], detections=[seen])


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }
    with (folder / "out.log").open("w") as out:
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out)


def cron_run(folder: Path) -> tuple[int, dict[str, Any], str]:
    """Run as cron does; return the exit code, the line of the log, and what was said."""
    code = start(folder, [sys.executable, "pipelines/gcn/gcn.py"]).wait(300)
    said = (folder / "out.log").read_text()
    return code, read_run_log(folder / "results" / "gcn" / "gcn.log.jsonl")[-1], said


def posted(server: SkyPortalServer) -> dict[str, list[str]]:
    sources = server.state()["sources"]
    return {
        name: sorted(one["classification"] for one in source["classifications"]) for name, source in sources.items()
    }


def annotated(server: SkyPortalServer) -> dict[str, Any]:
    sources = server.state()["sources"]
    return {name: source["annotations"] for name, source in sources.items() if source["annotations"]}


@pytest.mark.slow  # makes a survey, trains, and runs the pipeline six times: two to five minutes
@pytest.mark.timeout(1200)
def test_from_event_to_classifications_and_then_rest(checkout: Path, portal: SkyPortalServer) -> None:
    code, line, said = cron_run(checkout)
    assert (code, line["upload"], line["is_new"]) == (0, "applied", True), said[-3000:]
    assert (line["n_sources"], line["n_scored"]) == (12, 12)
    scores = {row["obj_id"]: row for row in read_table(checkout / "results/gcn/scores/scores.parquet").data.to_pylist()}
    label = {"vnv": "variable", "e": "eclipsing"}
    wanted = {name: sorted(label[tag] for tag in label if row[tag] >= 0.05) for name, row in scores.items()}
    assert posted(portal) == wanted
    assert sum(map(len, wanted.values())) > 5
    notes = annotated(portal)
    assert {name: note["scores"]["data"] for name, note in notes.items()} == {
        name: {"vnv": pytest.approx(row["vnv"], abs=1e-6)} for name, row in scores.items()
    }

    # Nothing new: nothing is run, nothing is asked but the list.
    began, clock = portal.n_requests, time.monotonic()
    code, line, said = cron_run(checkout)
    assert (code, line["upload"], line["is_new"]) == (0, "as before", False)
    assert "Running stage" not in said
    assert {one["path"] for one in portal.requests_since(began)} <= {"/api/groups", "/api/gcn_event", "/api/sources"}
    assert portal.n_requests - began <= 3
    assert time.monotonic() - clock < 40

    # One source more: it alone is measured, and nothing is posted twice.
    add_source(portal, checkout, 12)
    code, line, said = cron_run(checkout)
    assert (code, line["n_scored"], line["upload"]) == (0, 13, "applied"), said[-3000:]
    batches = sorted((checkout / "results" / "gcn" / "features" / "batches").iterdir())
    assert [set(read_table(one / "sources.parquet").data["fritz_name"].to_pylist()) for one in batches][1:] == [
        {"ZTF26x12"}
    ]
    assert {name: classes for name, classes in posted(portal).items() if name != "ZTF26x12"} == wanted

    # Another event with the same sources changes nothing on Fritz.
    portal.add(
        "event", dateobs=(WHEN - timedelta(hours=3)).isoformat(), localizations=[("x", [(0.0, 0.0, 181.0, 0.5)])]
    )
    began = portal.n_requests
    before = (checkout / "results/gcn/features/features.parquet").read_bytes()
    code, line, said = cron_run(checkout)
    assert (code, line["n_scored"]) == (0, 13)
    assert (checkout / "results/gcn/features/features.parquet").read_bytes() == before
    assert {one["method"] for one in portal.requests_since(began)} == {"GET"}

    # The registry's champions are those of the lock.
    params(models="champion")
    code, line, said = cron_run(checkout)
    assert (code, line["is_new"], line["upload"]) == (0, False, "as before"), said[-3000:]
    assert "Running stage" not in said

    # A source on Fritz that has no star here is named.
    seen = 40587 + (WHEN - datetime(1970, 1, 1)) / timedelta(days=1) + 0.2
    portal.add("source", obj_id="nothing_there", ra=1.0, dec=-89.0, detections=[seen])
    code, line, said = cron_run(checkout)
    assert (code, line["is_new"]) == (0, False)
    assert "1 of 14 sources have no light curve here (no_light_curve 1): nothing_there" in said


@pytest.mark.slow  # the same, killed nine times: three minutes
@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(checkout: Path, portal: SkyPortalServer) -> None:
    import psutil

    code, _, said = cron_run(checkout)
    assert code == 0, said[-3000:]
    undisturbed = posted(portal), annotated(portal), (checkout / "results/gcn/scores/scores.parquet").read_bytes()
    portal.reset()
    fill(portal, checkout)
    shutil.rmtree(checkout / "results" / "gcn")
    for delay in (0.5, 2.0, 3.5, 5.0, 6.5, 8.0, 10.5, 13.0, 16.5):
        process = start(checkout, [sys.executable, "pipelines/gcn/gcn.py"])
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            # By turns as a machine that shuts down does, and as one that loses power.
            if delay == int(delay):
                process.send_signal(signal.SIGTERM)
            else:
                for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                    one.kill()
        process.wait(60)
    code, _, said = cron_run(checkout)
    assert code == 0, said[-3000:]
    scores = (checkout / "results/gcn/scores/scores.parquet").read_bytes()
    assert (posted(portal), annotated(portal), scores) == undisturbed
    assert cron_run(checkout)[1]["upload"] == "as before"
