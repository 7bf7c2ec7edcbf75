"""``names=legacy``: SCoPe's columns have SCoPe's content, down to the values of scope-ml 0.9.5."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features.legacy import SUFFIX, check_methods, legacy_columns, legacy_spec, legacy_values
from scope_ml.features.registry import FEATURES, column_spec, feature_columns, feature_digest, split_column
from scope_ml.features.spec import METHODS
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.registry import load

#: Columns of the feature tables of scope-ml 0.9.5 for one algorithm, in its order.
PERIODIC = (
    "period", "significance", "pdot", "f1_power", "f1_BIC", "f1_a", "f1_b", "f1_amp", "f1_phi0", "f1_relamp1",
    "f1_relphi1", "f1_relamp2", "f1_relphi2", "f1_relamp3", "f1_relphi3", "f1_relamp4", "f1_relphi4",
)  # fmt: skip

#: A_n sit under these names, B_n under those.
COSINES = ("f1_amp", "f1_relamp1", "f1_relamp2", "f1_relamp3", "f1_relamp4")
SINES = ("f1_phi0", "f1_relphi1", "f1_relphi2", "f1_relphi3", "f1_relphi4")

#: Model curves agree to this [mag]; scope-ml fits iteratively.
CURVE = 1e-5

#: Its coefficients where the fit is well conditioned: periods much shorter than the baseline [mag].
COEFFICIENT = 1e-5


def legacy_fourier(batch, period, method="ls_ce_aov"):
    found = load("fourier", "cpu")(batch, FourierOptions(period=period))
    return legacy_values({FEATURES[name].column(method): values for name, values in found.items()}, None)


def curve(t, period, offset, slope, cosines, sines):
    line = offset + slope * (t - t.min())
    for n, (a, b) in enumerate(zip(cosines, sines, strict=True), start=1):
        line = line + a * np.cos(2 * np.pi * n * t / period) + b * np.sin(2 * np.pi * n * t / period)
    return line


@pytest.fixture(scope="module", params=["synthetic", "real"])
def table(request, root):
    name = f"scope_ml_0.9.5_{request.param}.parquet"
    if request.param == "synthetic":
        return pq.read_table(root / "tests" / "data" / name)
    return pq.read_table(request.getfixturevalue("reference_data") / name)


def test_coefficients_are_those_of_scope_ml(table):
    batch = LightCurveBatch.from_arrow(table)
    period = table["fourier_period"].to_numpy()
    ours = legacy_fourier(batch, period)
    n_compared = 0
    for i in range(len(batch)):
        t = batch[i].time
        of_row = {name: values[i] for name, values in ours.items()}
        cosines = [of_row[f"{name}_ELS_ECE_EAOV"] for name in COSINES]
        sines = [of_row[f"{name}_ELS_ECE_EAOV"] for name in SINES]
        theirs_cos = [table[f"f1_A{n}"][i].as_py() for n in range(1, 6)]
        theirs_sin = [table[f"f1_B{n}"][i].as_py() for n in range(1, 6)]
        expected = curve(t, period[i], table["f1_a"][i].as_py(), table["f1_b"][i].as_py(), theirs_cos, theirs_sin)
        found = curve(t, period[i], of_row["f1_a_ELS_ECE_EAOV"], of_row["f1_b_ELS_ECE_EAOV"], cosines, sines)
        np.testing.assert_allclose(found, expected, rtol=0, atol=CURVE, err_msg=str(batch.id[i]))
        assert (np.array(cosines) == 0).tolist() == (np.array(theirs_cos) == 0).tolist()
        if np.ptp(t) > 100 * period[i] and max(np.abs(theirs_cos + theirs_sin)) < 1:
            np.testing.assert_allclose(cosines + sines, theirs_cos + theirs_sin, rtol=0, atol=COEFFICIENT)
            n_compared += np.count_nonzero(cosines)
    assert n_compared > 20


def test_coefficients_make_the_curve_of_amplitudes_and_phases():
    rng = np.random.default_rng(5)
    t = np.sort(rng.uniform(2459000, 2459400, 150))
    period = np.array([0.7731, 1.37, 13.1])
    mags = [
        15 + 0.3 * np.sin(2 * np.pi * t / p + 1) + 0.2 * np.cos(4 * np.pi * t / p) + 0.1 * np.sin(10 * np.pi * t / p)
        for p in period
    ]
    batch = LightCurveBatch.from_lists([1, 2, 3], [t] * 3, mags, [np.full(150, 0.01)] * 3)
    ours = load("fourier", "cpu")(batch, FourierOptions(period=period))
    legacy = legacy_fourier(batch, period, "ls")
    for i, p in enumerate(period):
        found = ours["f1_amp"][i] * np.sin(2 * np.pi * t / p + ours["f1_phi0"][i])
        for n in range(2, 6):
            size = ours["f1_amp"][i] * ours[f"f1_relamp{n - 1}"][i]
            shift = n * ours["f1_phi0"][i] + 2 * np.pi * ours[f"f1_relphi{n - 1}"][i]
            found = found + (size * np.sin(2 * np.pi * n * t / p + shift) if size else 0)
        cosines = [legacy[f"{name}_ELS"][i] for name in COSINES]
        sines = [legacy[f"{name}_ELS"][i] for name in SINES]
        # Phases at HJD are rounded to 1e-10 of a cycle.
        np.testing.assert_allclose(curve(t, p, 0, 0, cosines, sines), found, atol=1e-8)
        assert np.ptp(found) > 0.5


def test_harmonics_that_were_not_taken_are_zero_and_a_fit_that_failed_is_nan():
    t = np.arange(60.0) + 2459000
    mag = 15 + 0.3 * np.sin(2 * np.pi * t / 7.3)
    batch = LightCurveBatch.from_lists([1, 2, 3], [t] * 3, [mag, mag, 15 + 1e-3 * t], [np.full(60, 0.5)] * 3)
    legacy = legacy_fourier(batch, np.array([7.3, np.nan, 7.3]), "ce")
    stacked = np.array([legacy[f"{name}_ECE"] for name in (*COSINES, *SINES)])
    assert np.isnan(stacked[:, 1]).all()
    assert (stacked[:, 2] == 0).all()
    assert (stacked[[1, 2, 3, 4, 6, 7, 8, 9], 0] == 0).all()
    assert np.hypot(stacked[0, 0], stacked[5, 0]) == pytest.approx(0.3, abs=0.01)


def test_names_and_their_order_are_those_of_scope_ml():
    ours = feature_columns(("basic", "period", "fourier"), "ls_ce_aov", components=("ls", "ce"))
    named = legacy_columns(ours)
    assert named[22:25] == tuple(f"{name}_ELS_ECE_EAOV" for name in PERIODIC[:3])
    assert named[25:31] == (
        "period_ELS", "significance_ELS", "pdot_ELS", "period_ECE", "significance_ECE", "pdot_ECE",
    )  # fmt: skip
    assert named[31:] == tuple(f"{name}_ELS_ECE_EAOV" for name in PERIODIC[3:])
    assert named[:22] == ours[:22]


def test_values_come_in_the_order_of_the_names():
    ours = feature_columns(("basic", "period", "fourier"), "ls_ce_aov", n_peaks=2, components=("ls",))
    values = legacy_values({name: np.full(2, float(i)) for i, name in enumerate(ours)}, np.array([[7.0, 5.0]] * 2))
    assert set(values) == set(legacy_columns(ours))
    assert (values["pdot_ELS_ECE_EAOV"] == 0).all()
    # SCoPe's significance of the nested search is the statistic itself.
    assert values["significance_ELS_ECE_EAOV"][0] == 7
    assert values["significance_2_ELS_ECE_EAOV"][1] == 5
    assert values["significance_ELS"][0] == ours.index("significance_ls")


@pytest.mark.parametrize("suffix", SUFFIX.values())
@pytest.mark.parametrize("name", PERIODIC)
def test_each_column_is_described(name, suffix):
    spec = legacy_spec(f"{name}_{suffix}")
    assert spec is not None
    assert spec.name == name
    assert column_spec(f"{name}_{suffix}") is spec
    assert spec.unit == ("mag" if name in (*COSINES, *SINES) else FEATURES[name].unit if name in FEATURES else "")


def test_the_digest_tells_coefficients_from_amplitudes():
    assert feature_digest(["f1_relamp1_ls_ce_aov"]) != feature_digest(["f1_relamp1_ELS_ECE_EAOV"])
    assert column_spec("f1_relamp1_ELS").formula != FEATURES["f1_relamp1"].formula


def test_searches_that_scope_does_not_have_are_refused():
    check_methods(list(SUFFIX))
    for method in set(METHODS) - set(SUFFIX):
        with pytest.raises(ConfigError, match=f"'{method}', which SCoPe does not have"):
            check_methods(["ls", method])


def test_columns_of_ours_are_told_apart():
    for method in METHODS:
        assert split_column(f"period_{method}") == ("period", 1, method)
        assert split_column(f"f1_relamp1_{method}") == ("f1_relamp1", 1, method)
        assert split_column(f"significance_12_{method}") == ("significance", 12, method)
    for name in ("period", "period_1_ls", "period_0_ls", "period_x_ls", "median", "median_ls", "period_ELS"):
        assert split_column(name) is None
    assert legacy_spec("period_ELS_ECE") is None
