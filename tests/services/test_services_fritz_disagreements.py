"""`fritz_disagreements` against a SkyPortal: sources made or found, points, both scores as an annotation, once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.core.sexagesimal import iau_name
from scope_ml.errors import ConfigError, NotAllowedError
from scope_ml.io.tables import write_table
from scope_ml.stages import fritz_disagreements
from scope_ml.stages.fritz_disagreements import FritzDisagreements, run

#: Three stars that disagree, one that does not; the third is 1 arcsec from the first.
RA = np.array([10.0, 20.0, 10.0 + 1 / 3600, 30.0])
DEC = np.zeros(4)
DNN = np.array([0.99, 0.05, 0.97, 0.9], dtype="f4")
XGB = np.array([0.0104, 0.98, 0.05, 0.9], dtype="f4")
NAMES = [iau_name(ra, 0.0) for ra in RA]


LOAD = functools.cache(fritz_disagreements.load_classes)


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the 52 classes are read once."""
    monkeypatch.setattr(fritz_disagreements, "load_classes", LOAD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table of scores, one of features, and a light curve of each star but the second."""
    ids = 10**15 + np.arange(4)
    agreeing = {name: np.full(4, 0.5, dtype="f4") for name in ("pnp_dnn", "pnp_xgb")}
    place = {"id": ids, "source_id": np.arange(4) + 1, "band": ["g"] * 4, "ra": RA, "dec": DEC}
    table = pa.table({**place, "period": [0.5, 0.6, 0.7, 0.8], "vnv_dnn": DNN, "vnv_xgb": XGB, **agreeing})
    models = {"vnv_dnn": "a", "vnv_xgb": "b"}
    write_table(table, tmp_path / "p.parquet", TableMetadata(kind="predictions", facts={"models": models}))
    gaia = {
        "Gaia_EDR3__parallax": [1.25, np.nan, 1.0, 1.0],
        "Gaia_EDR3__phot_g_mean_mag": pa.array([15.5, None, 15.0, 15.0]),
    }
    pq.write_table(pa.table({"id": ids, "band": ["g"] * 4, **gaia}), tmp_path / "f.parquet")
    have = [0, 2, 3]
    columns = {
        "id": ids[have],
        "ra": RA[have],
        "dec": DEC[have],
        "filter": pa.array([1] * 3, pa.int32()),
        "hjd": [[2_458_300.5, 2_458_301.5]] * 3,
        "mag": [[17.0, 17.5]] * 3,
        "magerr": [[0.02, 0.02]] * 3,
        "catflags": [[0, 0]] * 3,
        **{name: [1] * 3 for name in ("field", "ccd", "quad")},
    }
    pq.write_table(pa.table(columns), tmp_path / "curves.parquet")
    return tmp_path


def disagree(portal: Any, folder: Path, **given: Any) -> Report:
    values = {
        "predictions": str(folder / "p.parquet"),
        "features": str(folder / "f.parquet"),
        "output": str(folder / "out"),
        "groups": ["Variables"],
        "settle_s": 0.05,
        "service": {"fritz": portal.config},
        "stars": {"by": "source_id"},
        "classes": ["vnv", "pnp"],
        **given,
    }
    return run(build(FritzDisagreements, values), progress=NullProgress())


def test_a_plan_changes_nothing(skyportal: Any, folder: Path) -> None:
    before = skyportal.state()
    report = disagree(skyportal, folder)
    assert report.n_out == 3
    assert report.facts["applied"] is False
    assert "annotate" in report.facts["text"]
    assert (folder / "out" / "plan.parquet").exists()
    assert skyportal.state() == before


def test_sources_are_made_or_found_and_annotated_once(skyportal: Any, folder: Path) -> None:
    skyportal.add("source", obj_id="ZTFJold", ra=float(RA[1]) + 0.5 / 3600, dec=0.0, groups=["Follow-up"])
    curves = {"path": str(folder / "curves.parquet"), "layout": "scope"}
    report = disagree(skyportal, folder, apply=True, source=curves)
    assert report.facts["n_failed"] == 0
    # One source for the two stars within the radius.
    assert any("1 stars are within 2 arcsec" in line for line in report.warnings)
    sources = skyportal.state()["sources"]
    assert sorted(sources) == sorted([NAMES[0], "ZTFJold"])
    origin = report.facts["origin"]
    made, found = sources[NAMES[0]], sources["ZTFJold"]
    assert made["annotations"][origin]["data"] == {
        "period": 0.5,
        "vnv": {"dnn": 0.99, "xgb": 0.01},
        "Gaia": {"Plx": 1.25, "Mag_G": 15.5},
    }
    assert len(made["photometry"]) == 2
    assert found["annotations"][origin]["data"] == {"period": 0.6, "vnv": {"dnn": 0.05, "xgb": 0.98}}
    assert sorted(found["groups"]) == ["Follow-up", "Variables"]
    assert made["classifications"] == []
    after = skyportal.state()
    again = disagree(skyportal, folder, apply=True, source=curves)
    assert again.facts["n_failed"] == 0
    assert skyportal.state() == after


def test_a_newer_version_of_the_models_stands_beside_the_older(skyportal: Any, folder: Path) -> None:
    first = disagree(skyportal, folder, apply=True, limit=1)
    table = pq.read_table(folder / "p.parquet")
    write_table(table, folder / "p.parquet", TableMetadata(kind="predictions", facts={"models": {"vnv_dnn": "new"}}))
    second = disagree(skyportal, folder, apply=True, limit=1)
    annotations = skyportal.state()["sources"][NAMES[0]]["annotations"]
    assert sorted(annotations) == sorted([first.facts["origin"], second.facts["origin"]])


def test_what_is_wrong_is_found_before_anything_is_posted(skyportal: Any, folder: Path) -> None:
    before = skyportal.state()
    with pytest.raises(ConfigError, match="did you mean 'Variables'"):
        disagree(skyportal, folder, groups=["Variable"], apply=True)
    with pytest.raises(ConfigError, match="instrument"):
        disagree(
            skyportal,
            folder,
            apply=True,
            source={"path": str(folder / "curves.parquet"), "layout": "scope"},
            photometry={"instrument": "ZTFF"},
        )
    assert skyportal.state() == before


def test_a_token_without_the_right_is_told(skyportal: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESS", skyportal.add("token", user="scope", rights=["Upload data"]))
    before = skyportal.state()
    with pytest.raises(NotAllowedError, match="Annotate"):
        disagree(skyportal, folder, apply=True, service={"fritz": skyportal.config | {"token_env": "LESS"}})
    assert skyportal.state() == before
