"""Random draws: the hash as published, masks as the hash says, first parameters as Keras draws them."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import (
    INDEX_FACTOR,
    dropout_key,
    epoch_order,
    fmix32,
    initial_parameters,
    kept_units,
    limit,
)


def test_the_hash_is_murmurs():
    # Known values of MurmurHash3's finaliser.
    assert [fmix32(h) for h in (0, 1, 0xDEADBEEF)] == [0, 0x514E28B7, 0x0DE5C6A9]


def test_masks_are_what_the_hash_of_each_index_says():
    keys = [dropout_key(3, 0, 1), dropout_key(2**32 - 1, 70_000, 4)]
    kept = kept_units(np, np.array(keys, dtype=np.uint32), (3, 2, 5), 0.4)
    said = [
        [fmix32(key ^ (index * INDEX_FACTOR & 0xFFFFFFFF)) >= int(0.4 * 2**32) for index in range(30)] for key in keys
    ]
    np.testing.assert_array_equal(kept.reshape(2, 30), said)


def test_the_key_knows_seed_step_and_layer():
    places = [(seed, step, layer) for seed in (0, 1, 2) for step in (0, 1, 5) for layer in (1, 2, 3, 4)]
    assert len({dropout_key(*place) for place in places}) == len(places)


@pytest.mark.parametrize("rate", [0.25, 0.4])
def test_the_share_that_is_dropped_is_the_rate(rate):
    keys = np.array([dropout_key(seed, 7, 1) for seed in range(8)], dtype=np.uint32)
    kept = kept_units(np, keys, (500, 256), rate)
    # Six standard deviations of a mean of a million draws.
    assert abs(kept.mean() - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / kept.size)
    assert limit(rate) == int(rate * 2**32)
    # Neighbouring units, and the same unit of two models, have nothing to do with each other.
    for one, other in ((kept[..., 1:], kept[..., :-1]), (kept[1:], kept[:-1])):
        assert abs(np.mean(one & other) - (1 - rate) ** 2) < 0.002


def test_first_parameters_are_glorots_and_the_seeds_own():
    architecture = Architecture(n_features=61, dmdt_branch=True)
    parameters = initial_parameters(architecture, 3)
    views = architecture.views(parameters)
    bounds = {
        "features_dense_1/kernel": np.sqrt(6 / (61 + 256)),
        "dmdt_convolution_2_1/depthwise": np.sqrt(6 / (9 * (16 + 1))),
        "dmdt_convolution_2_1/pointwise": np.sqrt(6 / (16 + 32)),
    }
    for name, bound in bounds.items():
        assert 0.9 * bound < np.abs(views[name]).max() <= bound
    assert all((views[name] == 0).all() for name in views if name.endswith("/bias"))
    np.testing.assert_array_equal(parameters, initial_parameters(architecture, 3))
    assert (parameters != initial_parameters(architecture, 4)).mean() > 0.9


@pytest.mark.parametrize(("n_rows", "batch_size", "shape"), [(10, 4, (3, 4)), (3, 64, (1, 3)), (1000, 2, (63, 16))])
def test_an_epoch_shows_every_row(n_rows, batch_size, shape):
    order = epoch_order(np.random.default_rng(0), n_rows, batch_size, 64)
    assert order.shape == shape
    flat = order.ravel()
    np.testing.assert_array_equal(np.sort(flat[:n_rows]), np.arange(n_rows))
    np.testing.assert_array_equal(flat[n_rows:], flat[: flat.size - n_rows])
