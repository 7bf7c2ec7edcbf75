"""The nearest row against all pairs tried by astropy; ids exact; sentinels, blends, ties and missing places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import ConfigError, DataError
from scope_ml.features.crossmatch import CATALOGS, CrossMatch, CrossMatcher, crossmatch_columns
from scope_ml.features.spec import FEATURE_SETS

#: What models take from catalogues, in SCoPe's order.
USED = [
    *(f"AllWISE__{name}" for name in ("w1mpro", "w1sigmpro", "w2mpro", "w2sigmpro", "w3mpro", "w4mpro")),
    *("Gaia_EDR3__parallax", "Gaia_EDR3__parallax_error", "Gaia_EDR3__phot_bp_mean_mag"),
    *("Gaia_EDR3__phot_bp_rp_excess_factor", "Gaia_EDR3__phot_g_mean_mag", "Gaia_EDR3__phot_rp_mean_mag"),
    *(f"PS1_DR1__{band}MeanPSFMag{end}" for band in "giryz" for end in ("", "Err")),
]


def catalogue(name, ra, dec, ids, **given):
    """A table with all fields of a catalogue: as given, or numbers that tell row and field."""
    fields = [spec.name.removeprefix(f"{name}__") for spec in crossmatch_columns((name,))][1:]
    columns = {field: np.arange(len(ra)) + 0.01 * number for number, field in enumerate(fields)}
    if "ph_qual" in columns:
        columns["ph_qual"] = [f"A{row}" for row in range(len(ra))]
    if "qualityFlag" in columns:
        columns["qualityFlag"] = np.arange(len(ra))
    return pa.table({"_id": pa.array(ids), "ra": ra, "dec": dec, **columns, **given})


def matcher(source, *names, radius=2.0):
    return CrossMatcher(source, CrossMatch(radius_arcsec=radius, catalogs=names or CATALOGS))


@pytest.fixture(scope="module")
def crowd(anywhere):
    """Stars and positions so close that most have several within the radius."""
    return anywhere(1000, seed=3, size_deg=0.005), anywhere(500, seed=4, size_deg=0.005)


def test_columns_are_scopes():
    specs = {spec.name: spec for spec in crossmatch_columns()}
    assert len(specs) == 10 + 12 + 12
    assert sorted(name for name, spec in specs.items() if "ontological" in spec.sets) == sorted(USED)
    assert not any("phenomenological" in spec.sets for spec in specs.values())
    assert {spec.missing for name, spec in specs.items() if name in USED} == {"median"}
    assert {name: spec.dtype for name, spec in specs.items() if spec.dtype != "double"} == {
        "AllWISE___id": "int64",
        "AllWISE__ph_qual": "string",
        "Gaia_EDR3___id": "int64",
        "PS1_DR1___id": "int64",
        "PS1_DR1__qualityFlag": "int64",
    }
    assert (
        specs["Gaia_EDR3__pmra"].unit,
        specs["Gaia_EDR3__parallax"].unit,
        specs["PS1_DR1__zMeanPSFMagErr"].unit,
    ) == (
        "mas/yr",
        "mas",
        "mag",
    )
    assert all(spec.legacy == name and set(spec.sets) <= set(FEATURE_SETS) for name, spec in specs.items())
    assert crossmatch_columns(("PS1_DR1", "AllWISE"))[0].name == "AllWISE___id"


@pytest.mark.parametrize("as_text", [False, True])
def test_matches_are_the_nearest_found_by_trying_all(memory_catalogs, crowd, apart, as_text):
    (ra, dec), places = crowd
    ids = 2**62 + np.arange(ra.size)
    source = memory_catalogs(Gaia_EDR3=catalogue("Gaia_EDR3", ra, dec, [str(i) for i in ids] if as_text else ids))
    found = matcher(source, "Gaia_EDR3").match(*places)
    angle = apart(*places, ra, dec)
    nearest = angle.argmin(axis=1)
    has = angle.min(axis=1) <= 2.0
    assert 50 < has.sum() < 450
    expected = [int(ids[row]) if ok else None for row, ok in zip(nearest, has, strict=True)]
    assert found.columns["Gaia_EDR3___id"].to_pylist() == expected
    assert found.columns["Gaia_EDR3__phot_g_mean_mag"].to_pylist() == [
        float(row) if ok else None for row, ok in zip(nearest, has, strict=True)
    ]
    assert found.n_within["Gaia_EDR3"].tolist() == (angle <= 2.0).sum(axis=1).tolist()
    assert found.n_within["Gaia_EDR3"].max() > 2
    np.testing.assert_allclose(found.separation["Gaia_EDR3"], np.where(has, angle.min(axis=1), np.nan), atol=1e-8)


def test_a_position_does_not_depend_on_the_others(memory_catalogs, crowd):
    (ra, dec), places = crowd
    source = memory_catalogs(**{name: catalogue(name, ra, dec, np.arange(ra.size)) for name in CATALOGS})
    one = matcher(source)
    together = one.columns(*places)
    assert list(together) == [spec.name for spec in crossmatch_columns()]
    assert [str(values.type) for values in together.values()] == [spec.dtype for spec in crossmatch_columns()]
    for k in range(40):
        alone = one.columns(*(x[k : k + 1] for x in places))
        assert all(alone[name].equals(values.slice(k, 1)) for name, values in together.items())


def test_ids_beyond_2_to_the_53_are_exact_and_the_smallest_wins_a_tie(memory_catalogs):
    # Four rows at one place, whose ids are one number as floats; a far one makes the tree less trivial.
    ids = [2**62 + 3, 2**62 + 1, 2**62 + 2, 2**63 - 1, 5]
    table = catalogue("PS1_DR1", [10.0, 10.0, 10.0, 10.0, 10.1], [20.0] * 5, ids)
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 0, 1]):
        found = matcher(memory_catalogs(PS1_DR1=table.take(order)), "PS1_DR1").match(np.array([10.0]), np.array([20.0]))
        assert found.columns["PS1_DR1___id"].to_pylist() == [2**62 + 1]
        assert found.columns["PS1_DR1__gMeanPSFMag"].to_pylist() == [1.0]
        assert found.n_within["PS1_DR1"].tolist() == [4]


def test_a_catalogue_without_a_match_has_null_of_the_right_type(memory_catalogs):
    places = np.array([10.0, 11.0]), np.array([20.0, -20.0])
    far = catalogue("AllWISE", [50.0], [20.0], ["1"])
    for table in (far, far.slice(0, 0)):
        found = matcher(memory_catalogs(AllWISE=table), "AllWISE").match(*places)
        for spec in crossmatch_columns(("AllWISE",)):
            assert found.columns[spec.name].null_count == 2
            assert str(found.columns[spec.name].type) == spec.dtype
        assert found.n_within["AllWISE"].tolist() == [0, 0]
        assert np.isnan(found.separation["AllWISE"]).all()


def test_sentinels_are_missing_one_by_one(memory_catalogs):
    bad = pa.array([-999.0, -9999.0, float("nan"), float("inf"), None, -998.0])
    ra = np.arange(6) + 10.0
    table = catalogue(
        "PS1_DR1",
        ra,
        np.zeros(6),
        np.arange(6),
        rMeanPSFMag=bad,
        qualityFlag=pa.array([-999, 1, 2, 3, 4, 5], pa.int32()),
    )
    found = matcher(memory_catalogs(PS1_DR1=table), "PS1_DR1").columns(ra, np.zeros(6))
    assert found["PS1_DR1__rMeanPSFMag"].to_pylist() == [None] * 5 + [-998.0]
    assert found["PS1_DR1__qualityFlag"].to_pylist() == [None, 1, 2, 3, 4, 5]
    assert found["PS1_DR1__gMeanPSFMag"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert found["PS1_DR1___id"].to_pylist() == list(range(6))


def test_no_position_no_match(memory_catalogs):
    source = memory_catalogs(AllWISE=catalogue("AllWISE", [10.0], [20.0], [7]))
    ra, dec = np.array([np.nan, 10.0, 10.0]), np.array([20.0, 20.0, np.nan])
    found = matcher(source, "AllWISE").match(ra, dec)
    assert found.columns["AllWISE___id"].to_pylist() == [None, 7, None]
    assert found.columns["AllWISE__ph_qual"].to_pylist() == [None, "A0", None]
    assert matcher(source, "AllWISE").match(ra[:0], dec[:0]).columns["AllWISE___id"].to_pylist() == []


def test_the_rim_belongs_to_the_circle(memory_catalogs):
    source = memory_catalogs(AllWISE=catalogue("AllWISE", [10.0, 20.0], [1.9999999 / 3600, 2.0000001 / 3600], [1, 2]))
    found = matcher(source, "AllWISE").columns(np.array([10.0, 20.0]), np.zeros(2))
    assert found["AllWISE___id"].to_pylist() == [1, None]


def test_measurements_that_are_no_numbers_are_an_error(memory_catalogs):
    table = catalogue("AllWISE", [10.0], [20.0], [7], w1mpro=["bright"])
    with pytest.raises(DataError, match="catalogue 'AllWISE': column 'w1mpro' is string, not a number"):
        matcher(memory_catalogs(AllWISE=table), "AllWISE").match(np.array([10.0]), np.array([20.0]))


@pytest.mark.parametrize("names", [(), ("AllWISE", "AllWISE")])
def test_each_catalogue_is_named_once(names):
    with pytest.raises(ConfigError, match="must name each catalogue once"):
        CrossMatch(catalogs=names)
