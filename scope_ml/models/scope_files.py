"""SCoPe's own model files: XGBoost's ``.json`` with its ``.params``, and whole Keras models as ``.h5``.

The network of the ``.h5`` is read from the file itself, without Keras and without running anything in it, and checked
layer by layer against ours. Another network is handed to Keras, if it is made of plain layers alone.
May import `xgb`, `dnn`, `keras_runtime` and below.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from scope_ml.errors import ModelError
from scope_ml.models.algorithms import configure
from scope_ml.models.dnn import DnnModel
from scope_ml.models.keras_runtime import KerasModel, start
from scope_ml.models.xgb import XgbModel
from scope_ml.networks.architecture import Architecture

__all__ = ["n_inputs", "read_scope_network", "read_scope_trees", "settings_of_network", "settings_of_trees"]

#: Layers of Keras that hold no code of anybody's.
PLAIN_LAYERS = frozenset(
    (
        "Activation",
        "Add",
        "AveragePooling2D",
        "BatchNormalization",
        "Concatenate",
        "Conv2D",
        "Dense",
        "Dropout",
        "Flatten",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "InputLayer",
        "MaxPooling2D",
        "ReLU",
        "Reshape",
        "SeparableConv2D",
    )
)

#: Settings of ours by XGBoost's name of them.
TREE_SETTINGS = {
    "max_depth": ("max_depth", int),
    "min_child_weight": ("min_child_weight", float),
    "eta": ("learning_rate", float),
    "subsample": ("subsample", float),
    "colsample_bytree": ("colsample_bytree", float),
    "lambda": ("reg_lambda", float),
    "gamma": ("gamma", float),
}

#: Layers of a branch or of the head: class, and the number that must fit (units, filters, or nothing), from the input on.
DENSE_BRANCH = (("Dense", 256), ("Dropout", None), ("Dense", 32))
DMDT_BRANCH = (
    *(("SeparableConv2D", 16),) * 2,
    ("Dropout", None),
    ("MaxPooling2D", None),
    *(("SeparableConv2D", 32),) * 2,
    ("Dropout", None),
    ("GlobalAveragePooling2D", None),
)
HEAD = (("Dropout", None), ("Dense", 16), ("Dense", 1))

Layer = Mapping[str, Any]


def read_scope_trees(path: Path) -> XgbModel:
    """Read XGBoost's ``.json``.

    Raises
    ------
    ModelError
        If it is no model of XGBoost that gives one score in [0, 1].
    """
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(path)
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    except (OSError, ValueError, KeyError, xgboost.core.XGBoostError) as error:
        raise ModelError(f"{path} cannot be read as an XGBoost model: {str(error).strip().splitlines()[0]}") from error
    if objective != "binary:logistic":
        raise ModelError(f"{path} was trained for {objective}, not binary:logistic: its scores are no probabilities")
    model = XgbModel(booster, facts={"n_trees": int(booster.num_boosted_rounds())})
    booster.feature_names = None
    return model


def settings_of_trees(path: Path) -> Any:
    """Return the settings that a model was trained with, as far as the ``.params`` file beside it tells.

    Raises
    ------
    ModelError
        If the file is there and cannot be read.
    """
    beside = path.with_suffix(".params")
    found: dict[str, Any] = {"name": "xgb"}
    if beside.is_file():
        try:
            booster = json.loads(beside.read_text(encoding="utf-8"))["learner"]["gradient_booster"]
            given = booster["tree_train_param"] if "tree_train_param" in booster else booster["updater"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{beside} is no configuration of XGBoost ({error}); remove it to do without") from error
        found |= {ours: kind(given[name]) for name, (ours, kind) in TREE_SETTINGS.items() if name in given}
    return configure(found)


def read_scope_network(path: Path) -> DnnModel | KerasModel:
    """Read a whole Keras model from ``.h5``: as our network where it is one, else as Keras's.

    Raises
    ------
    ModelError
        If it is no such file, or a network with other layers than plain ones, whose code would run when it is read.
    BackendUnavailableError
        If it needs Keras, which is not installed.
    """
    try:
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])["config"]
            layers = {str(layer["config"]["name"]): layer for layer in config["layers"]}
            _check_plain(path, layers)
            found = _as_ours(layers, str(_names(config["output_layers"])[0]), file["model_weights"])
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be read as a whole Keras model in .h5 ({type(error).__name__}: {error})"
        ) from error
    return DnnModel(*found) if found is not None else _with_keras(path)


def settings_of_network(model: DnnModel | KerasModel) -> Any:
    """Return the settings that a network's file tells: its branches."""
    return configure({"name": "dnn", **model.facts()})


def n_inputs(model: XgbModel | DnnModel | KerasModel) -> int:
    """Return how many features a model takes; 0 without features, -1 where it does not say."""
    if isinstance(model, XgbModel):
        return int(model.booster.num_features())
    if isinstance(model, DnnModel):
        return model.architecture.n_features
    shapes = {str(tensor.name): tensor.shape for tensor in model.network.inputs}
    return int(shapes["features"][-1]) if "features" in shapes else 0


def _check_plain(path: Path, layers: Mapping[str, Layer]) -> None:
    other = sorted({str(layer["class_name"]) for layer in layers.values()} - PLAIN_LAYERS)
    if other:
        raise ModelError(f"{path} has layers that may hold code ({', '.join(other)}) and is not read")


def _as_ours(layers: Mapping[str, Layer], output: str, weights: Any) -> tuple[Architecture, np.ndarray] | None:
    """Return the network as ours, or None if it is another one."""
    head, joint = _chain(layers, output)
    if joint is not None and layers[joint]["class_name"] == "Concatenate":
        chains = [_chain(layers, name)[0] for name in _parents(layers[joint])]
    else:
        # One branch only: its layers and the head are one chain.
        chains, head = [head[: -len(HEAD)]], head[-len(HEAD) :]
    kinds = [_branch(layers, chain) for chain in chains]
    if None in kinds or len(set(kinds)) != len(kinds) or not _fits(layers, head, HEAD):
        return None
    if layers[head[-1]]["config"].get("activation") != "sigmoid":
        return None
    if not _have_relu(layers, [name for chain in (*chains, head[:-1]) for name in chain]):
        return None
    places = {str(kind): (chain, place) for place, (kind, chain) in enumerate(zip(kinds, chains, strict=True))}
    return _assembled(weights, head, places)


def _assembled(
    weights: Any, head: list[str], branches: Mapping[str, tuple[list[str], int]]
) -> tuple[Architecture, np.ndarray]:
    """Put the weights in the order of our flat vector."""
    arrays: list[np.ndarray] = []
    n_features = 0
    if "dense" in branches:
        arrays += [array for name in branches["dense"][0] for array in _weights(weights, name)]
        n_features = int(arrays[0].shape[0])
    if "dmdt" in branches:
        arrays += [array for name in branches["dmdt"][0] for array in _weights(weights, name)]
    first, second = (_weights(weights, name) for name in head[1:])
    if "dense" in branches and "dmdt" in branches and branches["dmdt"][1] < branches["dense"][1]:
        # SCoPe's order of the two halves may be the other one.
        half = first[0].shape[0] // 2
        first[0] = np.concatenate([first[0][half:], first[0][:half]])
    arrays += [*first, *second]
    architecture = Architecture(
        n_features=max(n_features, 1), dense_branch="dense" in branches, dmdt_branch="dmdt" in branches
    )
    shapes = [slot.shape for slot in architecture.slots]
    if [array.shape for array in arrays] != shapes:
        raise ValueError(f"weights of shapes {[array.shape for array in arrays]}, expected {shapes}")
    return architecture, np.concatenate([array.ravel() for array in arrays]).astype(np.float32)


def _weights(weights: Any, name: str) -> list[np.ndarray]:
    group = weights[name]
    names = [one.decode() if isinstance(one, bytes) else str(one) for one in group.attrs["weight_names"]]
    return [np.asarray(group[one], dtype=np.float32) for one in names]


def _chain(layers: Mapping[str, Layer], last: str) -> tuple[list[str], str | None]:
    """Return the layers that end with `last`, one input each, in order; and where they begin: an input or a joint."""
    found: list[str] = []
    name: str | None = last
    while name is not None and layers[name]["class_name"] not in ("InputLayer", "Concatenate"):
        found.insert(0, name)
        parents = _parents(layers[name])
        name = parents[0] if len(parents) == 1 else None
    return found, name


def _parents(layer: Layer) -> list[str]:
    """Return the names of the layers that feed `layer`, as Keras 2 and Keras 3 write them."""
    return _names(layer["inbound_nodes"])


def _names(node: Any) -> list[str]:
    if isinstance(node, Mapping):
        if "keras_history" in node:
            return [str(node["keras_history"][0])]
        return [name for key in ("args", "config") if key in node for name in _names(node[key])]
    if isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            return [node[0]]
        return [name for one in node for name in _names(one)]
    return []


def _branch(layers: Mapping[str, Layer], chain: list[str]) -> str | None:
    known = {"dense": DENSE_BRANCH, "dmdt": DMDT_BRANCH}
    return next((name for name, wanted in known.items() if _fits(layers, chain, wanted)), None)


def _fits(layers: Mapping[str, Layer], chain: list[str], wanted: tuple[tuple[str, int | None], ...]) -> bool:
    if len(chain) != len(wanted):
        return False
    return all(_is(layers[name], kind, size) for name, (kind, size) in zip(chain, wanted, strict=True))


def _is(layer: Layer, kind: str, size: int | None) -> bool:
    config = layer["config"]
    if layer["class_name"] != kind or (size is not None and config.get("units", config.get("filters")) != size):
        return False
    expected: dict[str, Any] = {}
    if kind == "SeparableConv2D":
        expected = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "valid", "depth_multiplier": 1}
    if kind == "MaxPooling2D":
        expected = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
    return bool(config.get("use_bias", True)) and all(config.get(name) == value for name, value in expected.items())


def _have_relu(layers: Mapping[str, Layer], names: list[str]) -> bool:
    weighted = [name for name in names if layers[name]["class_name"] in ("Dense", "SeparableConv2D")]
    return all(layers[name]["config"].get("activation") == "relu" for name in weighted)


def _with_keras(path: Path) -> KerasModel:
    keras = start().keras
    try:
        return KerasModel(keras.saving.load_model(path, compile=False))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} cannot be read by Keras: {str(error).strip().splitlines()[0]}") from error
