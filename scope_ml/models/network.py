"""The network of algorithm `dnn`: a dense branch over the features, a convolution branch over the dm-dt image.

::

    features (k)      Dense 256 - Dropout .25 - Dense 32
    dmdt (26, 26, 1)  SepConv 16 - SepConv 16 - Dropout .25 - MaxPool 2
                      - SepConv 32 - SepConv 32 - Dropout .25 - GlobalAveragePool
    both joined       Dropout .4 - Dense 16 - Dense 1 (logit) - sigmoid

This is the network that SCoPe used in production (arXiv:2312.00143): 27,642 parameters with both branches and 61
features. Convolutions are 3 x 3 without padding, activations are relu.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from scope_ml.errors import ConfigError
from scope_ml.models.inputs import DMDT_SHAPE
from scope_ml.models.keras_runtime import Runtime

__all__ = ["build_network"]

DENSE_UNITS = (256, 32)
CONVOLUTION_FILTERS = (16, 32)
HEAD_UNITS = 16
BRANCH_DROPOUT = 0.25
HEAD_DROPOUT = 0.4


def build_network(
    runtime: Runtime, n_features: int, *, dense_branch: bool = True, dmdt_branch: bool = False, seed: int = 0
) -> Any:
    """Return the network with fresh weights.

    Parameters
    ----------
    runtime
        Keras and TensorFlow, started.
    n_features
        Features of the dense branch.
    dense_branch, dmdt_branch
        Which branches it has; inputs are called ``features`` and ``dmdt``.
    seed
        Seed of weights and dropout.

    Raises
    ------
    ConfigError
        If both branches are off.
    """
    keras = runtime.keras
    # Every layer has a name and a seed of its own, so that the saved file depends on nothing built before it.
    seeds = (seed * 1000 + index for index in count())
    inputs, branches = [], []
    if dense_branch:
        features = keras.Input((n_features,), name="features")
        inputs.append(features)
        branches.append(_dense_branch(keras, features, seeds))
    if dmdt_branch:
        image = keras.Input((*DMDT_SHAPE, 1), name="dmdt")
        inputs.append(image)
        branches.append(_dmdt_branch(keras, image, seeds))
    if not branches:
        raise ConfigError("algorithm.dense_branch and algorithm.dmdt_branch are both false; one must stay on")
    joined = branches[0] if len(branches) == 1 else keras.layers.Concatenate(name="join")(branches)
    head = keras.layers.Dropout(HEAD_DROPOUT, seed=next(seeds), name="head_dropout")(joined)
    head = _dense(keras, HEAD_UNITS, seeds, "head_dense")(head)
    logit = _dense(keras, 1, seeds, "logit", activation=None)(head)
    score = keras.layers.Activation("sigmoid", name="score")(logit)
    return keras.Model(inputs, score, name="scope_dnn")


def _dense(keras: Any, units: int, seeds: Iterator[int], name: str, activation: str | None = "relu") -> Any:
    initial = keras.initializers.GlorotUniform(seed=next(seeds))
    return keras.layers.Dense(units, activation=activation, kernel_initializer=initial, name=name)


def _dense_branch(keras: Any, features: Any, seeds: Iterator[int]) -> Any:
    hidden = _dense(keras, DENSE_UNITS[0], seeds, "features_dense_1")(features)
    hidden = keras.layers.Dropout(BRANCH_DROPOUT, seed=next(seeds), name="features_dropout")(hidden)
    return _dense(keras, DENSE_UNITS[1], seeds, "features_dense_2")(hidden)


def _dmdt_branch(keras: Any, image: Any, seeds: Iterator[int]) -> Any:
    hidden = image
    for block, filters in enumerate(CONVOLUTION_FILTERS, start=1):
        for layer in (1, 2):
            hidden = keras.layers.SeparableConv2D(
                filters,
                3,
                activation="relu",
                depthwise_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
                pointwise_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
                name=f"dmdt_convolution_{block}_{layer}",
            )(hidden)
        hidden = keras.layers.Dropout(BRANCH_DROPOUT, seed=next(seeds), name=f"dmdt_dropout_{block}")(hidden)
        if block == 1:
            hidden = keras.layers.MaxPooling2D(2, name="dmdt_pool")(hidden)
    return keras.layers.GlobalAveragePooling2D(name="dmdt_mean")(hidden)
