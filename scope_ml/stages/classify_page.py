"""The page of `classify`: what stands at its top and end, around the views of the stars.

May import reporting, models and what lies below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scope_ml.core.provenance import code_version, git_commit
from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.star_page import ModelLine, StarPage, StarView, render_star_page
from scope_ml.stages.classify_models import KnownShare, NeededModel
from scope_ml.stages.classify_tables import Outcome

__all__ = ["write_star_page"]

#: Digits of a digest that are shown.
SHOWN_DIGITS = 16


def write_star_page(
    path: Path,
    stars: Sequence[StarView],
    *,
    outcome: Outcome,
    models: Sequence[NeededModel],
    shares: Mapping[str, KnownShare],
    in_doubt: Sequence[str],
    notes: Sequence[str],
    provenance: Sequence[tuple[str, str]],
) -> None:
    """Write the page.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    n_stars = sum(outcome.stars.values())
    n_lost = sum(count is not None for count in outcome.unscored["n_obs_raw"].to_pylist())
    title = stars[0].name if len(stars) == n_stars == 1 else f"{n_stars} stars"
    page = StarPage(
        title=title,
        subtitle="Light curves, periods and classes of what was asked for.",
        facts=(
            ("stars asked for", n_stars),
            ("with scores", outcome.stars["scored"]),
            ("light curves scored", outcome.scores.num_rows),
            ("light curves dropped", n_lost),
            ("stars not found", outcome.stars["not_found"]),
        ),
        notes=tuple(f"{line[0].upper()}{line[1:]}." for line in notes),
        stars=tuple(stars),
        n_more=n_stars - len(stars),
        models=tuple(_line(model, shares[model.name], model.name in in_doubt) for model in models),
        provenance=(
            ("scope_ml", code_version()),
            ("commit", git_commit()),
            *((f"input {one.name}", one.digest[:SHOWN_DIGITS]) for one in outcome.metadata.inputs),
            *((f"model {model.name}", model.chosen.pin.digest[:SHOWN_DIGITS]) for model in models),
            *provenance,
        ),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(render_star_page(page), encoding="utf-8")


def _line(model: NeededModel, share: KnownShare, doubtful: bool) -> ModelLine:
    version = model.chosen.pin.version
    return ModelLine(
        name=model.name,
        version="" if version is None else str(version),
        threshold=model.record.threshold,
        n_features=share.n_features,
        n_unknown=share.n_unknown,
        known_share=share.share,
        in_doubt=doubtful,
    )
