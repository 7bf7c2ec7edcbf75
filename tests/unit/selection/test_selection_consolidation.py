from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.sexagesimal import iau_name
from scope_ml.selection.consolidation import combined, consolidate, star_names
from scope_ml.selection.stars import find_stars


def light_curves(**further: object) -> pa.Table:
    """Three light curves of star 7, one of star 8."""
    rows = {"id": [3, 1, 2, 9], "source_id": [7, 7, 7, 8], "ra": [10.0, 10.0, 10.0, 20.0], "dec": [1.0, 1.0, 1.0, 2.0]}
    return pa.table({**rows, **further})


@pytest.mark.parametrize(("how", "expected"), [("mean", 0.4), ("max", 0.9), ("median", 0.2)])
def test_scores_of_light_curves_are_joined(how: str, expected: float) -> None:
    rows = light_curves(rrlyr_xgb=[0.1, 0.9, 0.2, 0.5])
    one = consolidate(rows, find_stars(rows), scores=["rrlyr_xgb"], how=how)
    assert one["rrlyr_xgb"].to_pylist() == pytest.approx([expected, 0.5])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), how=st.sampled_from(["mean", "max", "median"]))
def test_each_star_is_joined_as_numpy_would(seed: int, how: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    values = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    rows = pa.table({"id": np.arange(n), "source_id": rng.integers(1, 6, n)})
    stars = find_stars(rows)
    result = combined(stars, values, how)
    fold = {"mean": np.mean, "max": np.max, "median": np.median}[how]
    for number in range(len(stars)):
        own = values[(stars.star == number) & ~np.isnan(values)]
        assert result[number] == pytest.approx(fold(own) if len(own) else np.nan, nan_ok=True)
        if len(own):
            assert own.min() <= result[number] <= own.max()


def test_a_star_has_all_that_is_known_of_it() -> None:
    rows = light_curves(
        vnv_xgb=pa.array([0.5, None, 1.0, None], pa.float32()),
        Gaia_EDR3___id=[0, 0, 11, 0],
        period=[2.0, 1.0, 50.0, np.nan],
        period_class=["a", "b", "c", None],
    )
    table = consolidate(rows, find_stars(rows, by="source_id"), scores=["vnv_xgb"])
    assert table["obj_id"].to_pylist() == [iau_name(10.0, 1.0), iau_name(20.0, 2.0)]
    assert table["id"].to_pylist() == [1, 9]
    assert table["ids"].to_pylist() == ["1;2;3", "9"]
    assert table["n_light_curves"].to_pylist() == [3, 1]
    assert table["Gaia_EDR3___id"].to_pylist() == [11, None]
    assert table["source_id"].to_pylist() == [7, 8]
    assert table["vnv_xgb"].to_pylist() == [0.75, None]
    assert table.schema.field("vnv_xgb").type == pa.float32()
    # The median of periods is one of them; its class comes with it.
    assert table["period"].to_pylist()[0] == 2.0
    assert table["period_class"].to_pylist()[0] == "a"


def test_the_period_is_the_one_that_is_surest() -> None:
    rows = light_curves(period=[1.0, 2.0, 3.0, 4.0], period_confidence=[0.9, 0.1, 0.3, 0.0])
    assert consolidate(rows, find_stars(rows), scores=[])["period"].to_pylist() == [1.0, 4.0]
    # Nobody is sure: the median, not the first.
    unsure = light_curves(period=[2.0, 1.0, 3.0, 4.0], period_confidence=[0.0, 0.0, 0.0, 0.0])
    assert consolidate(unsure, find_stars(unsure), scores=[])["period"].to_pylist() == [2.0, 4.0]


def test_names_that_are_given_stay() -> None:
    rows = light_curves(obj_id=[None, "ZTF18abc", None, ""])
    assert consolidate(rows, find_stars(rows, by="source_id"), scores=[])["obj_id"].to_pylist() == [
        "ZTF18abc",
        iau_name(20.0, 2.0),
    ]


def test_the_order_of_light_curves_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    n = 300
    rows = pa.table(
        {
            "id": np.arange(n),
            "source_id": rng.integers(1, 40, n),
            "ra": rng.random(n) * 360,
            "dec": rng.random(n) * 90,
            "vnv_xgb": rng.random(n).astype("f4"),
            "period": rng.random(n),
        }
    )
    turned = rows.take(pa.array(rng.permutation(n)))
    for how in ("mean", "max", "median"):
        first = consolidate(rows, find_stars(rows), scores=["vnv_xgb"], how=how)
        assert first.equals(consolidate(turned, find_stars(turned), scores=["vnv_xgb"], how=how))


def test_an_empty_table_gives_an_empty_one() -> None:
    rows = light_curves(vnv_xgb=[0.1] * 4, period=[1.0] * 4).slice(0, 0)
    table = consolidate(rows, find_stars(rows), scores=["vnv_xgb"])
    assert table.num_rows == 0
    assert {"obj_id", "ids", "period", "vnv_xgb"} <= set(table.column_names)


# -- names


@settings(max_examples=120, deadline=None)
@given(ra=st.floats(0, 360), dec=st.floats(-90, 90))
def test_a_name_is_that_of_iau_name(ra: float, dec: float) -> None:
    assert star_names(np.array([ra]), np.array([dec])).to_pylist() == [iau_name(ra, dec)]


def test_carries_reach_the_next_hour_and_degree() -> None:
    names = star_names(np.array([359.99999999, 14.99999999]), np.array([-0.99999999, 59.99999999])).to_pylist()
    assert names == ["ZTFJ000000.00-010000.0", "ZTFJ010000.00+600000.0"]


def test_stars_that_share_a_name_keep_their_own() -> None:
    step = 0.02 / 3600
    ra, dec = np.array([10.0, 10.0 + step, 200.0, 30.0, 30.0, np.nan]), np.array([5.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    names = star_names(ra, dec).to_pylist()
    assert names[:2] == ["ZTFJ004000.000+050000.00", "ZTFJ004000.001+050000.00"]
    assert names[2] == iau_name(200.0, 5.0)
    # Nothing tells these apart but their order.
    assert names[3:5] == ["ZTFJ020000.00000+050000.0000", "ZTFJ020000.00000+050000.0000b"]
    assert names[5] is None


def test_stars_without_a_place_have_no_name() -> None:
    names = star_names(np.array([np.nan, 0.0, np.nan]), np.array([0.0, 0.0, np.nan])).to_pylist()
    assert names == [None, "ZTFJ000000.00+000000.0", None]


def test_many_stars_in_one_place_all_have_names() -> None:
    names = star_names(np.full(700, 10.0), np.full(700, 5.0)).to_pylist()
    assert len(set(names)) == 700


def test_marked_stars_are_told_apart_by_themselves() -> None:
    ra, dec = np.array([10.0, 10.0, 10.0, 50.0]), np.array([1.0, 1.0, 1.0, 2.0])
    of = pa.array(["11", "12", "13", "14"])
    plain = iau_name(10.0, 1.0)
    names = star_names(ra, dec, apart=np.array([True, False, True, True]), of=of).to_pylist()
    # The others are named as if the marked ones were not there.
    assert names[1] == plain
    assert len(set(names)) == 4
    assert all(name.startswith(f"{plain}_") for name in (names[0], names[2]))
    assert names[3].startswith(iau_name(50.0, 2.0) + "_")
    # Whoever looks, and at whatever else.
    alone = star_names(ra[2:3], dec[2:3], apart=np.array([True]), of=of.slice(2, 1)).to_pylist()
    assert alone == names[2:3]


def test_stars_in_one_place_are_named_alike_from_both_sides() -> None:
    ra, dec = np.full(3, 10.0), np.full(3, 1.0)
    of = pa.array(["11", "12", "13"])
    names = star_names(ra, dec, of=of).to_pylist()
    assert len(set(names)) == 3
    assert star_names(ra, dec, of=of.take(pa.array([2, 0, 1]))).to_pylist() == [names[2], names[0], names[1]]
    # Only what shares a place.
    assert star_names(ra[:1], dec[:1], of=of.slice(0, 1)).to_pylist() == [iau_name(10.0, 1.0)]
