"""SCoPe's model files: trees and networks give the scores that SCoPe gave, from tables with SCoPe's columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, FormatError, ModelError, ModelNotFoundError
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.dnn import DnnModel
from scope_ml.models.inputs import Inputs
from scope_ml.models.scope_files import read_scope_network, read_scope_trees
from scope_ml.models.scope_inputs import FEATURE_LISTS, read_features, read_statistics
from scope_ml.networks.architecture import Architecture
from scope_ml.stages.import_models import ImportModels, run
from scope_ml.stages.infer import Infer
from scope_ml.stages.infer import run as run_infer

SUFFIX = "ELS_ECE_EAOV"
NAMES = FEATURE_LISTS["phenomenological"]
COLUMNS = tuple(feature.column for feature in read_features("phenomenological", "ontological", SUFFIX))


def table(n_rows: int = 60, seed: int = 0) -> tuple[np.ndarray, pa.Table]:
    """Raw features, the first of huge range, and their table; further columns stand between them."""
    x = np.random.default_rng(seed).normal(3.0, 2.0, (n_rows, len(NAMES)))
    x[:, 0] *= 1e6
    columns = dict(zip(COLUMNS, x.T, strict=True))
    return x, pa.table({"_id": np.arange(n_rows), **dict(reversed(columns.items()))})


def statistics(folder: Path, x: np.ndarray, style: str = "yaml") -> Path:
    rows = {
        name: dict(zip(("min", "max", "median", "mean", "std"), map(float, values), strict=True))
        for name, *values in zip(NAMES, x.min(0), x.max(0), np.median(x, 0), x.mean(0), x.std(0), strict=True)
    }
    path = folder / f"stats.{style}"
    if style == "csv":
        lines = ["feature,min,max,median,mean,std"]
        lines += [f"{name},{','.join(map(repr, row.values()))}" for name, row in rows.items()]
        path.write_text("\n".join(lines) + "\n")
    else:
        # JSON is YAML too.
        path.write_text(json.dumps({"feature_stats": rows, "other": 1} if style == "yaml" else rows))
    return path


def scaled(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """As SCoPe does it: not clipped, float32 afterwards."""
    low, high = reference.min(0), reference.max(0)
    return ((x - low) / (high - low)).astype(np.float32)


def save_trees(path: Path, x: np.ndarray) -> Any:
    """Train as SCoPe does, on scaled rows without names, and save ``.json`` with its ``.params``."""
    import xgboost

    y = (x[:, 1] > x[:, 2]).astype(int)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.3, "subsample": 0.6, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(scaled(x, x), label=y), 12)
    path.parent.mkdir(parents=True, exist_ok=True)
    booster.save_model(path)
    path.with_suffix(".params").write_text(booster.save_config())
    return booster


def imported(path: Path, output: Path, **values: Any) -> Any:
    return run(build(ImportModels, {"path": str(path), "output": str(output), **values}), progress=NullProgress())


def test_the_lists_are_scope_s() -> None:
    assert len(FEATURE_LISTS["phenomenological"]) == 35
    assert len(FEATURE_LISTS["ontological"]) == 61
    assert len({*FEATURE_LISTS["ontological"]}) == 61
    columns = [feature.column for feature in read_features(None, "ontological", SUFFIX)]
    assert sum(column.endswith(f"_{SUFFIX}") for column in columns) == 16
    assert columns[28] == f"period_{SUFFIX}"
    assert [feature.column for feature in read_features(None, "ontological", None)] == [*FEATURE_LISTS["ontological"]]
    impute = {feature.name: feature.impute for feature in read_features(None, "ontological", None)}
    counts = {kind: list(impute.values()).count(kind) for kind in ("zero", "median", "regress", "none")}
    assert counts == {"zero": 2, "median": 9, "regress": 13, "none": 37}


@pytest.mark.parametrize("style", ["yaml", "json", "csv"])
def test_statistics_are_read_from_what_users_have(tmp_path: Path, style: str) -> None:
    x, _ = table()
    read = read_statistics(statistics(tmp_path, x, style))
    assert set(read) == set(NAMES)
    assert (read["ad"].min, read["ad"].max, read["ad"].std) == (x[:, 0].min(), x[:, 0].max(), x[:, 0].std())
    (tmp_path / "rows.yaml").write_text("columns: [min, max, median, mean, std]\nstats:\n  ad: [0, 4, 1, 2, 0.5]\n")
    assert read_statistics(tmp_path / "rows.yaml")["ad"].median == 1.0
    for name, text in (("a.csv", "x,y\n1,2\n"), ("b.yaml", "ad: 3\n"), ("c.json", "{"), ("d.yaml", "[1]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError):
            read_statistics(tmp_path / name)


def test_trees_give_scope_s_scores(tmp_path: Path) -> None:
    import xgboost

    x, _ = table()
    booster = save_trees(tmp_path / "models" / "rrlyr" / "rrlyr.20240214_010203.json", x)
    report = imported(
        tmp_path / "models", tmp_path / "out", stats=str(statistics(tmp_path, x)), features="phenomenological"
    )
    bundle = ModelBundle.load(tmp_path / "out" / "rrlyr" / "xgb" / "scope")
    new, rows = table(seed=1)
    expected = booster.predict(xgboost.DMatrix(scaled(new, x)))
    np.testing.assert_array_equal(bundle.predict(rows), expected)
    assert np.unique(expected).size > 20
    record = bundle.record
    assert (record.name, record.algorithm.max_depth, record.algorithm.learning_rate) == (
        "rrlyr_xgb",
        3,
        pytest.approx(0.3),
    )
    assert record.threshold == 0.7
    assert record.features.names == COLUMNS
    assert any("dropped light curves" in line for line in report.warnings)
    # A missing value gets the median, as if it had been there.
    holes = rows.set_column(rows.column_names.index("skew"), "skew", pa.nulls(len(rows), pa.float64()))
    filled = new.copy()
    filled[:, NAMES.index("skew")] = np.median(x[:, NAMES.index("skew")])
    np.testing.assert_array_equal(bundle.predict(holes), booster.predict(xgboost.DMatrix(scaled(filled, x))))


def test_a_folder_gives_the_newest_of_each_class_and_names_what_fails(tmp_path: Path) -> None:
    x, _ = table()
    group = tmp_path / "models_xgb" / "DR16"
    save_trees(group / "rrlyr" / "rrlyr.20240101_000000.json", x[::-1])
    save_trees(group / "rrlyr" / "rrlyr.20240214_000000.json", x)
    (group / "rrlyr" / "rrlyr.20240214_000000_plots" / "train").mkdir(parents=True)
    (group / "rrlyr" / "rrlyr.20240214_000000_plots" / "train" / "rrlyr_impvars.json").write_text("{}")
    (group / "agn").mkdir()
    (group / "agn" / "agn.20240101_000000.json").write_text("{}")
    stats = str(statistics(tmp_path, x))
    report = imported(group, tmp_path / "out", stats=stats, features="phenomenological")
    assert (report.n_in, report.n_out, dict(report.dropped)) == (3, 1, {"older": 1, "failed": 1})
    assert report.facts["n_failed"] == 1
    assert "agn.20240101_000000.json cannot be read as an XGBoost model" in report.warnings[0]
    newest = read_scope_trees(group / "rrlyr" / "rrlyr.20240214_000000.json")
    bundle = ModelBundle.load(tmp_path / "out" / "rrlyr" / "xgb" / "scope")
    inputs = Inputs(x=scaled(x, x))
    np.testing.assert_array_equal(bundle.model.predict(inputs), newest.predict(inputs))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    x, _ = table()
    file = tmp_path / "rrlyr.20240214_010203.json"
    save_trees(file, x)
    stats = str(statistics(tmp_path, x))
    with pytest.raises(ModelError, match="takes 35 features, the list ontological has 61"):
        imported(file, tmp_path / "out", stats=stats)
    with pytest.raises(ConfigError, match="scaling=min_max needs the statistics"):
        imported(file, tmp_path / "out")
    with pytest.raises(ConfigError, match="rrlry is no class; did you mean 'rrlyr'"):
        imported(file, tmp_path / "out", stats=stats, tag="rrlry", features="phenomenological")
    with pytest.raises(ModelNotFoundError, match="no folder of them"):
        imported(tmp_path / "none", tmp_path / "out", stats=stats)
    file.with_suffix(".params").write_text("{}")
    with pytest.raises(ModelError, match="no configuration of XGBoost"):
        imported(file, tmp_path / "out", stats=stats, features="phenomenological")
    assert not (tmp_path / "out").exists()


def history(name: str, style: int) -> Any:
    """A reference to a layer's output, as Keras 2 and 3 write it."""
    return (
        [name, 0, 0, {}]
        if style == 2
        else {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
    )


def save_network(path: Path, architecture: Architecture, parameters: np.ndarray, *, style: int = 3, **odd: Any) -> None:
    """Write what Keras's ``save`` writes into ``.h5``, with layers called at will."""
    views = architecture.views(parameters)
    layers: list[dict[str, Any]] = []
    weights: dict[str, list[tuple[str, np.ndarray]]] = {}

    def add(kind: str, sources: list[str], slot: str = "", **config: Any) -> str:
        name = f"layer_{len(layers)}" if kind != "InputLayer" else config.pop("name")
        links = [history(source, style) for source in sources]
        nodes = [] if not sources else [links] if style == 2 else [{"args": [links if len(links) > 1 else links[0]]}]
        layers.append({"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes})
        end = ":0" if style == 2 else ""
        weights[name] = [
            (f"{name}/{key[len(slot) + 1 :]}{end}", value)
            for key, value in views.items()
            if slot and key.startswith(f"{slot}/")
        ]
        return name

    dense = {"activation": "relu", "use_bias": True}
    convolution = dense | {"kernel_size": [3, 3], "strides": [1, 1], "padding": "valid", "depth_multiplier": 1}
    ends = []
    if architecture.dmdt_branch:
        last = add("InputLayer", [], name="dmdt")
        for block, filters in ((1, 16), (2, 32)):
            for number in (1, 2):
                slot = f"dmdt_convolution_{block}_{number}"
                last = add(
                    "SeparableConv2D", [last], slot, filters=filters, **(convolution | odd.get("convolution", {}))
                )
            last = add("Dropout", [last])
            if block == 1:
                last = add("MaxPooling2D", [last], pool_size=[2, 2], strides=[2, 2], padding="valid")
        ends.append(add("GlobalAveragePooling2D", [last]))
    if architecture.dense_branch:
        last = add("InputLayer", [], name="features")
        last = add("Dense", [last], "features_dense_1", units=256, **(dense | odd.get("dense", {})))
        last = add("Dense", [add("Dropout", [last])], "features_dense_2", units=32, **dense)
        ends.insert(0, last)
    joined = add("Concatenate", ends) if len(ends) > 1 else ends[0]
    last = add("Dense", [add("Dropout", [joined])], "head_dense", units=16, **dense)
    last = add(odd.get("last", "Dense"), [last], "logit", units=1, activation="sigmoid")
    config = {"class_name": "Functional", "config": {"layers": layers, "output_layers": [[last, 0, 0]]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for name, arrays in weights.items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = np.array([key.encode() for key, _ in arrays])
            for key, value in arrays:
                group[key] = value


@pytest.mark.parametrize("style", [2, 3])
@pytest.mark.parametrize(("dense", "dmdt"), [(True, False), (True, True), (False, True)])
def test_a_network_is_read_without_keras(tmp_path: Path, dense: bool, dmdt: bool, style: int) -> None:
    architecture = Architecture(n_features=35, dense_branch=dense, dmdt_branch=dmdt)
    rng = np.random.default_rng(1)
    parameters = rng.normal(0, 0.3, architecture.n_parameters).astype(np.float32)
    save_network(tmp_path / "rrlyr.20240214_010203.h5", architecture, parameters, style=style)
    found = read_scope_network(tmp_path / "rrlyr.20240214_010203.h5")
    assert isinstance(found, DnnModel)
    assert found.architecture == architecture
    np.testing.assert_array_equal(found.parameters, parameters)


def test_a_network_becomes_a_bundle_with_scope_s_scaling(tmp_path: Path) -> None:
    architecture = Architecture(n_features=35)
    parameters = np.random.default_rng(1).normal(0, 0.2, architecture.n_parameters).astype(np.float32)
    file = tmp_path / "best.h5"
    save_network(file, architecture, parameters)
    x, _ = table()
    values = {
        "stats": str(statistics(tmp_path, x, "csv")),
        "features": "phenomenological",
        "tag": "ew",
        "threshold": 0.5,
    }
    imported(file, tmp_path / "out", **values)
    bundle = ModelBundle.load(tmp_path / "out" / "ew" / "dnn" / "scope")
    new, rows = table(seed=1)
    expected = DnnModel(architecture, parameters).predict(Inputs(x=scaled(new, x)))
    np.testing.assert_array_equal(bundle.predict(rows), expected)
    assert np.ptp(expected) > 0.1
    assert bundle.record.threshold == 0.5
    assert bundle.record.spec.tag == "ew"


def test_other_networks_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scope_ml.models.scope_files as room

    monkeypatch.setattr(room, "_with_keras", lambda path: f"foreign {path.name}")
    architecture = Architecture(n_features=35, dmdt_branch=True)
    parameters = np.zeros(architecture.n_parameters, dtype=np.float32)
    odd: dict[str, dict[str, Any]] = {
        "tanh": {"dense": {"activation": "tanh"}},
        "padded": {"convolution": {"padding": "same"}},
        "bare": {"convolution": {"use_bias": False}},
    }
    for name, change in odd.items():
        save_network(tmp_path / f"{name}.h5", architecture, parameters, **change)
        assert read_scope_network(tmp_path / f"{name}.h5") == f"foreign {name}.h5"
    save_network(tmp_path / "code.h5", architecture, parameters, last="Lambda")
    with pytest.raises(ModelError, match=r"layers that may hold code \(Lambda\) and is not read"):
        read_scope_network(tmp_path / "code.h5")
    (tmp_path / "text.h5").write_text("nothing")
    with pytest.raises(ModelError, match=r"text\.h5 cannot be read as a whole Keras model"):
        read_scope_network(tmp_path / "text.h5")


#: Writes SCoPe's network and another one with Keras itself, and their scores.
KERAS = """
import sys, numpy as np, keras
from keras import layers as L
folder = sys.argv[1]
keras.utils.set_random_seed(3)
f, d = keras.Input((35,), name="features"), keras.Input((26, 26, 1), name="dmdt")
x = L.Dense(32, activation="relu")(L.Dropout(.25)(L.Dense(256, activation="relu", name="dense_fc_1")(f)))
z = L.SeparableConv2D(16, (3, 3), activation="relu")(d)
z = L.Dropout(.25)(L.SeparableConv2D(16, (3, 3), activation="relu")(z))
z = L.SeparableConv2D(32, (3, 3), activation="relu")(L.MaxPooling2D((2, 2))(z))
z = L.GlobalAveragePooling2D()(L.Dropout(.25)(L.SeparableConv2D(32, (3, 3), activation="relu")(z)))
rng = np.random.default_rng(0)
rows = rng.normal(size=(50, 35)).astype("f4"), rng.random((50, 26, 26, 1)).astype("f4")
np.savez(f"{folder}/rows.npz", x=rows[0], images=rows[1])
for name, parts, units in (("scope", [x, z], 16), ("turned", [z, x], 16), ("other", [x, z], 24)):
    c = L.Dense(units, activation="relu")(L.Dropout(.4)(L.concatenate(parts)))
    model = keras.Model([f, d], L.Dense(1, activation="sigmoid", name="score")(c))
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(rows, (rows[0][:, 0] > 0).astype("f4"), epochs=2, verbose=0)
    model.save(f"{folder}/{name}.h5")
    np.save(f"{folder}/{name}.npy", model(list(rows), training=False).numpy()[:, 0])
"""


@pytest.mark.slow
def test_networks_that_keras_wrote_give_keras_s_scores(tmp_path: Path) -> None:
    """Slow: TensorFlow is imported, here and in a process of its own."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERAS, str(tmp_path)], check=True, env=environment, timeout=280
    )
    with np.load(tmp_path / "rows.npz") as rows:
        inputs = Inputs(x=rows["x"], images=rows["images"])
    for name, is_ours in (("scope", True), ("turned", True), ("other", False)):
        found = read_scope_network(tmp_path / f"{name}.h5")
        assert isinstance(found, DnnModel) == is_ours
        np.testing.assert_allclose(found.predict(inputs), np.load(tmp_path / f"{name}.npy"), rtol=0, atol=2e-6)


def test_a_table_of_scope_s_keeps_its_ids_and_period_with_the_scores(tmp_path: Path) -> None:
    architecture = Architecture(n_features=35)
    parameters = np.random.default_rng(1).normal(0, 0.2, architecture.n_parameters).astype(np.float32)
    save_network(tmp_path / "ew.20240214_010203.h5", architecture, parameters)
    x, rows = table()
    stats = str(statistics(tmp_path, x))
    imported(tmp_path / "ew.20240214_010203.h5", tmp_path / "out", stats=stats, features="phenomenological")
    ids = np.arange(len(rows), dtype=np.int64) + 2**60 + 1
    rows = rows.set_column(0, "_id", pa.array(ids)).append_column(f"period_{SUFFIX}", pa.array(x[:, 3]))
    facts = {"period_search": {"method": "ls_ce_aov"}}
    write_table(rows, tmp_path / "features.parquet", TableMetadata(kind="features", facts=facts))
    values = {
        "features": str(tmp_path / "features.parquet"),
        "models": str(tmp_path / "out"),
        "tracking": {"enabled": False},
    }
    run_infer(build(Infer, values | {"output": str(tmp_path / "scores.parquet")}), progress=NullProgress())
    scores = read_table(tmp_path / "scores.parquet").data
    # Between them stands what weighs a light curve.
    assert scores.column_names == ["_id", "period", "median", "wstd", "chi2red", "ew_dnn"]
    np.testing.assert_array_equal(scores["_id"], ids)
    np.testing.assert_array_equal(scores["period"], x[:, 3])
    bundle = ModelBundle.load(tmp_path / "out" / "ew" / "dnn" / "scope")
    np.testing.assert_array_equal(scores["ew_dnn"], bundle.predict(rows))
