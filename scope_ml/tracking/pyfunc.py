"""How MLflow loads a bundle that it keeps: ``mlflow.pyfunc.load_model("models:/scope-rrlyr-xgb@champion")``.

MLflow calls `_load_pyfunc` with the bundle's folder; nothing is unpickled. Imports no MLflow itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from scope_ml.models.bundle import ModelBundle

__all__ = ["PyfuncBundle"]


class PyfuncBundle:
    """A `ModelBundle` with the methods that MLflow expects."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> npt.NDArray[np.float32]:
        """Return the (n,) float32 scores of a pandas or Arrow table with one column per feature."""
        del params
        table = (
            model_input
            if isinstance(model_input, pa.Table)
            else pa.Table.from_pandas(model_input, preserve_index=False)
        )
        return self.bundle.predict(table)


def _load_pyfunc(path: str) -> PyfuncBundle:
    """Load the bundle that MLflow keeps in the folder `path`."""
    from scope_ml.models.bundle import ModelBundle

    return PyfuncBundle(ModelBundle.load(Path(path)))
