from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from scope_ml.core.configuration import build
from scope_ml.features.choice import FeatureChoice
from scope_ml.features.cleaning import Cleaning
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import FEATURE_SETS
from scope_ml.features.spec import METHODS
from scope_ml.stages.generate_features import SourceConfig


def load(root, name):
    return OmegaConf.to_container(OmegaConf.load(root / "conf" / name), resolve=False)


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("cleaning/default.yaml", Cleaning),
        ("period_search/ls.yaml", PeriodSearch),
        ("feature_groups/default.yaml", FeatureChoice),
    ],
)
def test_the_files_say_what_the_code_does_without_them(root, name, schema):
    values = load(root, name)
    assert build(schema, values) == schema()
    assert set(values) == set(schema.__dataclass_fields__)


def test_other_choices_build(root):
    assert build(Cleaning, load(root, "cleaning/sparse.yaml")).min_n_obs == 20
    smoke = load(root, "period_search/smoke.yaml")
    assert smoke.pop("defaults") == ["ls", "_self_"]
    assert build(PeriodSearch, smoke).max_frequency < PeriodSearch().max_frequency


@pytest.mark.parametrize("method", METHODS)
def test_each_search_has_a_file_that_says_its_method_and_no_more(root, method):
    values = load(root, f"period_search/{method}.yaml")
    if method != "ls":
        assert values == {"defaults": ["ls", "_self_"], "method": method}
    assert build(PeriodSearch, {"method": values["method"]}).methods == (method,)


def test_all_runs_every_search(root):
    values = load(root, "period_search/all.yaml")
    assert values.pop("defaults") == ["ls", "_self_"]
    search = build(PeriodSearch, values)
    assert set(search.methods) == set(METHODS) - {"none"}
    assert search.method == "best"
    assert search.compared == ("ls", "ce", "aov", "mhaov", "pdm", "bls", "fpw")


def test_no_other_file_lies_there(root):
    assert {path.stem for path in (root / "conf" / "period_search").iterdir()} == {*METHODS, "all", "smoke"}


@pytest.mark.parametrize("kind", ["parquet", "survey"])
def test_sources_need_their_path_only(root, kind):
    values = load(root, f"source/{kind}.yaml")
    assert values.pop("path") == "???"
    assert build(SourceConfig, {**values, "path": "x"}).kind == kind


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_each_feature_set_has_a_file(root, name):
    assert load(root, f"feature_set/{name}.yaml") == {"name": name}
