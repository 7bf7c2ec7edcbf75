"""What the pages of a catalogue show beside the catalogue itself, as plain frozen records.

The stage fills them; no file format, model or registry is known here. May import `selection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scope_ml.selection.sampling import DEFAULT_THRESHOLD
from scope_ml.selection.star_columns import StarColumn

__all__ = ["CatalogueFacts", "CatalogueModel", "FieldCounts", "KnownCatalogue"]


@dataclass(frozen=True, kw_only=True)
class CatalogueModel:
    """One model that scored, as pinned; `threshold` is NaN and the texts are empty where not known."""

    tag: str
    algorithm: str
    name: str = ""
    version: str = ""
    digest: str = ""
    threshold: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class FieldCounts:
    """One field of the catalogue, as in ``fields.json``; None where not known."""

    field: int
    n_light_curves: int | None = None
    n_quadrants: int | None = None
    n_stars: int | None = None


@dataclass(frozen=True, kw_only=True)
class CatalogueFacts:
    """What the stage that made a catalogue knows of it, and its columns do not say.

    Attributes
    ----------
    thresholds
        Score from which on a star counts as of a class: of the column ``<tag>`` by tag, of ``<tag>_<algorithm>`` by
        that name. What is not there is looked for in `models`, and is `DEFAULT_THRESHOLD` in the end.
    models
        What scored.
    n_light_curves
        Light curves read; None where not known.
    dropped
        Light curves that are in no star, by reason.
    counts
        Further counts that are shown: words -> number.
    fields
        Counts of the fields.
    columns
        What the columns mean, as `selection.star_columns` returns them; those that are not there are listed by name.
    files
        Other files of the release, beside the catalogue: name -> what it is.
    provenance
        Rows of the last table: what -> value, such as digests and versions.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    models: tuple[CatalogueModel, ...] = ()
    n_light_curves: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    fields: tuple[FieldCounts, ...] = ()
    columns: tuple[StarColumn, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def threshold(self, tag: str, algorithm: str = "") -> float:
        """Return the score from which on a star counts as of a class, of one algorithm or ("") of all together."""
        name = f"{tag}_{algorithm}" if algorithm else tag
        if name in self.thresholds:
            return self.thresholds[name]
        known = [
            one.threshold
            for one in self.models
            if one.tag == tag and algorithm in ("", one.algorithm) and one.threshold == one.threshold
        ]
        return sum(known) / len(known) if known else DEFAULT_THRESHOLD


@dataclass(frozen=True, kw_only=True)
class KnownCatalogue:
    """A catalogue's folder, and what is known of it; the folder may still be under a temporary name."""

    path: Path
    facts: CatalogueFacts = CatalogueFacts()
