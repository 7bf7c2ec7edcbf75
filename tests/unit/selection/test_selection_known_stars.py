from __future__ import annotations

import pyarrow as pa
import pytest

from scope_ml.errors import DataError
from scope_ml.selection.known_stars import known_stars
from scope_ml.selection.stars import find_stars

ROWS = pa.table(
    {
        "id": [101, 102, 201, 301],
        "source_id": [1, 1, 2, 3],
        "obj_id": ["a", "a", "b", "c"],
        "Gaia_EDR3___id": [10**18 + 1, 10**18 + 1, 0, 10**18 + 3],
        "ra": [359.9999, 0.0001, 50.0, 100.0],
        "dec": [0.0, 0.0, 10.0, 20.0],
    }
)
STARS = find_stars(ROWS, by="source_id")


def known(radius: float = 1.5, **columns: object):
    return known_stars(ROWS, STARS, pa.table(columns), radius_arcsec=radius, where="labels.csv")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": [102]}, [True, False, False]),  # one light curve: the whole star
        ({"ztf_id": [201]}, [False, True, False]),
        ({"_id": ["301"]}, [False, False, True]),
        ({"id": [2]}, [False, True, False]),  # a label table's id may be the source's
        ({"source_id": [3]}, [False, False, True]),
        ({"source_id": [101]}, [False, False, False]),
        ({"obj_id": ["b", None]}, [False, True, False]),
        ({"Gaia_EDR3___id": [10**18 + 1, 0]}, [True, False, False]),
        ({"Gaia_DR3___id": [10**18 + 3]}, [False, False, True]),
        ({"AllWISE___id": [10**18 + 3], "ra": [1.0], "dec": [1.0]}, [False, False, False]),
        ({"ra": [0.0002, 50.0], "dec": [0.0, 10.001]}, [True, False, False]),  # over the seam; 3.6 arcsec off
    ],
)
def test_a_star_is_known_by_any_of_its_names(columns: dict[str, list], expected: list[bool]) -> None:
    assert known(**columns).known.tolist() == expected


def test_what_it_was_found_by_is_counted_once() -> None:
    found = known(id=[101, 201], ra=[359.9999, 100.0], dec=[0.0, 20.0])
    assert found.by == {"id": 2, "position": 1}
    assert sum(found.by.values()) == found.known.sum() == 3
    assert known(radius=0, id=[101], ra=[100.0], dec=[20.0]).by == {"id": 1}


def test_ids_that_a_float_would_mix_up_are_told_apart() -> None:
    assert float(10**18 + 1) == float(10**18 + 3)
    assert known(Gaia_EDR3___id=[10**18 + 2]).known.tolist() == [False, False, False]
    with pytest.raises(DataError, match=r"labels\.csv: column 'id' is double"):
        known(id=[101.0])


def test_a_table_without_anything_in_common_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels\.csv: nothing to tell by .*: it has name, the"):
        known(name=["x"])
    with pytest.raises(DataError, match="nothing to tell by"):
        known(AllWISE___id=[1])
    with pytest.raises(DataError, match="places do not count with a radius of 0"):
        known(radius=0, ra=[100.0], dec=[20.0])


@pytest.mark.parametrize("none", [0, -1, -999, "", "0", "nan", "NaN", "<NA>", "-1", None])
def test_what_stands_for_no_id_makes_no_stars_known(none: int | str | None) -> None:
    of = [none, none] if none is not None else pa.nulls(2, pa.int64())
    rows = pa.table({"id": [1, 2], "source_id": of, "Gaia_EDR3___id": of, "ra": [1.0, 2.0], "dec": [0.0, 0.0]})
    stars = find_stars(rows, by="position")
    for name in ("source_id", "Gaia_EDR3___id"):
        found = known_stars(rows, stars, rows.select([name]), radius_arcsec=1.5, where="labels.csv")
        assert not found.known.any(), name


@pytest.mark.parametrize("known_id", ["Gaia_EDR3___1000000000000000003", "Gaia_DR3__1000000000000000003"])
def test_a_survey_id_and_the_id_of_its_catalogue_are_one(known_id: str) -> None:
    assert known(survey_id=[known_id, "AllWISE___1000000000000000001"]).known.tolist() == [False, False, True]
    rows = pa.table({"id": [1, 2], "survey_id": [known_id, "Gaia_EDR3___5"]})
    found = known_stars(rows, find_stars(rows), ROWS, radius_arcsec=0, where="labels.csv")
    assert found.known.tolist() == [True, False]
