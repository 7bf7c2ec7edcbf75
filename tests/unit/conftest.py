"""A Kowalski without HTTP: documents in memory, in no order, asked as `services.kowalski.client.Asks` is."""

from __future__ import annotations

import json
from collections import Counter
from threading import Lock

import pytest

from scope_ml.errors import QueryRefusedError

#: What comparisons of filters mean.
COMPARISONS = {
    "$eq": lambda value, bound: value == bound,
    "$gte": lambda value, bound: value is not None and value >= bound,
    "$gt": lambda value, bound: value is not None and value > bound,
    "$lt": lambda value, bound: value is not None and value < bound,
}


def source_documents(field, ccd, quad, n, *, nobs=50):
    """Documents of a quadrant as ZTF numbers them, the last first; `nobs` counts up from the given number."""
    first = 10**13 + field * 10**9 + ((ccd - 1) * 4 + quad - 1) * 10**7 + 10**6
    place = {"field": field, "ccd": ccd, "quad": quad, "filter": 1}
    return [
        {"_id": first + 3 * i, "ra": 10.0 + i / 100, "dec": -5.0, **place, "nobs": nobs + i, "n": nobs + i}
        for i in reversed(range(n))
    ]


class MemoryKowalski:
    """Answers `find`, `count_documents` and `aggregate`; `fault(query)` is called before each and may raise.

    Attributes
    ----------
    documents
        Of the one catalogue.
    queries
        All that were asked.
    """

    def __init__(self, documents, *, catalog="ZTF_sources_20240117", groups=True, fault=lambda query: None):
        self.documents, self.catalog, self.groups, self.fault = documents, catalog, groups, fault
        self.queries = []
        self.edition = "1"
        self._lock = Lock()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def version(self, catalog):
        assert catalog == self.catalog
        return f"{catalog}-{self.edition}"

    def ask(self, query, *, catalog):
        assert catalog == self.catalog == query["query"]["catalog"]
        with self._lock:
            self.queries.append(json.loads(json.dumps(query)))
        self.fault(query)
        data = getattr(self, f"_{query['query_type']}")(query["query"], query.get("kwargs", {}))
        return json.dumps({"status": "success", "message": "", "data": data}).encode()

    def kinds(self):
        """How many queries there were of each type."""
        return Counter(query["query_type"] for query in self.queries)

    def _matching(self, wanted):
        def fits(document, name, condition):
            bounds = condition if isinstance(condition, dict) else {"$eq": condition}
            return all(COMPARISONS[word](document.get(name), bound) for word, bound in bounds.items())

        return [one for one in self.documents if all(fits(one, name, rule) for name, rule in wanted.items())]

    def _find(self, query, kwargs):
        found = self._matching(query["filter"])
        for name, _ in kwargs.get("sort", []):
            found.sort(key=lambda one: one[name])
        found = found[kwargs.get("skip", 0) :][: kwargs.get("limit") or None]
        names = query.get("projection")
        return [{name: one[name] for name in one if not names or name in names} for one in found]

    def _count_documents(self, query, kwargs):
        return len(self._matching(query["filter"]))

    def _aggregate(self, query, kwargs):
        if not self.groups:
            raise QueryRefusedError("no groups here")
        match, group = query["pipeline"]
        assert group["$group"] == {"_id": {"ccd": "$ccd", "quad": "$quad"}, "n": {"$sum": 1}}
        counts = Counter((one["ccd"], one["quad"]) for one in self._matching(match["$match"]))
        return [{"_id": {"ccd": ccd, "quad": quad}, "n": n} for (ccd, quad), n in counts.items()]


@pytest.fixture(scope="session")
def memory_kowalski():
    """The class of a Kowalski in memory."""
    return MemoryKowalski


@pytest.fixture(scope="session")
def quadrant_documents():
    """Makes the documents of a quadrant."""
    return source_documents
