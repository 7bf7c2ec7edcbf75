"""DataCite metadata: what is mandatory is asked for, what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.errors import ConfigError
from scope_ml.stages.release_publication import Publication, citation, datacite

#: DataCite 4.5: what has to be there, beside the DOI.
MANDATORY = {"creators", "titles", "publisher", "publicationYear", "types", "schemaVersion"}

VALUES: dict[str, Any] = {
    "title": "A catalogue",
    "description": "Stars.",
    "creators": [
        {"name": "Carberry, Josiah", "orcid": "0000-0002-1825-0097", "affiliations": ["Brown University"]},
        {"name": "The collaboration", "organization": True},
    ],
    "year": 2026,
    "version": "v1.2.0",
    "doi": "10.5281/zenodo.8410825",
    "subjects": ["stars", "stars"],
    "related": [{"identifier": "arXiv:2312.00143", "type": "arXiv", "relation": "IsDescribedBy"}],
    "funding": [{"funder": "NSF", "award": "2117997"}],
}


def made(**changes: Any) -> Publication:
    publication = build(Publication, VALUES | changes)
    publication.check()
    return publication


def test_the_record_has_what_datacite_wants() -> None:
    record = datacite(made(), sizes={"a.zip": 10, "b.csv": 5}, formats=("application/zip", "text/csv"))
    assert set(record) >= MANDATORY | {"doi"}
    assert record["creators"] == [
        {
            "name": "Carberry, Josiah",
            "nameType": "Personal",
            "familyName": "Carberry",
            "givenName": "Josiah",
            "nameIdentifiers": [
                {
                    "nameIdentifier": "0000-0002-1825-0097",
                    "nameIdentifierScheme": "ORCID",
                    "schemeUri": "https://orcid.org",
                }
            ],
            "affiliation": [{"name": "Brown University"}],
        },
        {"name": "The collaboration", "nameType": "Organizational"},
    ]
    assert record["publicationYear"] == "2026", "a text in DataCite's schema"
    assert record["publisher"] == {"name": "Zenodo"}
    assert record["types"]["resourceTypeGeneral"] == "Dataset"
    assert record["subjects"] == [{"subject": "stars"}]
    assert record["sizes"] == ["15 bytes", "2 files"]
    assert record["fundingReferences"] == [{"funderName": "NSF", "awardNumber": "2117997"}]
    assert "https://doi.org/10.5281/zenodo.8410825" in citation(made())


def test_a_draft_has_no_doi() -> None:
    record = datacite(made(doi=None, version="", description=""), sizes={}, formats=())
    assert set(record) >= MANDATORY
    assert {"doi", "version", "descriptions"}.isdisjoint(record)
    assert "draft without a DOI" in citation(made(doi=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": " "}, "publication.title: DataCite wants a title"),
        ({"creators": []}, "publication.creators names nobody"),
        ({"creators": [{"name": ""}]}, "has no value|is empty|creators"),
        ({"creators": [{"name": "A, B", "orcid": "0000-0002-1825-0098"}]}, "is no ORCID .* check digit"),
        ({"creators": [{"name": "A, B", "orcid": "https://orcid.org/1"}]}, "is no ORCID"),
        ({"creators": [{"nam": "A, B"}]}, "unknown key"),
        ({"publisher": ""}, "publication.publisher"),
        ({"doi": "https://doi.org/10.5281/x"}, "is no DOI"),
        ({"year": 26}, "publication.year|year"),
        ({"licence": "CC BY 4.0"}, "no SPDX identifier"),
        ({"related": [{"identifier": "x", "type": "URLS", "relation": "Cites"}]}, "did you mean 'URL'"),
        ({"related": [{"identifier": "x", "type": "URL", "relation": "Uses"}]}, "no word of DataCite's"),
        ({"related": [{"identifier": "x", "type": "DOI", "relation": "Cites"}]}, "'x' is no DOI"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**changes)


@pytest.mark.parametrize("orcid", ["0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X"])
def test_real_orcids_pass(orcid: str) -> None:
    assert made(creators=[{"name": "A, B", "orcid": orcid}]).creators[0].orcid == orcid
