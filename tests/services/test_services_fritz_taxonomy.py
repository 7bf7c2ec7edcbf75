"""`post_taxonomy` on a server that answers as SkyPortal: posted once whatever happens to the answer, found by upload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, CredentialError, NotAllowedError
from scope_ml.post_taxonomy import DOOR
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.fritz.taxonomies import TaxonomyChoice, TaxonomyChoices, list_taxonomies, resolve
from scope_ml.stages.post_taxonomy import PostTaxonomy, run
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.fritz_names import FritzNames, load_names, mapper_of, old_mapper
from scope_ml.testing.skyportal import SkyPortalServer

POST = "POST"


@pytest.fixture(scope="module")
def names() -> FritzNames:
    return load_names(load_classes(packaged_conf_dir()))


def done(server: SkyPortalServer, **options: Any) -> Report:
    return run(build(PostTaxonomy, {**options, "service": {"fritz": server.config}}), progress=NullProgress())


def test_posted_resolved_and_found_again(skyportal: SkyPortalServer, names: FritzNames, tmp_path: Path) -> None:
    options: dict[str, Any] = {"taxonomy": "all", "groups": ["Variables"], "apply": True, "output": str(tmp_path)}
    done(skyportal, **options)
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    with FritzClient(build(FritzConfig, skyportal.config)) as fritz:
        there = list_taxonomies(fritz)
    posted = next(one for one in there if one.id == receipt["taxonomy_id"])
    assert (posted.name, posted.version, posted.is_latest) == ("Scope Taxonomy", receipt["version"], True)
    assert posted.group_ids == (skyportal.groups["Variables"],)
    everything = mapper_of(names.taxonomy, names.taxonomy.tags, names=names)
    choice = TaxonomyChoice(name="Scope Taxonomy")
    found = resolve(there, everything, TaxonomyChoices(phenomenological=choice, ontological=choice))
    assert set(found.ids.values()) == {posted.id}
    before = len(there)
    again = done(skyportal, **options)
    assert "nothing to do" in again.facts["text"]
    assert len(skyportal.state(raw=True)["taxonomies"]) == before


def test_labels_of_old_files_are_found_on_the_target(skyportal: SkyPortalServer, names: FritzNames) -> None:
    with FritzClient(build(FritzConfig, skyportal.config)) as fritz:
        there = list_taxonomies(fritz)
    for name in ("fritz", "DNN_AL"):
        found = resolve(there, old_mapper(name, names).without_ids())
        assert {one.id for one in found.taxonomies} == {5, 8}
        assert (found["Eclipsing"], found["eclipsing"]) == (5, 8)
        with pytest.raises(ConfigError, match="taxonomy id 1017, which the service does not have"):
            resolve(there, old_mapper(name, names))


@pytest.mark.parametrize("kind", ["reset", "cut"])
def test_an_answer_that_is_lost_after_storing_posts_no_second(
    kind: str, skyportal: SkyPortalServer, tmp_path: Path
) -> None:
    began = skyportal.n_requests
    # The trial of the right is the first POST that fits.
    skyportal.faults.add(kind=kind, method=POST, path="taxonomy$", stored="before", after=1, times=1)
    report = done(skyportal, apply=True, output=str(tmp_path))
    assert report.facts["posted"] is True
    rows = [one for one in skyportal.state(raw=True)["taxonomies"] if one["version"] == report.facts["version"]]
    assert len(rows) == 1
    assert len([one for one in skyportal.requests_since(began) if one["method"] == POST]) == 2


def test_no_right_is_found_before_anything_is_posted(skyportal: SkyPortalServer) -> None:
    skyportal.add("rights", user="scope", rights=["Classify"])
    with pytest.raises(NotAllowedError, match="Post taxonomy"):
        done(skyportal)


def test_an_unknown_token_is_named_by_its_variable(skyportal: SkyPortalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(skyportal.variable, "0" * 36)
    with pytest.raises(CredentialError, match=skyportal.variable) as error:
        done(skyportal, action="list")
    assert "0" * 36 not in str(error.value)


def test_the_command_lists_and_refuses(
    skyportal: SkyPortalServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"service.fritz.{key}={value}" for key, value in skyportal.config.items()]
    assert DOOR.open(["list", *words]) == 0
    shown = capsys.readouterr().out
    assert "Sitewide Taxonomy" in shown
    assert "phenomenological, another tree" in shown
    assert DOOR.open(["post", "groups=[Variabels]", *words]) == 2
    assert "did you mean 'Variables'" in capsys.readouterr().err
