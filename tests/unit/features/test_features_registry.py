from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.crossmatch import CATALOGS, CrossMatch, crossmatch_columns
from scope_ml.features.extract import MEASURES, Extraction, FeatureChoice, PeriodSearch, extract_features
from scope_ml.features.quality import QualityFlag
from scope_ml.features.registry import (
    FEATURE_SETS,
    FEATURES,
    GROUPS,
    STANDARD_GROUPS,
    arrow_fields,
    column_spec,
    feature_columns,
    feature_digest,
    feature_set,
    group_columns,
)
from scope_ml.features.spec import METHODS
from scope_ml.features.surroundings import CatalogsConfig, SurveyCollections, open_surroundings

#: Model inputs of scope-ml 0.9.5 in its order (without those of catalogues and alerts).
PHENOMENOLOGICAL = (
    "ad", "chi2red", "f1_BIC", "f1_a", "f1_amp", "f1_b", "f1_phi0", "f1_power", "f1_relamp1", "f1_relamp2",
    "f1_relamp3", "f1_relamp4", "f1_relphi1", "f1_relphi2", "f1_relphi3", "f1_relphi4", "i60r", "i70r", "i80r",
    "i90r", "inv_vonneumannratio", "iqr", "median", "median_abs_dev", "norm_excess_var",
    "norm_peak_to_peak_amp", "roms", "skew", "smallkurt", "stetson_j", "stetson_k", "sw", "welch_i", "wmean",
    "wstd",
)  # fmt: skip


#: Those of catalogues, in its order.
ONTOLOGICAL_CATALOGUES = (
    "AllWISE__w1mpro", "AllWISE__w1sigmpro", "AllWISE__w2mpro", "AllWISE__w2sigmpro", "AllWISE__w3mpro",
    "AllWISE__w4mpro", "Gaia_EDR3__parallax", "Gaia_EDR3__parallax_error", "Gaia_EDR3__phot_bp_mean_mag",
    "Gaia_EDR3__phot_bp_rp_excess_factor", "Gaia_EDR3__phot_g_mean_mag", "Gaia_EDR3__phot_rp_mean_mag",
    "PS1_DR1__gMeanPSFMag", "PS1_DR1__gMeanPSFMagErr", "PS1_DR1__iMeanPSFMag", "PS1_DR1__iMeanPSFMagErr",
    "PS1_DR1__rMeanPSFMag", "PS1_DR1__rMeanPSFMagErr", "PS1_DR1__yMeanPSFMag", "PS1_DR1__yMeanPSFMagErr",
    "PS1_DR1__zMeanPSFMag", "PS1_DR1__zMeanPSFMagErr",
)  # fmt: skip

#: Columns that do not depend on the period search, in the order of the table.
AFTER_FOURIER = feature_columns(
    [name for name in GROUPS if name not in ("period", "agreement", "fourier", "folded", "decision")], "ls"
)[22:]


def rows_for(n, ra=10.0):
    ids = pa.array(np.arange(n, dtype=np.int64))
    place = {"ra": pa.array(np.full(n, ra)), "dec": pa.array(np.full(n, -5.0))}
    numbers = {name: pa.nulls(n, pa.int32()) for name in ("field", "ccd", "quad", "filter")}
    return pa.table({"id": ids, "source_id": ids, "band": pa.array(["g"] * n), **place, **numbers})


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory):
    """An alert and a star of each catalogue at the place of `rows_for`, with a value in every field."""
    folder = tmp_path_factory.mktemp("catalogues")
    # The second star is 20 arcsec away.
    ids = ["4611686018427387905", "4611686018427387906"]
    place = {"_id": pa.array(ids), "ra": pa.array([10.0, 10.0]), "dec": pa.array([-5.0, -5.0 + 20 / 3600])}
    for catalog in CATALOGS:
        specs = [(spec, spec.name.split("__")[1]) for spec in crossmatch_columns((catalog,))[1:]]
        fields = {name: pa.array([{"string": "A", "int64": 60}.get(spec.dtype, 1.5)] * 2) for spec, name in specs}
        pq.write_table(pa.table(place | fields), folder / f"{catalog}.parquet")
    alert = {"candid": pa.array([1, 2]), "classifications_braai": pa.array([0.9, 0.1])}
    pq.write_table(pa.table(alert | {"ra": place["ra"], "dec": place["dec"]}), folder / "ZTF_alerts.parquet")
    return CatalogsConfig(path=str(folder))


@pytest.fixture(scope="module")
def surroundings(catalogs):
    return open_surroundings(GROUPS, catalogs=catalogs, survey=SurveyCollections(), crossmatch=CrossMatch())


def measured(surroundings=None, groups=STANDARD_GROUPS, ra=10.0, **options):
    t = np.sort(np.random.default_rng(0).uniform(2459000, 2459400, 80))
    m = 15 + 0.3 * np.sin(2 * np.pi * t / 1.37) + 0.1 * np.sin(4 * np.pi * t / 1.37)
    batch = LightCurveBatch.from_lists([7], [t], [m], [np.full(80, 0.02)])
    search = PeriodSearch(max_frequency=2.0, samples_per_peak=5, **options)
    extraction = Extraction(choice=FeatureChoice(groups=groups), search=search, device="cpu")
    return extract_features(batch, rows_for(1, ra), extraction, surroundings=surroundings)


@pytest.fixture(scope="module")
def table():
    return measured()


@pytest.fixture(scope="module")
def compared(surroundings):
    return measured(surroundings, tuple(GROUPS), also=("aov",))


@pytest.fixture(scope="module")
def decided():
    return measured(method="best")


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_documented_and_stands_in_the_table(name, compared, decided):
    spec = FEATURES[name]
    method = GROUPS[spec.group].only or "ls"
    table = compared if method == "ls" else decided
    assert spec.group in GROUPS
    assert spec.formula
    assert spec.reference
    assert spec.missing in ("median", "zero", "below", "none")
    assert set(spec.sets) <= set(FEATURE_SETS)
    field = table.schema.field(spec.column(method))
    expected = "fixed_size_list<item: float>[676]" if spec.dtype == "float[]" else spec.dtype
    assert str(field.type) == expected
    assert field.metadata[b"unit"].decode() == spec.unit
    value = table[spec.column(method)][0].as_py()
    harmonic = name.startswith("f1_rel") and int(name[-1]) > 1
    other = name in ("alias_period", "runner_up_period") or spec.group == "colour"
    # 400 days have no pairs further apart and no longer periods, and 80 points few that are close.
    longer = name in ("lag_0", "lag_1", "lag_11", "lag_12", "lag_13", "slow_band_640", "slow_band_1280")
    assert harmonic or other or longer or spec.dtype == "string" or np.isfinite(value).all()
    assert column_spec(spec.column(method)) is spec


def test_only_the_recommended_search_has_its_decision(compared, decided):
    found = set(column for column in decided.column_names if column.startswith(("log_evidence", "doubled", "alias")))
    assert found == {"log_evidence_best", "doubled_best", "alias_period_best"}
    assert decided["period_best"][0].as_py() == pytest.approx(1.37, rel=1e-3)
    assert decided["log_evidence_best"][0].as_py() > 10
    assert decided["doubled_best"][0].as_py() == 0
    assert not any("log_evidence" in column for column in compared.column_names)
    assert "log_evidence_best" in feature_set("phenomenological", "best")
    assert "log_evidence_ls" not in feature_set("phenomenological", "ls")


def test_units_are_those_of_the_quantities():
    units = {name: FEATURES[name].unit for name in ("period", "median", "f1_b", "f1_phi0", "skew")}
    assert units == {"period": "d", "median": "mag", "f1_b": "mag/d", "f1_phi0": "rad", "skew": ""}
    assert FEATURES["best_consensus_period"].unit == "d"


def test_the_table_has_exactly_the_registered_features(table):
    first = table.column_names.index("status") + 1
    assert tuple(table.column_names[first:]) == feature_columns(STANDARD_GROUPS, "ls")
    assert len(feature_columns(STANDARD_GROUPS, "ls")) == 22 + 2 + 14 + 77 + 50 + 1 + 3 + 2 + 1
    assert len(feature_columns(("crossmatch", "alerts"), "ls")) == 10 + 12 + 12 + 2
    assert feature_columns(("crossmatch",), "ls", named={"crossmatch": ["AllWISE___id"]}) == ("AllWISE___id",)


def test_quality_sees_blends_and_missing_positions(catalogs, compared):
    def flags(ra, radius):
        crossmatch = CrossMatch(radius_arcsec=radius)
        opened = open_surroundings(
            ("crossmatch",), catalogs=catalogs, survey=SurveyCollections(), crossmatch=crossmatch
        )
        return measured(opened, ("basic", "quality", "crossmatch"), ra=ra)["quality"][0].as_py()

    blended, nowhere = QualityFlag.BLENDED, QualityFlag.NO_POSITION
    assert [flags(10.0, radius) & (blended | nowhere) for radius in (2.0, 30.0)] == [0, blended]
    assert flags(np.nan, 30.0) & (blended | nowhere) == nowhere
    assert compared["quality"][0].as_py() & (blended | nowhere) == 0


def test_more_searches_have_columns_of_their_own_and_agreement(compared):
    first = compared.column_names.index("status") + 1
    found = tuple(compared.column_names[first:])
    assert found == feature_columns(GROUPS, "ls", also=("aov",), compared=("ls", "aov"))
    assert found[-len(AFTER_FOURIER) :] == AFTER_FOURIER
    assert len(found) == 22 + 2 * (2 + 14 + 77) + 7 + len(AFTER_FOURIER)
    assert found[22:26] == ("period_ls", "significance_ls", "period_aov", "significance_aov")
    assert found[26:33] == (
        "n_agree_pairs", "n_total_pairs", "agree_score", "agree_strict", "agree_weighted", "best_agree_period",
        "best_consensus_period",
    )  # fmt: skip
    assert found[33].endswith("_ls")
    assert found[-len(AFTER_FOURIER) - 1].endswith("_aov")


def test_components_have_a_period_and_a_significance():
    columns = feature_columns(("period", "fourier"), "ls_ce_aov", n_peaks=2, components=("ls", "ce"))
    assert columns[:8] == (
        "period_ls_ce_aov", "significance_ls_ce_aov", "period_2_ls_ce_aov", "significance_2_ls_ce_aov", "period_ls",
        "significance_ls", "period_ce", "significance_ce",
    )  # fmt: skip
    assert all(name.endswith("_ls_ce_aov") for name in columns[8:])


def test_every_group_is_measured():
    assert MEASURES.keys() == GROUPS.keys()
    assert {spec.group for spec in FEATURES.values()} == set(GROUPS)


def test_feature_sets_are_those_of_scope_and_what_it_does_not_have():
    ours = {f"{name}_ls" if name.startswith("f1_") else name for name in PHENOMENOLOGICAL}
    walk = {"drw_tau", "drw_sigma", "drw_log_likelihood_ratio"}
    times = {"fold_cycle_ls", "fold_binary_cycle_ls", "slow_centre", *(f"slow_period_{k}" for k in (1, 2, 3))}
    shape = {spec.column("ls") for group in ("folded", "timescales") for spec in group_columns(group)} - times
    assert set(feature_set("phenomenological", "ls")) == ours | walk | shape
    more = {
        *times,
        *shape,
        "period_ls",
        "significance_ls",
        "colour_g_r",
        "colour_r_i",
        "n_ztf_alerts",
        "mean_ztf_alert_braai",
    }
    assert set(feature_set("ontological", "ls")) == ours | walk | more | set(ONTOLOGICAL_CATALOGUES)
    assert "period_ls_ce_aov" in feature_set("ontological", "ls_ce_aov")


def test_groups_that_a_table_does_not_have_are_no_inputs(table, compared):
    scope = tuple(f"{name}_ls" if name.startswith("f1_") else name for name in PHENOMENOLOGICAL)
    assert feature_set("phenomenological", "ls", scope) == scope
    everything = feature_set("ontological", "ls")
    assert feature_set("ontological", "ls", compared.column_names) == everything
    without = feature_set("ontological", "ls", table.column_names)
    assert set(everything) - set(without) == {"n_ztf_alerts", "mean_ztf_alert_braai", *ONTOLOGICAL_CATALOGUES}
    # Models cannot do without these; a table that lacks them is refused later.
    assert feature_set("phenomenological", "ls", ()) == scope


def test_inputs_come_in_scope_s_order():
    known = [name for name in feature_set("ontological", "ls") if name in (*PHENOMENOLOGICAL, *ONTOLOGICAL_CATALOGUES)]
    assert known[-len(ONTOLOGICAL_CATALOGUES) :] == list(ONTOLOGICAL_CATALOGUES)


def test_groups_come_in_the_order_of_the_registry_whatever_the_order_asked():
    assert feature_columns(("fourier", "period"), "ls") == feature_columns(("period", "fourier"), "ls")
    assert feature_columns(("basic",), "ls")[0] == "n"
    assert feature_columns(("period",), "ls", n_peaks=3) == (
        "period_ls",
        "significance_ls",
        "period_2_ls",
        "significance_2_ls",
        "period_3_ls",
        "significance_3_ls",
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [(("basics",), "did you mean 'basic'"), (("fourier",), "needs group 'period'")],
)
def test_groups_that_cannot_be(groups, message):
    with pytest.raises(ConfigError, match=message):
        feature_columns(groups, "ls")


def test_an_unknown_set_or_column_is_an_error():
    with pytest.raises(ConfigError, match="phenomenological"):
        feature_set("phenomenal", "ls")
    for column in ("period", "f1_amp", "mediam", "period_x_ls_y", "period_lss", "period_1_ls", "median_ls"):
        with pytest.raises(ConfigError):
            column_spec(column)
    assert column_spec("period_2_ls").name == "period"
    for method in METHODS:
        assert column_spec(f"f1_relphi3_{method}").name == "f1_relphi3"
    assert arrow_fields(["period_2_ls"])[0].metadata == {b"unit": b"d"}


def test_the_digest_changes_with_names_and_their_order():
    digest = feature_digest(["median", "skew"])
    assert digest == feature_digest(("median", "skew"))
    assert len({digest, feature_digest(["skew", "median"]), feature_digest(["median"])}) == 3
