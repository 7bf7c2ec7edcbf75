"""dm-dt counts against the images of the released scope-ml 0.9.5, on its synthetic and on real light curves."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.dmdt import DmDtOptions, cpu, reference


@pytest.fixture(scope="module", params=["synthetic", "real"])
def table(request, root):
    name = f"scope_ml_0.9.5_{request.param}.parquet"
    if request.param == "synthetic":
        return pq.read_table(root / "tests" / "data" / name)
    # Other people's light curves: they are read where they are, and skipped where they are not.
    return pq.read_table(request.getfixturevalue("reference_data") / name)


@pytest.mark.parametrize("device", [reference, cpu], ids=["reference", "cpu"])
def test_counts_and_images(table, device):
    # The definition takes memory and time for every pair: some rows will do.
    table = table.slice(0, 40) if device is reference else table
    batch = LightCurveBatch.from_arrow(table)
    theirs = np.array(table["dmdt"].to_pylist()).reshape(-1, 26, 26)
    counts = device.counts(batch, DmDtOptions())
    # Theirs have norm 1: with the norm of our counts they must be our counts.
    norms = np.sqrt(np.sum(counts.astype(float) ** 2, axis=(1, 2)))
    np.testing.assert_array_equal(counts, np.rint(theirs * norms[:, None, None]).astype(np.int64))
    np.testing.assert_allclose(theirs * norms[:, None, None], counts, rtol=1e-13, atol=0)
    assert np.median(norms) > 100
    images = device.run(batch, DmDtOptions())["dmdt"]
    np.testing.assert_array_equal(images, theirs.astype(np.float32))
