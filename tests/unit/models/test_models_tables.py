"""dm-dt images of a table: lists of 676 numbers as ours are, or lists of rows as SCoPe's are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import DataError, FeatureMismatchError
from scope_ml.models.tables import image_column

IMAGES = np.arange(3 * 676, dtype=np.float64).reshape(3, 26, 26)


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedSizeListArray.from_arrays(pa.array(IMAGES.ravel()), 676),
        pa.array(IMAGES.reshape(3, 676).tolist(), pa.list_(pa.float64())),
        pa.array(IMAGES.tolist(), pa.list_(pa.list_(pa.float64()))),
        pa.array(IMAGES.tolist(), pa.large_list(pa.large_list(pa.float32()))),
    ],
    ids=["fixed", "flat", "nested", "large"],
)
def test_images_whatever_the_lists(column: pa.Array) -> None:
    chunked = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    found = image_column(pa.table({"dmdt": chunked}))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., 0], IMAGES)
    assert image_column(pa.table({"dmdt": column.slice(0, 0)})).shape == (0, 26, 26, 1)


@pytest.mark.parametrize(
    "rows",
    [
        [None, IMAGES[0].tolist()],
        [IMAGES[0].tolist(), IMAGES[0].tolist()[:25]],
        [[*IMAGES[0].tolist()[:25], [0.0] * 25]],
        # As many numbers in all as there should be.
        [[0.0] * 675, [0.0] * 677],
        [1.0],
        ["text"],
    ],
)
def test_what_is_no_image_is_refused(rows: list[object]) -> None:
    with pytest.raises(DataError, match="26 x 26 pixels"):
        image_column(pa.table({"dmdt": pa.array(rows)}))
    with pytest.raises(FeatureMismatchError, match="dmdt"):
        image_column(pa.table({"a": [1]}))
