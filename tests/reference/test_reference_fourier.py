"""The Fourier fit against values of the released scope-ml 0.9.5 (float64), on its synthetic and on real light curves."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.legacy import legacy_values
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.fourier.normal import fit_normal, make_workspace
from scope_ml.kernels.registry import load

#: A_n of cos and B_n of sin, under SCoPe's names.
NAMES = (
    ("f1_amp", "f1_phi0"),
    ("f1_relamp1", "f1_relphi1"),
    ("f1_relamp2", "f1_relphi2"),
    ("f1_relamp3", "f1_relphi3"),
    ("f1_relamp4", "f1_relphi4"),
)

#: Coefficients of a well-conditioned fit [mag]; scope-ml fits iteratively.
COEFFICIENT = 1e-5


@pytest.fixture(scope="module", params=["synthetic", "real"])
def table(request, root):
    name = f"scope_ml_0.9.5_{request.param}.parquet"
    if request.param == "synthetic":
        return pq.read_table(root / "tests" / "data" / name)
    # Other people's light curves: they are read where they are, and skipped where they are not.
    return pq.read_table(request.getfixturevalue("reference_data") / name)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_order_and_raw_coefficients(table, device):
    period = table["fourier_period"].to_numpy()
    batch = LightCurveBatch.from_arrow(table)
    found = load("fourier", device)(batch, FourierOptions(period=period))
    legacy = legacy_values({f"{name}_ls_ce_aov": values for name, values in found.items()}, None)
    n_well = n_compared = 0
    for i in range(len(batch)):
        theirs = np.array([[table[f"f1_{letter}{n}"][i].as_py() for letter in "AB"] for n in range(1, 6)])
        ours = np.array([[legacy[f"{name}_ELS_ECE_EAOV"][i] for name in pair] for pair in NAMES])
        # The same harmonics are taken; those that are not are 0 on both sides.
        np.testing.assert_array_equal((ours != 0).any(axis=1), (theirs != 0).any(axis=1), err_msg=str(batch.id[i]))
        if np.ptp(batch[i].time) > 100 * period[i] and np.abs(theirs).max() < 1:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=COEFFICIENT, err_msg=str(batch.id[i]))
            n_well += 1
            n_compared += np.count_nonzero(theirs)
    assert n_well > 0.5 * len(batch)
    assert n_compared > 20


def test_normal_equations_do_for_nearly_all(table):
    period = table["fourier_period"].to_numpy()
    batch = LightCurveBatch.from_arrow(table)
    work, solution = make_workspace(int(batch.n_obs.max())), np.empty(14)
    refused = [
        fit_normal(curve.time, curve.mag, curve.mag_err, period[i], work, solution) < 0 for i, curve in enumerate(batch)
    ]
    assert np.mean(refused) < 0.02
