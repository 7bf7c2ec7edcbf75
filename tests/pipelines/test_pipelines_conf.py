"""Every configuration file composes into a typed record, and every door explains itself."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scope_ml.__main__ import DOORS
from scope_ml.core.configuration import build, describe
from scope_ml.taxonomy.classes import packaged_conf_dir

#: What a door has to be given.
REQUIRED = {
    "simulate": ["output=o"],
    "check_quads": ["source.path=p", "output=o"],
    "get_quad_ids": ["source.path=p", "field=1", "output=o"],
    "get_features": ["target=source_ids", "target.path=p", "output=o"],
    "generate_features": ["source.path=p", "output=o"],
    "build_dataset": ["features=[f]", "labels=[l]", "output=o"],
    "train": ["class=rrlyr", "dataset=table", "dataset.features=f", "dataset.labels=l"],
    "tune": ["class=rrlyr", "dataset=table", "dataset.features=f", "dataset.labels=l"],
    "register": ["models=m", "output=o"],
    "registry": ["action=list"],
    "import_models": ["path=p", "output=o", "stats=s"],
    "infer": ["features=f", "output=o", "field=1"],
    "classify": ["source.path=p", "ra=1", "dec=2"],
    "select_sample": ["predictions=[p]", "output=o.parquet"],
    "fritz_disagreements": ["predictions=[p]", "output=o"],
    "report": ["predictions=p", "models=m", "output=o"],
    "compare": ["models=m"],
    "analyze_logs": ["logs=[l]"],
    "fritz_gcn": ["source.path=p", "output=o"],
    "post_taxonomy": [],
    "fritz_upload": ["table=t", "groups=[1]", "output=o"],
    "fritz_download": ["groups=[1]", "output=o"],
    "fritz_annotate": ["action=post", "obj_id=s", "origin=o", "key=k", "value=1", "groups=[1]"],
    "catalog": ["predictions=p", "output=o"],
    "release": ["action=pack", "output=o"],
    "slurm": ["action=status", "plan=p"],
    "doctor": [],
}

#: What a choice of a group has to be given besides.
FURTHER = {
    "target=quadrant": ["target.field=1", "target.ccd=1", "target.quad=1"],
    "target=field": ["target.field=1"],
    "target=quadrant_list": ["target.path=p"],
    "target=source_ids": ["target.path=p"],
    "dataset=table": ["dataset.features=f", "dataset.labels=l"],
    "tune=dnn": ["algorithm=dnn"],
    "tune=xgb": ["algorithm=xgb"],
}

#: Clusters that Slurm jobs can be made for.
PRESETS = sorted(path.stem for path in (packaged_conf_dir() / "executor" / "cluster").glob("*.yaml"))

#: Choices that a door refuses: networks that classes share have no study of one class.
REFUSED = {("tune", "algorithm=dnn_shared")}


def composed(door: str, *words: str) -> object:
    with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
        values = OmegaConf.to_container(compose(door, overrides=[*REQUIRED[door], *words]), resolve=True)
    module_name, _, schema = import_module(f"scope_ml.{door}").DOOR.stage.partition(":")
    return build(getattr(import_module(module_name), schema), values)


def services_of(door: str) -> list[str]:
    """The services that a door asks: others are none of its choices."""
    lines = (packaged_conf_dir() / f"{door}.yaml").read_text()
    return re.search(r"service: \[([\w, ]*)\]", lines)[1].split(", ")


def choices() -> list[tuple[str, str]]:
    """Each (door, group=choice) that a door's defaults list names a group for."""
    pairs = []
    for door in DOORS:
        defaults = OmegaConf.load(packaged_conf_dir() / f"{door}.yaml").get("defaults", [])
        for group in (str(next(iter(item))) for item in defaults if not isinstance(item, str)):
            name = group.removeprefix("optional ").strip()
            there = [path.stem for path in sorted((packaged_conf_dir() / name).glob("*.yaml"))]
            pairs += [(door, f"{name}={one}") for one in there if name != "service" or one in services_of(door)]
    return [pair for pair in pairs if pair not in REFUSED]


@pytest.mark.parametrize("door", DOORS)
def test_door_composes_into_its_record(door: str) -> None:
    assert composed(door) is not None
    assert len((packaged_conf_dir() / f"{door}.yaml").read_text().splitlines()) <= 25


@pytest.mark.parametrize("door", DOORS)
def test_every_option_can_be_given_without_a_plus(door: str) -> None:
    with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
        values = compose(door, overrides=REQUIRED[door])
    module_name, _, schema = import_module(f"scope_ml.{door}").DOOR.stage.partition(":")
    options = [line.key for line in describe(getattr(import_module(module_name), schema))]
    lacking = [key for key in options if OmegaConf.select(values, key, default="absent") == "absent"]
    # The set of inputs is a choice; a class file holds what it changes.
    assert [key for key in lacking if key != "feature_set" and not key.startswith("class.")] == []


@pytest.mark.parametrize("door", DOORS)
def test_no_folder_has_the_name_of_an_option(door: str) -> None:
    """`key=value` would be taken for a choice of the group of that name."""
    folders = {path.name for path in packaged_conf_dir().iterdir() if path.is_dir()}
    written = OmegaConf.load(packaged_conf_dir() / f"{door}.yaml")
    groups = {str(next(iter(item))) for item in written.get("defaults", []) if not isinstance(item, str)}
    assert not (folders - groups) & set(written)


@pytest.mark.parametrize(("door", "choice"), choices(), ids=" ".join)
def test_every_choice_of_every_group_composes(door: str, choice: str) -> None:
    given = {word.partition("=")[0] for word in REQUIRED[door]}
    if choice.partition("=")[0] in given:
        words = [choice, *(word for word in REQUIRED[door] if "." not in word)]
        with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
            assert compose(door, overrides=list(dict.fromkeys(words))) is not None
    else:
        assert composed(door, choice, *FURTHER.get(choice, [])) is not None


def test_every_file_in_conf_is_reached() -> None:
    reached = {choice.replace("=", "/") for _, choice in choices()} | set(DOORS) | {"base", "pipeline"}
    files = {str(path.relative_to(packaged_conf_dir()).with_suffix("")) for path in packaged_conf_dir().rglob("*.yaml")}
    # Read by `taxonomy`, not composed by a door: one file a class, the names on Fritz, what the field guide says.
    data = {
        f"{folder}/{path.stem}" for folder in ("class", "fritz") for path in (packaged_conf_dir() / folder).glob("*")
    }
    assert {"fritz/names", "fritz/field_guide"} <= data
    assert files <= reached | data | {f"executor/cluster/{preset}" for preset in PRESETS}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_cluster_composes(preset: str) -> None:
    config = composed(
        "generate_features", "target=field", "target.field=1", "executor=slurm", f"executor/cluster={preset}"
    )
    assert config.executor.cluster.name == preset


@pytest.mark.parametrize("door", DOORS)
def test_help_is_quick_and_has_an_example(door: str, root: Path) -> None:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"scope_ml.{door}", "--help"], capture_output=True, text=True, cwd=root, check=False
    )
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    assert "Example:" in done.stdout
    assert f"python -m scope_ml.{door}" in done.stdout
    assert done.stderr == ""
    assert took < 15, "help must not import the heavy packages"
