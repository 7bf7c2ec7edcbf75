from __future__ import annotations

import math
import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.sexagesimal import iau_name
from scope_ml.errors import DataError
from scope_ml.selection.star_rows import StarOptions, StarRules, star_rows, star_schema
from scope_ml.selection.stars import Stars, find_stars
from scope_ml.taxonomy import load_classes, packaged_conf_dir

TAXONOMY = load_classes(packaged_conf_dir())
TAGS = ("vnv", "pnp", "rrlyr", "rrc", "ea")
MODELS = [f"{tag}_{algorithm}" for tag in TAGS for algorithm in ("xgb", "dnn")]
THRESHOLDS = {"vnv_xgb": 0.4, "vnv_dnn": 0.6, "rrlyr_xgb": 0.3, "rrlyr_dnn": 0.3}


def rules(**options: object) -> StarRules:
    return StarRules(
        taxonomy=TAXONOMY, algorithms=("xgb", "dnn"), thresholds=THRESHOLDS, options=StarOptions(**options)
    )


def survey(seed: int, n: int = 60, n_stars: int = 15) -> pa.Table:
    """Scores of light curves of some stars, with holes of every kind."""
    rng = np.random.default_rng(seed)
    star = rng.integers(0, n_stars, n)
    ra = (359.999 + 0.0002 * np.arange(n_stars))[star] + rng.normal(0, 2e-5, n)
    gaia = np.where(np.arange(n_stars) % 4 > 0, 4_611_686_018_427_387_905 + np.arange(n_stars), 0)[star]
    allwise = np.where(np.arange(n_stars) % 3 > 0, 77 + np.arange(n_stars), 0)[star]
    band = rng.integers(0, 3, n)
    columns: dict[str, object] = {
        "id": rng.permutation(n) + 9_007_199_254_740_993,
        "band": np.array(["g", "r", "i"])[band],
        "ra": ra % 360,
        "dec": 20 + rng.normal(0, 2e-5, n),
        "field": pa.array(rng.integers(296, 299, n), pa.int32()),
        "ccd": pa.array(rng.integers(1, 3, n), pa.int32()),
        "quad": pa.array(rng.integers(1, 3, n), pa.int32()),
        "filter": pa.array(band + 1, pa.int32()),
        "Gaia_EDR3___id": gaia,
        "AllWISE___id": pa.array(allwise, mask=allwise == 0),
        "PS1_DR1___id": pa.nulls(n, pa.int64()),
        "period": np.where(rng.random(n) < 0.2, np.nan, rng.choice([0.25, 0.5, 0.5002, 3.0], n)),
        "period_class": pa.array(rng.choice(["rrlyr", "ea"], n)),
        "period_confidence": rng.random(n).astype("f4"),
        "n_obs": pa.array(rng.integers(50, 900, n), pa.int32()),
        "median": np.where(rng.random(n) < 0.1, np.nan, rng.normal(18, 1, n)),
        "wstd": np.where(rng.random(n) < 0.2, 0.0, rng.uniform(0.01, 0.1, n)),
        "chi2red": rng.uniform(0.5, 3, n),
    }
    for name in MODELS:
        values = rng.random(n).astype("f4")
        columns[name] = pa.array(values, mask=rng.random(n) < 0.15)
    columns["vnv_dnn_spread"] = (0.1 * rng.random(n)).astype("f4")
    return pa.table(columns)


def by_hand(rows: pd.DataFrame, combine: str, join: str) -> dict[str, object]:
    """Return the row of one star as plain Python makes it."""
    rows = rows.sort_values(["id"])
    quality = (rows.n_obs - 1) / rows.n_obs * rows.chi2red / rows.wstd**2
    quality = quality.where(np.isfinite(quality))
    own = quality.notna()
    ranked = sorted(quality.dropna())
    weight = rows.n_obs * quality.fillna(ranked[(len(ranked) - 1) // 2] if ranked else 1.0)
    vectors = [
        (math.cos(math.radians(d)) * math.cos(math.radians(r)), math.cos(math.radians(d)) * math.sin(math.radians(r)))
        for r, d in zip(rows.ra, rows.dec, strict=True)
    ]
    x, y = (sum(vector[axis] for vector in vectors) for axis in (0, 1))

    def one(name: str) -> tuple[float, float, float]:
        known = rows[name].notna()
        values = rows[name][known].astype(float)
        if not len(values):
            return math.nan, math.nan, math.nan
        spread = rows[f"{name}_spread"][known].astype(float) if f"{name}_spread" in rows else values * math.nan
        scatter = values.std(ddof=1) if len(values) > 1 else math.nan
        w = weight[known]
        if combine == "weighted":
            return (w * values).sum() / w.sum(), scatter, (w * spread).sum() / w.sum()
        if combine != "max":
            return values.agg(combine), scatter, spread.agg(combine)
        return values.max(), scatter, spread[values.idxmax()]

    row: dict[str, object] = {
        "ra": math.degrees(math.atan2(y, x)) % 360,
        "n_light_curves": len(rows),
        "bands": sorted(set(rows.band)),
        "fields": sorted(set(rows.field)),
        "ids": list(rows.id),
        "n_unweighted": int((~own).sum()),
        "n_periods": int((rows.period > 0).sum()),
        "crowded": bool(rows.duplicated(["field", "band", "ccd", "quad"]).any()),
        "survey_id": next(
            (
                f"{prefix}{int(value)}"
                for name, prefix in (("Gaia_EDR3___id", "Gaia_EDR3___"), ("AllWISE___id", "AllWISE___"))
                for value in rows[name]
                if not pd.isna(value) and value
            ),
            None,
        ),
    }
    for band in "gri":
        row[f"mag_{band}"] = rows["median"][rows.band == band].mean()
    for tag in TAGS:
        scores = []
        for algorithm in ("xgb", "dnn"):
            value, scatter, spread = one(f"{tag}_{algorithm}")
            row[f"{tag}_{algorithm}"], row[f"{tag}_{algorithm}_scatter"] = value, scatter
            if f"{tag}_{algorithm}_spread" in rows:
                row[f"{tag}_{algorithm}_spread"] = spread
            scores.append(value)
        known = [value for value in scores if not math.isnan(value)]
        fold = {"mean": lambda all_of: sum(all_of) / len(all_of), "max": max, "min": min}[join]
        row[tag] = fold(known) if known else math.nan
        row[f"{tag}_disagreement"] = max(known) - min(known) if len(known) == 2 else math.nan
    return row


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    combine=st.sampled_from(["mean", "max", "median", "weighted"]),
    join=st.sampled_from(["mean", "max", "min"]),
)
def test_every_star_is_what_plain_python_makes_of_its_light_curves(seed: int, combine: str, join: str) -> None:
    table = survey(seed)
    stars = find_stars(table, by="survey_id")
    rows = star_rows(table, stars, rules(combine=combine, join=join)).to_pylist()
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).assign(star=stars.star)
    frame[["Gaia_EDR3___id", "AllWISE___id"]] = frame[["Gaia_EDR3___id", "AllWISE___id"]].astype(object)
    frame = frame.where(frame.notna(), np.nan)
    for number, of in frame.groupby("star"):
        for name, expected in by_hand(of, combine, join).items():
            found = rows[int(number)][name]
            if isinstance(expected, float):
                assert found == pytest.approx(expected, rel=1e-6, abs=2e-7, nan_ok=True) or (
                    found is None and math.isnan(expected)
                ), name
            else:
                assert found == expected, name


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), combine=st.sampled_from(["mean", "median", "weighted", "max"]))
def test_a_row_is_the_same_to_the_last_bit_in_any_company_and_order(seed: int, combine: str) -> None:
    table = survey(seed)
    rule = rules(combine=combine)
    stars = find_stars(table, by="survey_id")
    names = pa.array([f"s{number}" for number in range(len(stars))])
    whole = star_rows(table, stars, rule, names=names)
    assert whole["name"].to_pylist() == names.to_pylist()
    turned = table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))
    assert star_rows(turned, find_stars(turned, by="survey_id"), rule, names=names).equals(whole)
    for number in range(0, len(stars), 3):
        own = table.filter(pa.array(stars.star == number))
        alone = star_rows(own, find_stars(own, by="survey_id"), rule, names=names.slice(number, 1))
        assert alone.equals(whole.slice(number, 1))


def test_stars_may_be_a_part_of_the_rows() -> None:
    table = survey(4)
    stars = find_stars(table, by="survey_id")
    first, last = 3, 8
    bounds = np.append(stars.starts, table.num_rows)
    part = Stars(
        star=np.where((stars.star >= first) & (stars.star < last), stars.star - first, -1),
        order=stars.order[bounds[first] : bounds[last]],
        starts=stars.starts[first:last] - bounds[first],
        key=stars.key.slice(first, last - first),
        ra=stars.ra[first:last],
        dec=stars.dec[first:last],
        by=stars.by,
    )
    whole = star_rows(table, stars, rules())
    assert star_rows(table, part, rules()).equals(whole.slice(first, last - first))


def test_as_scope_consolidates_where_it_is_right() -> None:
    table = survey(11)
    frame = table.select(["Gaia_EDR3___id", *MODELS]).to_pandas()
    frame = frame[frame.Gaia_EDR3___id > 0]
    # Light curves without an id stand alone, as only the others do in SCoPe.
    stars = find_stars(table, by="survey_id", radius_arcsec=0)
    for combine in ("mean", "max", "median"):
        found = star_rows(table, stars, rules(combine=combine))
        # What SCoPe does: group by the id, and let pandas aggregate.
        expected = frame.groupby("Gaia_EDR3___id")[MODELS].agg(combine)
        kept = found.filter(found["Gaia_EDR3___id"].is_valid()).select(["Gaia_EDR3___id", *MODELS]).to_pandas()
        kept = kept.set_index("Gaia_EDR3___id").sort_index()
        assert list(kept.index) == list(expected.index)
        np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_what_scope_gets_wrong() -> None:
    # Right ascension at 0/360, a period that no light curve has, a star without any id.
    table = pa.table(
        {
            "id": [1, 2, 3],
            "band": ["g", "r", "g"],
            "ra": [359.9999, 0.0001, 120.0],
            "dec": [5.0, 5.0, 89.9999],
            "field": [296, 297, 296],
            "Gaia_EDR3___id": [4_611_686_018_427_387_905, 4_611_686_018_427_387_905, 0],
            "period": [0.5, 1.0, 2.0],
            "vnv_xgb": [0.2, 0.4, 0.9],
        }
    )
    rows = star_rows(table, find_stars(table, by="survey_id"), rules()).to_pylist()
    assert len(rows) == 2
    assert min(rows[0]["ra"], 360 - rows[0]["ra"]) == pytest.approx(0, abs=1e-9)
    assert rows[0]["period"] in (0.5, 1.0)
    assert rows[0]["n_period_harmonic"] == 1
    assert rows[0]["Gaia_EDR3___id"] == 4_611_686_018_427_387_905
    assert rows[0]["fields"] == [296, 297]
    assert rows[1]["survey_id"] is None
    assert rows[1]["no_survey_id"]
    assert not rows[0]["no_survey_id"]
    assert rows[1]["name"] == iau_name(120.0, 89.9999)


def test_stars_at_the_pole_and_far_apart() -> None:
    table = pa.table(
        {
            "id": [1, 2, 3, 4],
            "band": ["g", "r", "g", "r"],
            "ra": [0.0, 180.0, 10.0, 10.001],
            "dec": [89.9999, 89.9999, 0.0, 0.0],
            "Gaia_EDR3___id": [5, 5, 6, 6],
            "vnv_xgb": [0.5, 0.7, 0.1, 0.1],
        }
    )
    rows = star_rows(table, find_stars(table, by="survey_id"), rules()).to_pylist()
    assert rows[0]["dec"] == pytest.approx(90.0, abs=1e-9)
    assert rows[0]["position_scatter"] == pytest.approx(0.36, rel=1e-3)
    assert not rows[0]["wide"]
    assert rows[1]["wide"]
    assert rows[1]["position_scatter"] == pytest.approx(1.8, rel=1e-3)
    # Fields are not known: nobody can say whether it is crowded.
    assert rows[0]["crowded"] is None


def test_one_light_curve_has_no_scatter_and_equal_ones_none() -> None:
    table = pa.table(
        {"id": [1, 2, 3], "band": ["g", "r", "g"], "Gaia_EDR3___id": [5, 5, 6], "vnv_xgb": np.float32([0.3, 0.3, 0.1])}
    )
    for combine in ("mean", "weighted", "median", "max"):
        rows = star_rows(table, find_stars(table, by="survey_id"), rules(combine=combine)).to_pylist()
        assert rows[0]["vnv_xgb"] == np.float32(0.3)
        assert rows[0]["vnv_xgb_scatter"] == 0
        assert rows[1]["vnv_xgb_scatter"] is None
        assert rows[0]["vnv"] == np.float32(0.3)
        assert "vnv_disagreement" not in rows[0]
        assert rows[0]["name"] is None


@pytest.mark.parametrize("options", [{}, {"details": False}, {"combine": "weighted"}])
def test_the_schema_is_known_before_any_row(options: dict[str, object]) -> None:
    table = survey(1)
    rule = rules(**options)
    schema = star_schema(table.schema, rule)
    assert star_rows(table, find_stars(table), rule).schema.equals(schema, check_metadata=True)
    empty = star_rows(table.slice(0, 0), find_stars(table.slice(0, 0)), rule)
    assert empty.schema.equals(schema, check_metadata=True)
    assert empty.num_rows == 0
    assert ("vnv_xgb_scatter" in schema.names) == ("vnv_dnn_spread" in schema.names) == ("details" not in options)


def test_a_bare_table_has_a_row_a_star_too() -> None:
    table = pa.table({"id": ["a", "b"], "ra": [1.0, 2.0], "dec": [1.0, 2.0]})
    rows = star_rows(table, find_stars(table, by="position"), rules()).to_pylist()
    assert [row["ids"] for row in rows] == [["a"], ["b"]]
    assert rows[0] == rows[0] | {"bands": [], "fields": [], "period": None, "n_unweighted": 1, "confident_classes": []}
    assert rows[0]["confident_class"] is None


def test_ids_of_surveys_that_are_no_numbers_are_refused() -> None:
    table = pa.table({"id": [1], "Gaia_EDR3___id": ["Gaia DR3 12"], "vnv_xgb": [0.5]})
    with pytest.raises(DataError, match=r"Gaia_EDR3___id.*64 bits"):
        star_rows(table, find_stars(table, by="survey_id"), rules())
    floats = pa.table({"id": [1], "ra": [1.0], "dec": [1.0], "Gaia_EDR3___id": [1.5e18], "vnv_xgb": [0.5]})
    with pytest.raises(DataError, match="Gaia_EDR3___id"):
        star_rows(floats, find_stars(floats, by="position"), rules())


def test_scores_that_are_no_numbers_are_refused() -> None:
    table = pa.table({"id": [1], "Gaia_EDR3___id": [5], "vnv_xgb": ["0.5"]})
    with pytest.raises(DataError, match="string"):
        star_rows(table, find_stars(table), rules())


def test_rules_travel_to_other_processes() -> None:
    table = survey(2)
    rule = rules()
    stars = find_stars(table)
    before = star_rows(table, stars, rule)
    assert star_rows(table, stars, pickle.loads(pickle.dumps(rule))).equals(before)
    assert len(pickle.dumps(rule)) < 100_000


def test_stars_are_in_their_order_and_counts_add_up() -> None:
    table = survey(3, n=500, n_stars=90)
    stars = find_stars(table, by="survey_id")
    rows = star_rows(table, stars, rules())
    assert rows["n_light_curves"].to_pylist() == stars.counts.tolist()
    listed = [one for ids in rows["ids"].to_pylist() for one in ids]
    assert sorted(listed) == sorted(table["id"].to_pylist())
    assert all(low < high for low, high in pairwise(ids[0] for ids in rows["ids"].to_pylist()))
