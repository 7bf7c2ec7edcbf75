"""Broken files, tables and light curves, through the doors: one line and exit code 2, or a status that is counted."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scope_ml.io.tables import read_table

#: A coarse search, so that everything is quick.
COARSE = ["period_search.max_frequency=3", "period_search.samples_per_peak=3"]
TRAIN = ["class=vnv", "algorithm=xgb", "algorithm.n_rounds=20", "dataset=table", "tracking=off", "plots=false"]

#: The door; SIGINT is set because a shell's background jobs ignore it, and their children too.
FEATURES = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from scope_ml.generate_features import main
sys.exit(main())
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder, and give Hydra's logging back."""
    monkeypatch.chdir(tmp_path)
    before = logging.root.handlers[:]
    yield
    for handler in logging.root.handlers:
        if handler not in before:
            handler.close()
    logging.root.handlers = before


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Open a door in this process; return the exit code and standard error."""

    def one(door: str, *words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = import_module(f"scope_ml.{door}").DOOR.open(list(words))
        return code, capsys.readouterr().err

    return one


@pytest.fixture
def refused(run: Run) -> Callable[..., None]:
    """Open a door that must refuse: exit code 2, one line that holds `message`, nothing written or removed."""

    def one(door: str, *words: str, message: str) -> None:
        before = standing()
        code, said = run(door, *words)
        assert code == 2, said
        assert said.startswith(f"{door}: error: "), said
        assert len(said.splitlines()) == 1, said
        assert message in said
        assert standing() == before

    return one


def standing() -> dict[str, int]:
    """Return everything under the working folder but Hydra's own."""
    paths = (path for path in Path().rglob("*") if "outputs" not in path.parts)
    return {str(path): path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey, its features and a folder of bundles."""
    folder = tmp_path_factory.mktemp("tiny")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for door, words in {
            "simulate": ["n_sources=240", "seed=1", "output=survey"],
            "generate_features": [f"source.path={folder}/survey/ZTF_sources", "output=F.parquet", *COARSE],
            "train": [*TRAIN, "dataset.features=F.parquet", "dataset.labels=survey/labels.parquet", "output=models"],
        }.items():
            assert import_module(f"scope_ml.{door}").DOOR.open(words) == 0
    finally:
        os.chdir(before)
    return folder


def light_curves(**odd: tuple[object, object, object]) -> pa.Table:
    """Return our layout: one good light curve of 80 points, and the `odd` ones as (time, mag, magerr)."""
    rng = np.random.default_rng(1)
    t = 2458000.5 + 3.7 * np.arange(80) + rng.random(80)
    good = (t, 16 + 0.3 * np.sin(2 * np.pi * t / 5.3) + 0.02 * rng.standard_normal(80), np.full(80, 0.02))
    rows = [good] + [tuple(np.asarray(part, dtype=float) for part in lists) for lists in odd.values()]
    lists = [pa.array([list(row[place]) for row in rows], pa.list_(pa.float64())) for place in range(3)]
    ids = pa.array(["good", *odd])
    return pa.table([ids, *lists], names=["id", "hjd", "mag", "magerr"])


def the_good() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = light_curves()
    return tuple(np.array(table[name][0].as_py()) for name in ("hjd", "mag", "magerr"))  # type: ignore[return-value]


def test_bad_light_curves_are_counted_statuses(run: Run) -> None:
    t, m, e = the_good()
    n = len(t)
    table = light_curves(
        unsorted=(t[::-1], m[::-1], e),
        doubled=(np.tile(t, 2), np.tile(m, 2), np.tile(e, 2)),
        one_epoch=(t[:1], m[:1], e[:1]),
        no_epochs=([], [], []),
        nan_mag=(t, m * np.nan, e),
        nan_error=(t, m, e * np.nan),
        negative_error=(t, m, -e),
        zero_error=(t, m, 0 * e),
        nan_time=(t * np.nan, m, e),
        infinite_mag=(t, m + np.inf, e),
        same_time=(np.full(n, t[0]), m, e),
        constant=(t, np.full(n, 16.0), e),
    )
    pq.write_table(table, "odd.parquet")
    code, said = run("generate_features", "source.path=odd.parquet", "output=F.parquet", *COARSE)
    assert code == 0, said
    kept, dropped = read_table(Path("F.parquet")).data, read_table(Path("F.parquet.dropped.parquet")).data
    assert dict(zip(kept["id"].to_pylist(), kept["status"].to_pylist(), strict=True)) == {
        "good": "ok",
        "unsorted": "ok",
        "doubled": "ok",
        "constant": "constant",
    }
    assert dict(zip(dropped["id"].to_pylist(), dropped["reason"].to_pylist(), strict=True)) == {
        "one_epoch": "too_few_points",
        "no_epochs": "no_points",
        "same_time": "too_few_points",
        **dict.fromkeys(
            ("nan_mag", "nan_error", "negative_error", "zero_error", "nan_time", "infinite_mag"), "no_valid_points"
        ),
    }
    # The order of the points and repeated points change nothing but the count of points read.
    rows = kept.drop_columns(["id", "source_id", "n_obs_raw"]).slice(0, 3).to_pylist()
    assert len({repr(row) for row in rows}) == 1
    report = json.loads(Path("F.parquet.report.json").read_text())
    assert report["n_in"] == len(table) == report["n_out"] + sum(report["dropped"].values())
    assert report["n_out"] == len(kept)


def test_no_light_curve_left_is_a_warning_and_an_empty_table(
    tiny: Path, run: Run, refused: Callable[..., None]
) -> None:
    source = f"source.path={tiny}/survey/ZTF_sources"
    code, said = run("generate_features", source, "output=F.parquet", "limit=5", "cleaning.min_n_obs=100000", *COARSE)
    assert code == 0
    assert "no light curve was kept (too_few_points 5)" in said
    assert len(read_table(Path("F.parquet")).data) == 0
    refused(
        "build_dataset", "features=F.parquet", f"labels={tiny}/survey/labels.parquet", "output=D", message="F.parquet"
    )
    code, said = run("infer", "features=F.parquet", f"models={tiny}/models", "tracking=off", "output=P.parquet")
    assert code == 0
    assert "has no rows; so has the output" in said


@pytest.mark.parametrize("suffix", ["parquet", "h5", "csv"])
@pytest.mark.parametrize("kind", ["integers", "texts"])
def test_ids_survive_every_format(tiny: Path, run: Run, suffix: str, kind: str) -> None:
    survey = pq.read_table(tiny / "survey/ZTF_sources/part-00000.parquet").slice(0, 6)
    ids: list[int] | list[str] = [2**53 + 1, 2**53 + 2, 4611686018427387905, 2**63 - 1, -5, 0]
    if kind == "texts":
        ids = ["a,b", "007", '"', "ZTF18abc", "1e5", "ä"]
    pq.write_table(survey.set_column(0, "id", pa.array(ids)).drop_columns("source_id"), "S.parquet")
    words = ["cleaning.min_n_obs=1", "cleaning.min_cadence_minutes=0", *COARSE]
    # CSV has no place for images.
    words += ["features.groups=[basic,period,decision,fourier,folded,timescales,drw]"] if suffix == "csv" else []
    assert run("generate_features", "source.path=S.parquet", f"output=F.{suffix}", *words)[0] == 0
    code, said = run("infer", f"features=F.{suffix}", f"models={tiny}/models", "tracking=off", f"output=P.{suffix}")
    assert code == 0, said
    found = read_table(Path(f"P.{suffix}")).data
    assert found["id"].to_pylist() == ids
    assert found["vnv_xgb"].type == pa.float32()


BROKEN = {
    "empty": (b"", "is empty (0 bytes)"),
    "text": (b"hello", "is not a readable Parquet file"),
    "cut": (None, "is not a readable Parquet file"),
    "flipped": (None, "is not a readable Parquet file"),
}


def _within(path: Path, column: str) -> int:
    """Return a place in the file among the values of a column that every reader needs."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    return int(chunk.data_page_offset + chunk.total_compressed_size // 2)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("door", ["generate_features", "build_dataset", "labels", "train", "infer"])
def test_broken_files(tiny: Path, refused: Callable[..., None], door: str, broken: str) -> None:
    good = {"generate_features": "survey/ZTF_sources/part-00000.parquet", "labels": "survey/labels.parquet"}
    content, message = BROKEN[broken]
    if content is None:
        content = (tiny / good.get(door, "F.parquet")).read_bytes()
        middle = len(content) // 2 if door in good else _within(tiny / "F.parquet", "median")
        wrong = bytes(255 - byte for byte in content[middle : middle + 100])
        content = content[:middle] + (wrong + content[middle + 100 :] if broken == "flipped" else b"")
    Path("broken.parquet").write_bytes(content)
    Path("models").mkdir()
    labels, features = f"{tiny}/survey/labels.parquet", f"{tiny}/F.parquet"
    words = {
        "generate_features": ["source.path=broken.parquet", "output=o.parquet"],
        "build_dataset": ["features=broken.parquet", f"labels={labels}", "output=o"],
        "labels": [f"features={features}", "labels=broken.parquet", "output=o"],
        "train": [*TRAIN, "dataset.features=broken.parquet", f"dataset.labels={labels}", "output=models"],
        "infer": ["features=broken.parquet", f"models={tiny}/models", "tracking=off", "output=o.parquet"],
    }
    refused("build_dataset" if door == "labels" else door, *words[door], message=message)


@pytest.mark.parametrize("lacking", ["id", "hjd", "mag", "magerr"])
def test_light_curves_without_a_needed_column(refused: Callable[..., None], lacking: str) -> None:
    pq.write_table(light_curves().drop_columns(lacking), "S.parquet")
    refused("generate_features", "source.path=S.parquet", "output=o.parquet", message=f"lacks the column(s) {lacking}")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("id", pa.array([1.0]), "a float holds no id above 2**53 exactly"),
        ("id", pa.array([None], pa.int64()), "has no value in row 1"),
        ("id", pa.array([2**64 - 1], pa.uint64()), "64"),
        ("hjd", pa.array([[2458000.5] * 80], pa.list_(pa.float32())), "give float64"),
        ("mag", pa.array([["16"] * 80]), "must be float64 or float32"),
        ("mag", pa.array([[16.0] * 3]), "the lists of a row must have one length"),
        ("mag", pa.array([16.0]), "not a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_light_curves_of_wrong_types(refused: Callable[..., None], name: str, values: pa.Array, message: str) -> None:
    table = light_curves()
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, values), "S.parquet")
    refused("generate_features", "source.path=S.parquet", "output=o.parquet", message=message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty (0 bytes)"),
        ("id,class\n", "has no rows"),
        ("id,class\n1,rrlyr\n2\n", "Expected 2 columns, got 1"),
        ("id,kind\n1,rrlyr\n", "neither a column 'class' nor one column a class"),
        ("id,class\n1,rrlyrr\n", "class 'rrlyrr' is unknown; did you mean 'rrlyr'?"),
        ("class\nrrlyr\n", "lacks the column(s) id (or ra and dec)"),
        ("id,class\n1,rrlyr\n", "shares no id with"),
    ],
    ids=["empty", "header", "ragged", "no class", "unknown class", "no id", "no shared id"],
)
def test_label_files(tiny: Path, refused: Callable[..., None], content: str, message: str) -> None:
    Path("L.csv").write_text(content)
    refused("build_dataset", f"features={tiny}/F.parquet", "labels=L.csv", "output=o", message=message)


def test_rounded_label_ids_are_refused(tiny: Path, refused: Callable[..., None]) -> None:
    labels = pq.read_table(tiny / "survey/labels.parquet")
    pq.write_table(labels.set_column(0, "id", pc.cast(labels["id"], pa.float64(), safe=False)), "L.parquet")
    words = [f"features={tiny}/F.parquet", "labels=L.parquet", "output=o"]
    refused("build_dataset", *words, message="a float holds no id above 2**53 exactly")


def test_labels_by_id_and_by_position_agree(tiny: Path, run: Run) -> None:
    labels = pq.read_table(tiny / "survey/labels.parquet").to_pylist()
    rows = [(row, "vnv" if row["vnv"] else "nonvar") for row in labels]
    named = [(row, name) for row, name in rows if name == "vnv"]
    Path("id.csv").write_text("id,class\n" + "".join(f"{row['id']},{name}\n" for row, name in named))
    Path("place.csv").write_text(
        "ra,dec,class\n" + "".join(f"{row['ra']:.7f},{row['dec']:.7f},{name}\n" for row, name in named)
    )
    counts = []
    for form in ("id", "place"):
        code, said = run("build_dataset", f"features={tiny}/F.parquet", f"labels={form}.csv", f"output={form}")
        assert code == 0, said
        counts.append(json.loads(Path(form, "counts.json").read_text())["classes"]["vnv"]["positives"])
    assert counts[0] == counts[1] > 0


def test_a_table_given_twice_is_refused(tiny: Path, refused: Callable[..., None]) -> None:
    words = [f"features=[{tiny}/F.parquet,{tiny}/F.parquet]", f"labels={tiny}/survey/labels.parquet", "output=o"]
    refused("build_dataset", *words, message="twice")


def test_too_few_positives_are_skipped(tiny: Path, run: Run) -> None:
    ids = pq.read_table(tiny / "survey/labels.parquet")["id"].to_pylist()
    Path("L.csv").write_text("id,class\n" + "".join(f"{one},{'ea' if k < 3 else 'agn'}\n" for k, one in enumerate(ids)))
    words = [f"dataset.features={tiny}/F.parquet", "dataset.labels=L.csv", "output=models"]
    code, said = run("train", *TRAIN[1:], "class=ea", *words)
    assert code == 0, said
    assert "skipped: class ea has too few positive stars" in said
    assert not list(Path("models").glob("seed_*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["period_search.max_frequency=3", "period_search.samples_per_peak=4"], "samples_per_peak=3"),
        (["features.groups=[basic]", *COARSE], "needs feature(s) that the table lacks"),
    ],
    ids=["other search", "other features"],
)
def test_features_of_another_kind_than_the_models(
    tiny: Path, run: Run, refused: Callable[..., None], words: list[str], message: str
) -> None:
    source = f"source.path={tiny}/survey/ZTF_sources"
    assert run("generate_features", source, "output=F.parquet", "limit=5", *words)[0] == 0
    refused("infer", "features=F.parquet", f"models={tiny}/models", "tracking=off", "output=P.parquet", message=message)


def test_a_table_of_another_kind_is_refused(tiny: Path, run: Run, refused: Callable[..., None]) -> None:
    words = [f"models={tiny}/models", "tracking=off"]
    assert run("infer", f"features={tiny}/F.parquet", *words, "output=P.parquet")[0] == 0
    refused("infer", "features=P.parquet", *words, "output=P2.parquet", message="'features' table is needed")
    refused("report", f"predictions={tiny}/F.parquet", f"models={tiny}/models", message="'predictions' table is needed")
    pq.write_table(pq.read_table(tiny / "F.parquet").replace_schema_metadata(None), "bare.parquet")
    refused("infer", "features=bare.parquet", *words, "output=P2.parquet", message="has no metadata record")


@pytest.mark.parametrize("output", ["a_file/o", "a_folder", "/proc/o"])
@pytest.mark.parametrize("door", ["generate_features", "build_dataset", "infer"])
def test_outputs_that_cannot_be_written(tiny: Path, refused: Callable[..., None], door: str, output: str) -> None:
    Path("a_file").write_text("mine")
    Path("a_folder.parquet").mkdir()
    words = {
        "generate_features": [f"source.path={tiny}/survey/ZTF_sources", f"output={output}.parquet", *COARSE],
        "build_dataset": [f"features={tiny}/F.parquet", f"labels={tiny}/survey/labels.parquet", f"output={output}"],
        "infer": [f"features={tiny}/F.parquet", f"models={tiny}/models", "tracking=off", f"output={output}.parquet"],
    }
    if (door, output) == ("build_dataset", "a_folder"):
        pytest.skip("the output of build_dataset is a folder")
    refused(door, *words[door], message="cannot write")


@pytest.mark.parametrize("beside", ["dropped.parquet", "report.json"])
def test_what_stands_beside_the_features_is_tried_before_the_work(
    tiny: Path, refused: Callable[..., None], beside: str
) -> None:
    Path(f"F.parquet.{beside}").mkdir()
    words = [f"source.path={tiny}/survey/ZTF_sources", "output=F.parquet"]
    refused("generate_features", *words, message=f"cannot write F.parquet.{beside}")


@pytest.mark.parametrize("band", ["g", "[g,i]", "x"])
def test_bands_of_files_with_all_bands_in_a_row(run: Run, refused: Callable[..., None], band: str) -> None:
    t, m, e = the_good()
    columns = {"hjd": [t], "mag": [m], "magerr": [e], "band": [np.resize(["g", "i", "r", "g"], len(t))]}
    pq.write_table(pa.table({"id": [1], **{name: [list(v[0])] for name, v in columns.items()}}), "S.parquet")
    words = ["source.path=S.parquet", "output=F.parquet", f"band={band}", "cleaning.min_n_obs=10", *COARSE]
    if band == "x":
        refused("generate_features", *words, message="holds no light curves in band x")
        return
    code, said = run("generate_features", *words)
    assert code == 0, said
    table = read_table(Path("F.parquet")).data
    assert dict(zip(table["band"].to_pylist(), table["n_obs"].to_pylist(), strict=True)) == (
        {"g": 40} if band == "g" else {"g": 40, "i": 20}
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=a=b.parquet"], "\"output='a=b.parquet'\""),
        (["output=o.parquet", "band=g,r"], "add -m to run each"),
        (["output=o.parquet", "limit"], "'limit' is not of the form key=value"),
        (["output=o.parquet", "limi=3"], "unknown key 'limi'; did you mean 'limit'?"),
        (["output=o.parquet", "--limit=3"], "unrecognized arguments: --limit=3"),
        (["output=o.parquet", "period_search=lss"], "did you mean 'ls'?"),
        (["output=o.parquet", "limit=1" + 40 * "0"], "is not a whole number"),
        (["output=o.parquet", "cleaning.min_cadence_minutes=inf"], "is not a number"),
        (["output=o.parquet", "features.groups=[]"], "names no group"),
        (["output=o.parquet", "limit=${nowhere}"], "'nowhere' not found"),
        (["output="], "'output' is empty"),
    ],
    ids=lambda value: value[-1][:30] if isinstance(value, list) else "",
)
def test_words_that_cannot_be_read(tiny: Path, refused: Callable[..., None], words: list[str], message: str) -> None:
    refused("generate_features", f"source.path={tiny}/survey/ZTF_sources", *words, message=message)


def test_names_with_blanks_commas_and_equal_signs(tiny: Path, run: Run) -> None:
    words = [f"source.path={tiny}/survey/ZTF_sources", "limit=2", *COARSE]
    code, said = run("generate_features", "output='my dir/a b,c=d.parquet'", *words)
    assert code == 0, said
    assert Path("my dir/a b,c=d.parquet").is_file()


def test_a_dry_run_leaves_nothing(tiny: Path, run: Run) -> None:
    words = [f"source.path={tiny}/survey/ZTF_sources", "output=F.parquet", "limit=5", "machine.dry_run=true", *COARSE]
    code, said = run("generate_features", *words)
    assert code == 0
    assert "dry run: nothing was kept" in said
    assert standing() == {}


@pytest.mark.parametrize(
    "how",
    # Stages that are killed are tested without a process of their own too.
    [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT],
    ids=lambda how: how.name,
)
def test_an_interrupted_run_ends_with_the_same_bytes(tiny: Path, run: Run, how: signal.Signals) -> None:
    words = [f"source.path={tiny}/survey/ZTF_sources", "limit=80", "machine.max_batch_sources=2", *COARSE[:1]]
    process = subprocess.Popen(
        [sys.executable, "-c", FEATURES, *words, "output=K.parquet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = Path("K.parquet.parts/kept")
    end = time.monotonic() + 60
    while len(list(parts.glob("part-*"))) < 3 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert not Path("K.parquet").exists()
    n_parts = len(list(parts.glob("part-*")))
    assert n_parts >= 3
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said == "generate_features: error: stopped; type the same command again to go on where it was\n"
    for output in ("K", "A"):
        assert run("generate_features", *words, f"output={output}.parquet")[0] == 0
    for suffix in ("", ".dropped.parquet"):
        assert Path(f"K.parquet{suffix}").read_bytes() == Path(f"A.parquet{suffix}").read_bytes()
    assert not Path("K.parquet.parts").exists()
