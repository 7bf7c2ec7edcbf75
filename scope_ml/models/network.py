"""The network of `networks.architecture` as a model of Keras: for training in Keras and for proofs that both are the same.

Nothing else needs it: `networks` trains, scores, reads and writes the same network without Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_ml.models.keras_runtime import Runtime
from scope_ml.networks.architecture import CONVOLUTION_FILTERS, DENSE_UNITS, HEAD_UNITS, IMAGE_SIZE, Architecture
from scope_ml.networks.backends import Float32Array
from scope_ml.networks.draws import initial_parameters
from scope_ml.networks.keras_file import NETWORK_NAME

__all__ = ["build_network", "get_parameters", "set_parameters"]


def build_network(runtime: Runtime, architecture: Architecture, *, seed: int = 0) -> Any:
    """Return the network with the first parameters of `seed` (`networks.draws.initial_parameters`).

    Parameters
    ----------
    runtime
        Keras and TensorFlow, started.
    architecture
        Which branches, features and outputs it has; inputs are called ``features`` and ``dmdt``.
    seed
        Seed of the parameters.
    """
    keras = runtime.keras
    rates = {layer.name: layer.rate for layer in architecture.dropouts}

    def dropout(name: str, values: Any) -> Any:
        return keras.layers.Dropout(rates[name], name=name)(values)

    # Every layer has a name of its own, so that the saved file depends on nothing built before it.
    inputs, branches = [], []
    if architecture.dense_branch:
        hidden = keras.Input((architecture.n_features,), name="features")
        inputs.append(hidden)
        hidden = keras.layers.Dense(DENSE_UNITS[0], activation="relu", name="features_dense_1")(hidden)
        hidden = dropout("features_dropout", hidden)
        branches.append(keras.layers.Dense(DENSE_UNITS[1], activation="relu", name="features_dense_2")(hidden))
    if architecture.dmdt_branch:
        hidden = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="dmdt")
        inputs.append(hidden)
        for block, filters in enumerate(CONVOLUTION_FILTERS, start=1):
            for layer in (1, 2):
                name = f"dmdt_convolution_{block}_{layer}"
                hidden = keras.layers.SeparableConv2D(filters, 3, activation="relu", name=name)(hidden)
            hidden = dropout(f"dmdt_dropout_{block}", hidden)
            if block == 1:
                hidden = keras.layers.MaxPooling2D(2, name="dmdt_pool")(hidden)
        branches.append(keras.layers.GlobalAveragePooling2D(name="dmdt_mean")(hidden))
    joined = branches[0] if len(branches) == 1 else keras.layers.Concatenate(name="join")(branches)
    head = dropout("head_dropout", joined)
    head = keras.layers.Dense(HEAD_UNITS, activation="relu", name="head_dense")(head)
    logit = keras.layers.Dense(architecture.n_outputs, name="logit")(head)
    score = keras.layers.Activation("sigmoid", name="score")(logit)
    network = keras.Model(inputs if len(inputs) > 1 else inputs[0], score, name=NETWORK_NAME)
    set_parameters(network, architecture, initial_parameters(architecture, seed))
    return network


def set_parameters(network: Any, architecture: Architecture, parameters: Float32Array) -> None:
    """Give the network the (P,) `parameters`."""
    for variable, values in zip(
        _variables(network, architecture), architecture.views(parameters).values(), strict=True
    ):
        variable.assign(values)


def get_parameters(network: Any, architecture: Architecture) -> Float32Array:
    """Return the (P,) float32 parameters of the network."""
    flat = [variable.numpy().ravel() for variable in _variables(network, architecture)]
    parameters: Float32Array = np.concatenate(flat, dtype=np.float32)
    return parameters


def _variables(network: Any, architecture: Architecture) -> list[Any]:
    """Return the variables in the order of the slots; a layer of Keras lists its own in the same order."""
    names = list(dict.fromkeys(slot.name.split("/", maxsplit=1)[0] for slot in architecture.slots))
    return [variable for name in names for variable in network.get_layer(name).trainable_variables]
