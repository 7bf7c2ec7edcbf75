"""What a data release says about itself, and that as DataCite metadata 4.5 in JSON.

The properties that DataCite makes mandatory are asked for; a DOI may be missing while a release is a draft. ORCIDs are
checked by their check digit, words of DataCite's by its lists. May import core and errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError, suggest

__all__ = ["Creator", "Funding", "Publication", "RelatedWork", "citation", "datacite"]

#: DataCite's words for kinds of identifiers, and for how works are related (schema 4.5).
IDENTIFIERS = [
    "ARK",
    "arXiv",
    "bibcode",
    "DOI",
    "EAN13",
    "EISSN",
    "Handle",
    "IGSN",
    "ISBN",
    "ISSN",
    "ISTC",
    "LISSN",
    "LSID",
    "PMID",
    "PURL",
    "UPC",
    "URL",
    "URN",
    "w3id",
]
RELATIONS = [
    "IsCitedBy",
    "Cites",
    "IsCollectedBy",
    "Collects",
    "IsSupplementTo",
    "IsSupplementedBy",
    "IsContinuedBy",
    "Continues",
    "IsDescribedBy",
    "Describes",
    "HasMetadata",
    "IsMetadataFor",
    "HasVersion",
    "IsVersionOf",
    "IsNewVersionOf",
    "IsPartOf",
    "IsPreviousVersionOf",
    "IsPublishedIn",
    "HasPart",
    "IsReferencedBy",
    "References",
    "IsDocumentedBy",
    "Documents",
    "IsCompiledBy",
    "Compiles",
    "IsVariantFormOf",
    "IsOriginalFormOf",
    "IsIdenticalTo",
    "IsReviewedBy",
    "Reviews",
    "IsDerivedFrom",
    "IsSourceOf",
    "IsRequiredBy",
    "Requires",
    "IsObsoletedBy",
    "Obsoletes",
]

#: How a DOI and an ORCID look.
DOI = re.compile(r"10\.\d{4,9}/[-._;()/:a-zA-Z0-9]+")
ORCID = re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")

#: Address of the schema, as DataCite writes it.
SCHEMA = "http://datacite.org/schema/kernel-4"

FIRST_YEAR, LAST_YEAR = 1900, 2200


@dataclass(frozen=True, kw_only=True)
class Creator:
    """A person, or an organization."""

    name: str = option(doc="person: Family, Given; organization: its name")
    organization: bool = option(False, doc="true for a collaboration or an institution")
    orcid: str = option("", doc="0000-0000-0000-0000")
    affiliations: tuple[str, ...] = option((), doc="names of institutions")

    def __post_init__(self) -> None:
        """Check the name and the ORCID's check digit."""
        _needs(self.name, "publication.creators", "the name of each creator")
        if self.orcid and not _is_orcid(self.orcid):
            raise ConfigError(
                f"publication.creators: orcid {self.orcid!r} of {self.name} is no ORCID (its form is"
                " 0000-0000-0000-0000, the last character is a check digit); copy it from orcid.org",
                key="publication.creators",
            )

    def to_json(self) -> dict[str, Any]:
        """Return DataCite's form."""
        family, comma, given = (part.strip() for part in self.name.partition(","))
        kind = "Organizational" if self.organization else "Personal"
        found: dict[str, Any] = {"name": self.name, "nameType": kind}
        if comma and not self.organization:
            found |= {"familyName": family, "givenName": given}
        if self.orcid:
            found["nameIdentifiers"] = [
                {"nameIdentifier": self.orcid, "nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
            ]
        if self.affiliations:
            found["affiliation"] = [{"name": name} for name in self.affiliations]
        return found


@dataclass(frozen=True, kw_only=True)
class RelatedWork:
    """Another work, and how the release is related to it."""

    identifier: str = option(doc="such as 10.5281/zenodo.8410825 or arXiv:2312.00143")
    type: str = option(doc="DataCite's word for the kind of identifier")
    relation: str = option(doc="DataCite's word for what the release is to that work")

    def __post_init__(self) -> None:
        """Check DataCite's words."""
        for key, value, known in (("type", self.type, IDENTIFIERS), ("relation", self.relation, RELATIONS)):
            if value not in known:
                raise ConfigError(
                    f"publication.related: {key} {value!r} is no word of DataCite's{suggest(value, known)};"
                    f" known: {', '.join(known)}",
                    key="publication.related",
                )
        if self.type == "DOI" and not DOI.fullmatch(self.identifier):
            raise ConfigError(f"publication.related: {self.identifier!r} is no DOI", key="publication.related")


@dataclass(frozen=True, kw_only=True)
class Funding:
    """Who paid, and by which award."""

    funder: str = option(doc="name of the funder")
    award: str = option("", doc="number of the award")

    def __post_init__(self) -> None:
        """Check that there is a name."""
        _needs(self.funder, "publication.funding", "the funder's name")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the release says about itself; none of it changes a number."""

    title: str = option("", doc="title of the release", machine=True)
    description: str = option("", doc="abstract", machine=True)
    creators: tuple[Creator, ...] = option((), doc="who made it, in the order of a citation", machine=True)
    publisher: str = option("Zenodo", doc="who publishes it", machine=True)
    year: int = option(2026, doc="year of publication", at_least=FIRST_YEAR, at_most=LAST_YEAR, unit="yr", machine=True)
    version: str = option("", doc="version of the release, such as v1.2.0", machine=True)
    doi: str | None = option(None, doc="DOI reserved at the publisher; null: a draft", machine=True)
    licence: str = option("CC-BY-4.0", doc="SPDX identifier of the licence", machine=True)
    language: str = option("en", doc="language of the texts", machine=True)
    subjects: tuple[str, ...] = option((), doc="keywords", machine=True)
    related: tuple[RelatedWork, ...] = option((), doc="works that it builds on or belongs to", machine=True)
    funding: tuple[Funding, ...] = option((), doc="who paid", machine=True)

    def check(self) -> None:
        """Check what DataCite makes mandatory; a DOI may be missing.

        Raises
        ------
        ConfigError
            If something is missing or not of its form.
        """
        _needs(self.title, "publication.title", "a title")
        _needs(self.publisher, "publication.publisher", "a publisher")
        if not self.creators:
            raise ConfigError(
                "publication.creators names nobody, and DataCite wants a creator; give"
                " 'publication.creators=[{name: \"Family, Given\", orcid: 0000-0000-0000-0000}]', or a file"
                " conf/publication/mine.yaml and publication=mine",
                key="publication.creators",
            )
        if self.doi is not None and not DOI.fullmatch(self.doi):
            raise ConfigError(
                f"publication.doi={self.doi!r} is no DOI (10.NNNN/...); leave it out for a draft", key="publication.doi"
            )
        if not re.fullmatch(r"[A-Za-z0-9.+-]+", self.licence):
            raise ConfigError(
                f"publication.licence={self.licence!r} is no SPDX identifier, such as CC-BY-4.0",
                key="publication.licence",
            )


def datacite(publication: Publication, *, sizes: Mapping[str, int], formats: tuple[str, ...]) -> dict[str, Any]:
    """Return the DataCite 4.5 record of a release.

    Parameters
    ----------
    publication
        Checked.
    sizes
        Bytes of each file.
    formats
        Media types.
    """
    licence = f"https://spdx.org/licenses/{publication.licence}.html"
    found: dict[str, Any] = {
        "creators": [creator.to_json() for creator in publication.creators],
        "titles": [{"title": publication.title}],
        "publisher": {"name": publication.publisher},
        "publicationYear": str(publication.year),
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Catalogue of variable stars"},
        "dates": [{"date": str(publication.year), "dateType": "Issued"}],
        "language": publication.language,
        "rightsList": [
            {
                "rights": publication.licence,
                "rightsUri": licence,
                "rightsIdentifier": publication.licence,
                "rightsIdentifierScheme": "SPDX",
                "schemeUri": "https://spdx.org/licenses/",
            }
        ],
        "sizes": [f"{sum(sizes.values())} bytes", f"{len(sizes)} files"],
        "formats": list(formats),
        "schemaVersion": SCHEMA,
    }
    if publication.doi is not None:
        found["doi"] = publication.doi
    if publication.version:
        found["version"] = publication.version
    if publication.description:
        found["descriptions"] = [{"description": publication.description, "descriptionType": "Abstract"}]
    if publication.subjects:
        found["subjects"] = [{"subject": word} for word in dict.fromkeys(publication.subjects)]
    if publication.related:
        found["relatedIdentifiers"] = [
            {"relatedIdentifier": work.identifier, "relatedIdentifierType": work.type, "relationType": work.relation}
            for work in publication.related
        ]
    if publication.funding:
        found["fundingReferences"] = [
            {"funderName": one.funder} | ({"awardNumber": one.award} if one.award else {})
            for one in publication.funding
        ]
    return dict(sorted(found.items()))


def citation(publication: Publication) -> str:
    """Return one line by which the release is cited."""
    names = "; ".join(creator.name for creator in publication.creators)
    version = f" ({publication.version})" if publication.version else ""
    doi = f" https://doi.org/{publication.doi}" if publication.doi else " (draft without a DOI)"
    return f"{names} ({publication.year}): {publication.title}{version}. {publication.publisher}.{doi}"


def _needs(value: str, key: str, what: str) -> None:
    if not value.strip():
        raise ConfigError(f"{key}: DataCite wants {what}; give {key}=...", key=key)


def _is_orcid(text: str) -> bool:
    """Return whether form and check digit (ISO 7064, mod 11-2) are right."""
    if not ORCID.fullmatch(text):
        return False
    total = 0
    digits = text.replace("-", "")
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    return digits[-1] == ("X" if check == 10 else str(check))
