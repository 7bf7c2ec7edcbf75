"""How MLflow loads a bundle that it keeps: ``mlflow.pyfunc.load_model("models:/scope-rrlyr-xgb@champion")``.

MLflow calls `_load_pyfunc` with the bundle's folder, for ``mlflow models serve`` and ``predict`` too; nothing is
unpickled. Imports MLflow only to tell a server's client what was wrong with its table.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scope_ml.errors import DataError, ScopeError

if TYPE_CHECKING:
    import pandas as pd

    from scope_ml.models.bundle import ModelBundle

__all__ = ["OUTPUTS", "PyfuncBundle"]

#: Columns that a prediction has, with MLflow's names of their types; ``spread`` is an ensemble's alone.
OUTPUTS = {"score": "float", "is_member": "boolean", "spread": "float"}


class PyfuncBundle:
    """A `ModelBundle` with the methods that MLflow expects."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the scores of a table.

        Parameters
        ----------
        model_input
            pandas or Arrow table with n rows and one column per feature, of any numbers; what is missing is null or NaN.
            Further columns are ignored.
        params
            Not used.

        Returns
        -------
        DataFrame
            n rows: ``score`` (float32, calibrated), ``is_member`` (whether it reaches the model's threshold) and, of an
            ensemble, ``spread`` (float32, standard deviation of its members' scores).

        Raises
        ------
        MlflowException
            If the table lacks features or does not hold numbers; a server answers 400 with the message.
        """
        del params
        try:
            return self._predict(model_input)
        except ScopeError as error:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _predict(self, model_input: Any) -> pd.DataFrame:
        import pandas as pd

        table = self._table(model_input)
        score = self.bundle.predict(table)
        columns = {"score": score, "is_member": score >= self.bundle.record.threshold}
        spread = self.bundle.spread(table)
        if spread is not None:
            columns["spread"] = spread
        return pd.DataFrame(columns)

    def _table(self, model_input: Any) -> pa.Table:
        if isinstance(model_input, pa.Table):
            return model_input
        # Only what is needed: what else a client sends need not be numbers.
        wanted = {*self.bundle.record.features.names, *(("dmdt",) if self.bundle.model.needs_images else ())}
        columns = {}
        for name in (name for name in model_input.columns if name in wanted):
            try:
                columns[name] = pa.array(model_input[name], from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise DataError(f"feature {name} does not hold numbers alone; send numbers or null") from error
        return pa.table(columns)


def _load_pyfunc(path: str) -> PyfuncBundle:
    """Load the bundle that MLflow keeps in the folder `path`."""
    from scope_ml.models.bundle import ModelBundle

    return PyfuncBundle(ModelBundle.load(Path(path)))
