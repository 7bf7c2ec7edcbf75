"""`ModelBundle`: the only thing that is saved, registered, loaded and scored with.

A folder of ``bundle.json`` (what is known), ``preparation.json``, ``importance.json``, ``distributions.json``,
``curves.json`` and the model's own file, ``model.ubj`` or ``model.keras`` (of an ensemble one for each member). There is
no pickle in it, and nothing that says where or when it was made: the same training gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.provenance import digest_paths
from scope_ml.errors import ModelError, OutputError
from scope_ml.io.atomic import clear_leftovers, hidden_sibling
from scope_ml.models.algorithms import algorithm
from scope_ml.models.ensemble_model import EnsembleModel, load_ensemble
from scope_ml.models.inputs import Float32Array, Inputs, Model
from scope_ml.models.record import BUNDLE_FILE, BundleRecord, read_record, write_record
from scope_ml.models.tables import feature_matrix, image_column, table_facts

__all__ = ["ModelBundle", "bundle_digest"]


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """A trained model and all that is needed to use it.

    Attributes
    ----------
    record
        What is known about it.
    model
        The fitted model.
    digest
        SHA-256 hex digest of the names and bytes of its files; "" before it was saved.
    """

    record: BundleRecord
    model: Model
    digest: str = ""

    @property
    def tag(self) -> str:
        """Return the tag of its class."""
        return self.record.spec.tag

    @property
    def name(self) -> str:
        """Return the name of its score column, ``<tag>_<algorithm>``."""
        return self.record.name

    def inputs(self, table: pa.Table, facts: Mapping[str, Any] | None = None) -> Inputs:
        """Return the prepared inputs of the model for the rows of `table` (see `predict`)."""
        record = self.record
        record.features.check(table.column_names, table_facts(table) if facts is None else facts, model=record.name)
        x = record.preparation.transform(feature_matrix(table, record.features.names))
        return Inputs(x=x, images=image_column(table) if self.model.needs_images else None)

    def predict(self, table: pa.Table, facts: Mapping[str, Any] | None = None) -> Float32Array:
        """Return the score of each row: a probability, where the model could be calibrated.

        Parameters
        ----------
        table
            Feature table with n rows; columns are found by name, others are ignored.
        facts
            Facts of the table's metadata record, where the table itself does not carry it (schema key ``scope``).

        Returns
        -------
        ndarray
            (n,) float32 in [0, 1]; a row's score does not depend on the other rows.

        Raises
        ------
        FeatureMismatchError
            If the table lacks features of the model, or has them computed in another way.
        DataError
            If a feature's column does not hold numbers.
        """
        return self.calibrated(self.raw_scores(table, facts))

    def raw_scores(self, table: pa.Table, facts: Mapping[str, Any] | None = None) -> Float32Array:
        """Return the (n,) float32 score of each row as the algorithm gives it, before calibration (see `predict`)."""
        return self.model.predict(self.inputs(table, facts))

    def calibrated(self, scores: Float32Array) -> Float32Array:
        """Return the (n,) float32 probabilities of what the model gives; the scores themselves without a calibration."""
        return scores if self.record.calibration is None else self.record.calibration.apply(scores)

    def spread(self, table: pa.Table, facts: Mapping[str, Any] | None = None) -> Float32Array | None:
        """Return the (n,) float32 standard deviation of an ensemble's members; None for a single model (see `predict`)."""
        if not isinstance(self.model, EnsembleModel):
            return None
        return self.model.predict_spread(self.inputs(table, facts))

    def save(self, folder: Path) -> ModelBundle:
        """Write the bundle as `folder`, which appears whole or not at all, and return it with its digest.

        A bundle that stands there already is replaced; any other folder with something in it is left alone.

        Raises
        ------
        OutputError
            If the folder cannot be written, or holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / BUNDLE_FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
            raise OutputError(f"cannot write the model bundle {folder}: something else is there; choose another folder")
        clear_leftovers(folder)
        temporary = hidden_sibling(folder)
        try:
            temporary.mkdir(parents=True)
            self.model.save(temporary)
            write_record(self.record, temporary, sorted(path.name for path in temporary.iterdir()))
            digest = bundle_digest(temporary)
            _replace_folder(temporary, folder)
        except OSError as error:
            raise OutputError(f"cannot write the model bundle {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return replace(self, digest=digest)

    @classmethod
    def load(cls, folder: Path, *, n_threads: int = 1) -> ModelBundle:
        """Read a bundle.

        Parameters
        ----------
        folder
            The bundle's folder.
        n_threads
            Threads that scoring may use; scores do not depend on it.

        Raises
        ------
        ModelNotFoundError
            If there is no bundle in `folder`.
        ModelError
            If a file is missing, changed or cannot be read; the message names it.
        """
        folder = Path(folder)
        record = read_record(folder)
        load = load_ensemble if record.members else algorithm(record.algorithm.name).load
        model = load(folder, n_threads=n_threads, facts=record.model_facts)
        return cls(record=record, model=model, digest=bundle_digest(folder))


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what stood there is put back if that fails."""
    old = new.with_suffix(".old")
    stood = folder.exists()
    if stood:
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if stood:
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 hex digest of the names and bytes of a bundle's own files.

    Raises
    ------
    ModelError
        If there is no bundle, or one of its files is missing.
    """
    try:
        files = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))["files"]
        return digest_paths([folder / name for name in (BUNDLE_FILE, *files)], root=folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} is not a whole model bundle ({error}); train or fetch it again") from error
