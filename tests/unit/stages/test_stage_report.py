from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import Input, TableMetadata
from scope_ml.datasets.assemble import assemble, save_built
from scope_ml.datasets.join import JoinConfig
from scope_ml.datasets.split import PARTS, SplitConfig
from scope_ml.errors import ConfigError, FormatError, MetadataError, ModelNotFoundError, OutputError
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.tables import write_table
from scope_ml.models.algorithms import algorithm
from scope_ml.models.bundle import bundle_digest
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.intervals import evaluate
from scope_ml.models.preparation import ColumnScale, Preparation
from scope_ml.models.record import BundleRecord, Provenance, write_record
from scope_ml.stages.report import MakeReport, run
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.tracking.lock import LockEntry, write_lock

N_STARS = 60
BIG = 10_296_000_000_000
TAXONOMY = load_classes(packaged_conf_dir())


@dataclass(frozen=True)
class Run:
    """What a run left in `folder`: light curves in two bands a star, scores, bundles of three seeds."""

    folder: Path
    ids: np.ndarray
    scores: dict[str, np.ndarray]

    def report(self, **further: object):
        values = {"predictions": "predictions.parquet", "models": "models", "output": "report.html", **further}
        paths = {"predictions", "models", "output", "light_curves", "lock", "features_report", "training_set", "labels"}
        values = {key: str(self.folder / value) if key in paths else value for key, value in values.items()}
        return run(build(MakeReport, values), progress=NullProgress())

    def page(self, **further: object) -> str:
        self.report(**further)
        return (self.folder / "report.html").read_text()


def save_bundle(folder: Path, tag: str, seed: int, quality: float, name: str = "xgb") -> str:
    """Write a record with metrics of a known quality and a model file that nobody will load."""
    rng = np.random.default_rng(seed)
    y = (np.arange(200) < 40).astype(int)
    metrics = {
        part: evaluate(
            y, 1 / (1 + np.exp(-(rng.normal(0, 1, 200) + quality * y))), np.arange(200), threshold=0.7, n_resamples=30
        )
        for part in ("val", "test")
    }
    record = BundleRecord(
        spec=TAXONOMY[tag],
        algorithm=algorithm(name).config_type(),
        features=FeatureRecord(names=("period_ls", "skew")),
        preparation=Preparation(
            features=("period_ls", "skew"),
            fills=(0.0, 0.0),
            scales=(ColumnScale(), ColumnScale()),
            n_missing=(0, 0),
            n_rows=9,
        ),
        threshold=0.7,
        seed=seed,
        metrics=metrics,
        importance={"gain": {"period_ls": 0.75, "skew": 0.25}},
        provenance=Provenance(data_digest="d" * 64, split_digest="e" * 64, code_version="0", git_commit="f" * 40),
    )
    folder.mkdir(parents=True)
    (folder / "model.ubj").write_bytes(b"not a model")
    write_record(record, folder, ["model.ubj"])
    return bundle_digest(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(1)
    ids, sources, bands, times, mags = [], [], [], [], []
    for star in range(N_STARS):
        for code, band in enumerate("gr"):
            time = np.sort(2458500.0 + rng.uniform(0, 900, 80))
            ids.append(BIG + 1_000_000 * code + star)
            sources.append(2**53 + 1 + star)
            bands.append(band)
            times.append(time)
            mags.append(17 + 0.4 * np.sin(2 * np.pi * time / 0.6))
    batch = LightCurveBatch(
        id=np.array(ids),
        offsets=np.arange(0, 80 * len(ids) + 1, 80),
        time=np.concatenate(times),
        mag=np.concatenate(mags),
        mag_err=np.full(80 * len(ids), 0.02),
        flags=np.tile(np.array([0] * 79 + [32768]), len(ids)),
    )
    rows = pa.table({"id": ids, "source_id": sources, "band": bands})
    write_light_curves(batch, rows, folder / "light_curves.parquet")
    scores = {f"{tag}_xgb": rng.uniform(0, 1, len(ids)).astype(np.float32) for tag in ("vnv", "pnp", "rrlyr", "e")}
    table = pa.table({"id": ids, "source_id": sources, "band": bands, "period": np.full(len(ids), 0.6), **scores})
    metadata = TableMetadata(kind="predictions", inputs=(Input(name="features", digest="ab" * 32),))
    write_table(table, folder / "predictions.parquet", metadata)
    for tag, qualities in {"vnv": (2.0,), "pnp": (2.0,), "rrlyr": (1.0, 4.0, 2.0), "e": (3.0,)}.items():
        for seed, quality in enumerate(qualities, start=1):
            save_bundle(folder / "models" / tag / "xgb" / f"seed{seed}", tag, seed, quality)
    skipped = {"facts": {"skipped": [{"tag": "dscu", "algorithm": "xgb", "reason": "3 positives & < 10 wanted"}]}}
    (folder / "models" / "dscu" / "xgb").mkdir(parents=True)
    (folder / "models" / "dscu" / "xgb" / "report.json").write_text(json.dumps(skipped))
    counts = {"stage": "generate_features", "n_in": 130, "n_out": 120, "dropped": {"too_few_points": 10}}
    (folder / "features.report.json").write_text(json.dumps(counts))
    return Run(folder=folder, ids=np.array(ids), scores=scores)


def card(page: str, tag: str) -> str:
    return page.split(f'<article id="class-{tag}"')[1].split("</article>", maxsplit=1)[0]


def shown_ids(page: str, tag: str) -> list[int]:
    return [int(text) for text in re.findall(r'<span class="who"><code>(\d+)</code>', card(page, tag))]


def test_page_shows_the_best_scored_light_curve_of_each_star(finished):
    page = finished.page(light_curves="light_curves.parquet", n_examples=3)
    score = finished.scores["rrlyr_xgb"]
    order = [row for row in np.argsort(-score, kind="stable")]
    stars, expected = set(), []
    for row in order:
        if finished.ids[row] % 1_000_000 not in stars:
            stars.add(finished.ids[row] % 1_000_000)
            expected.append(int(finished.ids[row]))
    assert shown_ids(page, "rrlyr") == expected[:3]
    # The flagged epoch is left out.
    assert "79 \N{MULTIPLICATION SIGN}" in card(page, "rrlyr")


def test_periodic_classes_are_folded_and_others_are_not(finished):
    page = finished.page(light_curves="light_curves.parquet")
    assert "folded at 0.6 d" in card(page, "rrlyr")
    assert "folded at 0.6 d" in card(page, "e")
    assert "folded at 0.6 d" not in card(page, "vnv")
    assert "against time" in card(page, "vnv")


def test_champion_is_the_best_seed_on_validation_unless_the_lock_says_otherwise(finished):
    assert "seed 2" in card(finished.page(), "rrlyr")
    digest = bundle_digest(finished.folder / "models" / "rrlyr" / "xgb" / "seed3")
    entry = LockEntry(name="scope-rrlyr-xgb", version=7, alias="champion", digest=digest, tag="rrlyr", algorithm="xgb")
    write_lock(finished.folder / "models.lock.json", [entry])
    page = finished.page(lock="models.lock.json")
    assert "seed 3" in card(page, "rrlyr")
    assert "v7" in card(page, "rrlyr")


def test_the_band_of_the_champion_is_drawn(finished):
    page = finished.page()
    for tag in ("vnv", "rrlyr"):
        assert card(page, tag).count('class="area xgb"') == 1


def test_a_lock_of_other_models_is_a_warning(finished):
    entry = LockEntry(name="scope-e-xgb", version=1, alias="champion", digest="0" * 64, tag="e", algorithm="xgb")
    write_lock(finished.folder / "other.lock.json", [entry])
    report = finished.report(lock="other.lock.json")
    assert len(report.warnings) == 1
    assert "e_xgb" in report.warnings[0]


def test_counts_drops_and_skipped_classes_are_told(finished):
    report = finished.report(features_report="features.report.json")
    page = (finished.folder / "report.html").read_text()
    assert "<b>10</b> too few points" in page
    assert "3 positives &amp; &lt; 10 wanted" in page
    assert report.facts["n_skipped"] == 1
    assert report.facts["n_classes"] == 4


def test_conflicts_are_counted_against_the_direct_parents(finished):
    page = finished.page()
    member = {tag: finished.scores[f"{tag}_xgb"].astype(float) >= 0.7 for tag in ("vnv", "pnp", "e")}
    for child, parent in (("pnp", "vnv"), ("e", "pnp")):
        assert parent in TAXONOMY[child].parents
        n_conflicts = int((member[child] & ~member[parent]).sum())
        assert f"<code>{child}</code> without <code>{parent}</code></td><td>{n_conflicts}</td>" in page


def test_truth_and_part_of_the_examples_come_from_the_training_set(finished):
    sources = 2**53 + 1 + np.arange(N_STARS)
    ids = finished.ids
    features = pa.table(
        {"id": ids, "source_id": np.repeat(sources, 2), "band": ["g", "r"] * N_STARS, "skew": ids * 1.0}
    )
    write_table(features, finished.folder / "features.parquet", TableMetadata(kind="features"))
    is_rrlyr = np.arange(N_STARS) % 2 == 0
    native = np.where(is_rrlyr, "RRab", "Mira & <co>")
    labels = pa.table({"id": sources, "rrlyr": is_rrlyr.astype(np.int8), "native_class": native})
    write_table(labels, finished.folder / "labels.parquet", TableMetadata(kind="labels"))
    dataset, split = assemble(
        [finished.folder / "features.parquet"],
        [finished.folder / "labels.parquet"],
        TAXONOMY,
        SplitConfig(),
        JoinConfig(),
    )
    save_built(finished.folder / "dataset", dataset, split)
    page = finished.page(
        light_curves="light_curves.parquet", training_set="dataset", labels="labels.parquet", n_examples=8
    )
    marks = re.findall(r'<span class="truth (\w+)">. (.*?)</span>', card(page, "rrlyr"))
    rows = [int(np.flatnonzero(ids == shown)[0]) for shown in shown_ids(page, "rrlyr")]
    parts = [PARTS[split.part[row]] for row in rows]
    words = ["labelled rrlyr" if is_rrlyr[row // 2] else "labelled Mira &amp; &lt;co&gt;" for row in rows]
    assert [text for _, text in marks] == [f"{word}, {part} part" for word, part in zip(words, parts, strict=True)]
    assert {kind for kind, _ in marks} == {"yes", "no"}
    assert f"{2 * is_rrlyr.sum()} labelled" in card(page, "rrlyr")
    # Nothing in the label table decides e, except that a star is an RR Lyrae or not, which does not.
    assert "label undecided" in card(page, "e")


def test_without_light_curves_the_page_has_none(finished):
    assert finished.report().facts["n_examples"] == 0
    assert finished.report(light_curves="light_curves.parquet", n_examples=0).facts["n_examples"] == 0


def test_light_curves_that_are_not_there_are_a_warning(finished):
    batch = LightCurveBatch.from_lists([BIG + 5], [[2458000.0]], [[15.0]], [[0.1]])
    write_light_curves(batch, pa.table({"id": [BIG + 5], "band": ["g"]}), finished.folder / "few.parquet")
    report = finished.report(light_curves="few.parquet")
    assert any("best-scored light curves are not in" in line for line in report.warnings)


def test_same_inputs_same_bytes(finished):
    first = finished.page(light_curves="light_curves.parquet")
    assert finished.page(light_curves="light_curves.parquet") == first
    assert str(finished.folder) not in first


@pytest.mark.parametrize(
    ("further", "error", "match"),
    [
        ({"predictions": "none.parquet"}, FormatError, "none.parquet"),
        ({"predictions": "light_curves.parquet"}, MetadataError, "'predictions' table is needed"),
        ({"models": "none"}, ModelNotFoundError, "give models=FOLDER"),
        ({"features_report": "none.json"}, FormatError, "does not exist"),
        ({"lock": "none.json"}, FormatError, "does not exist"),
        ({"output": "models"}, OutputError, "it is a folder"),
        ({"n_examples": -1}, ConfigError, "n_examples"),
        ({"example": 1}, ConfigError, "did you mean 'n_examples'"),
    ],
)
def test_bad_input_is_one_line(finished, further, error, match):
    with pytest.raises(error, match=match) as caught:
        finished.report(**further)
    assert "\n" not in str(caught.value)
