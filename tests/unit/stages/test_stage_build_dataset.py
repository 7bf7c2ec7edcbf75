"""The stage that builds a training set: its folder, its counts, its refusals."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from scope_ml.core.configuration import build, science_digest
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.assemble import load_built
from scope_ml.errors import ConfigError, DataError, EmptySelectionError
from scope_ml.io.tables import write_table
from scope_ml.stages.build_dataset import BuildDataset, run


@pytest.fixture
def tables(tmp_path):
    """Twenty stars in two bands; the labels know 16 of them and 2 others."""
    rows = [(star, band) for star in range(20) for band in "gr"]
    table = pa.table(
        {
            "id": pa.array([10 * star + (band == "r") for star, band in rows], pa.int64()),
            "source_id": pa.array([star for star, _ in rows], pa.int64()),
            "band": [band for _, band in rows],
            "period_ls": [float(star) for star, _ in rows],
        }
    )
    write_table(table, tmp_path / "features.parquet", TableMetadata(kind="features", facts={"feature_digest": "f"}))
    classes = ["ea" if star % 2 else "rrab" for star in range(4, 22)]
    text = "".join(f"{star},{name},{'emsms' if name == 'ea' else ''}\n" for star, name in enumerate(classes, 4))
    (tmp_path / "labels.csv").write_text("id,class,uncertain_tags\n" + text)
    return tmp_path


def config(folder, **values):
    given = {
        "features": str(folder / "features.parquet"),
        "labels": str(folder / "labels.csv"),
        "output": str(folder / "built"),
    }
    return build(BuildDataset, given | values)


def test_every_row_is_accounted_for(tables):
    report = run(config(tables), progress=NullProgress())
    assert (report.n_in, report.n_out, report.dropped) == (40, 32, {"without_label": 8})
    assert report.facts["n_stars"] == 16
    assert report.warnings == ("2 of 18 labels have no light curve in the features",)
    dataset, split = load_built(tables / "built")
    assert (dataset.digest, split.digest) == (report.facts["dataset_digest"], report.facts["split_digest"])
    json.loads(report.to_json())


def test_the_counts_add_up_by_class_and_part(tables):
    run(config(tables), progress=NullProgress())
    counts = json.loads((tables / "built" / "counts.json").read_text())
    assert counts["light_curves"]["all"] == 32
    assert counts["stars"] == {"all": 16, "train": 11, "val": 2, "test": 3}
    assert next(iter(counts["classes"])) == "vnv"
    assert len(counts["classes"]) == 52
    ea, emsms = counts["classes"]["ea"], counts["classes"]["emsms"]
    assert (ea["positives"], ea["negatives"], ea["uncertain"], ea["stars"]) == (16, 16, 0, 8)
    assert (emsms["positives"], emsms["negatives"], emsms["uncertain"]) == (0, 16, 16)
    for entry in counts["classes"].values():
        for state in ("positives", "negatives", "uncertain"):
            assert sum(entry[part][state] for part in ("train", "val", "test")) == entry[state]
    assert all(ea[part]["positives"] for part in ("train", "val", "test"))


def test_the_same_inputs_give_the_same_bytes(tables):
    for name in ("one", "two"):
        run(config(tables, output=str(tables / name)), progress=NullProgress())
    written = sorted(path.name for path in (tables / "one").iterdir())
    assert written == ["counts.json", "labels.parquet", "split.parquet", "table.parquet"]
    for name in written:
        assert (tables / "one" / name).read_bytes() == (tables / "two" / name).read_bytes(), name


def test_settings_of_training_in_a_class_file_change_no_byte(tables):
    own = tables / "own" / "class" / "blap.yaml"
    own.parent.mkdir(parents=True)
    for name, threshold in (("one", 0.7), ("two", 0.9)):
        own.write_text(f"tag: blap\nlabel: BLAP\nkind: ontological\nparents: [puls]\nthreshold: {threshold}\n")
        run(config(tables, output=str(tables / name), class_folders=str(tables / "own")), progress=NullProgress())
    for path in (tables / "one").iterdir():
        assert path.read_bytes() == (tables / "two" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("text", "error"), [("id,class\n999,ea\n", EmptySelectionError), ("id,class\n4,nova\n", DataError)]
)
def test_a_run_that_fails_leaves_nothing(tables, text, error):
    (tables / "labels.csv").write_text(text)
    with pytest.raises(error):
        run(config(tables), progress=NullProgress())
    assert not (tables / "built").exists()


def test_a_class_of_ones_own_is_labelled_like_the_others(tables):
    own = tables / "own" / "class" / "blap.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("tag: blap\nlabel: Blue large-amplitude pulsator\nkind: ontological\nparents: [puls, pnp]\n")
    (tables / "labels.csv").write_text("id,class\n4,blap\n5,ea\n6,Blue Large-Amplitude Pulsator\n")
    run(config(tables, class_folders=str(tables / "own")), progress=NullProgress())
    counts = json.loads((tables / "built" / "counts.json").read_text())
    assert counts["classes"]["blap"]["stars"] == 2
    assert counts["classes"]["puls"]["stars"] == 2


def test_paths_are_no_science_and_mistakes_name_their_key(tables):
    assert science_digest(config(tables)) == science_digest(config(tables, output="elsewhere"))
    assert science_digest(config(tables)) != science_digest(config(tables, split={"seed": 7}))
    with pytest.raises(ConfigError, match=r"split.test_size=1.5 is not"):
        config(tables, split={"test_size": 1.5})
    with pytest.raises(ConfigError, match=r"unknown key 'split.sead'.*did you mean 'seed'"):
        config(tables, split={"sead": 1})
