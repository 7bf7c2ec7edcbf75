"""Features made by many: the same bytes as by one, whoever dies, whatever is stale, in quadrants and in slices."""

from __future__ import annotations

import ast
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quadrant_curves import FIRST_ID, LIST, write_quadrants

from scope_ml.compute.ledger import Ledger, ShardState
from scope_ml.compute.plan import WorkPlan, open_plan, read_plan
from scope_ml.core.configuration import build, science_values, to_plain
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, DataError, EmptySelectionError
from scope_ml.io.run_log import read_run_log
from scope_ml.io.tables import read_table
from scope_ml.stages import generate_features
from scope_ml.stages.distributed_features import FEATURES
from scope_ml.stages.distributed_run import collect_run, run_distributed
from scope_ml.stages.generate_features import CODE, GenerateFeatures, is_distributed, run

#: (ccd, quad) -> light curves.
QUADRANTS = {(1, 1): 7, (1, 2): 5, (2, 3): 6}
N_ALL = sum(QUADRANTS.values())

#: Rooms that measuring imports and that decide nothing of a table: how it is shared out, asked for again, said, kept apart.
DECIDES_NOTHING = {
    "errors.py",
    *(f"compute/{name}.py" for name in ("ledger", "local", "plan", "settings")),
    *(f"core/{name}.py" for name in ("configuration", "machine", "protocols", "provenance", "report")),
    *(f"io/{name}.py" for name in ("atomic", "output_lock", "run_log")),
    # Other formats than Parquet, in which parts and tables of quadrants are not written.
    *(f"io/{name}.py" for name in ("csv_files", "hdf5_files", "lightcurve_writer", "pandas_hdf5", "pytables_literals")),
    *(f"services/{name}.py" for name in ("account", "fritz/settings", "http", "http_text", "settings", "waiting")),
    # What is fetched is a file, whose content counts.
    *(f"services/irsa/{name}.py" for name in ("bulk", "connection", "download", "records", "release", "settings")),
    *(
        f"services/kowalski/{name}.py"
        for name in ("client", "connection", "listing", "refusals", "settings", "versions")
    ),
    # Which light curves: that is in their digest.
    *(f"stages/{name}.py" for name in ("feature_targets", "quadrant_list")),
    *(f"stages/{name}.py" for name in ("distribution", "feature_counts", "feature_folder", "feature_log")),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_quadrants(QUADRANTS, tmp_path_factory.mktemp("light_curves") / "curves.parquet")


@pytest.fixture
def make(source, tmp_path):
    """Return a function that builds a configuration; the output lies in the test's folder."""
    (tmp_path / "list.txt").write_text(LIST)

    def made(output, target=None, **options):
        values = {
            "source": {"path": str(source)},
            "output": str(tmp_path / output),
            "target": {"kind": "quadrant_list", "path": str(tmp_path / "list.txt")} if target is None else target,
            "cleaning": {"min_n_obs": 30, "min_cadence_minutes": 0},
            "period_search": {"method": "ls", "max_frequency": 1.0, "samples_per_peak": 3},
            "features": {"groups": ["basic", "period", "colour"]},
            "machine": {"workers": 1, "device": "cpu", "max_batch_sources": 2},
            **options,
        }
        return build(GenerateFeatures, values)

    return made


def go(config):
    return run(config, progress=NullProgress())


def work_off(config, shards=None):
    """Do the shards of a run in this process, as a worker does, and return the report of all."""
    all_shards, _ = FEATURES.shards(config)
    states = {}
    with FEATURES.open(config, threads=1, progress=NullProgress()) as work:
        for shard in all_shards if shards is None else shards:
            report = work(shard)
            states[shard.key] = ShardState(key=shard.key, state="done", record=vars(report))
    return collected(config, all_shards, states), states


def collected(config, shards, states):
    plan = WorkPlan(
        folder=config.executor.run_folder(FEATURES.output(config)),
        door="generate_features",
        config=FEATURES.to_values(config),
        identity=FEATURES.identity(config),
        shards=tuple(shards),
    )
    return FEATURES.collect(config, plan, states, progress=NullProgress())


def outputs(folder):
    """Return the bytes of all that counts as result."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_configuration_goes_through_the_plan(make, tmp_path):
    config = make("out", limit=3, band="g", names="legacy", executor={"kind": "slurm", "max_instances": 3})
    again = FEATURES.from_values(FEATURES.to_values(config))
    assert to_plain(again) == to_plain(config)
    assert science_values(again) == science_values(config)
    (tmp_path / "plan").mkdir()
    shards, _ = FEATURES.shards(config)
    plan = WorkPlan(
        folder=tmp_path / "plan",
        door="generate_features",
        config=FEATURES.to_values(config),
        identity=FEATURES.identity(config),
        shards=tuple(shards),
    )
    plan.write()
    assert FEATURES.from_values(read_plan(tmp_path / "plan").config) == config


def test_shards_are_quadrants_and_say_how_many_light_curves_they_have(make, tmp_path):
    shards, warnings = FEATURES.shards(make("out"))
    keys = [f"field_000250/ccd_{ccd:02d}_quad_{quad}" for ccd, quad in ((1, 1), (1, 2), (4, 4), (2, 3))]
    assert [shard.key for shard in shards] == keys
    assert shards[3].title == "field 250 ccd 2 quad 3"
    assert dict(shards[3].payload) == {"field": 250, "ccd": 2, "quad": 3}
    assert ({shard.n_sources for shard in shards}, warnings) == ({None}, ())
    (tmp_path / "list.json").write_text('{"250": {"1": {"1": 7, "2": 5}, "4": {"4": 0}, "2": {"3": 6}}}')
    shards, warnings = FEATURES.shards(make("out", {"kind": "quadrant_list", "path": str(tmp_path / "list.json")}))
    assert [(shard.key, shard.n_sources) for shard in shards] == list(zip(keys, (7, 5, 0, 6), strict=True))
    assert "1 quadrants have no light curves by the list" in warnings[0]
    assert not (tmp_path / "out").exists()


def test_the_plan_knows_what_decides_the_outcome(make):
    plain = FEATURES.identity(make("out"))
    machine = {"workers": 3, "max_batch_sources": 9, "device": "auto"}
    assert FEATURES.identity(make("elsewhere", machine=machine, stale="remake", slices=3)) == plain
    assert FEATURES.identity(make("out", limit=1)) != plain
    assert FEATURES.identity(make("out", cleaning={"min_n_obs": 31})) != plain


def test_who_is_shared_out(make, tmp_path):
    one, listed = {"kind": "all"}, None
    many = {"kind": "local", "processes": 2}
    assert not is_distributed(make("out"))
    assert is_distributed(make("out", listed, executor=many))
    assert not is_distributed(make("f.parquet", one, executor=many))
    assert is_distributed(make("f.parquet", one, executor=many, slices=2))
    assert is_distributed(make("f.parquet", one, executor={"kind": "dask"}))
    given = {"kind": "quadrant_list", "path": str(tmp_path / "list.txt"), "index": 1}
    assert not is_distributed(make("out", given, executor=many))
    # Who asks a service opens it once.
    assert not is_distributed(make("out", listed, executor=many, source={"kind": "kowalski", "path": None}))


def test_two_processes_make_what_one_makes(make, tmp_path):
    alone = go(make("alone"))
    config = make("shared", executor={"kind": "local", "processes": 2})
    report = go(config)
    assert outputs(tmp_path / "shared") == outputs(tmp_path / "alone")
    assert (report.n_in, report.n_out, report.dropped) == (alone.n_in, alone.n_out, alone.dropped)
    assert report.facts == alone.facts
    assert report.warnings == alone.warnings
    logged = [event for event in read_run_log(tmp_path / "shared" / "run.log.jsonl") if event["event"] == "quadrant"]
    assert len(logged) == 4
    # Once more: all is there, and nobody measures anything.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.parquet")}
    again, _ = work_off(config)
    assert (again.facts["n_quadrants_finished_before"], again.n_in) == (4, N_ALL)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.parquet")} == before


def test_parts_of_other_options_that_come_late_are_not_taken(make, tmp_path):
    """A slice whose worker was not stopped in time writes into the folder after it was cleared for other options."""
    folder, late = tmp_path / "f.parquet.parts", tmp_path / "late"
    options = {"slices": 2, "executor": {"folder": str(tmp_path / "run")}}
    old = make("f.parquet", {"kind": "all"}, **options)
    work_off(old, FEATURES.shards(old)[0][:1])
    shutil.copytree(folder, late)
    search = {"method": "ls", "max_frequency": 2.0, "samples_per_peak": 3}
    new = make("f.parquet", {"kind": "all"}, period_search=search, **options)
    go(make("alone/f.parquet", {"kind": "all"}, period_search=search))
    shards, _ = FEATURES.shards(new)
    _, states = work_off(new, shards[1:])
    for path in late.rglob("part-*.parquet"):
        shutil.copy(path, folder / path.relative_to(late))
    _, more = work_off(new, shards[:1])
    collected(new, shards, {**states, **more})
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "alone" / "f.parquet").read_bytes()


def test_a_table_hangs_on_the_code_that_decides_it(root):
    """Of the rooms that the measuring rooms import, each is in the digest, or here, where it is said to decide nothing."""
    package = root / "scope_ml"
    listed = {path for name in CODE for path in package.glob(name if name.endswith(".py") else f"{name}/**/*.py")}
    assert all(any(package.glob(name if name.endswith(".py") else f"{name}/*.py")) for name in CODE)
    found, waiting = set(), [package / f"stages/feature_{name}.py" for name in ("run", "tables", "sources")]
    waiting.append(package / "services/kowalski/catalogs.py")
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scope_ml"):
                base = root / node.module.replace(".", "/")
                waiting += [base / f"{one.name}.py" for one in node.names if (base / f"{one.name}.py").is_file()]
                waiting += [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else []
    rooms = {str(path.relative_to(package)) for path in found - listed}
    assert rooms == DECIDES_NOTHING
    assert package / "services/fritz/settings.py" not in listed


def test_a_torn_note_of_what_was_done_is_told_and_mended(make, tmp_path):
    config = make("out", executor={"kind": "local", "processes": 1, "folder": str(tmp_path / "run")})
    first = run_distributed("generate_features", config, progress=NullProgress())
    note = tmp_path / "run" / "done" / "field_000250" / "ccd_01_quad_2.json"
    note.write_text("")
    torn = collect_run(tmp_path / "run", progress=NullProgress())
    assert torn.facts["failed"] == [
        "field 250 ccd 1 quad 2: the note of how it was done is torn; type the same command again"
    ]
    again = run_distributed("generate_features", config, progress=NullProgress())
    assert (again.n_in, again.n_out, again.facts["n_failed"]) == (first.n_in, first.n_out, 0)
    assert json.loads(note.read_text())["n_finished"] == 1


def test_what_is_not_done_is_counted_and_named(make, tmp_path):
    config = make("out")
    shards, _ = FEATURES.shards(config)
    report, states = work_off(config, shards[:2])
    assert (report.n_in, report.facts["n_quadrants"], report.facts["n_failed"]) == (12, 2, 2)
    assert report.facts["failed"] == [
        f"field 250 ccd {ccd} quad {quad}: nobody has begun it" for ccd, quad in ((4, 4), (2, 3))
    ]
    states[shards[2].key] = ShardState(key=shards[2].key, state="failed", record={"error": "the disk is gone"})
    states[shards[3].key] = ShardState(key=shards[3].key, state="begun")
    (tmp_path / "out" / f"{shards[0].key}.parquet").unlink()
    report = collected(config, shards, states)
    assert [line.partition(": ")[2] for line in report.facts["failed"]] == [
        "its table was removed after it had been made; type the same command again",
        "the disk is gone",
        "it was begun and not ended",
    ]
    assert report.n_in == 5
    assert report.warnings[-1] == "3 of 4 quadrants failed; mend it and type the same command again"


def test_a_stale_table_is_one_shard_and_a_stale_plan_the_run(make, tmp_path):
    config = make("out")
    go(make("out", limit=1))
    before = outputs(tmp_path / "out")
    shards, _ = FEATURES.shards(config)
    with FEATURES.open(config, threads=1, progress=NullProgress()) as work:
        for shard in shards:
            with pytest.raises(
                DataError, match=rf"{shard.key}\.parquet is stale: made with other options \([0-9a-f]{{12}}, now"
            ):
                work(shard)
    assert outputs(tmp_path / "out") == before
    again, _ = work_off(replace(config, stale="remake"))
    assert (again.n_in, again.facts["n_failed"]) == (N_ALL, 0)
    assert "4 quadrants had been made with other options or code and were made again" in " ".join(again.warnings)
    go(make("fresh"))
    assert outputs(tmp_path / "out") == outputs(tmp_path / "fresh")


def planned(config):
    """Write the plan of a configuration, as one that is being worked on."""
    plan = WorkPlan(
        folder=config.executor.run_folder(FEATURES.output(config)),
        door="generate_features",
        config=FEATURES.to_values(config),
        identity=FEATURES.identity(config),
        shards=tuple(FEATURES.shards(config)[0]),
    )
    plan.folder.mkdir(parents=True)
    plan.write()
    return plan


def test_a_plan_of_other_options_is_refused_unless_it_is_to_make_way(make, tmp_path):
    many = {"kind": "local", "processes": 2}
    plan = planned(make("out", limit=1, executor=many))
    Ledger(plan.folder).failed(plan.shards[0].key, "of old", "DataError")
    with pytest.raises(ConfigError, match=r"out\.run was planned with another configuration \(config\.limit was 1"):
        go(make("out", executor=many))
    dry = {"machine": {"dry_run": True, "workers": 1}}
    assert go(make("out", executor=many, stale="remake", **dry)).facts["n_shards"] == 4
    assert read_plan(plan.folder).digest == plan.digest
    new = planned(make("other", executor=many))
    open_plan(replace(new, folder=plan.folder), anew=True)
    assert read_plan(plan.folder).digest == new.digest
    assert Ledger(plan.folder).states([plan.shards[0].key])[plan.shards[0].key].state == "waiting"


def test_code_is_named_where_it_differs(make, monkeypatch):
    config = make("out")
    shard = FEATURES.shards(config)[0][0]
    with FEATURES.open(config, threads=1, progress=NullProgress()) as work:
        work(shard)
    monkeypatch.setattr(generate_features, "code_digest", lambda *_: "another")
    with (
        FEATURES.open(config, threads=1, progress=NullProgress()) as work,
        pytest.raises(DataError, match=r"made with other code \("),
    ):
        work(shard)


WANTED = [FIRST_ID + 1, FIRST_ID + 8, 77, FIRST_ID + 3, FIRST_ID + 1, FIRST_ID + 16]


@pytest.fixture(params=["all", "quadrant", "source_ids"])
def single(request, tmp_path):
    """Return a target of one table."""
    pq.write_table(pa.table({"ztf_id": WANTED, "fritz_name": list("abcdaf")}), tmp_path / "wanted.parquet")
    return {
        "all": {"kind": "all"},
        "quadrant": {"kind": "quadrant", "field": 250, "ccd": 1, "quad": 1},
        "source_ids": {"kind": "source_ids", "path": str(tmp_path / "wanted.parquet")},
    }[request.param]


@pytest.mark.parametrize(
    ("single", "n_slices"),
    [("all", 1), ("all", 3), ("all", 40), ("quadrant", 3), ("source_ids", 3)],
    indirect=["single"],
)
def test_slices_make_the_table_that_one_makes(make, tmp_path, single, n_slices):
    alone = go(make("alone/f.parquet", single))
    config = make("sliced/f.parquet", single, slices=n_slices, executor={"folder": str(tmp_path / "run")})
    shards, _ = FEATURES.shards(config)
    assert len(shards) == n_slices
    report, _ = work_off(config, shards[::-1])
    assert outputs(tmp_path / "sliced") == outputs(tmp_path / "alone")
    assert (report.n_in, report.n_out, report.dropped) == (alone.n_in, alone.n_out, alone.dropped)
    assert [line for line in report.warnings if line not in alone.warnings] == []
    # Finished: nothing is measured, nor merged, again.
    stamp = (tmp_path / "sliced" / "f.parquet").stat().st_mtime_ns
    again, states = work_off(config)
    assert {state.record["facts"]["became"] for state in states.values()} == {"kept"}
    assert (again.n_in, again.n_out) == (alone.n_in, alone.n_out)
    assert (tmp_path / "sliced" / "f.parquet").stat().st_mtime_ns == stamp
    assert not list((tmp_path / "sliced").glob("*.parts"))


def test_slices_that_are_missing_are_named_and_the_table_waits(make, tmp_path):
    config = make("f.parquet", {"kind": "all"}, slices=3, executor={"folder": str(tmp_path / "run")})
    shards, _ = FEATURES.shards(config)
    report, _ = work_off(config, shards[:2])
    assert report.facts["failed"] == ["all slice 3 of 3: nobody has begun it"]
    assert report.facts["n_failed"] == 1
    assert "1 of 3 slices are not done; " in report.warnings[-1]
    assert not (tmp_path / "f.parquet").exists()
    report, states = work_off(config)
    assert [state.record["facts"]["n_shards_resumed"] for state in states.values()] == [3, 3, 0]
    assert report.n_in == N_ALL
    # The same counts in each slice as in the whole.
    assert sum(state.record["n_in"] for state in states.values()) == N_ALL
    (tmp_path / "f.parquet").unlink()
    report, states = work_off(config)
    assert {state.record["facts"]["became"] for state in states.values()} == {"made"}
    assert (tmp_path / "f.parquet").is_file()


def test_slices_of_nothing_and_of_as_many_as_there_are(make, tmp_path, source):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(source).slice(0, 0), empty)
    config = make("f.parquet", {"kind": "all"}, source={"path": str(empty)}, executor={"folder": str(tmp_path / "run")})
    with pytest.raises(EmptySelectionError, match=r"empty\.parquet holds no light curves"):
        work_off(config)
    (shard,) = FEATURES.shards(make("f.parquet", {"kind": "all"}))[0]
    assert (shard.n_sources, shard.title) == (N_ALL, "all slice 1 of 1")
    shards, _ = FEATURES.shards(make("f.parquet", {"kind": "all"}, slices=4))
    assert [shard.n_sources for shard in shards] == [5, 5, 4, 4]


def test_a_slice_whose_light_curves_are_others_than_when_it_was_made(make, tmp_path, source):
    path = tmp_path / "curves.parquet"
    path.write_bytes(source.read_bytes())
    options = {"source": {"path": str(path)}, "slices": 2, "executor": {"folder": str(tmp_path / "run")}}
    config = make("f.parquet", {"kind": "all"}, **options)
    work_off(config)
    pq.write_table(pq.read_table(source).slice(0, N_ALL - 2), path)
    report, states = work_off(config)
    assert {state.record["facts"]["became"] for state in states.values()} == {"made"}
    assert report.n_in == N_ALL - 2
    assert read_table(tmp_path / "f.parquet").data.num_rows == N_ALL - 4


#: Dies when it has half a slice.
PROGRAM = """
import json, os, signal, sys
from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.io.parts import Parts
from scope_ml.stages.distributed_features import FEATURES
from scope_ml.stages import generate_features
from scope_ml.stages.generate_features import GenerateFeatures

generate_features.code_digest = lambda *packages: "code"
config = FEATURES.from_values(json.loads(sys.argv[1]))
calls, write = [], Parts.write
def dying(*given):
    calls.append(write(*given))
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
Parts.write = dying
with FEATURES.open(config, threads=1, progress=NullProgress()) as work:
    for shard in FEATURES.shards(config)[0]:
        work(shard)
"""


def test_a_slice_that_is_killed_goes_on(make, tmp_path, root, monkeypatch):
    monkeypatch.setattr(generate_features, "code_digest", lambda *_: "code")
    go(make("alone/f.parquet", {"kind": "all"}))
    config = make("sliced/f.parquet", {"kind": "all"}, slices=2, executor={"folder": str(tmp_path / "run")})
    values = json.dumps(FEATURES.to_values(config))
    done = subprocess.run([sys.executable, "-c", PROGRAM, values], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    _, states = work_off(config)
    assert [state.record["facts"]["n_shards_resumed"] for state in states.values()] == [1, 0]
    assert outputs(tmp_path / "sliced") == outputs(tmp_path / "alone")
