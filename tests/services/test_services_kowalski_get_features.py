"""Features of a real service through the real client: exact, accounted for under faults, and no token anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, CredentialError, ServiceUnavailableError
from scope_ml.io.tables import read_table
from scope_ml.services.kowalski.client import KowalskiClient
from scope_ml.services.kowalski.replies import data_of
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.stages.get_features import GetFeatures, run

CATALOG = "ZTF_source_features_DR16"


@pytest.fixture
def ids(kowalski: Any) -> list[int]:
    return [int(one) for one in kowalski.ids(CATALOG)]


def download(kowalski: Any, output: Path, wanted: list[int], **options: Any) -> Report:
    path = output.parent / "ids.csv"
    path.write_text("ztf_id\n" + "".join(f"{one}\n" for one in wanted))
    service = {
        "instances": kowalski.instances,
        "cache": str(output.parent / "cache"),
        "query_limit": 20,
        "backoff_s": 0.01,
        "timeout_s": 5.0,
        **options.pop("service", {}),
    }
    target = options.pop("target", {"kind": "source_ids", "path": str(path)})
    values = {"output": str(output), "target": target, "service": {"kowalski": service}, **options}
    return run(build(GetFeatures, values), progress=NullProgress())


def missing_of(output: Path) -> dict[int, str]:
    table = read_table(output.with_name(f"{output.name}.not_found.parquet")).data
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def documents(kowalski: Any, wanted: list[int]) -> dict[int, Mapping[str, Any]]:
    """What the service itself says, asked for one by one."""
    with KowalskiClient(build(KowalskiConfig, {"instances": kowalski.instances, "cache": None})) as client:
        query = {"query_type": "find_one", "query": {"catalog": CATALOG}}
        found = {}
        for one in wanted:
            query["query"] = {"catalog": CATALOG, "filter": {"_id": one}}
            found[one] = data_of(client.ask(query, catalog=CATALOG))
    return found


def same(ours: Any, theirs: Any) -> bool:
    return ours == theirs or (
        isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours) and math.isnan(theirs)
    )


def test_values_are_those_of_the_documents(kowalski: Any, ids: list[int], tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    wanted = ids[::3]
    report = download(kowalski, output, [*reversed(wanted), 17], dmdt=True)
    assert (report.n_in, report.n_out, report.dropped) == (len(wanted) + 1, len(wanted), {"not_in_catalog": 1})
    rows = {row["_id"]: row for row in read_table(output, kind="features").data.to_pylist()}
    assert list(rows) == list(reversed(wanted))
    assert missing_of(output) == {17: f"not in {CATALOG}"}
    for key, document in documents(kowalski, wanted[:12]).items():
        row = rows[key]
        image = document["dmdt"] or [[0.0] * 26] * 26
        assert row["dmdt"] == [value for line in image for value in line]
        told = {name: value for name, value in document.items() if name not in ("dmdt", "coordinates")}
        told |= {name: value and int(value) for name, value in told.items() if name.endswith("___id")}
        assert [name for name, value in told.items() if not same(row[name], value)] == []
    values = [value for row in rows.values() for value in row.values()]
    assert None in values
    assert any(isinstance(value, float) and math.isnan(value) for value in values), "the service has NaN to tell"


def test_a_quadrant_of_the_collection(kowalski: Any, ids: list[int], tmp_path: Path) -> None:
    one = next(iter(documents(kowalski, ids[:1]).values()))
    place = {name: one[name] for name in ("field", "ccd", "quad")}
    output = tmp_path / "f.h5"
    report = download(
        kowalski, output, ids, target={"kind": "quadrant", **place}, columns=["median", "period_ELS_ECE_EAOV"]
    )
    table = read_table(output, kind="features").data
    assert report.n_in == report.n_out == table.num_rows >= 1
    assert {(row["field"], row["ccd"], row["quad"]) for row in table.to_pylist()} == {tuple(place.values())}
    assert table.column_names[7:] == ["median", "period_ELS_ECE_EAOV", "id", "band"]
    empty = download(kowalski, output, ids, target={"kind": "quadrant", "field": 999, "ccd": 1, "quad": 1})
    assert (empty.n_in, empty.n_out) == (0, 0)


def test_faults_change_nothing(kowalski: Any, ids: list[int], tmp_path: Path) -> None:
    wanted = [*ids[:120], 17]
    download(kowalski, tmp_path / "whole.parquet", wanted)
    kowalski.faults.add(kind="status", status=503, times=2, query_type="find")
    kowalski.faults.add(kind="cut_json", times=1, after=1, min_ids=5)
    kowalski.faults.add(kind="reset", times=1, after=1, min_ids=5)
    kowalski.faults.add(kind="missing", share=0.3, times=3, min_ids=5)
    kowalski.faults.add(kind="empty", times=1, min_ids=5)
    kowalski.faults.add(kind="duplicate", times=1, min_ids=5)
    kowalski.faults.add(kind="foreign", times=1, min_ids=5)
    began = kowalski.n_requests
    report = download(kowalski, tmp_path / "f.parquet", wanted)
    assert kowalski.n_requests - began >= 20, "what went wrong was asked for again"
    assert (report.n_in, report.n_out) == (len(wanted), len(wanted) - 1)
    rows, whole = (read_table(tmp_path / f"{name}.parquet").data.to_pylist() for name in ("f", "whole"))
    assert repr(rows) == repr(whole)
    assert missing_of(tmp_path / "f.parquet") == {17: f"not in {CATALOG}"}


def test_an_outage_keeps_what_came_and_the_next_run_goes_on(
    kowalski: Any, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scope_ml.stages.feature_downloads.BLOCK_IDS", 20)
    output, wanted = tmp_path / "f.parquet", ids[:100]
    kowalski.faults.add(kind="status", status=503, after=2, min_ids=1)
    with pytest.raises(ServiceUnavailableError):
        download(kowalski, output, wanted, service={"retries": 0, "connections": 1})
    assert not output.exists()
    kowalski.faults.clear()
    began = kowalski.n_requests
    assert download(kowalski, output, wanted).n_out == 100
    n_finds = sum(one.get("query_type") == "find" for one in kowalski.requests_since(began))
    # Two looks at the columns and the three blocks that were lacking.
    assert n_finds == 5


def test_no_token_is_written_and_a_wrong_one_is_told_at_once(
    kowalski: Any, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = download(kowalski, tmp_path / "f.csv", [*ids[:3], 5])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not [path for path in written if kowalski.token.encode() in path.read_bytes()]
    assert kowalski.token not in report.to_json()
    monkeypatch.setenv(kowalski.variable, "sentinel-of-a-token")
    with pytest.raises(CredentialError) as caught:
        download(kowalski, tmp_path / "g.csv", ids[:3], service={"cache": None})
    assert "sentinel" not in str(caught.value)
    monkeypatch.delenv(kowalski.variable)
    with pytest.raises(CredentialError, match=kowalski.variable):
        download(kowalski, tmp_path / "g.csv", ids[:3], service={"cache": None})
    assert not (tmp_path / "g.csv").exists()


def test_an_unknown_collection_is_told_with_near_names(kowalski: Any, ids: list[int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=CATALOG):
        download(kowalski, tmp_path / "f.parquet", ids[:2], catalog="ZTF_source_features_DR5")
