"""What a catalogue's record says is what its pages show: thresholds, versions, files; and mistakes are found early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import catalog_skies as skies
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scope_ml.errors import ConfigError, FormatError, MissingColumnError, OutputError
from scope_ml.stages import catalog
from scope_ml.stages.catalog_known import known_catalogue
from scope_ml.tracking.lock import LockEntry, write_lock

pytest.importorskip("hats")

MODELS, SKIES, catalogue, rows_of = skies.MODELS, skies.SKIES, skies.catalogue, skies.rows_of
scored, write = skies.scored, skies.write


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load_classes", skies.LOAD)


def known(folder: Path) -> Any:
    return known_catalogue(folder / "catalogue", skies.LOAD(catalog.packaged_conf_dir())).facts


def above(stars: pa.Table, tag: str, threshold: float) -> int:
    return int(pc.sum(pc.greater_equal(stars[tag], pa.scalar(threshold, pa.float32()))).as_py())


def test_pages_count_by_the_threshold_that_was_given(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=60)))
    catalogue(tmp_path, [path], pages=True)
    facts, text = known(tmp_path), (tmp_path / "catalogue/catalogue.html").read_text()
    assert {facts.threshold("vnv"), facts.threshold("rrlyr", "xgb"), facts.models[0].threshold} == {0.5}
    stars = rows_of(tmp_path / "catalogue")
    assert f'data-members="{above(stars, "vnv", 0.5)}"' in text
    catalogue(tmp_path, [path], pages=True, stars={"threshold": 0.8})
    facts, text = known(tmp_path), (tmp_path / "catalogue/catalogue.html").read_text()
    assert {facts.threshold("vnv"), facts.threshold("rrlyr", "xgb")} == {0.8}
    # The models' own are told beside them.
    assert facts.models[0].threshold == 0.5
    assert f'data-members="{above(stars, "vnv", 0.8)}"' in text
    assert above(stars, "vnv", 0.8) != above(stars, "vnv", 0.5)


def test_versions_are_those_of_the_locks_beside_the_tables(tmp_path: Path) -> None:
    def entry(column: str, version: int | None, digest: str = "") -> LockEntry:
        tag, algorithm = column.split("_")
        digest = digest or f"digest of {column}"
        return LockEntry(
            name=f"scope-{tag}-{algorithm}",
            version=version,
            alias="champion",
            digest=digest,
            tag=tag,
            algorithm=algorithm,
        )

    table = scored(SKIES["field"], n_stars=20)
    in_field = write(tmp_path / "scores/field_000296/ccd_01_quad_1.parquet", table.slice(0, 20))
    alone = write(tmp_path / "alone.parquet", table.slice(20))
    write_lock(in_field.with_name("_models.lock.json"), [entry("vnv_xgb", 7), entry("vnv_dnn", None)])
    write_lock(tmp_path / "alone.parquet.models.lock.json", [entry("rrlyr_xgb", 3), entry("rrlyr_dnn", 4, "another")])
    report = catalogue(tmp_path, [str(tmp_path / "scores"), str(alone)], pages=True)
    told = {f"{one.tag}_{one.algorithm}": (one.name, one.version) for one in known(tmp_path).models}
    assert told == {
        "vnv_xgb": ("scope-vnv-xgb", "7"),
        "vnv_dnn": ("scope-vnv-dnn", ""),
        "rrlyr_xgb": ("scope-rrlyr-xgb", "3"),
        **{name: (name, "") for name in ("rrlyr_dnn", "rrab_xgb")},
    }
    assert "<td>scope-vnv-xgb</td><td>7</td>" in (tmp_path / "catalogue/catalogue.html").read_text()
    assert not report.warnings
    # A torn lock is told, and stops nothing.
    in_field.with_name("_models.lock.json").write_text("{")
    report = catalogue(tmp_path, [str(tmp_path / "scores"), str(alone)])
    assert [line for line in report.warnings if "_models.lock.json cannot be read" in line]
    assert "vnv_xgb" not in json.loads((tmp_path / "catalogue/catalog.json").read_text())["facts"]["versions"]


def test_pages_name_what_stands_beside_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20)))
    catalogue(tmp_path, [path], pages=True)
    beside = {"stars.csv", "fields.json", "catalog.json", "partitions.json"}
    assert set(known(tmp_path).files) == beside
    assert 'pd.read_csv("catalogue/stars.csv"' in (tmp_path / "catalogue/catalogue.html").read_text().replace(
        "&quot;", '"'
    )

    # A run that dies between its pages and its end leaves none of them to the next one, which has no older catalogue.
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    swap = catalog.swap
    monkeypatch.setattr(catalog, "swap", dies)
    with pytest.raises(KeyboardInterrupt):
        catalogue(tmp_path, [path], pages=True, previous=str(tmp_path / "catalogue"))
    assert (tmp_path / ".catalogue.work/catalogue/changes.html").exists()
    monkeypatch.setattr(catalog, "swap", swap)
    catalogue(tmp_path, [path])
    assert not [one.name for one in (tmp_path / "catalogue").iterdir() if one.suffix == ".html"]
    catalogue(tmp_path, [path], pages=True, previous=str(tmp_path / "catalogue"))
    assert set(known(tmp_path).files) == {*beside, "changes.html"}
    record = json.loads((tmp_path / "catalogue/changes.json").read_text())
    assert record["proven"] == {"partitions kept": 1, "partitions made": 0}
    assert record["counts"]["unchanged"] == record["counts"]["n_stars"] == 20


def test_mistakes_are_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20))

    def too_late(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(catalog, "input_digests", too_late)
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (FormatError, "nowhere.parquet", {"pages": True, "source": {"path": str(tmp_path / "nowhere.parquet")}}),
        (MissingColumnError, "a.parquet", {"pages": True, "source": {"path": str(table)}}),
        (ConfigError, "source=kowalski", {"pages": True, "source": {"kind": "kowalski", "path": None}}),
        (ConfigError, "no scores of class 'rrlyra'", {"csv": {"tags": ["rrlyra"]}}),
        (FormatError, "no catalogue of scope_ml", {"previous": str(tmp_path)}),
        (OutputError, "a folder of its own", {"output": "."}),
        (OutputError, "it is a link", {"output": str(tmp_path / "link")}),
    ]
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for error, words, options in wrong:
        with pytest.raises(error, match=words):
            catalogue(tmp_path, [str(table)], **options)
    # Without pages nobody asks for their light curves.
    with pytest.raises(AssertionError):
        catalogue(tmp_path, [str(table)], source={"path": str(tmp_path / "nowhere.parquet")})


def test_a_broken_catalogue_is_replaced(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", scored(SKIES["field"], n_stars=20)))
    catalogue(tmp_path, [path])
    (tmp_path / "catalogue/partitions.json").write_text("{]")
    report = catalogue(tmp_path, [path])
    assert [line for line in report.warnings if "nothing was kept of the catalogue that stood there" in line]
    assert (report.facts["n_partitions_kept"], report.facts["n_partitions"]) == (0, 1)


def test_two_stars_within_the_radius_are_told(tmp_path: Path) -> None:
    """Two light curves of one exposure cannot be of one star; both stay, in a star that says so."""
    table = scored(SKIES["field"], n_stars=3, known=0.0).slice(0, 2)
    same = {"ra": [10.0, 10.0], "dec": [5.0, 5.0003], "band": ["g", "g"]}
    same |= {name: table[name].to_pylist()[:1] * 2 for name in ("field", "ccd", "quad", "filter")}
    for name, values in same.items():
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(values, table[name].type))
    report = catalogue(tmp_path, [str(write(tmp_path / "a.parquet", table))])
    assert any(line.startswith("1 stars hold two light curves of one field") for line in report.warnings)
    stars = rows_of(tmp_path / "catalogue")
    assert (stars["crowded"].to_pylist(), stars["n_light_curves"].to_pylist()) == ([True], [2])


def test_places_at_the_seam_and_the_poles_are_places(tmp_path: Path) -> None:
    """Light curves at ra 0 and 360 are one star, those at a pole are, and no star is at ra 360."""
    places = [
        (0.0, 5.0),
        (360.0, 5.0),
        (1e-4, 5.0),
        (359.9999, 5.0),
        *((ra, dec) for dec in (90.0, -90.0) for ra in (0.0, 90.0, 359.9)),
    ]
    table = scored(SKIES["field"], n_stars=20, known=0.0).slice(0, len(places))
    for axis, name in enumerate(("ra", "dec")):
        table = table.set_column(
            table.column_names.index(name), name, pa.array([place[axis] for place in places], pa.float64())
        )
    report = catalogue(tmp_path, [str(write(tmp_path / "a.parquet", table))], partition_rows=1)
    stars = rows_of(tmp_path / "catalogue").sort_by("dec")
    assert (report.n_in, report.n_out, sum(report.dropped.values())) == (10, 10, 0)
    assert stars["n_light_curves"].to_pylist() == [3, 4, 3]
    assert all(0 <= ra < 360 for ra in stars["ra"].to_pylist())
