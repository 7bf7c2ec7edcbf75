"""Sources of a real SkyPortal in localizations, matched with light curves of a real Kowalski, through the real clients."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, CredentialError, ServiceError
from scope_ml.io.tables import read_table
from scope_ml.stages.fritz_gcn import FritzGcn, run

#: The event, what its localization is called, and when its sources were seen [mjd].
WHEN = datetime(2026, 11, 20, 3, 4, 5)
SEEN = 40587 + (WHEN + timedelta(hours=5) - datetime(1970, 1, 1)) / timedelta(days=1)
EVERYWHERE = [(0.0, 0.0, 181.0, 0.9)]


@pytest.fixture
def stars(kowalski_tables: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Some stars of the survey, each with the ids of its light curves."""
    table = kowalski_tables["ZTF_sources"]
    found: dict[int, dict[str, Any]] = {}
    for row in table.select(["id", "source_id", "ra", "dec"]).to_pylist():
        found.setdefault(row["source_id"], {**row, "ids": []})["ids"].append(row["id"])
    return list(found.values())[:8]


@pytest.fixture
def event(skyportal: Any, stars: list[dict[str, Any]]) -> Any:
    """The server with an event whose localization is the whole sky, and a source for each star; two more far from any."""
    skyportal.add("event", dateobs=WHEN.isoformat(), localizations=[("sky", EVERYWHERE)])
    for number, star in enumerate(stars):
        groups = ["Variables"] if number % 2 else ["Follow-up"]
        add(skyportal, f"S{number}", star["ra"], star["dec"], groups)
    add(skyportal, "lonely", 0.0, 89.9)
    add(skyportal, "before", 10.0, 89.9, seen=SEEN - 1)
    return skyportal


def add(portal: Any, name: str, ra: float, dec: float, groups: Any = ("Variables",), seen: float = SEEN) -> None:
    portal.add("source", obj_id=name, ra=ra, dec=dec, groups=list(groups), detections=[seen])


def door(portal: Any, kowalski: Any, output: Path, **options: Any) -> Report:
    service = {
        "fritz": portal.config | options.pop("fritz", {}),
        "kowalski": {"instances": kowalski.instances, "cache": None, "backoff_s": 0.01, "retries": 1},
    }
    values = {
        "source": {"kind": "kowalski", "path": None},
        "survey": {"collections": {"sources": kowalski.sources}},
        "output": str(output),
        "service": service,
        **options,
    }
    now = WHEN + timedelta(days=1)
    return run(build(FritzGcn, values), progress=NullProgress(), now=now)


def test_sources_become_the_ids_that_kowalski_has(
    event: Any, kowalski: Any, stars: list[dict[str, Any]], tmp_path: Path
) -> None:
    output, began = tmp_path / "a" / "gcn.parquet", event.n_requests
    report = door(event, kowalski, output, fritz={"page": 3})
    assert (report.n_in, report.n_out, report.dropped) == (9, 8, {"no_light_curve": 1})
    rows = read_table(output).data.to_pylist()
    assert {row["id"]: row["fritz_name"] for row in rows} == {
        one: f"S{number}" for number, star in enumerate(stars) for one in star["ids"]
    }
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    # The list of events, and as many pages as there are; the token is looked at by the first question.
    asked = [one["path"] for one in event.requests_since(began)]
    assert asked.count("/api/gcn_event") == 1
    assert asked.count("/api/sources") == 3
    assert len(asked) == report.facts["n_requests"] <= 5
    before = output.read_bytes()
    door(event, kowalski, output)
    assert output.read_bytes() == before


def test_several_groups_are_all_asked_for(event: Any, kowalski: Any, tmp_path: Path) -> None:
    output = tmp_path / "gcn.parquet"
    assert door(event, kowalski, output, groups=["Variables"]).n_in == 5
    assert door(event, kowalski, output, groups=[event.groups["Follow-up"]]).n_in == 4
    assert door(event, kowalski, output, groups=["Variables", event.groups["Follow-up"]]).n_in == 9
    with pytest.raises(ConfigError, match="did you mean 'Variables'"):
        door(event, kowalski, output, groups=["Variable"])
    with pytest.raises(ConfigError, match="not in the group"):
        door(event, kowalski, output, groups=["Closed"])


def test_what_counts_of_a_localization(event: Any, kowalski: Any, stars: list[dict[str, Any]], tmp_path: Path) -> None:
    star = stars[0]
    event.add("event", dateobs=WHEN.isoformat(), localizations=[("small", [(star["ra"], star["dec"], 0.001, 0.5)])])
    output = tmp_path / "gcn.parquet"
    assert door(event, kowalski, output).n_in == 1, "the newest localization counts"
    assert door(event, kowalski, output, cumprob=0.4).n_in == 0
    assert door(event, kowalski, output, localization="sky").n_in == 9
    assert door(event, kowalski, output, localization="sky", days=0.1).n_in == 0
    assert door(event, kowalski, output, localization="sky", require_detections=False).n_in == 10
    assert door(event, kowalski, output, since_days=0.5).facts["n_events"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dateobs": "2019-08-14T21:10:39"}, f"the newest are 2026-11-21T00:00:00, {WHEN.isoformat()}"),
        ({"dateobs": "2026-11-21T00:00:00"}, "has no localization"),
        ({"dateobs": WHEN.isoformat(), "localization": "bay"}, "it has sky"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    event: Any, kowalski: Any, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    event.add("event", dateobs="2026-11-21T00:00:00")
    with pytest.raises(ConfigError, match=words):
        door(event, kowalski, tmp_path / "gcn.parquet", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_fails_leaves_nothing_behind(
    event: Any, kowalski: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gcn.parquet"
    event.faults.add(kind="html", status=502, path="sources", times=2)
    assert door(event, kowalski, output).n_in == 9
    output.unlink()
    event.faults.add(kind="html", status=200, path="sources")
    with pytest.raises(ServiceError):
        door(event, kowalski, output)
    event.faults.clear()
    monkeypatch.setenv(event.variable, "not-a-token")
    with pytest.raises(CredentialError, match=event.variable) as caught:
        door(event, kowalski, output)
    assert "not-a-token" not in str(caught.value)
    assert not output.exists()


def test_places_without_an_answer_are_counted_and_asked_for_again(event: Any, kowalski: Any, tmp_path: Path) -> None:
    # Positions are numbered by their place; every request that asks the fourth fails.
    output = tmp_path / "gcn.parquet"
    kowalski.faults.add(kind="status", status=500, ids=("p3",))
    report = door(event, kowalski, output)
    assert (report.n_in, report.n_out) == (9, 7)
    assert report.dropped == {"no_light_curve": 1, "not_answered": 1}
    assert report.facts["n_failed"] == 1
    assert any("type the same command again" in line for line in report.warnings)
    kowalski.faults.clear()
    assert door(event, kowalski, output).dropped == {"no_light_curve": 1}
