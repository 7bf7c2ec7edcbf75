"""A Kowalski without HTTP (documents in memory, in no order, asked as `services.kowalski.client.Asks` is), catalogues of stars."""

from __future__ import annotations

import json
from collections import Counter
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.errors import QueryRefusedError
from scope_ml.io.healpix import finest_cells

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


class StarCatalogueWriter:
    """Writes catalogues of stars in the layout of HATS, of any partitions, without the stage that makes real ones."""

    #: What a star has where a test says nothing of it.
    DEFAULTS = {
        "bands": ["g"],
        "fields": [296],
        "period": None,
        "n_conflicts": 0,
        "confident_classes": [],
        "crowded": False,
        "wide": False,
        "no_survey_id": False,
    }
    TYPES = {
        "name": pa.string(),
        "ra": pa.float64(),
        "dec": pa.float64(),
        "n_light_curves": pa.int32(),
        "bands": pa.list_(pa.string()),
        "fields": pa.list_(pa.int32()),
        "ids": pa.list_(pa.int64()),
        "period": pa.float64(),
        "n_conflicts": pa.int32(),
        "confident_classes": pa.list_(pa.string()),
        "crowded": pa.bool_(),
        "wide": pa.bool_(),
        "no_survey_id": pa.bool_(),
    }

    def __call__(self, folder, stars, *, order=1, scores=(), types=None, without=()):
        """Write the stars (a mapping each: name, ra, dec, ids, scores, ...) into cells of one order, or of `order(base cell)`."""
        types = {**self.TYPES, **dict.fromkeys(scores, pa.float32()), **(types or {})}
        full = [
            {
                **self.DEFAULTS,
                **dict.fromkeys(scores),
                "n_light_curves": len(star["ids"]),
                "name": f"star{star['ids'][:1]}",
                **star,
            }
            for star in stars
        ]
        cells = finest_cells(*(np.array([star[name] for star in full], dtype=float) for name in ("ra", "dec")))
        types = {name: dtype for name, dtype in types.items() if name not in without}
        parts = {}
        for star, cell in sorted(zip(full, cells.tolist(), strict=True), key=lambda pair: pair[1]):
            of = order(cell >> 2 * 29) if callable(order) else order
            parts.setdefault((of, cell >> 2 * (29 - of)), []).append({"_healpix_29": cell, **star})
        schema = pa.schema({"_healpix_29": pa.int64(), **types})
        (folder / "dataset").mkdir(parents=True)
        pq.write_metadata(schema, folder / "dataset" / "_common_metadata")
        for (of, pixel), rows in parts.items():
            path = folder / "dataset" / f"Norder={of}" / f"Dir={pixel // 10_000 * 10_000}" / f"Npix={pixel}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = {field.name: pa.array([row[field.name] for row in rows], field.type) for field in schema}
            pq.write_table(pa.table(columns, schema=schema), path)
        return folder


@pytest.fixture(scope="session")
def write_stars():
    return StarCatalogueWriter()
