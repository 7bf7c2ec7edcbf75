from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.selection.stars import SURVEYS, find_stars
from scope_ml.selection.survey_ranks import key_ranks

#: Half an arcsecond [deg].
HALF = 0.5 / 3600


def stars_of(rows: list[tuple[float, int | None, int | None, int | None]], **how: object):
    """Return the stars of light curves: how far off [half arcsec], and their ids of Gaia, AllWISE, PS1."""
    table = pa.table(
        {
            "id": list(range(len(rows))),
            "ra": [10.0] * len(rows),
            "dec": [20.0 + HALF * row[0] for row in rows],
            **{
                name: pa.array([row[k] for row in rows], pa.int64())
                for k, name in enumerate(("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"), start=1)
            },
        }
    )
    return find_stars(table, by="survey_id", **how)


@pytest.mark.parametrize(
    ("rows", "star", "keys"),
    [
        # One field was matched with Gaia, the other was not.
        ([(0, 1, 7, None), (1, None, 7, None)], [0, 0], ["Gaia_EDR3___1"]),
        ([(0, None, 7, None), (1, 1, None, None)], [0, 0], ["Gaia_EDR3___1"]),
        ([(0, None, None, 5), (1, None, 7, None), (0, 1, None, None)], [0, 0, 0], ["Gaia_EDR3___1"]),
        ([(0, None, None, 5), (1, None, 7, None)], [0, 0], ["AllWISE___7"]),
        # Without any id, too.
        ([(0, 1, None, None), (1, None, 7, None), (2, None, None, None)], [0, 0, 0], ["Gaia_EDR3___1"]),
        # Near to a light curve that belongs to a better one already.
        ([(0, 1, None, None), (2, None, 7, None), (4, None, None, 5)], [0, 0, 0], ["Gaia_EDR3___1"]),
        # Another star of AllWISE is near, not this one.
        ([(0, 1, 8, None), (1, None, 7, None)], [0, 1], ["Gaia_EDR3___1", "AllWISE___7"]),
        # Too far.
        ([(0, 1, 7, None), (4, None, 7, None)], [0, 1], ["Gaia_EDR3___1", "AllWISE___7"]),
        # Two of Gaia stay two.
        ([(0, 1, 7, None), (1, 2, 7, None)], [0, 1], ["Gaia_EDR3___1", "Gaia_EDR3___2"]),
        # Two of PS1, and one of Gaia that says of neither that it is it; then of one.
        (
            [(0, 1, None, None), (1, None, None, 5), (-1, None, None, 6)],
            [0, 1, 2],
            ["Gaia_EDR3___1", "PS1_DR1___5", "PS1_DR1___6"],
        ),
        ([(0, 1, None, 6), (1, None, None, 5), (-1, None, None, 6)], [0, 1, 0], ["Gaia_EDR3___1", "PS1_DR1___5"]),
        # The nearer of two.
        ([(0, 1, None, None), (3, 2, None, None), (2, None, None, 5)], [0, 1, 1], ["Gaia_EDR3___1", "Gaia_EDR3___2"]),
    ],
)
def test_a_light_curve_with_a_lesser_id_belongs_to_the_star_with_a_better_one(rows, star, keys) -> None:
    found = stars_of(rows)
    assert found.star.tolist() == star
    assert found.key.to_pylist() == keys
    # Whatever their order.
    backwards = stars_of(rows[::-1])
    assert sorted(backwards.key.to_pylist()) == sorted(keys)
    together = found.star[:, None] == found.star[None, :]
    assert np.array_equal(together[::-1, ::-1], backwards.star[:, None] == backwards.star[None, :])


def test_without_a_radius_ids_alone_decide() -> None:
    assert stars_of([(0, 1, 7, None), (0, None, 7, None)], radius_arcsec=0.0).star.tolist() == [0, 1]


def test_ranks_of_keys() -> None:
    keys = pa.array(["PS1_DR1___5", None, "Gaia_EDR3___1", "AllWISE___7", "ours"], pa.string())
    assert key_ranks(keys, SURVEYS).tolist() == [2, 3, 0, 1, 0]
