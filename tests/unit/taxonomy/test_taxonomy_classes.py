"""Class files: what is read, and what each mistake in them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.errors import ConfigError
from scope_ml.taxonomy import Taxonomy, load_classes, packaged_conf_dir


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_classes(packaged_conf_dir())


def write_class(folder: Path, stem: str, /, text: str = "", **values: str) -> Path:
    path = folder / "class" / f"{stem}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {"tag": f"'{stem}'", "label": f"star of {stem}", "kind": "ontological"} | values
    path.write_text(text or "".join(f"{key}: {value}\n" for key, value in keys.items()), encoding="utf-8")
    return path


def test_scope_has_22_phenomenological_and_30_ontological_classes(taxonomy):
    assert len(taxonomy) == 52
    assert len(taxonomy.sets["phenomenological"]) == 22
    assert len(taxonomy.sets["ontological"]) == 30
    assert taxonomy.tags[:4] == ("vnv", "pnp", "sin", "el")
    assert taxonomy.tags[21:24] == ("artfct", "agn", "bis")
    assert taxonomy.tags == taxonomy.sets["phenomenological"] + taxonomy.sets["ontological"]


def test_tags_that_yaml_could_take_for_something_else_are_texts(taxonomy):
    assert {"e", "f", "i", "o"} <= set(taxonomy.tags)
    assert all(isinstance(tag, str) and isinstance(spec.label, str) for tag, spec in taxonomy.classes.items())


def test_values_of_the_production_runs_are_kept(taxonomy):
    assert taxonomy["dip"].dnn.batch_size == 2
    assert taxonomy["rrlyr"].dnn.batch_size == 64
    assert taxonomy["rrlyr"].dnn.epsilon == pytest.approx(9.237e-08)
    assert {spec.threshold for spec in taxonomy.classes.values()} == {0.7}


def test_no_class_drops_negatives_or_weighs_positives(taxonomy):
    # SCoPe's balances and weights cost average precision on real stars (docs/benchmarks.md); its values are comments.
    assert {spec.balance for spec in taxonomy.classes.values()} == {None}
    assert not any(spec.weight_per_class for spec in taxonomy.classes.values())


def test_learning_rates_of_scope_which_were_never_applied_are_not_taken_over(taxonomy):
    assert all(spec.dnn.learning_rate is None for spec in taxonomy.classes.values())


def test_a_class_of_ones_own_joins_the_others_at_the_end_and_may_replace_one(tmp_path):
    write_class(tmp_path, "blap", parents="[puls, pnp]")
    write_class(tmp_path, "rrab", threshold="0.9", parents="[rrlyr]", order="430")
    taxonomy = load_classes(packaged_conf_dir(), tmp_path)
    assert taxonomy.tags[-1] == "blap"
    assert taxonomy.parents("blap") == ("vnv", "pnp", "puls")
    assert taxonomy["rrab"].threshold == 0.9
    assert len(taxonomy) == 53


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tag": "other"}, "tag is 'other', but the file's name says 'mine'"),
        ({"balanse": "3"}, "unknown key 'balanse'.*did you mean 'balance'"),
        ({"threshold": "1.5"}, "threshold=1.5 is not a number of at least 0 and at most 1"),
        ({"kind": "ontologic"}, "did you mean 'ontological'"),
        ({"weight_per_class": "3.0e-4"}, "weight_per_class=0.0003 is not true or false"),
        ({"parents": "[nonvar]"}, "mine.yaml: parent 'nonvar' is not a class"),
        ({"parents": "[mine]"}, "mine.yaml: its parents lead back to itself"),
        ({"dnn": "{batch_size: 0}"}, "dnn.batch_size=0"),
    ],
)
def test_a_mistake_in_a_class_file_is_one_line_that_names_the_file(tmp_path, values, message):
    write_class(tmp_path, "mine", **values)
    with pytest.raises(ConfigError, match=message) as caught:
        load_classes(tmp_path)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    write_class(tmp_path, "mine", text="tag: [mine\nlabel: {")
    with pytest.raises(ConfigError, match=r"mine.yaml cannot be read") as caught:
        load_classes(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_longer_cycle_is_found(tmp_path):
    write_class(tmp_path, "ab", parents="[cd]")
    write_class(tmp_path, "cd", parents="[ef]")
    write_class(tmp_path, "ef", parents="[ab]")
    with pytest.raises(ConfigError, match="cycle of ab, cd, ef"):
        load_classes(tmp_path)


def test_two_classes_cannot_have_one_name(tmp_path):
    write_class(tmp_path, "ab", label="Pulsating Star")
    write_class(tmp_path, "cd", aliases="[pulsating_star]")
    with pytest.raises(ConfigError, match=r"cd\.yaml: the name 'pulsating_star' belongs to 'ab'"):
        load_classes(tmp_path)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no class file"):
        load_classes(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        load_classes(packaged_conf_dir(), tmp_path / "nowhere")
