"""The file: the same bytes for the same network, all of it back, and nothing else taken for ours."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from scope_ml.errors import ModelError
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.keras_file import read_network, write_network

BOTH = Architecture(n_features=5, dmdt_branch=True, n_outputs=2)
ARCHITECTURES = (BOTH, Architecture(n_features=3), Architecture(n_features=0, dense_branch=False, dmdt_branch=True))


def parameters(architecture, seed=0):
    return np.random.default_rng(seed).normal(size=architecture.n_parameters).astype(np.float32)


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(path, **changed):
    """Write the members of a file again, some of them changed."""
    content = members(path) | {name.replace("_", "."): value for name, value in changed.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, value in content.items():
            file.writestr(name, value)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["both", "dense", "dmdt"])
def test_a_network_comes_back_as_it_was(architecture, tmp_path):
    given = parameters(architecture)
    write_network(tmp_path / "a", architecture, given)
    found, values = read_network(tmp_path / "a")
    assert found == architecture
    np.testing.assert_array_equal(values, given)


def test_the_file_holds_no_date_and_no_address(tmp_path):
    for name in ("a", "b"):
        write_network(tmp_path / name, BOTH, parameters(BOTH))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as file:
        assert set(file.namelist()) == {"config.json", "metadata.json", "model.weights.h5"}
        assert {info.date_time[0] for info in file.infolist()} == {1980}
        assert set(json.loads(file.read("metadata.json"))) == {"keras_version"}
    write_network(tmp_path / "b", BOTH, parameters(BOTH, seed=1))
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        ("features_dense_1", "units", 128),
        ("features_dense_2", "activation", "tanh"),
        ("dmdt_convolution_1_2", "strides", [2, 2]),
        ("dmdt_pool", "padding", "same"),
        ("score", "activation", "softmax"),
        ("head_dropout", "rate", 0.1),
        ("logit", "units", "many"),
        ("head_dense", "name", "another"),
    ],
)
def test_another_network_is_not_taken_for_ours(layer, key, value, tmp_path):
    path = tmp_path / "model.keras"
    write_network(path, BOTH, parameters(BOTH))
    config = json.loads(members(path)["config.json"])
    entry = next(one for one in config["config"]["layers"] if one["name"] == layer)
    entry["config"][key] = value
    rewrite(path, config_json=json.dumps(config))
    assert read_network(path) is None


def test_other_connections_are_another_network(tmp_path):
    path = tmp_path / "model.keras"
    write_network(path, BOTH, parameters(BOTH))
    text = members(path)["config.json"].decode()
    rewrite(
        path, config_json=text.replace('"keras_history": ["features_dropout", 0, 0]', '"keras_history": ["join", 0, 0]')
    )
    assert read_network(path) is None


def test_weights_of_other_shapes_or_without_number_are_one_line(tmp_path):
    path = tmp_path / "model.keras"
    wrong = parameters(BOTH)
    wrong[7] = np.nan
    write_network(path, BOTH, wrong)
    with pytest.raises(ModelError, match="weights that are not finite"):
        read_network(path)
    weights = io.BytesIO(members(path)["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        del file["layers/dense_1/vars/0"]
        file["layers/dense_1/vars/0"] = np.zeros((2, 2), dtype=np.float32)
    with zipfile.ZipFile(path) as file:
        config = file.read("config.json")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", config)
        file.writestr("model.weights.h5", weights.getvalue())
    with pytest.raises(ModelError, match=r"features_dense_2/kernel has shape \(2, 2\), expected \(256, 32\)"):
        read_network(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        (b"not a zip", "is not a .keras file"),
        ({}, "cannot be read"),
        ({"config.json": "{}"}, "cannot be read"),
    ],
)
def test_what_is_not_there_or_damaged_is_one_line(content, message, tmp_path):
    path = tmp_path / "model.keras"
    if isinstance(content, bytes):
        path.write_bytes(content)
    if isinstance(content, dict):
        with zipfile.ZipFile(path, "w") as file:
            for name, text in content.items():
                file.writestr(name, text)
    with pytest.raises(ModelError, match=message) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)
