"""What MLflow's servers get from a bundle: columns, decisions, and errors that a client can read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scope_ml.errors import FeatureMismatchError
from scope_ml.models.tables import feature_matrix
from scope_ml.tracking.pyfunc import PyfuncBundle


class Bundle:
    """A bundle whose score is the mean of its features, missing ones left out."""

    def __init__(self, *, spread: bool = False, images: bool = False) -> None:
        names = ("a", "b")
        self.record = SimpleNamespace(features=SimpleNamespace(names=names), threshold=0.5)
        self.model = SimpleNamespace(needs_images=images)
        self.has_spread = spread
        self.seen: list[str] = []

    def predict(self, table: pa.Table) -> np.ndarray:
        self.seen = table.column_names
        if "a" not in table.column_names:
            raise FeatureMismatchError("model x needs feature(s) that the table lacks: a", missing=("a",))
        return np.nanmean(feature_matrix(table, ("a", "b")), axis=1).astype(np.float32)

    def spread(self, table: pa.Table) -> np.ndarray | None:
        return np.full(len(table), 0.125, dtype=np.float32) if self.has_spread else None


def model(**values: Any) -> PyfuncBundle:
    return PyfuncBundle(cast(Any, Bundle(**values)))


def test_scores_and_decisions_whatever_the_columns_types() -> None:
    frame = pd.DataFrame({"b": pd.Series([None, 1, None], dtype=object), "a": [0, 1, 1], "name": ["x", 2, None]})
    found = model().predict(frame)
    assert found.to_dict("list") == {"score": [0.0, 1.0, 1.0], "is_member": [False, True, True]}
    assert found["score"].dtype == np.float32
    # The threshold itself counts.
    assert model().predict(pd.DataFrame({"a": [0.5], "b": [0.5]}))["is_member"].tolist() == [True]
    arrow = pa.table({"a": [1.0], "b": [None]}, schema=pa.schema({"a": pa.float64(), "b": pa.float64()}))
    assert model().predict(arrow)["score"].tolist() == [1.0]


def test_an_ensemble_gives_its_spread_and_images_go_along() -> None:
    served = model(spread=True, images=True)
    found = served.predict(pd.DataFrame({"a": [1.0], "b": [1.0], "dmdt": [[0.0, 1.0]], "c": ["x"]}))
    assert found.columns.tolist() == ["score", "is_member", "spread"]
    assert found["spread"].tolist() == [0.125]
    assert set(cast(Bundle, served.bundle).seen) == {"a", "b", "dmdt"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"b": [1.0]}, "the table lacks: a"),
        ({"a": ["wide"], "b": [1.0]}, r"feature a is a column of (large_)?string, not of numbers"),
        ({"a": ["wide", 1.0], "b": [1.0, 1.0]}, "feature a does not hold numbers alone"),
    ],
)
def test_a_client_is_told_what_is_wrong(columns: dict[str, list[Any]], message: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as caught:
        model().predict(pd.DataFrame(columns))
    assert caught.value.get_http_status_code() == 400
