"""Networks that Keras has to read, and what it must not."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from scope_ml.errors import ModelError
from scope_ml.models import dnn
from scope_ml.models.inputs import Inputs
from scope_ml.models.keras_runtime import KerasModel, read_keras, start


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


def test_a_file_with_code_in_it_is_refused(tmp_path):
    keras = start().keras
    network = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    network.save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"model\.keras cannot be read as a Keras model"):
        dnn.load(tmp_path, n_threads=1)


def test_a_network_of_others_is_scored_by_keras(tmp_path):
    keras = start().keras
    features, image = keras.Input((3,), name="features"), keras.Input((26, 26, 1), name="dmdt")
    joined = keras.layers.Concatenate()([features, keras.layers.Flatten()(image)])
    score = keras.layers.Dense(1, activation="sigmoid", name="own")(joined)
    KerasModel(keras.Model([features, image], score)).save(tmp_path)
    model = dnn.load(tmp_path, n_threads=1)
    assert isinstance(model, KerasModel)
    rng = np.random.default_rng(0)
    inputs = Inputs(x=rng.normal(size=(5, 3)).astype("f4"), images=rng.random((5, 26, 26, 1)).astype("f4"))
    kernel, bias = (value.numpy() for value in model.network.get_layer("own").trainable_variables)
    z = np.concatenate([inputs.x, inputs.images.reshape(5, -1)], axis=1) @ kernel + bias
    np.testing.assert_allclose(model.predict(inputs), 1 / (1 + np.exp(-z[:, 0])), atol=1e-6)
    np.testing.assert_array_equal(model.predict(inputs.take(slice(2, 4))), model.predict(inputs)[2:4])
    assert model.facts() == {"dense_branch": True, "dmdt_branch": True}
    with pytest.raises(ModelError, match="needs dm-dt images"):
        model.predict(Inputs(x=inputs.x))
    with pytest.raises(ModelError, match="cannot take missing features"):
        model.predict(Inputs(x=inputs.x * np.nan, images=inputs.images))
    other = keras.Sequential([keras.Input((3,), name="colours"), keras.layers.Dense(1)])
    with pytest.raises(ModelError, match="inputs are colours; they must be features and dmdt"):
        KerasModel(other)
