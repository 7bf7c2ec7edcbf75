"""The kernels against values of the released scope-ml 0.9.5 (float64), on its synthetic and on real light curves."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.registry import load
from scope_ml.kernels.statistics import COLUMNS

#: Both sides sum a few hundred float64 terms in different orders.
STATISTICS = 1e-9
#: The reference kernel takes W from SciPy, which since 1.18 has more exact normal quantiles than the AS 111 of AS R94
#: that scope-ml's values (SciPy 1.17) and our CPU kernel were made with.
SCIPY_W = 1e-8 if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18) else STATISTICS
#: scope-ml fits iteratively: power, BIC and constant of an exact solution agree to this, relative ...
FOURIER = 1e-6
#: ... and ill-conditioned slopes and coefficients by the curve that they make [mag].
CURVE = 1e-5


@pytest.fixture(scope="module", params=["synthetic", "real"])
def table(request, root):
    name = f"scope_ml_0.9.5_{request.param}.parquet"
    if request.param == "synthetic":
        return pq.read_table(root / "tests" / "data" / name)
    # Other people's light curves: they are read where they are, and skipped where they are not.
    return pq.read_table(request.getfixturevalue("reference_data") / name)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_statistics(table, device):
    found = load("statistics", device)(LightCurveBatch.from_arrow(table), None)
    for column in COLUMNS:
        bound = SCIPY_W if (device, column) == ("reference", "sw") else STATISTICS
        np.testing.assert_allclose(found[column], table[column].to_numpy(), rtol=bound, atol=0, err_msg=column)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_fourier_power_bic_and_constant(table, device):
    options = FourierOptions(period=table["fourier_period"].to_numpy())
    found = load("fourier", device)(LightCurveBatch.from_arrow(table), options)
    for column in ("f1_power", "f1_BIC", "f1_a"):
        np.testing.assert_allclose(found[column], table[column].to_numpy(), rtol=FOURIER, atol=0, err_msg=column)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_fourier_curve(table, device):
    period = table["fourier_period"].to_numpy()
    batch = LightCurveBatch.from_arrow(table)
    found = load("fourier", device)(batch, FourierOptions(period=period))
    theirs = {column: table[column].to_numpy() for column in table.column_names if column.startswith("f1_")}
    n_harmonics = 0
    for i in range(len(batch)):
        t = batch[i].time
        line = theirs["f1_a"][i] + theirs["f1_b"][i] * (t - t.min())
        for n in range(1, 6):
            angle = 2 * np.pi * n * t / period[i]
            line = line + theirs[f"f1_A{n}"][i] * np.cos(angle) + theirs[f"f1_B{n}"][i] * np.sin(angle)
        ours = found["f1_a"][i] + found["f1_b"][i] * (t - t.min())
        amplitude, phase = found["f1_amp"][i], found["f1_phi0"][i]
        if amplitude > 0:
            ours = ours + amplitude * np.sin(2 * np.pi * t / period[i] + phase)
        for n in range(2, 6):
            relative = found[f"f1_relamp{n - 1}"][i]
            if relative > 0:
                shift = n * phase + 2 * np.pi * found[f"f1_relphi{n - 1}"][i]
                ours = ours + amplitude * relative * np.sin(2 * np.pi * n * t / period[i] + shift)
                n_harmonics += 1
        np.testing.assert_allclose(ours, line, rtol=0, atol=CURVE, err_msg=str(batch.id[i]))
    assert n_harmonics > 20
