"""The stage `post_taxonomy`: plans, posts once, lists, shows, writes mappers and the guide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml  # type: ignore[import-untyped]

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, NotAllowedError, QueryRefusedError, SchemaError
from scope_ml.io.tables import read_foreign_table
from scope_ml.stages import post_taxonomy
from scope_ml.stages.post_taxonomy import MAPPER_FILES, PostTaxonomy, run
from scope_ml.stages.simulate import Simulate
from scope_ml.stages.simulate import run as simulate
from scope_ml.taxonomy.classes import load_classes

READ_ONCE = lru_cache(load_classes)


@pytest.fixture(autouse=True)
def classes_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading 52 class files takes longer than what is tested."""
    monkeypatch.setattr(post_taxonomy, "load_classes", READ_ONCE)


class Portal:
    """A service with groups and taxonomies in memory; tells which changes were asked for."""

    page = 500

    def __init__(self, *, may_post: bool = True) -> None:
        self.may_post = may_post
        self.taxonomies: list[dict[str, Any]] = []
        self.posted: list[Mapping[str, Any]] = []

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        del params
        if path == "/api/taxonomy":
            return self.taxonomies
        assert path == "/api/groups"
        rows = [{"id": 4, "name": "Stars", "single_user_group": False}]
        return {"user_groups": rows, "user_accessible_groups": rows, "all_groups": rows}

    def change(self, method: str, path: str, body: Mapping[str, Any], **_: Any) -> Any:
        assert (method, path) == ("POST", "/api/taxonomy")
        if not self.may_post:
            raise NotAllowedError("no")
        if "name" not in body:
            raise QueryRefusedError("a name must be provided")
        self.posted.append(body)
        row = {"id": 60 + len(self.posted), **body, "groups": [{"id": one} for one in body.get("group_ids", [1])]}
        self.taxonomies.append(row)
        return {"taxonomy_id": row["id"]}


def done(fritz: Portal | None = None, **options: Any) -> Report:
    return run(build(PostTaxonomy, options), progress=NullProgress(), fritz=fritz)


def test_the_plan_posts_nothing(tmp_path: Path) -> None:
    portal = Portal()
    report = done(portal, groups=["Stars"], output=str(tmp_path / "o"))
    assert portal.posted == []
    plan = json.loads((tmp_path / "o" / "plan.json").read_text())
    assert (plan["action"], plan["group_ids"], plan["n_classes"]) == ("post", [4], 24)
    assert plan["name"] == "Scope Phenomenological Taxonomy"
    assert plan["digest"] == report.facts["digest"]
    assert "type apply=true to post it" in report.facts["text"]
    assert not (tmp_path / "o" / "receipt.json").exists()
    assert report.warnings == ()
    for groups in (4, "Stars"):
        assert done(portal, groups=groups).facts == report.facts | {
            "text": report.facts["text"].replace("Stars", str(groups))
        }


def test_posted_and_again_nothing_to_do(tmp_path: Path) -> None:
    portal = Portal()
    options: dict[str, Any] = {"taxonomy": "all", "groups": [4], "apply": True, "output": str(tmp_path)}
    first = done(portal, **options)
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["taxonomy_id"], receipt["posted"]) == (61, True)
    assert (receipt["version"], receipt["digest"]) == (portal.posted[0]["version"], first.facts["digest"])
    assert "github" not in portal.posted[0]["provenance"]
    assert portal.posted[0]["group_ids"] == [4]
    assert portal.posted[0]["isLatest"] is True
    again = done(portal, **options)
    assert len(portal.posted) == 1
    assert "taxonomy 61 is just this" in again.facts["text"]
    assert json.loads((tmp_path / "receipt.json").read_text()) == receipt
    # A receipt of another taxonomy, or none that can be read, is replaced.
    (tmp_path / "receipt.json").write_text("[]")
    done(portal, **options)
    later = json.loads((tmp_path / "receipt.json").read_text())
    assert (later["posted"], later["taxonomy_id"], later["digest"]) == (False, 61, receipt["digest"])


def test_without_groups_it_is_said_who_may_use_it(tmp_path: Path) -> None:
    portal = Portal()
    report = done(portal, apply=True, output=str(tmp_path))
    assert "group_ids" not in portal.posted[0]
    assert "public group alone" in report.warnings[0]
    assert done(portal, apply=True, output=str(tmp_path)).warnings == ()
    other = done(portal, groups=[4], apply=True, output=str(tmp_path))
    assert "not for the groups 4" in other.warnings[0]


def test_a_file_needs_a_name_and_a_version(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("class: top\nsubclasses: [{class: a}, {class: b, subclasses: [{class: a}]}]\n")
    with pytest.raises(ConfigError, match="needs a name and a version"):
        build(PostTaxonomy, {"taxonomy": str(path)})
    portal = Portal()
    report = done(
        portal, taxonomy=str(path), name="Mine", version="0.1", groups=[4], apply=True, output=str(tmp_path / "o")
    )
    assert portal.posted[0]["provenance"] == "mine.yaml"
    assert portal.posted[0]["hierarchy"]["class"] == "top"
    assert report.warnings == ("1 class name(s) stand in several places: a",)
    path.write_text("class: top\n")
    with pytest.raises(ConfigError, match="raise the version"):
        done(portal, taxonomy=str(path), name="Mine", version="0.1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taxonomy": "phenomenologic"}, "neither one of our trees .*did you mean 'phenomenological'"),
        ({"apply": True}, "apply=true needs output=FOLDER"),
        ({"action": "mappers"}, "mappers needs output=FOLDER"),
        ({"action": "guide"}, "guide needs output=PAGE.html"),
        ({"version": 1.1}, "was read as a number"),
        ({"action": "show", "format": "csv"}, "format=csv is for post_taxonomy list"),
    ],
)
def test_wrong_options_are_found_before_anything_is_asked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PostTaxonomy, options)


def test_unknown_groups_and_missing_rights_are_found_in_the_plan() -> None:
    with pytest.raises(ConfigError, match="Star"):
        done(Portal(), groups=["Starz"])
    with pytest.raises(NotAllowedError, match="Post taxonomy"):
        done(Portal(may_post=False))


def test_dry_run_posts_and_writes_nothing(tmp_path: Path) -> None:
    portal = Portal()
    done(portal, apply=True, output=str(tmp_path / "o"), machine={"dry_run": True})
    assert portal.posted == []
    assert not (tmp_path / "o").exists()


def test_list_tells_ours_from_others(tmp_path: Path) -> None:
    portal = Portal()
    assert "sees no taxonomy" in done(portal, action="list").facts["text"]
    done(portal, apply=True, output=str(tmp_path))
    portal.taxonomies.append({"id": 9, "name": "Scope Taxonomy", "version": "1", "hierarchy": {"class": "x"}})
    rows = done(portal, action="list").facts["rows"]
    assert [(row["id"], row["classes"], row["ours"]) for row in rows] == [
        (61, 24, "phenomenological"),
        (9, 1, "all, another tree"),
    ]
    assert done(portal, action="list", format="csv").facts["text"].startswith("id,name,version")
    assert json.loads(done(portal, action="list", format="json").facts["text"]) == rows


def test_show_writes_a_tree_that_can_be_posted(tmp_path: Path) -> None:
    text = done(action="show", taxonomy="ontological").facts["text"]
    assert yaml.safe_load(text)["class"] == "Ontological"
    done(action="show", taxonomy="ontological", output=str(tmp_path / "t.json"))
    assert json.loads((tmp_path / "t.json").read_text()) == yaml.safe_load(text)


def test_mappers_are_scopes_files(tmp_path: Path) -> None:
    report = done(action="mappers", output=str(tmp_path))
    sizes = {path.name: len(json.loads(path.read_text())) for path in tmp_path.iterdir()}
    assert sizes == dict(zip(MAPPER_FILES.values(), (55, 45, 45, 45), strict=True))
    assert "golden_dataset_mapper.json: 55 columns, 53 of them" in report.facts["text"]


def test_guide_shows_stars_of_the_survey(tmp_path: Path) -> None:
    survey = tmp_path / "survey"
    simulate(Simulate(n_sources=30, seed=5, output=str(survey)), progress=NullProgress())
    report = done(action="guide", examples=str(survey), output=str(tmp_path / "g.html"), n_examples=2)
    page = (tmp_path / "g.html").read_text()
    assert report.facts["n_classes"] == 52
    assert page.count("<article") == 52
    assert page.count("<svg") == report.facts["n_examples"] > 20
    assert "half its period" in page or "hp" in report.warnings[0]
    labels = read_foreign_table(survey / "labels.parquet")
    assert labels.num_rows == 30
    with pytest.raises(ConfigError, match=r"must end in .html"):
        done(action="guide", output=str(tmp_path / "g"))


def test_guide_needs_a_survey_where_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no labels.parquet"):
        done(action="guide", examples=str(tmp_path), output=str(tmp_path / "g.html"))
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": pa.array([1])}), tmp_path / "labels.parquet")
    with pytest.raises((ConfigError, SchemaError), match="ZTF_sources"):
        done(action="guide", examples=str(tmp_path), output=str(tmp_path / "g.html"))


def test_guide_has_texts_of_own_classes(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "gdor.yaml").write_text(
        "# Gamma Doradus: slow.\ntag: gdor\nlabel: Gamma Dor\nkind: ontological\nparents: [puls]\n"
    )
    (tmp_path / "fritz").mkdir()
    text = tmp_path / "fritz" / "field_guide.yaml"
    text.write_text("gdor: {look: Beats <slowly>., not: {dscu: much faster}}\n")
    done(action="guide", class_folders=str(tmp_path), output=str(tmp_path / "g.html"))
    page = (tmp_path / "g.html").read_text()
    assert "Beats &lt;slowly&gt;." in page
    assert 'id="gdor"' in page
    text.write_text("gdor: {look: x, not: {dscuti: y}}\n")
    with pytest.raises(ConfigError, match="'dscuti' is no class; did you mean 'dscu'"):
        done(action="guide", class_folders=str(tmp_path), output=str(tmp_path / "g.html"))
