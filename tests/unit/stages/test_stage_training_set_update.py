"""A training set with votes in it: nothing is lost, what changes is listed, and the other stages take it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.datasets.labels import read_labels
from scope_ml.errors import ConfigError, MissingColumnError, OutputError
from scope_ml.io.tables import read_table, write_table
from scope_ml.services.fritz.records import Classification, Source, Vote
from scope_ml.stages.build_dataset import BuildDataset
from scope_ml.stages.build_dataset import run as run_build
from scope_ml.stages.fritz_download import FritzDownload, run
from scope_ml.stages.fritz_votes import VoteRule, decide, tallies
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.stages.training_set_file import TrainingSet
from scope_ml.stages.training_set_update import TrainingUpdate, updated
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.fritz_names import load_names

TAXONOMY = load_classes(packaged_conf_dir())
NAMES = load_names(TAXONOMY)
GROUPS = {"user_groups": [{"id": 7, "name": "Voters"}], "user_accessible_groups": [], "all_groups": []}


def row(name: str, ra: float, dec: float, votes: Mapping[str, int | None]) -> dict[str, Any]:
    """A source as the service tells it; net votes by class, None without any."""
    classifications = []
    for number, (label, net) in enumerate(votes.items()):
        cast = [{"voter_id": one, "vote": 1 if (net or 0) > 0 else -1} for one in range(abs(net or 0))]
        cast += [{"voter_id": 90, "vote": 1}, {"voter_id": 91, "vote": -1}] if net == 0 else []
        classifications.append(
            {
                "id": number,
                "obj_id": name,
                "classification": label,
                "taxonomy_id": 5,
                "probability": None,
                "votes": cast,
            }
        )
    return {
        "id": name,
        "ra": ra,
        "dec": dec,
        "groups": [{"id": 7}],
        "classifications": classifications,
        "labellers": [],
    }


class Portal:
    """Fritz with some sources, all of one group."""

    page = 500

    def __init__(self, *sources: Mapping[str, Any]) -> None:
        self.sources = sources

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        if path == "/api/groups":
            return GROUPS
        return {"sources": list(self.sources), "totalMatches": len(self.sources), "numPerPage": 500}

    def change(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a download changes nothing")


@pytest.fixture(autouse=True)
def classes_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scope_ml.stages.fritz_download.load_classes", lambda *_: TAXONOMY)


def download(portal: Portal, output: Path, **options: Any) -> Report:
    values = {"output": str(output), "groups": 7, "update_training_set": True, **options}
    return run(build(FritzDownload, values), progress=NullProgress(), fritz=portal)


@pytest.fixture(scope="module")
def places(training_tables: tuple[Path, Path]) -> list[dict[str, Any]]:
    return pq.read_table(training_tables[0], columns=["id", "source_id", "ra", "dec"]).to_pylist()


@pytest.fixture
def old(training_tables: tuple[Path, Path], tmp_path: Path) -> Path:
    """A label table of the first 200 stars, with names and open classes."""
    table = pq.read_table(training_tables[1]).slice(0, 200)
    table = table.append_column("obj_id", pa.array(["first", *([None] * 199)], pa.string()))
    table = table.append_column("uncertain_tags", pa.array(["", "rrlyr,ea", *([""] * 198)]))
    write_table(table, tmp_path / "labels.parquet", TableMetadata(kind="labels"))
    return tmp_path / "labels.parquet"


@pytest.fixture
def portal(places: list[dict[str, Any]]) -> Portal:
    def at(number: int, name: str, votes: Mapping[str, int | None]) -> dict[str, Any]:
        return row(name, places[number]["ra"], places[number]["dec"], votes)

    return Portal(
        at(0, "renamed", {"RRab": 1}),
        at(1, "S1", {"RR Lyrae": 1, "AGN": None}),
        at(100, "S100", {"EA": 2, "RR Lyrae": 1}),
        at(101, "S101", {"RR Lyrae": 0, "EA": 1}),
        at(102, "S102", {"EA": 0, "AGN": -1}),
        at(210, "S210", {"RRab": 1, "RRc": -1, "AGN": None}),
        at(211, "S211", {"non-variable": 1}),
        row("nowhere", 10.0, -80.0, {"EA": 1}),
    )


def test_rows_are_kept_changed_added_and_listed(
    portal: Portal, old: Path, places: list[dict[str, Any]], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    before = old.read_bytes()
    options = {"features": str(training_tables[0]), "training": {"path": str(old)}}
    report = download(portal, tmp_path / "fritz", **options)
    assert old.read_bytes() == before
    new = tmp_path / "updated_AL_labels.parquet"
    table = read_table(new, kind="labels").data
    counts = report.facts["training_set"]
    assert counts["rows"] == table.num_rows == 202 == counts["rows_before"] + counts["rows_added"]
    assert (counts["rows_changed"], counts["rows_confirmed"], counts["rows_added"]) == (4, 0, 2)
    assert counts["sources_left_out"] == {"no_class_counts": 1, "no_light_curve": 1}
    assert table["id"].to_pylist()[:200] == [place["source_id"] for place in places[:200]]
    by_id = {one["id"]: one for one in table.to_pylist()}
    of = {number: by_id[places[number]["source_id"]] for number in (0, 1, 2, 100, 101, 102, 210, 211)}
    assert (of[0]["obj_id"], of[0]["rrab"], of[0]["puls"], of[0]["ea"]) == ("first", 1.0, 1.0, 1), "ea: nothing posted"
    assert (of[1]["uncertain_tags"], of[1]["rrlyr"], of[1]["agn"]) == ("ea", 1, None)
    assert (of[100]["ea"], of[100]["rrlyr"]) == (1, 1), "an eclipsing RR Lyrae contradicts nothing"
    assert (of[101]["rrlyr"], of[101]["ea"], of[101]["obj_id"]) == (None, 1, "S101")
    assert of[102]["obj_id"] is None, "a source of which no class counts changes nothing"
    assert of[2]["rrlyr"] == 1
    assert (of[210]["rrab"], of[210]["rrc"], of[210]["agn"], of[210]["ea"]) == (1, 0, None, 0)
    assert (of[211]["ea"], of[211]["rrlyr"], of[211]["obj_id"]) == (0, 0, "S211")
    changes = read_table(tmp_path / "updated_AL_labels.parquet.changes.parquet").data.to_pylist()
    assert {
        (one["obj_id"], one["class"], one["before"], one["after"])
        for one in changes
        if one["obj_id"] == "S101" and one["after"] != 0
    } == {
        *(("S101", tag, 0.0 if tag in ("ea", "pnp") else None, 1.0) for tag in ("ea", "e", "pnp", "vnv")),
        ("S101", "rrlyr", 0.0, None),
    }
    assert counts["labels_changed"] == sum(one["kind"] == "changed" for one in changes)
    labels = read_labels(new, TAXONOMY)
    assert len(labels) == 202


@pytest.mark.slow  # trains a model; what goes into it is tested above and below
def test_the_new_set_trains(
    portal: Portal, old: Path, training_tables: tuple[Path, Path], train_values: Callable[..., Train], tmp_path: Path
) -> None:
    features = str(training_tables[0])
    download(portal, tmp_path / "fritz", features=features, training={"path": str(old)})
    new = str(tmp_path / "updated_AL_labels.parquet")
    built = run_build(
        build(BuildDataset, {"features": features, "labels": new, "output": str(tmp_path / "dataset")}),
        progress=NullProgress(),
    )
    assert built.n_out == 202
    counts = json.loads((tmp_path / "dataset" / "counts.json").read_text())["classes"]
    assert counts["rrab"]["positives"] == 2
    assert counts["rrlyr"]["uncertain"] == 1
    dataset = {"path": str(tmp_path / "dataset")}
    report = run_train(train_values("rrlyr", dataset=dataset, output=str(tmp_path / "m")), progress=NullProgress())
    assert report.stage == "train"


def test_one_table_of_scope(
    portal: Portal, places: list[dict[str, Any]], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    features = read_table(training_tables[0])
    table = features.data.slice(0, 120)
    table = table.rename_columns(["ztf_id" if name == "id" else name for name in table.column_names])
    table = table.drop_columns(["source_id"]).set_column(
        table.drop_columns(["source_id"]).column_names.index("skew"), "skew", pa.array(np.full(120, 99.0))
    )
    table = table.append_column("RR Lyrae ab", pa.array(np.zeros(120))).append_column(
        "EA", pa.array(np.full(120, 0.25))
    )
    table = table.append_column("obj_id", pa.array([*(f"old{row}" for row in range(119)), "S100"]))
    pq.write_table(table, tmp_path / "training_set.parquet")
    options = {"features": str(training_tables[0]), "training": {"path": str(tmp_path / "training_set.parquet")}}
    report = download(portal, tmp_path / "fritz", **options, names="legacy")
    new = tmp_path / "updated_AL_training_set.parquet"
    rows = read_table(new, kind="features").data.to_pylist()
    assert len(rows) == 122
    assert report.facts["training_set"]["rows_added"] == 2
    assert [one["obj_id"] for one in rows[:2]] == ["old0", "old1"]
    assert (rows[0]["RR Lyrae ab"], rows[2]["RR Lyrae ab"]) == (1.0, 0.0)
    assert rows[0]["skew"] == features.data["skew"][0].as_py(), "the newest features"
    assert rows[2]["skew"] == 99.0
    assert (rows[119]["EA"], rows[119]["skew"]) == (1.0, 99.0), "of the star S100 by its name, though not at its place"
    assert rows[0]["EA"] == rows[2]["EA"] == 0.25, "what nobody has posted stays"
    assert (
        [one["ztf_id"] for one in rows[-2:]]
        == [places[210]["id"], places[211]["id"]]
        == [one["id"] for one in rows[-2:]]
    )
    built = run_build(
        build(BuildDataset, {"features": str(new), "labels": str(new), "output": str(tmp_path / "dataset")}),
        progress=NullProgress(),
    )
    assert built.n_out == 122


def test_sets_by_position_and_out_of_nothing(portal: Portal, places: list[dict[str, Any]], tmp_path: Path) -> None:
    first, third = places[0], places[2]
    lines = ["ra,dec,class", f"{first['ra']!r},{first['dec']!r},AGN", f"{third['ra']!r},{third['dec']!r},EA"]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    report = download(portal, tmp_path / "fritz", training={"path": str(tmp_path / "mine.csv")})
    rows = read_table(tmp_path / "updated_AL_mine.csv").data.to_pylist()
    assert len(rows) == 2 + 6
    assert report.facts["training_set"]["rows_changed"] == 1
    assert (rows[0]["agn"], rows[0]["rrab"], rows[0]["obj_id"], rows[1]["ea"]) == (1, 1, "renamed", 1)
    download(portal, tmp_path / "b.parquet")
    rows = read_table(tmp_path / "updated_AL_labels.parquet").data.to_pylist()
    assert [one["obj_id"] for one in rows] == ["renamed", "S1", "S100", "S101", "S210", "S211", "nowhere"]
    assert {one["agn"] for one in rows if one["obj_id"] == "S210"} == {None}


def test_a_row_that_bears_the_name_of_a_source_is_not_added_once_more(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("obj_id,ra,dec,agn\nS,10.01,0,0\nS,10,0,0\nT,20,0,0\nU,30,0,0\n")
    portal = Portal(row("S", 10.0, 0.0, {"AGN": 1}), row("T", 20.01, 0.0, {"AGN": 1}), row("V", 40.0, 0.0, {"AGN": 1}))
    report = download(portal, tmp_path / "f", training={"path": str(tmp_path / "mine.csv")})
    found = read_table(tmp_path / "updated_AL_mine.csv").data.to_pylist()
    assert [(one["obj_id"], one["agn"]) for one in found] == [("S", 1), ("S", 1), ("T", 1), ("U", 0), ("V", 1)]
    counts = report.facts["training_set"]
    assert (counts["rows_changed"], counts["rows_confirmed"], counts["rows_added"]) == (3, 0, 1)


def test_one_table_with_both_ids_keeps_both_whole(
    portal: Portal, places: list[dict[str, Any]], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    """So is the one table that an update wrote: it has `id` beside `ztf_id`, and SCoPe's names have `ztf_id` alone."""
    table = read_table(training_tables[0]).data.slice(0, 3)
    table = table.append_column("ztf_id", table["id"]).append_column("AGN", pa.array([0.0, 0.0, 0.0]))
    pq.write_table(table.append_column("agn", pa.array([0.0, 0.0, 0.0])), tmp_path / "one.parquet")
    options = {"features": str(training_tables[0]), "training": {"path": str(tmp_path / "one.parquet")}}
    for names in ("legacy", "tags"):
        download(portal, tmp_path / names, **options, names=names)
        found = read_table(tmp_path / "updated_AL_one.parquet").data
        assert found.num_rows > 3
        assert found["id"].to_pylist() == found["ztf_id"].to_pylist()
        (tmp_path / "updated_AL_one.parquet").unlink()


def test_what_is_only_left_open_keeps_its_label(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("ra,dec,puls,rrlyr,rrab\n10,0,0,1,1\n")
    download(
        Portal(row("S", 10.0, 0.0, {"RR Lyrae": 0, "AGN": 1})),
        tmp_path / "f",
        training={"path": str(tmp_path / "mine.csv")},
    )
    found = read_table(tmp_path / "updated_AL_mine.csv").data.to_pylist()[0]
    assert (found["puls"], found["rrlyr"], found["rrab"], found["agn"]) == (0, None, None, 1)


def test_what_else_can_be_wished(portal: Portal, tmp_path: Path) -> None:
    download(portal, tmp_path / "a" / "s.parquet", training={"absent": "unknown", "rejected": True})
    rows = {one["obj_id"]: one for one in read_table(tmp_path / "a" / "updated_AL_labels.parquet").data.to_pylist()}
    assert (rows["S100"]["agn"], rows["S102"]["agn"], rows["S102"]["rrab"]) == (None, 0, None)
    assert rows["S211"]["ea"] == 0, "a star that does not vary is no eclipsing one"
    download(portal, tmp_path / "b" / "s.parquet", min_net_votes=2)
    rows = read_table(tmp_path / "b" / "updated_AL_labels.parquet").data.to_pylist()
    assert [one["obj_id"] for one in rows] == ["S100"]
    assert rows[0]["rrlyr"] is None


def test_what_is_refused_before_anything_is_asked(portal: Portal, old: Path, tmp_path: Path) -> None:
    class Silent(Portal):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
            raise AssertionError("asked")

    silent = Silent()
    with pytest.raises(ConfigError, match="give features="):
        download(silent, tmp_path / "f", training={"path": str(old)})
    (tmp_path / "updated_AL_labels.parquet").write_bytes(b"kept")
    options: dict[str, Any] = {"features": "f.parquet"}
    with pytest.raises(OutputError, match=r"training\.prefix=ANOTHER"):
        download(silent, tmp_path / "f", **options, training={"path": str(old)})
    with pytest.raises(OutputError, match="is the old training set"):
        download(silent, tmp_path / "f", **options, training={"path": str(old), "output": str(old)})
    assert (tmp_path / "updated_AL_labels.parquet").read_bytes() == b"kept"
    with pytest.raises(ConfigError, match="update_training_set=true"):
        download(silent, tmp_path / "f", update_training_set=False, training={"path": str(old)})
    (tmp_path / "no.csv").write_text("id,magnitude\n1,2\n")
    with pytest.raises(MissingColumnError, match="class"):
        download(silent, tmp_path / "f", **options, training={"path": str(tmp_path / "no.csv")})


TAGS = ("rrab", "rrc", "rrlyr", "ea", "agn", "nonvar")
LABELS = {"rrab": "RRab", "rrc": "RRc", "rrlyr": "RR Lyrae", "ea": "EA", "agn": "AGN", "nonvar": "non-variable"}


@given(
    st.lists(st.dictionaries(st.sampled_from(TAGS), st.integers(-2, 2), max_size=4), max_size=8),
    st.sampled_from(["decided", "newest"]),
    st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_counts_add_up_and_a_second_update_changes_nothing(
    votes: list[dict[str, int]], rows: str, rejected: bool
) -> None:
    sources = [
        Source(
            id=f"S{number}",
            ra=float(number),
            dec=0.0,
            classifications=tuple(
                Classification(
                    id=place,
                    obj_id=f"S{number}",
                    classification=LABELS[tag],
                    taxonomy_id=1,
                    votes=tuple(Vote(voter_id=voter, vote=1 if net > 0 else -1) for voter in range(abs(net))),
                )
                for place, (tag, net) in enumerate(one.items())
            ),
        )
        for number, one in enumerate(votes)
    ]
    rule = VoteRule.of(1, ("rrab,rrc",), TAXONOMY)
    decisions = [decide(tallies(one.classifications, NAMES.labels), TAXONOMY, rule) for one in sources]
    table = pa.table({"ra": [0.0, 2.0, 100.0], "dec": [0.0, 0.0, 0.0], "rrlyr": [1, 0, 1], "ea": [0, 1, 0]})
    old = TrainingSet(table=table, form="labels", key=None, classes={"rrlyr": "rrlyr", "ea": "ea"})
    config = build(TrainingUpdate, {"rows": rows, "rejected": rejected})
    first = updated(old, sources, decisions, None, None, config, radius_arcsec=2.0)
    assert first.table.num_rows == 3 + first.n_added
    assert first.n_added + first.n_changed + first.n_same + first.left_out["no_class_counts"] == len(sources)
    assert first.table["ra"].to_pylist()[:3] == [0.0, 2.0, 100.0]
    classes = {tag: tag for tag in first.table.column_names if tag in TAXONOMY}
    again = TrainingSet(table=first.table, form="labels", key=None, classes=classes)
    second = updated(again, sources, decisions, None, None, config, radius_arcsec=2.0)
    assert (second.n_added, second.n_changed) == (0, 0)
    assert second.table.equals(first.table)
