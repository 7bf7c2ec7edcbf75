"""fritz_annotate against a SkyPortal over HTTP: what is written, what stays, what is refused."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError
from scope_ml.stages.fritz_annotate import FritzAnnotate, run
from scope_ml.testing.skyportal.server import SkyPortalServer


@pytest.fixture
def furnished(skyportal: SkyPortalServer) -> SkyPortalServer:
    """Three sources; the first has an annotation of two keys."""
    skyportal.add_many("source", [{"obj_id": f"ZTFJ{number}", "ra": 10.0 * number, "dec": 5.0} for number in (1, 2, 3)])
    skyportal.add("annotation", obj_id="ZTFJ1", origin="SCoPe", data={"period": 3, "kept": 1}, user="scope")
    return skyportal


def annotate(server: SkyPortalServer, folder: Path, action: str, **values: Any) -> Report:
    given = {"action": action, "origin": "SCoPe", "output": str(folder / action), "apply": True, "settle_s": 0.1}
    config = build(FritzAnnotate, given | values | {"service": {"fritz": server.config}})
    return run(config, progress=NullProgress())


def data_of(server: SkyPortalServer) -> dict[str, Any]:
    return {
        name: {origin: one["data"] for origin, one in source["annotations"].items()}
        for name, source in server.state()["sources"].items()
    }


def table(folder: Path, text: str) -> str:
    path = folder / "t.csv"
    path.write_text(text)
    return str(path)


def test_post_update_and_delete_of_a_table(furnished: SkyPortalServer, tmp_path: Path) -> None:
    path = table(tmp_path, "obj_id,period\nZTFJ1,0.5\nZTFJ2,7\nZTFJ9,1\nZTFJ3,\n")
    post = annotate(furnished, tmp_path, "post", path=path, key="period", groups="Variables")
    assert post.facts["plan"] == {"annotate": 1, "nothing": 1, "refused": 2}
    assert "SCoPe.period is 3 already, not 0.5" in post.warnings[-1]
    assert "ZTFJ9: is not on Fritz" in post.warnings[-1]
    assert post.warnings[0].startswith("1 row(s)")
    assert data_of(furnished) == {
        "ZTFJ1": {"SCoPe": {"period": 3, "kept": 1}},
        "ZTFJ2": {"SCoPe": {"period": 7.0}},
        "ZTFJ3": {},
    }

    update = annotate(furnished, tmp_path, "update", path=path, key="period")
    assert update.facts["receipt"] == {"done": 1, "refused": 1}
    assert data_of(furnished)["ZTFJ1"] == {"SCoPe": {"period": 0.5, "kept": 1}}

    began = furnished.n_requests
    again = annotate(furnished, tmp_path, "update", path=path, key="period")
    assert not again.facts["applied"]
    assert {request["method"] for request in furnished.requests_since(began)} == {"GET"}

    delete = annotate(furnished, tmp_path, "delete", path=path, key="period")
    assert delete.facts["receipt"] == {"done": 2, "left": 1, "refused": 1}
    assert data_of(furnished) == {"ZTFJ1": {"SCoPe": {"kept": 1}}, "ZTFJ2": {}, "ZTFJ3": {}}


def test_update_leaves_sources_without_the_origin(furnished: SkyPortalServer, tmp_path: Path) -> None:
    report = annotate(furnished, tmp_path, "update", obj_id="ZTFJ2", key="period", value=1)
    assert report.facts["plan"] == {"left": 1}
    assert report.facts["n_failed"] == 0
    assert "has no annotation of SCoPe" in report.facts["text"]
    assert data_of(furnished)["ZTFJ2"] == {}


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        ("post", {"kind": "reset", "stored": "before", "method": "POST"}),
        ("post", {"kind": "html", "status": 504, "stored": "later", "later_s": 0.05, "method": "POST"}),
        ("update", {"kind": "cut", "method": "PUT"}),
        ("delete", {"kind": "reset", "stored": "before", "method": "PUT"}),
        ("delete", {"kind": "reset", "stored": "before", "method": "DELETE"}),
    ],
)
def test_a_lost_answer_is_looked_for(action: str, fault: Any, furnished: SkyPortalServer, tmp_path: Path) -> None:
    furnished.add("annotation", obj_id="ZTFJ2", origin="SCoPe", data={"period": 1}, user="scope")
    path = table(
        tmp_path,
        "obj_id,period\nZTFJ1,3\nZTFJ2,1\nZTFJ3,7\n" if action == "post" else "obj_id,period\nZTFJ1,7\nZTFJ2,7\n",
    )
    furnished.faults.add(**fault, times=1, path="annotations")
    values = {} if action == "delete" else {"groups": ["Variables"]}
    report = annotate(furnished, tmp_path, action, path=path, key="period", **values)
    assert report.facts["n_failed"] == 0
    assert report.facts["receipt"]["done"] == report.facts["plan"]["annotate"]
    after = {
        "post": {
            "ZTFJ1": {"SCoPe": {"period": 3, "kept": 1}},
            "ZTFJ2": {"SCoPe": {"period": 1}},
            "ZTFJ3": {"SCoPe": {"period": 7}},
        },
        "update": {"ZTFJ1": {"SCoPe": {"period": 7, "kept": 1}}, "ZTFJ2": {"SCoPe": {"period": 7}}, "ZTFJ3": {}},
        "delete": {"ZTFJ1": {"SCoPe": {"kept": 1}}, "ZTFJ2": {}, "ZTFJ3": {}},
    }
    assert data_of(furnished) == after[action]


def test_values_keep_their_type_on_the_way(furnished: SkyPortalServer, tmp_path: Path) -> None:
    for key, value in {"whole": 5, "text": "5", "small": 1e-12, "flag": False, "big": 2**62}.items():
        annotate(furnished, tmp_path / key, "post", obj_id="ZTFJ3", key=key, value=value, groups=6)
    found = data_of(furnished)["ZTFJ3"]["SCoPe"]
    assert found == {"whole": 5, "text": "5", "small": 1e-12, "flag": False, "big": 2**62}
    assert [type(value) for value in found.values()] == [int, str, float, bool, int]


def test_an_unknown_group_is_found_before_anything_is_posted(furnished: SkyPortalServer, tmp_path: Path) -> None:
    began = furnished.n_requests
    with pytest.raises(ConfigError, match="no group 'Variable'"):
        annotate(furnished, tmp_path, "post", obj_id="ZTFJ1", key="k", value=1, groups="Variable")
    assert {request["method"] for request in furnished.requests_since(began)} == {"GET"}


@pytest.mark.slow  # some twelve starts of a process, two seconds each
def test_killed_and_started_again_until_it_ends(skyportal: SkyPortalServer, tmp_path: Path) -> None:
    n_sources = 60
    skyportal.add_many(
        "source", [{"obj_id": f"ZTFJ{number}", "ra": 1.0 + number, "dec": 5.0} for number in range(n_sources)]
    )
    path = table(tmp_path, "obj_id,period\n" + "".join(f"ZTFJ{number},{number}.5\n" for number in range(n_sources)))
    # Slow enough to be killed on the way.
    pace = {**skyportal.config, "requests_per_second": 60.0, "burst": 1}
    words = [sys.executable, "-m", "scope_ml.fritz_annotate", "post", f"path={path}", "origin=SCoPe", "key=period"]
    words += ["groups=[Variables]", "apply=true", "settle_s=0.3", f"output={tmp_path / 'out'}"]
    words += [f"service.fritz.{name}={value}" for name, value in pace.items()]
    chance, n_killed = random.Random(4), 0
    for _ in range(40):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        before = skyportal.n_requests
        stop_at = before + chance.randrange(80, 160)
        while process.poll() is None and skyportal.n_requests < stop_at:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        if process.poll() is None:
            process.kill()
            n_killed += 1
        _, errors = process.communicate()
        if process.returncode >= 0:
            assert process.returncode == 0, errors
            break
    assert n_killed >= 2
    skyportal.settle()
    assert data_of(skyportal) == {f"ZTFJ{number}": {"SCoPe": {"period": number + 0.5}} for number in range(n_sources)}
    rows = pq.read_table(tmp_path / "out" / "receipt.parquet").to_pylist()
    assert sorted(row["key"] for row in rows if row["status"] == "done") == sorted(f"ZTFJ{n}" for n in range(n_sources))
    assert all(len(row["remote_ids"]) == 1 for row in rows)
