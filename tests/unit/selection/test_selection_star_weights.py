from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.selection.star_weights import light_curve_weights
from scope_ml.selection.stars import find_stars


def weights(**columns):
    """Return weights in the order of the rows, and which are their own; rows 1-3 are a star, 4 and 5 are another."""
    n = len(next(iter(columns.values())))
    table = pa.table({"id": range(n), "source_id": [7, 7, 7, 8, 8][:n], **columns})
    stars = find_stars(table, by="source_id")
    assert stars.order.tolist() == list(range(n))
    found, known = light_curve_weights(table, stars)
    return found.tolist(), known.tolist()


def test_the_weight_is_the_sum_of_the_inverse_squares_of_the_errors():
    rng = np.random.default_rng(2)
    sums, columns = [], {"n_obs": [], "chi2red": [], "wstd": []}
    for n in (50, 200, 900):
        error = rng.uniform(0.01, 0.2, n)
        mag = 18 + error * rng.normal(size=n) + rng.normal(0, 0.1)
        w = 1 / error**2
        mean = np.sum(w * mag) / np.sum(w)
        columns["n_obs"].append(n)
        columns["chi2red"].append(np.sum(w * (mag - mean) ** 2) / (n - 1))
        columns["wstd"].append(np.sqrt(np.sum(w * (mag - mean) ** 2) / np.sum(w)))
        sums.append(np.sum(w))
    found, known = weights(**columns)
    assert found == pytest.approx(np.array(sums) / max(sums))
    assert all(known)


def test_a_median_error_does_where_the_statistics_are_missing():
    found, known = weights(n_obs=[100, 100, 50], med_err=[0.1, 0.2, 0.1])
    assert found == pytest.approx([1, 0.25, 0.5])
    assert all(known)
    both, _ = weights(n_obs=[100, 100], med_err=[0.1, 0.1], chi2red=[1.0, None], wstd=[0.2, None])
    # (99 / 100) / 0.04 = 24.75 against 1 / 0.01.
    assert both == pytest.approx([0.2475, 1])


def test_others_of_the_star_lend_what_a_light_curve_lacks():
    # Errors: the lower median of the others'; points are its own.
    found, known = weights(n_obs=[100, 100, 50, 10, 30], med_err=[0.1, 0.2, float("nan"), None, None])
    assert found == pytest.approx([1, 0.25, 0.125, 1 / 3, 1])
    assert known == [True, True, False, False, False]
    # Points: likewise.
    found, known = weights(n_obs=[100, None, 300], med_err=[0.1, 0.1, 0.1])
    assert found == pytest.approx([1 / 3, 1 / 3, 1])
    assert known == [True, False, True]


def test_nothing_known_is_the_same_for_all():
    assert weights(n_obs=[0, None, -3]) == ([1, 1, 1], [False] * 3)
    assert weights(band=["g", "r"]) == ([1, 1], [False] * 2)
    # Points alone still say something.
    assert weights(n=[100.0, 50.0])[0] == [1, 0.5]


def test_a_constant_light_curve_says_nothing_of_its_errors():
    found, known = weights(n_obs=[100, 100, 100], chi2red=[0.0, 1.0, 1.0], wstd=[0.0, 0.1, 0.2])
    assert known == [False, True, True]
    assert found == pytest.approx([0.25, 1, 0.25])


def test_nobody_weighs_nothing():
    table = pa.table(
        {"id": pa.array([], pa.int64()), "source_id": pa.array([], pa.int64()), "n_obs": pa.array([], pa.int32())}
    )
    found, known = light_curve_weights(table, find_stars(table))
    assert len(found) == len(known) == 0
