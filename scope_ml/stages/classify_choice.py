"""The models that `classify` scores with, what they need, and how much of what they look at is known.

May import tracking, models, features and the rooms about models of this floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scope_ml.errors import FormatError, ModelNotFoundError
from scope_ml.features.spec import Method
from scope_ml.features.surroundings import CatalogsConfig
from scope_ml.stages.classify_models import (
    KnownShare,
    NeededModel,
    Needs,
    catalogue_features,
    known_share,
    needs_of,
    read_models,
)
from scope_ml.stages.feature_sources import SourceConfig
from scope_ml.stages.inference_models import choose_models
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["ChosenModels", "chosen_models"]


@dataclass(frozen=True, kw_only=True)
class ChosenModels:
    """The models, what they need, and how much of it is known.

    Attributes
    ----------
    models
        What is known about each.
    needs
        How features must be made.
    catalogs
        Where catalogues are; of kind ``none`` where there are none.
    shares
        How much each model knows, by name.
    min_known
        Share below which scores are in doubt.
    """

    models: tuple[NeededModel, ...]
    needs: Needs
    catalogs: CatalogsConfig
    shares: dict[str, KnownShare] = field(default_factory=dict)
    min_known: float

    @property
    def in_doubt(self) -> list[str]:
        """Return the models that know too little for their scores to mean what they do elsewhere."""
        return [name for name, share in self.shares.items() if share.share < self.min_known]

    def notes(self) -> list[str]:
        """Return what is to be said about what is not known, one line each."""
        affected = {name: share.n_unknown for name, share in self.shares.items() if share.n_unknown}
        if not affected:
            return []
        lines = [
            "there is no catalogue: magnitudes and colours of other surveys, parallaxes and alerts are unknown and imputed;"
            f" that concerns up to {max(affected.values())} features of {len(affected)} of {len(self.shares)} models, whose"
            f" scores tend to come out too low: {', '.join(affected)}"
        ]
        if self.in_doubt:
            lines.append(
                f"in doubt are the scores of {', '.join(self.in_doubt)}: of what these models look at, weighed by importance,"
                f" less than {self.min_known:.0%} is known (min_known); give catalogs.path=FOLDER, or source=kowalski"
            )
        return lines


def chosen_models(  # noqa: PLR0913 - options of the stage
    *,
    models: str,
    bundles: str | None,
    classes: Sequence[str],
    algorithms: Sequence[str],
    tracking: TrackingConfig,
    catalogs: CatalogsConfig,
    source: SourceConfig,
    also: Sequence[Method],
    min_known: float,
) -> ChosenModels:
    """Return the models and what they need; the arguments are options of the stage.

    Raises
    ------
    ModelNotFoundError
        If there are none; the message says how to make some.
    ConfigError
        If two models need what no one table has.
    ModelError
        If a bundle is damaged, or takes what cannot be measured.
    """
    try:
        found = choose_models(models, bundles, tracking, classes, algorithms)
    except (ModelNotFoundError, FormatError) as error:
        raise ModelNotFoundError(
            f"{error}; make repro makes models for a start: type it and give models=results/models"
        ) from error
    read = read_models(found)
    where = _catalogs(catalogs, source)
    unknown = {model.name: catalogue_features(model.record) if where.kind == "none" else () for model in read}
    return ChosenModels(
        models=read,
        needs=needs_of(read, also=also),
        catalogs=where,
        shares={model.name: known_share(model.record, unknown[model.name]) for model in read},
        min_known=min_known,
    )


def _catalogs(given: CatalogsConfig, source: SourceConfig) -> CatalogsConfig:
    """Return where catalogues are: as configured, or else those that belong to the source, or none."""
    if given.kind != "folder" or given.path is not None:
        return given
    if source.kind == "survey":
        return replace(given, path=source.path)
    return replace(given, kind="kowalski" if source.kind == "kowalski" else "none")
