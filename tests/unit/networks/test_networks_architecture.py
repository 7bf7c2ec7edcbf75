"""Where each parameter lies, and how many there are."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.errors import ConfigError
from scope_ml.networks.architecture import Architecture


@pytest.mark.parametrize(
    ("dense", "dmdt", "n_features", "n_parameters"),
    [(True, True, 61, 27_642), (True, True, 35, 20_986), (False, True, 61, 2_489 + 1_057 - 32 * 16)],
)
def test_the_network_has_the_parameters_of_scopes(dense, dmdt, n_features, n_parameters):
    architecture = Architecture(n_features=n_features, dense_branch=dense, dmdt_branch=dmdt)
    assert architecture.n_parameters == n_parameters


def test_slots_fill_the_vector_without_a_gap_and_views_show_it():
    architecture = Architecture(n_features=5, dmdt_branch=True, n_outputs=3)
    assert [slot.start for slot in architecture.slots] == [0, *(slot.stop for slot in architecture.slots[:-1])]
    parameters = np.arange(2 * architecture.n_parameters, dtype=np.float32).reshape(2, -1)
    views = architecture.views(parameters)
    assert views["logit/kernel"].shape == (2, 16, 3)
    assert views["logit/bias"].tolist() == [parameters[0, -3:].tolist(), parameters[1, -3:].tolist()]
    views["features_dense_1/kernel"][1, 0, 0] = -1.0
    assert parameters[1, 0] == -1.0, "a view, not a copy"
    assert architecture.slot("head_dense/kernel").shape == (64, 16)


def test_one_output_more_costs_seventeen_parameters():
    one, two = (Architecture(n_features=5, n_outputs=n).n_parameters for n in (1, 2))
    assert two - one == 17


def test_without_the_dense_branch_the_number_of_features_is_no_part_of_the_network():
    assert Architecture(n_features=5, dense_branch=False, dmdt_branch=True) == Architecture(
        n_features=9, dense_branch=False, dmdt_branch=True
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dense_branch": False}, "one must stay on"),
        ({"n_features": 0}, "needs features"),
        ({"n_outputs": 0}, "outputs"),
    ],
)
def test_what_is_no_network_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Architecture(**{"n_features": 5, **changes})
