"""The `.keras` file: the same bytes for the same network, and nothing that could run code."""

from __future__ import annotations

import json
import zipfile

import pytest

from scope_ml.errors import ModelError
from scope_ml.models.keras_runtime import read_keras, start, write_keras
from scope_ml.models.network import build_network


def test_the_file_holds_no_date_and_no_address(tmp_path):
    build_network(start(), 3, seed=1)
    for name in ("a", "b"):
        write_keras(build_network(start(), 5, seed=1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as file:
        assert set(file.namelist()) == {"config.json", "metadata.json", "model.weights.h5"}
        assert {info.date_time[0] for info in file.infolist()} == {1980}
        assert set(json.loads(file.read("metadata.json"))) == {"keras_version"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_with_code_in_it_is_refused(tmp_path):
    keras = start().keras
    network = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    network.save(tmp_path / "evil.keras")
    with pytest.raises(ModelError, match=r"evil\.keras cannot be read as a Keras model"):
        read_keras(tmp_path / "evil.keras")


@pytest.mark.parametrize(("content", "message"), [(None, "is missing"), (b"not a zip", "is not a .keras file")])
def test_what_is_not_there_or_no_network_is_one_line(content, message, tmp_path):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_keras(path)


def test_a_damaged_network_is_one_line(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "{}")
    with pytest.raises(ModelError, match="cannot be read as a Keras model") as caught:
        read_keras(path)
    assert "\n" not in str(caught.value)
