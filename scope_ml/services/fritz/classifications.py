"""Classifications of a source on Fritz: read, post, delete. The service keeps every copy that is posted.

May import errors and the rooms beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_ml.errors import DataError, NotFoundError, QueryRefusedError, UnsureError
from scope_ml.services.fritz.checks import group_list
from scope_ml.services.fritz.client import Fritz
from scope_ml.services.fritz.paths import api_path
from scope_ml.services.fritz.records import Classification, rows_of

__all__ = ["NewClassification", "classifications_of", "delete_classification", "post_classifications"]

#: The service's words for one that is not there.
NOT_THERE = "cannot find a classification"


@dataclass(frozen=True, kw_only=True)
class NewClassification:
    """A class for a source; all of it stands in the request, since the service's own choices are others.

    Attributes
    ----------
    obj_id, classification, taxonomy_id
        Which source, which class, by which taxonomy.
    probability
        0 to 1, or None.
    origin
        What it comes from.
    ml
        Whether a machine gives it.
    vote
        Vote for it too (the service would).
    label
        Mark the source as looked at, in each group (the service would).
    group_ids
        Who sees it.

    Raises
    ------
    DataError
        If the probability is none, or there is no group.
    """

    obj_id: str
    classification: str
    taxonomy_id: int
    probability: float | None
    origin: str
    ml: bool
    vote: bool
    label: bool
    group_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise DataError(f"{self.obj_id}: {self.classification}={self.probability!r} is no probability from 0 to 1")
        group_list(self.group_ids)

    @property
    def body(self) -> dict[str, Any]:
        """Return it as a request has it."""
        return {
            "obj_id": self.obj_id,
            "classification": self.classification,
            "taxonomy_id": int(self.taxonomy_id),
            "probability": None if self.probability is None else float(self.probability),
            "origin": self.origin,
            "ml": bool(self.ml),
            "vote": bool(self.vote),
            "label": bool(self.label),
            "group_ids": group_list(self.group_ids),
        }


def classifications_of(fritz: Fritz, obj_id: str) -> tuple[Classification, ...]:
    """Return the classifications of a source that the token's user sees; none where there is no such source.

    Raises
    ------
    ServiceError
        As `client.FritzClient.get`.
    """
    rows = rows_of(fritz.get(api_path("sources", obj_id, "classifications")), "classifications")
    return tuple(Classification.from_json({"obj_id": obj_id} | dict(row)) for row in rows)


def post_classifications(fritz: Fritz, several: Sequence[NewClassification]) -> tuple[int, ...]:
    """Post classifications in one request; return their ids in the same order.

    Raises
    ------
    QueryRefusedError
        If the service refuses one of them: those before it are stored, those after it are not, and it does not say which.
    UnsureError
        If nobody knows which were stored.
    ServiceError
        As `client.FritzClient.change`.
    """
    if not several:
        return ()
    data = fritz.change("POST", api_path("classification"), {"classifications": [one.body for one in several]})
    ids = data.get("classification_ids") if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or len(ids) != len(several) or not all(isinstance(one, int) for one in ids):
        raise UnsureError(
            f"Fritz does not give {len(several)} ids for as many classifications; look before posting again"
        )
    return tuple(ids)


def delete_classification(fritz: Fritz, classification_id: int, *, label: bool) -> None:
    """Delete a classification; with `label` the source is marked as looked at.

    Raises
    ------
    NotFoundError
        If it is not there (any more).
    ServiceError
        As `client.FritzClient.change`.
    """
    try:
        fritz.change("DELETE", api_path("classification", int(classification_id)), {"label": bool(label)})
    except QueryRefusedError as error:
        if NOT_THERE in str(error).lower():
            raise NotFoundError(str(error)) from None
        raise
