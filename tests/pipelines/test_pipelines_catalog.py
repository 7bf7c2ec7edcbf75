"""From the scores of fields to a catalogue of stars, by the doors: made, kept where nothing changed, opened by lsdb."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

pytest.importorskip("hats")

SMALL = ["period_search=smoke", "machine.workers=2"]

#: Two fields of the simulated survey, and the one quadrant of each that has light curves.
QUADRANTS = {296: (1, 1), 436: (7, 4)}
FIELDS = tuple(QUADRANTS)


def opened(door: str, *words: str) -> int:
    """Return the exit code of a command."""
    return int(import_module(f"scope_ml.{door}").DOOR.open([*words, "hydra.run.dir=outputs"]))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a survey and the scores of two of its fields; its name has a space in it."""
    folder = tmp_path_factory.mktemp("a catalogue")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert opened("simulate", "n_sources=80", "seed=3", "output=survey") == 0
        source = ["source=survey", "source.path=survey", *SMALL]
        for field, (ccd, quad) in QUADRANTS.items():
            target = ["target=quadrant", f"target.field={field}", f"target.ccd={ccd}", f"target.quad={quad}"]
            table = f"results/features/field_{field:06d}/ccd_{ccd:02d}_quad_{quad}.parquet"
            assert opened("generate_features", *source, *target, f"output={table}") == 0
        assert opened("generate_features", *source, "output=all.parquet") == 0
        words = [
            "class=vnv",
            "algorithm=xgb",
            "algorithm.n_rounds=5",
            "dataset.path=null",
            "dataset.features=all.parquet",
        ]
        words += ["dataset.labels=survey/labels.parquet", "fit.n_resamples=10", "fit.permutation_importance=false"]
        assert opened("train", *words, "tracking=off", "plots=false", "output=models/vnv/xgb") == 0
        for field in FIELDS:
            words = [f"field={field}", "models=models", "tracking=off", "executor=local", "executor.processes=1"]
            assert opened("infer", *words) == 0
    return folder


def test_fields_become_a_catalogue(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    scores = [
        ds.dataset(work / "results/scores" / f"field_{field:06d}", format="parquet").to_table() for field in FIELDS
    ]
    n_light_curves = [table.num_rows for table in scores]
    assert min(n_light_curves) > 0
    made = ["predictions=results/scores", "output=results/a catalogue", "partition_rows=20"]
    assert opened("catalog", *made, f"fields={FIELDS[0]}") == 0
    record = json.loads(Path("results/a catalogue/catalog.json").read_text())
    assert record["facts"]["n_light_curves"] == record["facts"]["n_read"] == n_light_curves[0]
    first = record["facts"]["n_partitions"]

    # Another field and light curves for the page: what was made is kept.
    capsys.readouterr()
    light_curves = ["source=survey", "source.path=survey", "stars.combine=mean"]
    assert opened("catalog", *made, *light_curves, f"fields=[{FIELDS[0]},{FIELDS[1]}]") == 0
    told = capsys.readouterr().err
    assert f"in={sum(n_light_curves)} out={sum(n_light_curves)} " in told
    partitions = json.loads(Path("results/a catalogue/partitions.json").read_text())
    record = json.loads(Path("results/a catalogue/catalog.json").read_text())
    assert record["facts"]["n_partitions"] == sum(bool(one["n_stars"]) for one in partitions) > first
    rows = ds.dataset(Path("results/a catalogue/dataset"), format="parquet").to_table()
    ids = sorted(one for of_star in rows["ids"].to_pylist() for one in of_star)
    assert ids == sorted(one for table in scores for one in table["id"].to_pylist())
    # Light curves of all bands of a star stand in one row, with the mean of their scores.
    by_id: dict[int, list[float]] = {}
    for table in scores:
        for source, score in zip(table["source_id"].to_pylist(), table["vnv_xgb"].to_pylist(), strict=True):
            by_id.setdefault(source, []).append(score)
    assert rows.num_rows == len(by_id) < len(ids)
    means = sorted(sum(values) / len(values) for values in by_id.values())
    assert sorted(rows["vnv_xgb"].to_pylist()) == pytest.approx(means, abs=1e-6)
    page = Path("results/a catalogue/catalogue.html").read_text()
    assert re.search(r"<td>vnv_xgb</td>|<td>scope-vnv-xgb</td>", page) and str(work) not in page

    # The same again from another place, with the older one to compare: nothing is made, nothing has changed.
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    again = ["predictions=../results/scores", "output=next", "previous=../results/a catalogue", "partition_rows=20"]
    assert opened("catalog", *again) == 0
    changes = json.loads(Path("next/changes.json").read_text())
    assert changes["proven"] == {"partitions kept": record["facts"]["n_partitions"], "partitions made": 0}
    assert changes["counts"]["unchanged"] == rows.num_rows
    for path in Path("next/dataset").rglob("Npix=*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(work / "results/a catalogue" / path.relative_to("next")))


def test_mistakes_are_one_line(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(work)
    capsys.readouterr()
    assert opened("catalog", "predictions=results/scores", "fields=297", "output=none") == 2
    assert "of fields 297; there are fields 296, 436\n" in capsys.readouterr().err
    assert opened("catalog", "predictions=results/scores", "output=none", "source.path=nowhere") == 2
    err = capsys.readouterr().err
    assert err.startswith("catalog: error: nowhere does not exist") and err.count("\n") == 1
    assert not Path("none").exists()
