"""Which taxonomy of a target a label is of, and posting one once; the service is a record of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from scope_ml.errors import ConfigError, ReplyError, UnsureError
from scope_ml.services.fritz.records import Taxonomy
from scope_ml.services.fritz.taxonomies import (
    TaxonomyChoice,
    TaxonomyChoices,
    labels_of,
    list_taxonomies,
    resolve,
)
from scope_ml.services.fritz.taxonomy_posting import post_taxonomy
from scope_ml.taxonomy.fritz_mappers import FritzClass, Mapper

SHAPES = ("variable", "eclipsing", "EW")
STARS = ("Eclipsing", "Mira", "RR Lyrae")


def tree(top: str, *labels: str) -> dict[str, Any]:
    return {"class": top, "subclasses": [{"class": label} for label in labels]}


def taxonomy(number: int, name: str, labels: tuple[str, ...], version: str = "1.0", *, latest: bool = True) -> Taxonomy:
    return Taxonomy(id=number, name=name, version=version, hierarchy=tree("top", *labels), is_latest=latest)


def mapper(*labels: str, ids: Mapping[str, int] | None = None) -> Mapper:
    return Mapper(
        name="mapper m.json",
        classes=tuple(
            FritzClass(
                column=label.lower(),
                label=label,
                tree="phenomenological" if label in SHAPES else "ontological",
                taxonomy_id=(ids or {}).get(label),
            )
            for label in labels
        ),
    )


THERE = (taxonomy(3, "Shapes", SHAPES), taxonomy(7, "Stars", STARS))


class Service:
    """Answers as told and keeps what was asked."""

    page = 500

    def __init__(self, there: list[dict[str, Any]], *, lost: bool = False, stored: bool = True) -> None:
        self.there, self.lost, self.stored = there, lost, stored
        self.changes: list[Mapping[str, Any]] = []

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        assert (path, params) == ("/api/taxonomy", None)
        return self.there

    def change(self, method: str, path: str, body: Mapping[str, Any], **_: Any) -> Any:
        assert (method, path) == ("POST", "/api/taxonomy")
        self.changes.append(body)
        if self.stored:
            row = {"id": 40 + len(self.changes), **body}
            self.there = [*self.there, row]
        if self.lost:
            raise UnsureError("no answer")
        return {"taxonomy_id": 40 + len(self.changes)}


def post(service: Service, hierarchy: Mapping[str, Any], version: str = "1.0") -> tuple[int, bool]:
    return post_taxonomy(
        service, name="Ours", version=version, provenance="here", hierarchy=hierarchy, group_ids=(4,), is_latest=True
    )


def test_labels_find_the_taxonomy_that_has_them_all() -> None:
    found = resolve(THERE, mapper("variable", "Mira", "eclipsing"))
    assert found.ids == {"variable": 3, "eclipsing": 3, "Mira": 7}
    assert found["Mira"] == 7
    assert [one.id for one in found.taxonomies] == [3, 7]
    assert found.lines == ("3 'Shapes' 1.0: 2 of 3 classes", "7 'Stars' 1.0: 1 of 3 classes")


def test_case_counts() -> None:
    assert resolve(THERE, mapper("eclipsing", "Eclipsing")).ids == {"eclipsing": 3, "Eclipsing": 7}
    lacking = (taxonomy(3, "Shapes", ("variable", "Eclipsing")),)
    with pytest.raises(ConfigError, match=r"lacks 'eclipsing' \(it has 'Eclipsing': the case counts\)"):
        resolve(lacking, mapper("variable", "eclipsing"))


def test_columns_that_are_not_uploaded_do_not_count() -> None:
    given = Mapper(name="m", classes=(FritzClass(column="nice"), *mapper("Mira").classes))
    assert resolve(THERE, given).ids == {"Mira": 7}


def test_an_earlier_version_is_not_taken_by_itself() -> None:
    old, new = taxonomy(1, "Stars", STARS, latest=False), taxonomy(2, "Stars", STARS, "2.0")
    assert resolve((old, new), mapper("Mira")).ids == {"Mira": 2}
    with pytest.raises(ConfigError, match=r"no latest taxonomy .* but 1 earlier ones .*taxonomy.ontological.name=NAME"):
        resolve((old,), mapper("Mira"))
    choice = TaxonomyChoices(ontological=TaxonomyChoice(name="Stars", version="1.0"))
    assert resolve((old, new), mapper("Mira"), choice).ids == {"Mira": 1}
    assert resolve((old, new), mapper("Mira"), TaxonomyChoices(ontological=TaxonomyChoice(version="1.0"))).ids == {
        "Mira": 1
    }


def test_two_that_fit_must_be_chosen_from() -> None:
    two = (*THERE, taxonomy(9, "More stars", STARS))
    with pytest.raises(ConfigError, match=r"2 taxonomies .*7 'Stars' 1.0, 9 'More stars' 1.0; choose one with tax"):
        resolve(two, mapper("Mira"))
    choice = TaxonomyChoices(ontological=TaxonomyChoice(name="More stars"))
    assert resolve(two, mapper("Mira", "variable"), choice).ids == {"Mira": 9, "variable": 3}


def test_none_that_fits_tells_the_nearest_and_what_it_lacks() -> None:
    with pytest.raises(
        ConfigError, match=r"7 'Stars' 1.0 comes nearest and lacks 'Mirra'; did you mean 'Mira'"
    ) as error:
        resolve(THERE, mapper("Mirra", "RR Lyrae"))
    assert "3 'Shapes' 1.0 (latest)" in str(error.value)
    with pytest.raises(ConfigError, match="no taxonomy that this token may see"):
        resolve((), mapper("Mira"))


def test_a_chosen_taxonomy_must_have_the_labels() -> None:
    choice = TaxonomyChoices(ontological=TaxonomyChoice(name="Shapes"))
    with pytest.raises(ConfigError, match=r"3 'Shapes' 1.0 has not the class 'Mira', 'RR Lyrae'"):
        resolve(THERE, mapper("Mira", "RR Lyrae"), choice)


def test_unknown_names_and_versions() -> None:
    with pytest.raises(ConfigError, match=r"no taxonomy 'Star'; did you mean 'Stars'"):
        resolve(THERE, mapper("Mira"), TaxonomyChoices(ontological=TaxonomyChoice(name="Star")))
    with pytest.raises(ConfigError, match=r"no taxonomies 'Stars' of version 3: its versions are 1.0"):
        resolve(THERE, mapper("Mira"), TaxonomyChoices(ontological=TaxonomyChoice(name="Stars", version="3")))
    two = (taxonomy(1, "Stars", STARS, latest=False), taxonomy(2, "Stars", STARS, "2.0", latest=False))
    with pytest.raises(ConfigError, match=r"2 taxonomies 'Stars': its versions are 1.0, 2.0; type"):
        resolve(two, mapper("Mira"), TaxonomyChoices(ontological=TaxonomyChoice(name="Stars")))


def test_numbers_of_old_files_are_checked() -> None:
    assert resolve(THERE, mapper("Mira", ids={"Mira": 7})).ids == {"Mira": 7}
    with pytest.raises(ConfigError, match=r"m.json gives taxonomy id 1015, which the service does not have"):
        resolve(THERE, mapper("Mira", ids={"Mira": 1015}))
    with pytest.raises(ConfigError, match=r"3 'Shapes' 1.0 has not the class 'Mira'.*m.json gives that id"):
        resolve(THERE, mapper("Mira", ids={"Mira": 3}))
    choice = TaxonomyChoices(ontological=TaxonomyChoice(name="Stars"))
    assert resolve(THERE, mapper("Mira", ids={"Mira": 1015}), choice).ids == {"Mira": 7}


def test_one_label_of_two_numbers_is_refused() -> None:
    both = (*THERE, taxonomy(9, "More stars", STARS))
    one, other = mapper("Mira", ids={"Mira": 7}).classes[0], mapper("Mira", ids={"Mira": 9}).classes[0]
    with pytest.raises(ConfigError, match="gives 'Mira' the taxonomies 7 and 9"):
        resolve(both, Mapper(name="m", classes=(one, other)))


def test_every_error_is_one_line() -> None:
    many = tuple(taxonomy(number, f"T{number}", ("x",)) for number in range(40))
    with pytest.raises(ConfigError) as error:
        resolve(many, mapper("Mira"))
    assert "\n" not in str(error.value)
    assert "and 32 more" in str(error.value)


def test_labels_of_odd_hierarchies() -> None:
    assert labels_of(tree("top", "a", "a")) == ("top", "a")
    assert labels_of({"subclasses": [{"class": "a", "subclasses": None}, 3, {"class": 4}]}) == ("a",)
    assert labels_of(None) == ()


def test_listing_sorts_and_refuses_what_is_no_list() -> None:
    rows = [{"id": 2, "name": "b"}, {"id": 1, "name": "a", "version": "1", "isLatest": True}]
    assert [one.name for one in list_taxonomies(Service(rows))] == ["a", "b"]
    with pytest.raises(ReplyError):
        list_taxonomies(Service({"a": 1}))  # type: ignore[arg-type]


def test_posted_once() -> None:
    service = Service([])
    assert post(service, tree("top", "a")) == (41, True)
    assert post(service, tree("top", "a")) == (41, False)
    assert [set(body) for body in service.changes] == [
        {"name", "version", "provenance", "hierarchy", "isLatest", "group_ids"}
    ]


def test_another_tree_of_that_version_is_refused() -> None:
    service = Service([])
    post(service, tree("top", "a"))
    with pytest.raises(
        ConfigError, match=r"'Ours' version 1.0 with another tree \(new: b; gone: a\); raise the version"
    ):
        post(service, tree("top", "b"))
    with pytest.raises(ConfigError, match="the same classes in other places"):
        post(service, {"class": "a", "subclasses": [{"class": "top"}]})
    assert len(service.changes) == 1
    assert post(service, tree("top", "b"), version="1.1") == (42, True)


def test_a_lost_answer_is_looked_for() -> None:
    assert post(Service([], lost=True), tree("top")) == (41, True)
    lost = Service([], lost=True, stored=False)
    with pytest.raises(UnsureError):
        post(lost, tree("top"))
    assert len(lost.changes) == 1
