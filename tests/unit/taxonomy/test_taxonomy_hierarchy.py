"""Trees in the tdtax form: ours by version, places, checks that name the node, references of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from scope_ml.errors import ConfigError
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir, read_class
from scope_ml.taxonomy.fritz_names import FritzNames, load_names
from scope_ml.taxonomy.graph import Taxonomy
from scope_ml.taxonomy.hierarchy import (
    Which,
    check_hierarchy,
    class_hierarchy,
    hierarchy_digest,
    place_of,
    read_descriptions,
    read_hierarchy,
    repeated_classes,
    walk,
)

#: The tree of each name and version. Who changes a tree raises its version in conf/fritz/names.yaml and adds a line
#: here; a line that is here stays, since that tree may have been posted.
DIGESTS = {
    ("Scope Phenomenological Taxonomy", "2.0.0"): "37fd9c50415dc546893fee8c4e5f033e42cac4abceb6af36301a068a6a6ed64e",
    ("Scope Ontological Taxonomy", "2.0.0"): "36bbea8f4ea7e84a213ceaecc12f1307675b05bbd2e2ec8f2949f22cdf7cb9d2",
    ("Scope Taxonomy", "2.0.0"): "e93d63b319ce0e10d18c989608a0105a6668ec570c87c797392e853775e5bc51",
}

TREES: tuple[Which, ...] = ("phenomenological", "ontological", "all")


@pytest.fixture(scope="module")
def names() -> FritzNames:
    return load_names(load_classes(packaged_conf_dir()))


@pytest.fixture(scope="module")
def descriptions() -> dict[str, str]:
    return read_descriptions()


def by_tag(tree: dict[str, Any]) -> dict[str, tuple[tuple[str, ...], dict[str, Any]]]:
    return {node["tags"][0]: (way, node) for way, node in walk(tree) if "tags" in node}


@pytest.mark.parametrize("which", TREES)
def test_a_changed_tree_needs_another_version(which: Which, names: FritzNames, descriptions: dict[str, str]) -> None:
    posted = names.trees[which]
    digest = hierarchy_digest(class_hierarchy(names, which, descriptions))
    assert DIGESTS.get((posted.name, posted.version)) == digest, (
        f"the {which} tree has changed: raise trees.{which}.version in conf/fritz/names.yaml and write its digest {digest}"
    )


def test_each_class_has_one_place_under_scopes_parent(names: FritzNames, descriptions: dict[str, str]) -> None:
    tree = class_hierarchy(names, "all", descriptions)
    found = by_tag(tree)
    assert set(found) == {*names.taxonomy, "nonvar"}
    assert sum("tags" in node for _, node in walk(tree)) == 53
    assert found["el"][0] == ("Time-domain Source", "Time series", "variable", "periodic", "sinusoidal", "ellipsoidal")
    assert found["artfct"][0][2:] == ("non-variable", "bogus", "ccd artifact")
    assert found["nnser"][0][2:] == ("Eclipsing", "Post-common-envelope binary", "NN Ser")
    assert found["agn"][0][1:] == ("Ontological", "Accretor", "AGN")
    assert found["wuma"][0][1:] == ("Ontological", "Eclipsing", "W Ursae Maj")
    assert found["o"][0][2:] == ("Pulsating", "Cepheid", "Overtone")
    # Not in SCoPe's tree: beside the others.
    assert found["rdbkp"][0][1:] == ("Ontological", "Compact Binary", "Redback Pulsar")
    assert repeated_classes(tree) == ()


def test_each_tree_holds_its_own_classes(names: FritzNames, descriptions: dict[str, str]) -> None:
    sizes = {which: len(by_tag(class_hierarchy(names, which, descriptions))) for which in TREES}
    assert sizes == {"phenomenological": 23, "ontological": 30, "all": 53}


def test_a_node_says_what_our_files_say(names: FritzNames, descriptions: dict[str, str]) -> None:
    _, node = by_tag(class_hierarchy(names, "ontological", descriptions))["bis"]
    assert node["class"] == "Eclipsing"
    assert node["other names"] == ["binary star", "Non-accreting binary"]
    assert node["comments"].startswith("Binary star without accretion")
    check_hierarchy(class_hierarchy(names, "all", descriptions), where="ours")


def test_every_class_is_described(names: FritzNames, descriptions: dict[str, str]) -> None:
    assert set(descriptions) == set(names.taxonomy)
    assert all(len(text) < 130 and "#" not in text for text in descriptions.values())


def test_a_class_that_is_not_uploaded_leaves_its_children_in_the_tree(
    names: FritzNames, tmp_path: Path, descriptions: dict[str, str]
) -> None:
    (tmp_path / "fritz").mkdir()
    (tmp_path / "fritz" / "names.yaml").write_text("names:\n  ceph: null\n")
    names = load_names(names.taxonomy, tmp_path)
    found = by_tag(class_hierarchy(names, "ontological", descriptions))
    assert "ceph" not in found
    assert found["f"][0] == ("Ontological", "Pulsating", "Fundamental")
    assert place_of(names, "f") == "puls"


def test_own_classes_hang_under_their_parents(names: FritzNames, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "gdor.yaml").write_text(
        "# Gamma Doradus.\ntag: gdor\nlabel: Gamma Dor\nkind: ontological\nparents: [pnp, puls]\n"
    )
    (tmp_path / "class" / "plain.yaml").write_text("tag: plain\nlabel: Plain\nkind: ontological\n")
    own = {path.stem: read_class(path) for path in (tmp_path / "class").glob("*.yaml")}
    names = load_names(Taxonomy({**names.taxonomy.classes, **own}), tmp_path)
    texts = read_descriptions(tmp_path)
    found = by_tag(class_hierarchy(names, "ontological", texts))
    assert found["gdor"][0] == ("Ontological", "Pulsating", "Gamma Dor")
    assert found["gdor"][1]["comments"] == "Gamma Doradus."
    assert found["plain"][0] == ("Ontological", "Plain")
    assert "comments" not in found["plain"][1]


def test_places_that_lead_in_a_circle_are_refused(
    names: FritzNames, tmp_path: Path, descriptions: dict[str, str]
) -> None:
    (tmp_path / "fritz").mkdir()
    (tmp_path / "fritz" / "names.yaml").write_text(
        "names:\n  puls: {label: Pulsating, tree: ontological, under: rrlyr}\n"
    )
    names = load_names(names.taxonomy, tmp_path)
    with pytest.raises(ConfigError, match=r"lead back to itself.*puls"):
        class_hierarchy(names, "ontological", descriptions)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "top: a node must be keys and values"),
        ({"subclasses": []}, "top: 'class' must be text, got none"),
        ({"class": 3}, "'class' must be text, got 3; put it in quotes"),
        ({"class": ""}, "'class' must be text"),
        ({"class": "a", "comment": "x"}, "a: unknown key 'comment'.*did you mean 'comments'"),
        ({"class": "a", "tags": "x"}, "a: 'tags' must be a list of texts, got 'x'"),
        ({"class": "a", "links": [1]}, "'links' must be a list of texts"),
        ({"class": "a", "other names": ["x", "x"]}, "'other names' has an entry twice"),
        ({"class": "a", "subclasses": {"class": "b"}}, "a: 'subclasses' must be a list"),
        (
            {"class": "a", "subclasses": [{"class": "b", "subclasses": [{"clas": "c"}]}]},
            "a > b > subclass 1: unknown key 'clas'",
        ),
        ({"class": "a", "subclasses": [{"class": "b"}, 7]}, "a > subclass 2: a node must be"),
    ],
)
def test_a_wrong_node_is_named_by_its_way(tree: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_hierarchy(tree, where="tree")


def test_a_tree_without_end_is_refused() -> None:
    tree: dict[str, Any] = {"class": "a"}
    tree["subclasses"] = [tree]
    with pytest.raises(ConfigError, match="more than 40 levels"):
        check_hierarchy(tree, where="tree")


def test_references_are_resolved_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "top.yaml").write_text("class: top\nsubclasses:\n  - ref: below/one.yaml\n  - class: two\n")
    (tmp_path / "below" / "one.yaml").write_text("class: one\nsubclasses: [{ref: leaf.json}]\n")
    (tmp_path / "below" / "leaf.json").write_text('{"class": "leaf", "comments": "last"}')
    assert read_hierarchy(tmp_path / "top.yaml") == {
        "class": "top",
        "subclasses": [{"class": "one", "subclasses": [{"class": "leaf", "comments": "last"}]}, {"class": "two"}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class: a\nsubclasses: [{ref: gone.yaml}]\n", "there is no file .*gone.yaml"),
        ("class: a\nsubclasses: [{ref: top.yaml}]\n", "leads back to itself"),
        ("class: a\nsubclasses: [{ref: b.yaml, class: b}]\n", "a reference is"),
        ("class: [\n", "cannot be read"),
        ("class: on\n", "'class' must be text, got True; put it in quotes"),
    ],
)
def test_wrong_files_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "top.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_hierarchy(tmp_path / "top.yaml")
    assert "\n" not in str(error.value)


def test_our_tree_survives_its_files(names: FritzNames, descriptions: dict[str, str], tmp_path: Path) -> None:
    tree = class_hierarchy(names, "all", descriptions)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (tmp_path / "t.json").write_text(json.dumps(tree))
    assert read_hierarchy(tmp_path / "t.yaml") == tree == read_hierarchy(tmp_path / "t.json")
