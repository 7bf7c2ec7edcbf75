"""Digests are stable, metadata records survive, reports add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.core.provenance import (
    SCHEMA_VERSION,
    Column,
    Input,
    TableMetadata,
    code_digest,
    digest_file,
    digest_json,
    digest_paths,
    git_commit,
)
from scope_ml.core.report import Report
from scope_ml.errors import DataError, MetadataError


def test_digest_ignores_the_order_of_keys_only() -> None:
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json([1, 2]) != digest_json([2, 1])


def test_digest_of_files_sees_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x" * 3_000_000)
    two.write_bytes(b"y")
    before = digest_paths([one, two], tmp_path)
    assert before == digest_paths([two, one], tmp_path)
    two.write_bytes(b"z")
    assert digest_paths([one, two], tmp_path) != before
    assert digest_file(one) == digest_file(one)


def test_metadata_survives_json() -> None:
    record = TableMetadata(
        kind="features",
        config_digest="c",
        inputs=(Input(name="light_curves", digest="d", n_rows=2**53 + 1),),
        columns=(Column(name="period_ls", dtype="double", unit="d"),),
        n_rows=3,
        facts={"dropped": {"too_few_points": 2}},
    )
    assert TableMetadata.from_json(record.to_json(), where="x") == record


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": 1'])
def test_broken_metadata_is_one_line(text: str) -> None:
    with pytest.raises(MetadataError, match=r"f\.parquet: the metadata record 'scope' cannot be read"):
        TableMetadata.from_json(text, where="f.parquet")


def test_newer_metadata_is_refused() -> None:
    newer = TableMetadata(kind="features", schema_version=SCHEMA_VERSION + 1).to_json()
    with pytest.raises(MetadataError, match="update scope_ml"):
        TableMetadata.from_json(newer, where="f.parquet")


def test_commit_of_no_checkout_is_unknown(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"


def test_report_adds_up() -> None:
    report = Report(stage="clean", n_in=5, n_out=3, dropped={"flagged": 2, "empty": 0}, seconds=1.25)
    assert report.summary() == "clean in=5 out=3 dropped_flagged=2 seconds=1.2"
    with pytest.raises(DataError, match="5 rows in, but 3 out and 1 dropped; rows were lost"):
        Report(stage="clean", n_in=5, n_out=3, dropped={"flagged": 1})


def test_digest_of_code_sees_the_named_packages_only() -> None:
    assert code_digest("kernels") == code_digest("kernels")
    assert code_digest("kernels") != code_digest("kernels", "features")
    assert len(code_digest("core")) == 64
