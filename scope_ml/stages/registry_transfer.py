"""`registry export` and `import`: a set of models from one registry to another, a laptop's to a server's or back.

An import checks every digest before it registers anything, keeps each bundle as `register` would, and does nothing
twice: one that was interrupted goes on when the same command is typed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from scope_ml.core.protocols import Progress
from scope_ml.errors import ConfigError, ModelNotFoundError
from scope_ml.stages.model_runs import ensure_logged
from scope_ml.tracking.promotion import Policy
from scope_ml.tracking.registry import Registration, Registry
from scope_ml.tracking.registry_history import ELSEWHERE_TAG, merged_history
from scope_ml.tracking.resolve import RegistryView, whole_bundle
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.tracker import Tracker, open_tracker
from scope_ml.tracking.transfer import Parcel, Parcelled

__all__ = ["import_models", "import_policy", "parcels"]

#: Parent run of the runs that an import makes.
SWEEP = "import"


def parcels(view: RegistryView, names: Sequence[str], alias: str, progress: Progress) -> list[Parcel]:
    """Return what is to be exported: of each model the version with `alias`.

    Raises
    ------
    ModelNotFoundError
        If no model has the alias, or the files of one are gone.
    ModelError
        If the files of one are not the ones that were registered.
    """
    found = []
    progress.start("reading models", len(names))
    for name in names:
        versions = view.versions(name)
        for version in versions:
            if alias in version.aliases:
                history = merged_history(one.history for one in versions)
                found.append(Parcel(version=version, record=whole_bundle(view, version), history=history, alias=alias))
        progress.advance()
    progress.finish()
    if not found:
        raise ModelNotFoundError(
            f"no model has the alias {alias}; type python -m scope_ml.registry list, or give alias=..."
        )
    return found


def import_policy(promote: bool | None) -> Policy:
    """Return what becomes of imported versions: champions, nothing, or champions where there is none or they are better."""
    return "compare" if promote is None else "always" if promote else "never"


def import_models(
    models: Sequence[Parcelled],
    tracking: TrackingConfig,
    policy: Policy,
    *,
    by: str | None,
    progress: Progress,
) -> tuple[list[Registration], int]:
    """Register models and return what became of each, and how many runs were made.

    Raises
    ------
    ConfigError
        If tracking is off.
    ServiceError
        If the registry does not answer; the models before are registered.
    """
    if not tracking.enabled:
        raise ConfigError("there is no registry to import into with tracking=off; give tracking=local", key="tracking")
    tracker = open_tracker(tracking)
    tracker.sweep(SWEEP, len(models))
    progress.start("importing models", len(models))
    done: list[Registration] = []
    n_runs = 0
    try:
        for model in models:
            registration, is_new_run = _import_one(tracker, model, policy, by=by)
            done.append(registration)
            n_runs += is_new_run
            progress.advance()
    finally:
        progress.finish()
        tracker.close()
    return done, n_runs


def _import_one(tracker: Tracker, model: Parcelled, policy: Policy, *, by: str | None) -> tuple[Registration, bool]:
    registry = tracker.registry()
    logged, is_new_run = ensure_logged(tracker, model.record, plots=False)
    if registry is None or logged is None:
        raise ConfigError("there is no registry to import into with tracking=off; give tracking=local", key="tracking")
    registration = registry.register(model.record, logged, policy, how="import", by=by)
    _keep_history(registry, registration, model.history)
    return registration, is_new_run


def _keep_history(registry: Registry, registration: Registration, history: str) -> None:
    if registry.tags(registration.version).get(ELSEWHERE_TAG) != history:
        registry.tag(registration.version, ELSEWHERE_TAG, history)
