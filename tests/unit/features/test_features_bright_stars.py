"""The exclusion radius against the published formula written out; who lies within one, against all pairs tried."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import MissingColumnError
from scope_ml.features.bright_stars import BrightStars, exclusion_radius_arcsec


def radius_of(g, x):
    """Term by term; `x` is BP - RP or None."""
    if x is None or np.isnan(x) or np.isnan(g) or g >= 13:
        return 0.0
    bt = g - (-0.004288 - 0.8547 * x + 0.1244 * x**2 - 0.9085 * x**3 + 0.4843 * x**4 - 0.06814 * x**5)
    vt = g - (-0.01077 - 0.0682 * x - 0.2387 * x**2 + 0.02342 * x**3)
    c = bt - vt
    if bt >= 13:
        return 0.0
    r = 354.817 - 53.27823 * bt + 66.01137 * c + 2.1031286 * bt**2 + 7.6737066 * c**2 - 6.164676 * bt * c
    return max(r, 0.0)


def gaia(ra, dec, g, bp_rp, ids=None):
    ids = [str(10**18 + k) for k in range(len(ra))] if ids is None else ids
    table = {
        "_id": ids,
        "ra": np.asarray(ra, float),
        "dec": np.asarray(dec, float),
        "phot_g_mean_mag": np.asarray(g, float),
    }
    return pa.table(table | ({} if bp_rp is None else {"bp_rp": pa.array(bp_rp, pa.float64())}))


def near(source, ra, dec, **how):
    return BrightStars(source, "Gaia_EDR3", **how).near(np.asarray(ra, float), np.asarray(dec, float)).tolist()


def test_radius_is_the_published_formula():
    g, x = (grid.ravel() for grid in np.meshgrid(np.linspace(2, 14, 60), np.append(np.linspace(-0.5, 3.5, 40), np.nan)))
    ours = exclusion_radius_arcsec(g, x)
    np.testing.assert_allclose(ours, [radius_of(*one) for one in zip(g, x, strict=True)], rtol=1e-12, atol=1e-9)
    assert np.all(ours[(g >= 13) | np.isnan(x)] == 0)
    assert np.count_nonzero(ours) > 1000
    # By hand: B_T = 5.004288, c = B_T - V_T = -0.006482.
    assert exclusion_radius_arcsec(np.array([5.0]), np.array([0.0]))[0] == pytest.approx(140.63823, abs=1e-5)


def test_no_radius_is_negative():
    """The published formula has no floor and needs none: it is positive wherever it is used."""
    g, x = (grid.ravel() for grid in np.meshgrid(np.linspace(-2, 13, 200), np.linspace(-3, 6, 200)))
    radius = exclusion_radius_arcsec(g, x)
    assert radius[radius != 0].min() > 10


@pytest.mark.parametrize("edge", [0.999, 1.001])
def test_within_the_radius_and_beyond(memory_catalogs, edge):
    reach = radius_of(8.0, 1.0)
    source = memory_catalogs(Gaia_EDR3=gaia([10.0], [20.0], [8.0], [1.0]))
    assert near(source, [10.0], [20.0 + edge * reach / 3600]) == [edge < 1]


def test_the_radius_itself_does_not_exclude(memory_catalogs, monkeypatch):
    distance = float(separation_arcsec(10.0, 20.0, 10.0, 20.02))
    source = memory_catalogs(Gaia_EDR3=gaia([10.0], [20.0], [8.0], [1.0]))
    for reach in (distance, np.nextafter(distance, 1e9)):
        monkeypatch.setattr(
            "scope_ml.features.bright_stars.exclusion_radius_arcsec", lambda g, _, r=reach: np.full(len(g), r)
        )
        assert near(source, [10.0], [20.02]) == [reach > distance]


def test_a_bright_star_does_not_exclude_itself(memory_catalogs):
    source = memory_catalogs(Gaia_EDR3=gaia([10.0], [20.0], [8.0], [1.0]))
    assert near(source, [10.0, 10.0], [20.0 + 1.9 / 3600, 20.0 + 2.1 / 3600]) == [False, True]
    assert near(source, [10.0], [20.0 + 2.1 / 3600], match_radius_arcsec=2.2) == [False]
    # Another bright star beside it does, and it that one's light curve.
    both = memory_catalogs(Gaia_EDR3=gaia([10.0, 10.0], [20.0, 20.01], [8.0, 8.0], [1.0, 1.0]))
    assert near(both, [10.0, 10.0], [20.0, 20.01]) == [True, True]
    # Of two stars within the match radius the nearer is the source; the other excludes.
    close = memory_catalogs(Gaia_EDR3=gaia([10.0, 10.0], [20.0, 20.0 + 1.0 / 3600], [8.0, 12.99], [1.0, None]))
    assert near(close, [10.0, 10.0], [20.0, 20.0 + 1.0 / 3600]) == [False, True]


def test_the_sources_own_gaia_position_counts(memory_catalogs):
    """The light curve's position lies beyond the radius, the star's own within it."""
    reach = radius_of(8.0, 1.0) / 3600
    stars = gaia([10.0, 10.0], [20.0, 20.0 + reach - 0.5 / 3600], [8.0, 12.0], [1.0, None])
    place = [20.0 + reach + 1.0 / 3600]
    assert near(memory_catalogs(Gaia_EDR3=stars), [10.0], place) == [True]
    assert near(memory_catalogs(Gaia_EDR3=stars.slice(0, 1)), [10.0], place) == [False]


def test_stars_without_colour_or_magnitude_have_no_halo(memory_catalogs):
    ra, place = np.arange(5) + 10.0, (np.arange(5) + 10.0, np.full(5, 20.01))
    stars = gaia(ra, np.full(5, 20.0), [8.0, 8.0, 13.0, -999.0, np.nan], [1.0, None, 1.0, 1.0, 1.0])
    assert near(memory_catalogs(Gaia_EDR3=stars), *place) == [True, False, False, False, False]


def test_colour_from_magnitudes_where_there_is_none(memory_catalogs):
    stars = gaia([10.0, 11.0, 12.0], [20.0] * 3, [8.0] * 3, [1.0, None, None])
    stars = stars.append_column("phot_bp_mean_mag", pa.array([None, 8.5, 8.5]))
    stars = stars.append_column("phot_rp_mean_mag", pa.array([None, 7.5, None]))
    assert near(memory_catalogs(Gaia_EDR3=stars), [10.0, 11.0, 12.0], [20.01] * 3) == [True, True, False]
    assert near(memory_catalogs(Gaia_EDR3=stars.drop_columns(["bp_rp"])), [10.0, 11.0], [20.01] * 2) == [False, True]
    with pytest.raises(MissingColumnError, match=r"bright stars need a colour\) lacks the column\(s\) bp_rp"):
        near(memory_catalogs(Gaia_EDR3=gaia([10.0], [20.0], [8.0], None)), [10.0], [20.0])


def test_who_is_near_is_found_by_trying_all(memory_catalogs, anywhere, apart):
    rng = np.random.default_rng(0)
    ra, dec = anywhere(400, seed=7, size_deg=0.15)
    g, x = rng.uniform(7, 15, 400), rng.uniform(-0.2, 2.5, 400)
    place_ra, place_dec = anywhere(400, seed=8, size_deg=0.15)
    # A hundred of the light curves are bright stars themselves.
    place_ra[:100], place_dec[:100] = ra[:100], np.clip(dec[:100] + rng.uniform(-1, 1, 100) / 3600, -90, 90)
    source = memory_catalogs(Gaia_EDR3=gaia(ra, dec, g, x))
    bright = np.flatnonzero(g < 13)
    angle = apart(place_ra, place_dec, ra[bright], dec[bright])
    between = apart(ra[bright], dec[bright], ra[bright], dec[bright])
    reach = np.array([radius_of(g[k], x[k]) for k in bright])
    expected = []
    for row in angle:
        own = int(row.argmin()) if row.min() < 2.0 else None
        counted = row if own is None else between[own]
        spoilt = [k for k in np.flatnonzero(row <= 300.0) if k != own and reach[k] > counted[k]]
        expected.append(bool(spoilt))
    found = near(source, place_ra, place_dec)
    assert found == expected
    assert 40 < sum(found) < 360
    assert [near(source, place_ra[k : k + 1], place_dec[k : k + 1])[0] for k in range(0, 400, 20)] == expected[::20]


def test_only_bright_stars_are_asked_for(memory_catalogs):
    source = memory_catalogs(Gaia_EDR3=gaia([10.0, 10.0], [20.0, 20.0], [8.0, 18.0], [1.0, 1.0]))
    asked = []
    search = source.cone_search
    source.cone_search = lambda *words, **how: (asked.append(how), search(*words, **how))[1]
    near(source, [10.0, 10.01, np.nan], [20.0, 20.0, 20.0])
    assert [how["below"] for how in asked] == [{"phot_g_mean_mag": 13.0}]
    assert near(source, [], []) == []
