"""The groups `dataset` and `split` of the configuration fit their schemas and say their defaults."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from scope_ml.core.configuration import build
from scope_ml.datasets.assemble import DatasetConfig
from scope_ml.datasets.split import SplitConfig
from scope_ml.errors import ConfigError
from scope_ml.taxonomy import packaged_conf_dir


def group(name):
    return OmegaConf.to_container(OmegaConf.load(packaged_conf_dir() / f"{name}.yaml"))


def test_tables_given_by_hand_need_two_paths_and_have_the_defaults_of_the_schema():
    given = {"features": "F.parquet", "labels": ["A.csv", "B.csv"]}
    config = build(DatasetConfig, group("dataset/table") | given, "dataset")
    assert config == DatasetConfig(features="F.parquet", labels=("A.csv", "B.csv"))
    assert [str(path) for path in config.label_paths] == ["A.csv", "B.csv"]
    with pytest.raises(ConfigError, match=r"'dataset\.features' has no value .*give dataset\.features="):
        build(DatasetConfig, group("dataset/table"), "dataset")


def test_a_built_data_set_is_by_default_that_of_the_pipeline():
    assert build(DatasetConfig, group("dataset/built"), "dataset") == DatasetConfig(path="results/dataset")
    assert build(DatasetConfig, group("dataset/built") | {"path": "D"}, "dataset") == DatasetConfig(path="D")


def test_the_split_file_says_the_defaults_of_the_schema():
    assert build(SplitConfig, group("split/default"), "split") == SplitConfig()
