"""What has to be done for a source to be as it is wanted, given what was seen of it: steps, and nothing but steps.

`plan` is a pure function, so that planning again after any interruption gives just what is still to be done; where nothing
is, it gives no steps. May import core, errors and the rooms beside it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scope_ml.services.fritz.looking import NOT_THERE, Seen, slug
from scope_ml.services.fritz.records import Annotation, Classification, Source
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.wanted import Wanted, WantedAnnotation, WantedClass, WantedComment

__all__ = [
    "KINDS",
    "Kind",
    "SourcePlan",
    "Step",
    "changed",
    "class_name",
    "comment_name",
    "conflict",
    "is_exactly",
    "plan",
    "second_copies",
    "why_not",
]

Kind = Literal["create", "save", "photometry", "annotate", "comment", "classify", "delete"]

#: In the order in which they are taken: what is new stands before what is old goes.
KINDS: tuple[Kind, ...] = ("create", "save", "photometry", "annotate", "comment", "classify", "delete")

#: Most of a comment's text that names it.
TEXT_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change.

    Attributes
    ----------
    kind, what
        What is done, and to what: together the step's name within its source.
    detail
        Its values, to be read.
    group_ids
        Groups that it is for.
    remote_id
        Classification that goes, or annotation that is changed.
    author
        Whose classification goes.
    classification, annotation, comment
        What is wanted.
    """

    kind: Kind
    what: str
    detail: str = ""
    group_ids: tuple[int, ...] = ()
    remote_id: int | None = None
    author: str = ""
    classification: WantedClass | None = None
    annotation: WantedAnnotation | None = None
    comment: WantedComment | None = None

    @property
    def name(self) -> tuple[str, str]:
        """Return what tells it from the other steps of its source."""
        return self.kind, self.what


@dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """The steps of one source, in order.

    Attributes
    ----------
    obj_id
        The source.
    steps
        What to do; none: it is as wanted.
    refused
        Why nothing may be done.
    left
        What is left as it is: the wanted change has nothing to change, or a class is there with another probability; one
        line each.
    unmet
        By `Step.name`, why something wanted is not so and no step makes it so: what it would change is not there.
    """

    obj_id: str
    steps: tuple[Step, ...] = ()
    refused: str = ""
    left: tuple[str, ...] = ()
    unmet: Mapping[tuple[str, str], str] = field(default_factory=dict)


def plan(wanted: Wanted, seen: Seen, rules: Rules, *, me: str = "") -> SourcePlan:
    """Return what has to be done.

    Parameters
    ----------
    wanted, seen, rules
        How it should be, how it is, what may be done.
    me
        `looking.own_name`; needed for ``replace=origin`` alone.
    """
    refused = seen.refused or why_not(wanted, seen)
    if refused:
        return SourcePlan(obj_id=seen.obj_id, refused=refused)
    source = seen.source
    if source is None and wanted.not_made:
        return SourcePlan(obj_id=seen.obj_id, left=(f"{NOT_THERE}, and is not made: {wanted.not_made}",))
    steps = [*_presence(wanted, seen, rules), *_photometry(wanted, seen)]
    annotations = () if source is None else source.annotations
    left, unmet = [], {}
    for one in wanted.annotations:
        there = _of_origin(annotations, one.origin)
        if one.mode in ("change", "drop") and there is None:
            left.append(f"has no annotation of {one.origin}")
            if one.mode == "change":
                unmet["annotate", f"{one.origin}.{one.key}"] = left[-1]
        elif changed(there, (one,)) is not None:
            steps.append(
                Step(
                    kind="annotate",
                    what=f"{one.origin}.{one.key}",
                    detail="taken away" if one.mode == "drop" else f"{one.value!r}",
                    group_ids=wanted.group_ids,
                    remote_id=None if there is None else there.id,
                    annotation=one,
                )
            )
    steps += _comments(wanted, seen)
    deleted = () if source is None else _to_delete(wanted, source, rules, me)
    gone = {one.id for one in deleted}
    staying = [one for one in (() if source is None else source.classifications) if one.id not in gone]
    steps += _classes(wanted, staying, rules)
    steps += [_deletion(one, "replaced") for one in deleted]
    left += _differing(wanted, staying, rules)
    return SourcePlan(obj_id=seen.obj_id, steps=tuple(steps), left=tuple(left), unmet=unmet)


def why_not(wanted: Wanted, seen: Seen) -> str:
    """Return why a source may not be changed at all though it is there, "" where it may."""
    annotations = () if seen.source is None else seen.source.annotations
    whys = (conflict(_of_origin(annotations, one.origin), one) for one in wanted.annotations)
    return next((why for why in whys if why), "")


def conflict(there: Annotation | None, wanted: WantedAnnotation) -> str:
    """Return why a key may not be given its value, "" where it may."""
    if wanted.mode != "new" or there is None or wanted.key not in there.data:
        return ""
    value = there.data[wanted.key]
    if _equal(value, wanted.value):
        return ""
    return f"{wanted.origin}.{wanted.key} is {value!r} already, not {wanted.value!r}; update would change it"


def changed(there: Annotation | None, wanted: Iterable[WantedAnnotation]) -> dict[str, Any] | None:
    """Return the whole content that an annotation should have; empty: it should go; None: it is as wanted.

    Parameters
    ----------
    there
        What it is; None: there is none of the origin.
    wanted
        What is wanted of this origin.
    """
    before: Mapping[str, Any] = {} if there is None else there.data
    data = dict(before)
    for one in wanted:
        if one.mode == "drop":
            data.pop(one.key, None)
        elif one.mode == "add":
            _add(data, one)
        elif (one.mode == "once" and there is not None) or (one.mode == "change" and there is None):
            continue
        elif one.key not in data or not _equal(data[one.key], one.value):
            data[one.key] = one.value
    same = data.keys() == before.keys() and all(_equal(before[key], value) for key, value in data.items())
    return None if same else data


def is_exactly(there: Classification, wanted: WantedClass) -> bool:
    """Return whether a classification has all the values that are wanted, whatever its groups."""
    return (there.classification, there.taxonomy_id, there.origin, there.ml) == (
        wanted.classification,
        wanted.taxonomy_id,
        wanted.origin,
        wanted.ml,
    ) and _is_probability(there.probability, wanted.probability)


def second_copies(wanted: Wanted, source: Source, asked: Mapping[str, tuple[Collection[int], int]]) -> list[Step]:
    """Return the steps that take away what a request of ours that had no answer stored besides the one that had.

    Parameters
    ----------
    asked
        By `Step.what` of a class that was asked for at least once without an answer: the classifications that the source
        had before, and how often it was asked for.
    """
    steps: list[Step] = []
    for one in wanted.classifications:
        known, times = asked.get(class_name(one), ((), 0))
        copies = [there for there in source.classifications if is_exactly(there, one) and there.id not in known]
        covered: set[int] = set()
        authors = {there.author_id for there in copies}
        for there in sorted(copies, key=lambda copy: copy.id):
            if covered and covered.issuperset(there.group_ids) and len(authors) == 1 and times > 1:
                steps.append(_deletion(there, "second copy"))
            covered.update(there.group_ids)
    return steps


def class_name(one: WantedClass) -> str:
    """Return what a step calls a class."""
    return f"{one.classification} (taxonomy {one.taxonomy_id}, {one.origin})"


def comment_name(text: str) -> str:
    """Return what a step calls a comment."""
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."


def _presence(wanted: Wanted, seen: Seen, rules: Rules) -> list[Step]:
    if seen.source is None:
        return [
            Step(
                kind="create",
                what=seen.obj_id,
                detail=f"ra={wanted.ra} dec={wanted.dec} groups {_listed(wanted.group_ids)}",
                group_ids=wanted.group_ids,
            )
        ]
    missing = tuple(one for one in wanted.group_ids if one not in seen.source.group_ids)
    if not rules.save or not missing:
        return []
    return [Step(kind="save", what="groups", detail=_listed(missing), group_ids=missing)]


def _photometry(wanted: Wanted, seen: Seen) -> list[Step]:
    if seen.photometry is None and not seen.photometry_unknown:
        return []
    detail = "" if seen.photometry is None else f"{len(seen.photometry)} points"
    return [Step(kind="photometry", what="points", detail=detail, group_ids=wanted.group_ids)]


def _comments(wanted: Wanted, seen: Seen) -> list[Step]:
    there = {one.text.strip() for one in seen.comments}
    return [
        Step(
            kind="comment",
            what=comment_name(one.text_of(seen.obj_id)),
            detail="" if one.attachment is None else "with a file",
            group_ids=wanted.group_ids,
            comment=one,
        )
        for one in wanted.comments
        if one.text_of(seen.obj_id).strip() not in there
    ]


def _classes(wanted: Wanted, staying: Sequence[Classification], rules: Rules) -> list[Step]:
    steps = []
    for one in wanted.classifications:
        missing = _uncovered(one, staying, wanted.group_ids, rules)
        if missing:
            probability = "" if one.probability is None else f"{one.probability!r} "
            steps.append(
                Step(
                    kind="classify",
                    what=class_name(one),
                    detail=f"{probability}for groups {_listed(missing)}",
                    group_ids=missing,
                    classification=one,
                )
            )
    return steps


def _same(one: WantedClass, there: Iterable[Classification], rules: Rules) -> list[Classification]:
    return [
        each
        for each in there
        if (each.classification, each.taxonomy_id) == (one.classification, one.taxonomy_id)
        and (rules.same == "class" or each.origin == one.origin)
    ]


def _differing(wanted: Wanted, staying: Sequence[Classification], rules: Rules) -> list[str]:
    """Return what is to be said of classes that the groups have already, with another probability than is wanted."""
    lines = []
    for one in wanted.classifications:
        same = [
            each
            for each in _same(one, staying, rules)
            if not each.group_ids or not set(wanted.group_ids).isdisjoint(each.group_ids)
        ]
        if same and not any(_is_probability(each.probability, one.probability) for each in same):
            stands = f"{same[0].probability!r} of {same[0].author_name or 'unknown authors'}"
            lines.append(f"{one.classification} stands there with {stands}, not {one.probability!r}")
    return lines


def _uncovered(
    one: WantedClass, there: Sequence[Classification], group_ids: Sequence[int], rules: Rules
) -> tuple[int, ...]:
    """Return the groups that do not see the class yet; one without groups counts for all."""
    same = _same(one, there, rules)
    if any(not each.group_ids for each in same):
        return ()
    covered = {group for each in same for group in each.group_ids}
    return tuple(group for group in group_ids if group not in covered)


def _to_delete(wanted: Wanted, source: Source, rules: Rules, me: str) -> tuple[Classification, ...]:
    """Return what is in scope and not exactly what is wanted, and further copies of what is."""
    if rules.replace == "none" or not wanted.classifications:
        return ()
    origins = {one.origin for one in wanted.classifications}
    covered: dict[int, set[int]] = {}
    gone = []
    for there in sorted(source.classifications, key=lambda one: one.id):
        shared = not there.group_ids or not set(wanted.group_ids).isdisjoint(there.group_ids)
        ours = there.origin in origins and slug(there.author_name) == me
        if not shared or not (rules.replace == "all" or ours):
            continue
        number = next((at for at, one in enumerate(wanted.classifications) if is_exactly(there, one)), None)
        if number is None:
            gone.append(there)
            continue
        seen_by = covered.setdefault(number, set())
        useful = set(there.group_ids).intersection(wanted.group_ids) - seen_by
        if useful or not seen_by:
            seen_by.update(there.group_ids)
        else:
            gone.append(there)
    return tuple(gone)


def _deletion(one: Classification, why: str) -> Step:
    probability = "" if one.probability is None else f" {one.probability!r}"
    whose = f"of {one.author_name}" if one.author_name else "of unknown authors"
    origin = f", {one.origin}" if one.origin else ""
    return Step(
        kind="delete",
        what=f"{one.id}",
        detail=f"{why}: {one.classification}{probability} {whose}{origin}",
        group_ids=one.group_ids,
        remote_id=one.id,
        author=one.author_name,
    )


def _is_probability(there: float | None, wanted: float | None) -> bool:
    if there is None or wanted is None:
        return there is wanted
    return math.isclose(there, wanted, rel_tol=1e-9)


def _of_origin(annotations: Iterable[Annotation], origin: str) -> Annotation | None:
    return next((one for one in annotations if one.origin == origin), None)


def _add(data: dict[str, Any], one: WantedAnnotation) -> None:
    """Put a value under the first free of ``key``, ``key_2``, ..., unless it stands somewhere."""
    if any(str(value) == str(one.value) for value in data.values()):
        return
    key, number = one.key, 1
    while key in data:
        number += 1
        key = f"{one.key}_{number}"
    data[key] = one.value


def _equal(first: Any, second: Any) -> bool:
    """Return whether two values are the same to JSON: 1 and 1.0 are, 1 and true are not."""
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)


def _listed(group_ids: Iterable[int]) -> str:
    return ", ".join(map(str, group_ids))
