"""How sources on Fritz should be: records that say what is wanted of each, in every particular, and nothing of how.

Whoever changes Fritz writes these; `looking`, `planning` and `carrying` bring it about. Votes, labels and groups stand in
them explicitly, since the service decides for itself where a request is silent. May import core, errors and, for types,
the calls beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scope_ml.core.provenance import digest_json
from scope_ml.errors import DataError

if TYPE_CHECKING:
    from scope_ml.services.fritz.comments import Attachment
    from scope_ml.services.fritz.photometry import NewPhotometry

__all__ = ["AnnotationMode", "Wanted", "WantedAnnotation", "WantedClass", "WantedComment", "digest_of"]

#: What is done with the key of an annotation, see `WantedAnnotation`.
AnnotationMode = Literal["set", "new", "change", "add", "once", "drop"]

#: Largest right ascension and declination [deg].
FULL_CIRCLE, POLE = 360.0, 90.0


@dataclass(frozen=True, kw_only=True)
class WantedClass:
    """One classification that a source should have, once.

    Attributes
    ----------
    classification, taxonomy_id
        Name of a node of the taxonomy with this id on the service.
    probability
        In [0, 1]; None: none is given.
    origin
        Where it comes from.
    ml
        Whether a machine made it.
    vote, label
        Whether the poster votes for it, and labels the source, by posting it.

    Raises
    ------
    DataError
        If there is no name, or the probability is none.
    """

    classification: str
    taxonomy_id: int
    probability: float | None = None
    origin: str = "SCoPe"
    ml: bool = True
    vote: bool = False
    label: bool = False

    def __post_init__(self) -> None:
        if not self.classification:
            raise DataError("a classification has no name; give a class of the taxonomy")
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise DataError(
                f"probability {self.probability!r} of {self.classification} is not in [0, 1]; correct it, or leave the"
                " class out"
            )


@dataclass(frozen=True, kw_only=True)
class WantedAnnotation:
    """One key of an annotation.

    Attributes
    ----------
    origin
        Of the annotation; a source has one of each origin.
    key, value
        What should stand in it.
    mode
        ``set``: the key has this value, the other keys of the origin stay. ``new``: the same, but a key that has another
        value is left and the source refused. ``change``: only where the origin is there. ``add``: the value stands under
        `key`, ``key_2``, ``key_3``, ..., wherever there is room. ``once``: only where the origin is not there yet.
        ``drop``: the key is not there; the annotation goes when it was the last key.

    Raises
    ------
    DataError
        If origin or key are none that the service takes, or the value is a number that JSON cannot say.
    """

    origin: str
    key: str
    value: Any = None
    mode: AnnotationMode = "set"

    def __post_init__(self) -> None:
        if not self.origin or not (self.origin[0].isalnum() or self.origin[0] == "_"):
            raise DataError(f"origin {self.origin!r} does not begin with a letter, a digit or _, which Fritz refuses")
        if not self.key:
            raise DataError(f"a value for {self.origin} has no key; name one")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise DataError(f"the value {self.value} of {self.origin}.{self.key} is not finite; leave the row out")


@dataclass(frozen=True, kw_only=True)
class WantedComment:
    """One comment, posted where the same text is not there yet.

    Attributes
    ----------
    text
        What it says; ``{obj_id}`` stands for the name of the source, which may be unknown yet (`text_of`).
    attachment
        Makes the file that hangs on it, of the name of the source, when it is posted; None: there is none.
    """

    text: str
    attachment: Callable[[str], Attachment] | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise DataError("a comment has no text; write one")

    def text_of(self, obj_id: str) -> str:
        """Return what it says of the source of this name."""
        return self.text.replace("{obj_id}", obj_id)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How one source should be.

    Attributes
    ----------
    key
        What the user calls it, such as the row of a table; in plan, receipt and messages.
    obj_id
        Its name on the service; None: it is looked for by position, and named after that if it is not there.
    ra, dec
        [deg]; None where it is looked for by name and need not be made.
    group_ids
        Groups that should have it; classifications, comments, photometry and new annotations are shown to them. Empty only
        where none of these is wanted, but annotations that are there changed.
    classifications, annotations, comments
        What should be there.
    photometry
        Makes the points that should be there, when they are needed; None, or what makes None: no points are wanted. An
        error of ours in it fails this source alone.
    survey_id
        Its id in a survey, for `Rules.match_origin`.
    not_made
        Why it may not be made where it is not there; "": it may.

    Raises
    ------
    DataError
        If it is no place on the sky, or two things that are wanted of it contradict one another.
    """

    key: str
    obj_id: str | None = None
    ra: float | None = None
    dec: float | None = None
    group_ids: tuple[int, ...] = ()
    classifications: tuple[WantedClass, ...] = ()
    annotations: tuple[WantedAnnotation, ...] = ()
    comments: tuple[WantedComment, ...] = ()
    photometry: Callable[[], NewPhotometry | None] | None = None
    survey_id: str | int | None = None
    not_made: str = ""

    def __post_init__(self) -> None:
        if self.obj_id is None and (self.ra is None or self.dec is None):
            raise DataError(f"{self.key} has neither a name nor a position; give obj_id, or ra and dec")
        for name, value, low, high in (("ra", self.ra, 0.0, FULL_CIRCLE), ("dec", self.dec, -POLE, POLE)):
            if value is not None and not low <= value <= high:
                raise DataError(
                    f"{self.key}: {name}={value} is no place on the sky; give degrees in [{low:g}, {high:g}]"
                )
        if self.ra == FULL_CIRCLE:
            object.__setattr__(self, "ra", 0.0)
        if (self.classifications or self.comments or self.photometry) and not self.group_ids:
            raise DataError(f"{self.key}: what is posted needs groups to be shown to; give groups")
        twice = (
            _repeated((one.classification, one.taxonomy_id, one.origin) for one in self.classifications)
            or _repeated((one.origin, one.key) for one in self.annotations if one.mode != "add")
            or _repeated(one.text for one in self.comments)
        )
        if twice is not None:
            raise DataError(f"{self.key}: {twice} is wanted twice; leave one out")


def digest_of(wanted: Sequence[Wanted], rules: Any) -> str:
    """Return the hex digest of all that is wanted and of the `rules` (JSON-able); what photometry makes counts as there or not."""
    digest = digest_json(rules)
    for one in wanted:
        digest = digest_json([digest, _plain(one)])
    return digest


def _plain(one: Wanted) -> list[Any]:
    return [
        one.key,
        one.obj_id,
        one.ra,
        one.dec,
        sorted(one.group_ids),
        [
            [c.classification, c.taxonomy_id, c.probability, c.origin, c.ml, c.vote, c.label]
            for c in one.classifications
        ],
        [[a.origin, a.key, a.value, a.mode] for a in one.annotations],
        [[c.text, c.attachment is not None] for c in one.comments],
        one.photometry is not None,
        one.survey_id,
        one.not_made,
    ]


def _repeated(names: Iterable[Any]) -> Any:
    """Return the first that comes a second time, None if none does."""
    seen = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
