"""The network in Keras's own file, ``.keras``, written and read without Keras: a zip of JSON and HDF5, no pickle.

Keras 3 reads in safe mode what is written here, and what Keras wrote of the same network is read here. The same network
gives the same bytes: no dates, no addresses of objects in memory.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from scope_ml.errors import ModelError, ScopeError
from scope_ml.networks.architecture import (
    BRANCH_DROPOUT,
    CONVOLUTION_FILTERS,
    DENSE_UNITS,
    HEAD_DROPOUT,
    HEAD_UNITS,
    IMAGE_SIZE,
    KERNEL_SIZE,
    POOL_SIZE,
    Architecture,
)
from scope_ml.networks.backends import Float32Array

__all__ = ["NETWORK_NAME", "read_network", "write_network"]

NETWORK_NAME = "scope_dnn"

#: The version of Keras whose format this is.
KERAS_VERSION = "3.15.1"

#: The oldest date that a zip can hold, given to every member.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)

#: Names of the groups in the HDF5 file, by class: Keras's classes in snake case, numbered in the order of the layers.
GROUPS = {
    "Activation": "activation",
    "Concatenate": "concatenate",
    "Dense": "dense",
    "Dropout": "dropout",
    "GlobalAveragePooling2D": "global_average_pooling2d",
    "InputLayer": "input_layer",
    "MaxPooling2D": "max_pooling2d",
    "SeparableConv2D": "separable_conv2d",
}
VARIABLES = {"Dense": ("kernel", "bias"), "SeparableConv2D": ("depthwise", "pointwise", "bias")}


class _Layer(NamedTuple):
    """A layer of Keras: its class, name, what makes it do what it does, its inputs, and the shape of one output row."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


def write_network(path: Path, architecture: Architecture, parameters: Float32Array) -> None:
    """Write a network to `path`.

    Parameters
    ----------
    path
        File to write, ``model.keras``.
    architecture
        Of the network.
    parameters
        (P,) float32.
    """
    members = {
        "config.json": json.dumps(_model_config(architecture)).encode(),
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION}).encode(),
        "model.weights.h5": _weights(architecture, parameters),
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name, date_time=ZIP_DATE), content, compress_type=zipfile.ZIP_STORED)
    path.write_bytes(target.getvalue())


def read_network(path: Path) -> tuple[Architecture, Float32Array] | None:
    """Read a network from `path`; None where the file holds another network than ours.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or holds weights that are not finite or of other shapes.
    """
    if not zipfile.is_zipfile(path):
        what = "not a .keras file" if path.exists() else "missing"
        raise ModelError(f"{path} is {what}; save or fetch the model again")
    try:
        with zipfile.ZipFile(path) as file:
            layers = json.loads(file.read("config.json"))["config"]["layers"]
            architecture = _recognise(layers)
            if architecture is None:
                return None
            parameters = _read_weights(architecture, file.read("model.weights.h5"))
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} cannot be read as a Keras model: {str(error).strip().splitlines()[0]}") from error
    if not np.isfinite(parameters).all():
        raise ModelError(f"{path} holds weights that are not finite; train the model again")
    return architecture, parameters


def _recognise(layers: list[dict[str, Any]]) -> Architecture | None:
    """Return the architecture if these are the layers of our network, whatever else Keras notes about them."""
    found = {layer["config"]["name"]: layer for layer in layers}
    try:
        features = found.get("features", {"config": {"batch_shape": [None, 0]}})
        architecture = Architecture(
            n_features=int(features["config"]["batch_shape"][1]),
            dense_branch="features" in found,
            dmdt_branch="dmdt" in found,
            n_outputs=int(found["logit"]["config"]["units"]),
        )
    except (KeyError, IndexError, TypeError, ValueError, ScopeError):
        return None
    ours = _layers(architecture)
    if found.keys() != {layer.name for layer in ours}:
        return None
    same = all(_is_layer(found[layer.name], layer) for layer in ours)
    return architecture if same else None


def _is_layer(found: dict[str, Any], layer: _Layer) -> bool:
    """Return whether Keras's description of a layer says what ours does."""
    config = found["config"]
    same = all(config.get(key) == value for key, value in layer.config.items())
    return found["class_name"] == layer.kind and same and tuple(_histories(found["inbound_nodes"])) == layer.inputs


def _histories(value: Any) -> list[str]:
    """Return the names of the layers that a description of inputs leads to, in order."""
    if isinstance(value, list):
        return [name for item in value for name in _histories(item)]
    if not isinstance(value, dict):
        return []
    if "keras_history" in value:
        return [str(value["keras_history"][0])]
    return [name for item in value.values() for name in _histories(item)]


def _layers(architecture: Architecture) -> list[_Layer]:
    """Return the layers in the order in which Keras keeps them (by depth, which numbers the groups of the weights)."""
    n_joined = architecture.n_joined
    both = architecture.dense_branch and architecture.dmdt_branch
    first, second = CONVOLUTION_FILTERS
    images = [
        _Layer(
            "InputLayer", "dmdt", {"batch_shape": [None, IMAGE_SIZE, IMAGE_SIZE, 1]}, (), (IMAGE_SIZE, IMAGE_SIZE, 1)
        ),
        _separable("dmdt_convolution_1_1", "dmdt", 24, first),
        _separable("dmdt_convolution_1_2", "dmdt_convolution_1_1", 22, first),
        _Layer("Dropout", "dmdt_dropout_1", {"rate": BRANCH_DROPOUT}, ("dmdt_convolution_1_2",), (22, 22, first)),
        _Layer("MaxPooling2D", "dmdt_pool", _pool_config(), ("dmdt_dropout_1",), (11, 11, first)),
        _separable("dmdt_convolution_2_1", "dmdt_pool", 9, second),
        _separable("dmdt_convolution_2_2", "dmdt_convolution_2_1", 7, second),
        _Layer("Dropout", "dmdt_dropout_2", {"rate": BRANCH_DROPOUT}, ("dmdt_convolution_2_2",), (7, 7, second)),
        _Layer("GlobalAveragePooling2D", "dmdt_mean", _mean_config(), ("dmdt_dropout_2",), (second,)),
    ]
    width = architecture.n_features
    dense = [
        _Layer("InputLayer", "features", {"batch_shape": [None, width]}, (), (width,)),
        _dense("features_dense_1", "features", DENSE_UNITS[0]),
        _Layer("Dropout", "features_dropout", {"rate": BRANCH_DROPOUT}, ("features_dense_1",), (DENSE_UNITS[0],)),
        _dense("features_dense_2", "features_dropout", DENSE_UNITS[1]),
    ]
    if both:
        # Depth counts from the output: the dense branch begins where the pool does.
        layers = [*images[:5], dense[0], images[5], dense[1], images[6], dense[2], images[7], dense[3], images[8]]
        joined = "join"
        layers.append(_Layer("Concatenate", joined, {"axis": -1}, ("features_dense_2", "dmdt_mean"), (n_joined,)))
    else:
        layers = dense if architecture.dense_branch else images
        joined = layers[-1].name
    return [
        *layers,
        _Layer("Dropout", "head_dropout", {"rate": HEAD_DROPOUT}, (joined,), (n_joined,)),
        _dense("head_dense", "head_dropout", HEAD_UNITS),
        _dense("logit", "head_dense", architecture.n_outputs, activation="linear"),
        _Layer("Activation", "score", {"activation": "sigmoid"}, ("logit",), (architecture.n_outputs,)),
    ]


def _dense(name: str, source: str, units: int, activation: str = "relu") -> _Layer:
    config = {"units": units, "activation": activation, "use_bias": True}
    return _Layer("Dense", name, config, (source,), (units,))


def _separable(name: str, source: str, size: int, filters: int) -> _Layer:
    config = {
        "filters": filters,
        "kernel_size": [KERNEL_SIZE, KERNEL_SIZE],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "depth_multiplier": 1,
        "activation": "relu",
        "use_bias": True,
    }
    return _Layer("SeparableConv2D", name, config, (source,), (size, size, filters))


def _pool_config() -> dict[str, Any]:
    size = [POOL_SIZE, POOL_SIZE]
    return {"pool_size": size, "padding": "valid", "strides": size, "data_format": "channels_last"}


def _mean_config() -> dict[str, Any]:
    return {"data_format": "channels_last", "keepdims": False}


def _model_config(architecture: Architecture) -> dict[str, Any]:
    """Return ``config.json``: the functional model as Keras writes it, less what is its default."""
    layers = _layers(architecture)
    shapes = {layer.name: [None, *layer.shape] for layer in layers}
    inputs = [[name, 0, 0] for name in ("features", "dmdt") if name in shapes]
    config = {
        "name": NETWORK_NAME,
        "trainable": True,
        "layers": [_layer_config(layer, shapes) for layer in layers],
        # A single tensor stands alone: in a list it would have to be given as a list.
        "input_layers": inputs if len(inputs) > 1 else inputs[0],
        "output_layers": ["score", 0, 0],
    }
    module = "keras.src.models.functional"
    return {"module": module, "class_name": "Functional", "config": config, "registered_name": "Functional"}


def _layer_config(layer: _Layer, shapes: dict[str, list[int | None]]) -> dict[str, Any]:
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": shapes[name], "dtype": "float32", "keras_history": [name, 0, 0]},
        }
        for name in layer.inputs
    ]
    arguments: list[Any] = [tensors] if layer.kind == "Concatenate" else tensors
    entry = {
        "module": "keras.layers",
        "class_name": layer.kind,
        "config": {"name": layer.name, "dtype": "float32", **layer.config},
        "registered_name": None,
        "name": layer.name,
        "inbound_nodes": [{"args": arguments, "kwargs": {}}] if tensors else [],
    }
    if layer.kind in VARIABLES:
        entry["build_config"] = {"input_shape": shapes[layer.inputs[0]]}
    return entry


def _groups(architecture: Architecture) -> list[tuple[str, _Layer]]:
    """Return the HDF5 group of each layer."""
    counts: dict[str, int] = {}
    groups = []
    for layer in _layers(architecture):
        number = counts.get(layer.kind, 0)
        counts[layer.kind] = number + 1
        groups.append((f"layers/{GROUPS[layer.kind]}{f'_{number}' if number else ''}/vars", layer))
    return groups


def _weights(architecture: Architecture, parameters: Float32Array) -> bytes:
    """Return ``model.weights.h5``."""
    views = architecture.views(np.ascontiguousarray(parameters, dtype=np.float32))
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for group, layer in _groups(architecture):
            variables = file.create_group(group)
            variables.attrs["name"] = layer.name
            for number, variable in enumerate(VARIABLES.get(layer.kind, ())):
                variables.create_dataset(str(number), data=views[f"{layer.name}/{variable}"], track_times=False)
        file.create_group("vars").attrs["name"] = NETWORK_NAME
    return target.getvalue()


def _read_weights(architecture: Architecture, content: bytes) -> Float32Array:
    """Return the (P,) parameters of ``model.weights.h5``."""
    parameters = np.empty(architecture.n_parameters, dtype=np.float32)
    views = architecture.views(parameters)
    with h5py.File(io.BytesIO(content), "r") as file:
        for group, layer in _groups(architecture):
            for number, variable in enumerate(VARIABLES.get(layer.kind, ())):
                name = f"{layer.name}/{variable}"
                stored = file[f"{group}/{number}"]
                if stored.shape != views[name].shape:
                    raise ValueError(f"{name} has shape {stored.shape}, expected {views[name].shape}")
                views[name][...] = stored[()]
    return parameters
