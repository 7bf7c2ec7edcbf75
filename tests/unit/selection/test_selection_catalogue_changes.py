from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.protocols import NullProgress
from scope_ml.errors import FormatError, MissingColumnError
from scope_ml.selection.catalogue_change_rows import CHANGE_COLUMNS, CHANGE_SCHEMA, change_rows
from scope_ml.selection.catalogue_changes import Side, compare_catalogues
from scope_ml.selection.catalogue_links import group_stars, stretches
from scope_ml.selection.catalogue_parts import open_star_catalogue
from scope_ml.selection.catalogue_tallies import SCORE_EDGES, ChangeLimits, ChangeTally, judged

TAGS = ("vnv", "rrlyr")
LIMITS = ChangeLimits()
SCORES = ("vnv", "rrlyr")


def side(path, **changes):
    catalogue = open_star_catalogue(path)
    columns = {one.tag: one for one in catalogue.scores(TAGS, ("xgb", "dnn"))}
    given = {"classes": "confident_classes", "period": "period", "fields": "fields", **changes}
    return Side(
        catalogue=catalogue,
        name="name",
        ids="ids",
        tags=TAGS,
        scores=tuple(columns.get(tag) for tag in TAGS),
        thresholds=(0.5, 0.7),
        **given,
    )


def compared(old, new, limits=LIMITS, **changes):
    tally, tables = ChangeTally(tags=TAGS, limits=limits), [CHANGE_SCHEMA.empty_table()]
    for piece in compare_catalogues(side(old, **changes), side(new, **changes), NullProgress()):
        verdict = judged(piece, limits)
        tally.add(piece, verdict)
        tables.append(change_rows(piece, verdict))
    assert tally.adds_up
    return tally, pa.concat_tables(tables).to_pylist()


def star(number, ra, ids, **more):
    return {"name": f"S{number}", "ra": ra, "dec": 3.0, "ids": ids, **more}


@pytest.fixture
def pair(tmp_path, write_stars):
    """Writes two catalogues, the second cut finer than the first, and compares them."""

    def run(old, new, limits=LIMITS, **changes):
        before = write_stars(tmp_path / "old", old, order=0, scores=SCORES)
        now = write_stars(tmp_path / "new", new, order=lambda base: 1 + base % 3, scores=SCORES)
        return compared(before, now, limits, **changes)

    return run


def test_kinds_of_groups(pair) -> None:
    old = [
        star(1, 10.0, [1, 2]),
        star(2, 50.0, [3]),
        star(3, 90.0, [4, 5]),
        star(4, 130.0, [6]),
        star(5, 130.001, [7]),
        star(6, 200.0, [8, 9]),
        star(7, 200.001, [10, 11]),
    ]
    new = [
        star(1, 10.0, [1, 2]),
        star(30, 90.0, [4]),
        star(31, 90.001, [5]),
        star(40, 130.0, [6, 7]),
        star(60, 200.0, [8, 10]),
        star(61, 200.001, [9, 11]),
        star(99, 300.0, [12]),
    ]
    tally, rows = pair(old, new)
    assert dict(tally.groups) == {"same": 1, "new": 1, "gone": 1, "split": 1, "merged": 1, "regrouped": 1}
    assert tally.stars_before == {"same": 1, "new": 0, "gone": 1, "split": 1, "merged": 2, "regrouped": 2}
    assert tally.stars_now == {"same": 1, "new": 1, "gone": 0, "split": 2, "merged": 1, "regrouped": 2}
    assert (tally.n_shared, tally.n_lost, tally.n_gained) == (10, 1, 1)
    found = {row["change"]: (sorted(row["names_before"]), sorted(row["names"])) for row in rows}
    assert found == {
        "split": (["S3"], ["S30", "S31"]),
        "merged": (["S4", "S5"], ["S40"]),
        "regrouped": (["S6", "S7"], ["S60", "S61"]),
        "new": ([], ["S99"]),
        "gone": (["S2"], []),
    }
    places = {one["name"]: one["ra"] for one in (*old, *new)}
    assert all(row["ra"] == places[(row["names"] or row["names_before"])[0]] for row in rows)


def test_a_star_that_moved_to_another_partition_is_the_same(pair) -> None:
    # And one that was torn apart over the sky: its second half lies in another stretch.
    old = [star(1, 10.0, [1, 2]), star(2, 170.0, [5, 6])]
    new = [star(1, 250.0, [1, 2]), star(2, 170.0, [5]), star(3, 20.0, [6])]
    tally, rows = pair(old, new)
    assert (tally.groups["same"], tally.groups["split"], tally.groups["new"], tally.groups["gone"]) == (1, 1, 0, 0)
    assert [(row["change"], row["names"]) for row in rows] == [("split", ["S3", "S2"])]


def test_rows_are_where_the_stars_are_now_and_those_gone_come_last(pair) -> None:
    old = [star(1, 10.0, [1]), star(2, 10.0, [2])]
    new = [star(3, 10.001, [3]), star(2, 10.002, [2], confident_classes=["vnv"]), star(4, 10.003, [4])]
    _, rows = pair(old, new)
    assert [row["change"] for row in rows][-1] == "gone"
    assert {row["names"][0]: row["ra"] for row in rows[:-1]} == {"S2": 10.002, "S3": 10.001, "S4": 10.003}


def test_classes_gained_and_lost_add_up(pair) -> None:
    both, one = {"confident_classes": ["vnv", "rrlyr"]}, {"confident_classes": ["vnv"]}
    old = [star(1, 10.0, [1], **one), star(2, 20.0, [2], **both), star(3, 30.0, [3], **both), star(4, 40.0, [4, 5])]
    new = [star(1, 10.0, [1], **both), star(2, 20.0, [2], **one), star(4, 40.0, [4], **one), star(5, 40.1, [5], **one)]
    new.append(star(6, 99.0, [9], **both))
    tally, rows = pair(old, new)
    of = tally.to_json()["classes"]
    assert of["vnv"] | {"score_differences": 0} == {
        "before": 3,
        "now": 5,
        "gained": 0,
        "lost": 0,
        "with_new_stars": 1,
        "with_gone_stars": 1,
        "with_stars_split_or_merged": 2,
        "scores_compared": 0,
        "scores_equal": 0,
        "scores_moved": 0,
        "score_differences": 0,
    }
    assert (of["rrlyr"]["gained"], of["rrlyr"]["lost"], of["rrlyr"]["before"], of["rrlyr"]["now"]) == (1, 1, 2, 2)
    told = {tuple(sorted(row["names"])): (row["classes_gained"], row["classes_lost"]) for row in rows}
    assert told[("S1",)] == (["rrlyr"], []) and told[("S2",)] == ([], ["rrlyr"])
    assert told[()] == ([], ["vnv", "rrlyr"]) and told[("S4", "S5")] == (["vnv"], [])


def test_without_a_column_of_classes_the_threshold_decides(pair) -> None:
    old = [star(1, 10.0, [1], vnv=0.49, rrlyr=0.71), star(2, 20.0, [2])]
    new = [star(1, 10.0, [1], vnv=0.5, rrlyr=0.69), star(2, 20.0, [2])]
    tally, _ = pair(old, new, classes="")
    assert tally.gained.tolist() == [1, 0] and tally.lost.tolist() == [0, 1]


def test_scores_that_moved(pair) -> None:
    old = [star(k, 10.0 * k, [k], vnv=0.5, rrlyr=0.1) for k in range(1, 5)] + [star(9, 90.0, [9], vnv=0.5)]
    new = [
        star(1, 10.0, [1], vnv=0.5, rrlyr=0.1),
        star(2, 20.0, [2], vnv=0.55, rrlyr=0.1),
        star(3, 30.0, [3], vnv=0.75, rrlyr=0.0),
        star(4, 40.0, [4], vnv=0.0, rrlyr=1.0),
        star(9, 90.0, [9], rrlyr=0.5),
    ]
    tally, rows = pair(old, new, ChangeLimits(n_largest=2))
    assert tally.n_compared.tolist() == [4, 4] and tally.n_equal.tolist() == [1, 2]
    # 0.1 in float32 is a little more than 0.1, so that 0.1 less is a change.
    assert tally.n_moved.tolist() == [2, 2]
    assert tally.same["score_moved"] == 3 and tally.same["changed"] == 3
    assert [(one.name, one.tag, round(one.difference, 4)) for one in tally.largest] == [
        ("S4", "rrlyr", 0.9),
        ("S3", "vnv", 0.25),
    ]
    assert tally.histogram.sum(axis=1).tolist() == [3, 2]
    assert tally.histogram[0][np.searchsorted(SCORE_EDGES, 0.25) - 1] == 1
    last = rows[-1]
    assert (last["names"], last["score_change"], last["score_change_class"]) == (["S9"], None, None)


def test_of_equally_large_changes_those_with_the_first_names_are_kept(pair) -> None:
    old = [star(k, 10.0 * k, [k], vnv=0.25) for k in range(1, 9)]
    new = [star(k, 10.0 * k, [k], vnv=0.75) for k in range(1, 9)]
    assert [one.name for one in pair(old, new, ChangeLimits(n_largest=3))[0].largest] == ["S1", "S2", "S3"]


def test_a_score_that_fell_far_is_a_large_change_too(pair) -> None:
    old = [star(1, 10.0, [1], vnv=0.9), star(2, 20.0, [2], vnv=0.5)]
    new = [star(1, 10.0, [1], vnv=0.2), star(2, 20.0, [2], vnv=0.9)]
    assert [one.name for one in pair(old, new, ChangeLimits(n_largest=1))[0].largest] == ["S1"]


def test_periods(pair) -> None:
    periods = [(0.5, 0.5), (0.5, 0.50001), (0.5, 0.6), (0.5, 1.0), (0.5, 0.25), (None, 0.5), (0.5, None), (None, None)]
    old = [star(k, 10.0 * k, [k], period=before) for k, (before, _) in enumerate(periods)]
    new = [star(k, 10.0 * k, [k], period=now) for k, (_, now) in enumerate(periods)]
    tally, rows = pair(old, new)
    of = tally.same
    assert (of["period_moved"], of["period_moved_to_a_harmonic"], of["period_came"], of["period_went"]) == (3, 2, 1, 1)
    changes = {row["names"][0]: row["period_change"] for row in rows}
    assert changes == {"S2": "moved", "S3": "harmonic", "S4": "harmonic", "S5": "came", "S6": "went"}
    assert {row["names"][0]: (row["period_before"], row["period"]) for row in rows}["S5"] == (None, 0.5)


def test_light_curves_names_and_fields(pair) -> None:
    old = [star(1, 10.0, [1, 2], fields=[296]), star(2, 20.0, [3], fields=[296]), star(3, 30.0, [4], fields=[296])]
    new = [
        star(1, 10.0, [2, 7, 8], fields=[296, 297]),
        star(20, 20.0, [3], fields=[296]),
        star(3, 30.0, [4], fields=[]),
    ]
    tally, rows = pair(old, new)
    assert tally.same["light_curves_changed"] == 1 and tally.same["renamed"] == 1 and tally.same["changed"] == 1
    assert [tally.fields_before, tally.fields_now] == [{296: 3}, {296: 2, 297: 1}]
    (row,) = rows
    assert (row["n_light_curves_before"], row["n_light_curves"], row["n_light_curves_shared"]) == (2, 3, 1)


def test_a_catalogue_beside_itself_has_not_changed(tmp_path, write_stars) -> None:
    stars = [star(k, 40.0 * k, [2 * k, 2 * k + 1], vnv=0.3, confident_classes=["vnv"]) for k in range(8)]
    path = write_stars(tmp_path / "one", stars, scores=SCORES)
    tally, rows = compared(path, path)
    assert not rows
    assert tally.counts() == {
        "n_stars_before": 8,
        "n_stars": 8,
        **dict.fromkeys(("new", "gone", "split", "merged", "regrouped", "changed"), 0),
        "same": 8,
        "unchanged": 8,
    }
    json.dumps(tally.to_json(), allow_nan=False)


def test_catalogues_without_stars(tmp_path, write_stars) -> None:
    none = write_stars(tmp_path / "none", [], scores=SCORES)
    some = write_stars(tmp_path / "some", [star(1, 10.0, [1])], scores=SCORES)
    assert compared(none, none)[0].counts()["n_stars"] == 0
    assert compared(none, some)[0].groups["new"] == 1 and compared(some, none)[0].groups["gone"] == 1


def test_ids_of_another_type_are_compared_as_they_are_written(tmp_path, write_stars) -> None:
    old = write_stars(tmp_path / "old", [star(1, 10.0, [10_487_543_010_203_847])])
    text = {"ids": pa.list_(pa.string())}
    new = write_stars(tmp_path / "new", [star(1, 100.0, ["10487543010203847", None])], types=text)
    assert compared(old, new)[0].groups["same"] == 1


def test_a_score_without_a_joined_column_is_the_mean_of_its_algorithms(tmp_path, write_stars) -> None:
    rows = [star(1, 10.0, [1], vnv_xgb=0.25, vnv_dnn=0.75), star(2, 20.0, [2], vnv_xgb=0.25), star(3, 30.0, [3])]
    path = write_stars(tmp_path / "one", rows, scores=("vnv_xgb", "vnv_dnn", "vnv_xgb_spread"))
    one = side(path)
    rows = pa.concat_tables([one.catalogue.read(part, one.columns) for part in one.catalogue.parts])
    assert sorted(one.score_matrix(rows)[:, 0].tolist(), key=str) == [0.25, 0.5, pytest.approx(np.nan, nan_ok=True)]


# -- whatever the partitions and the groups are

STARS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True), max_size=8)


def as_stars(lists, sky):
    taken: set[int] = set()
    found = []
    for number, wanted in enumerate(lists):
        ids = [one for one in wanted if one not in taken]
        taken.update(ids)
        if ids:
            found.append({"name": f"S{number}", "ids": ids, **sky[number]})
    return found


def by_hand(old, new):
    """The groups by a walk through the graph."""
    stars = [("old", one) for one in old] + [("new", one) for one in new]
    left, found = list(range(len(stars))), []
    while left:
        group = [left.pop()]
        for at in group:
            near = [k for k in left if set(stars[k][1]["ids"]) & set(stars[at][1]["ids"])]
            left = [k for k in left if k not in near]
            group += near
        n_old = sum(stars[k][0] == "old" for k in group)
        n_new = len(group) - n_old
        kind = {(1, 1): "same", (0, 1): "new", (1, 0): "gone"}.get((n_old, n_new))
        found.append(kind or ("split" if n_old == 1 else "merged" if n_new == 1 else "regrouped"))
    return {kind: found.count(kind) for kind in set(found)}


@settings(max_examples=35, deadline=None)
@given(before=STARS, now=STARS, data=st.data())
def test_groups_are_found_wherever_their_stars_are(before, now, data, tmp_path_factory, write_stars) -> None:
    folder = tmp_path_factory.mktemp("pair")
    place = st.fixed_dictionaries(
        {"ra": st.sampled_from([0.0, 44.9, 45.1, 180.0, 359.9]), "dec": st.sampled_from([-90.0, 0.0, 41.0, 90.0])}
    )
    sky = data.draw(st.lists(place, min_size=8, max_size=8))
    old = as_stars(before, sky)
    new = as_stars(now, data.draw(st.sampled_from([sky, sky[::-1]])))
    orders = data.draw(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=2, max_size=2))
    tally, rows = compared(
        write_stars(folder / "old", old, order=orders[0].__getitem__, scores=SCORES),
        write_stars(folder / "new", new, order=orders[1].__getitem__, scores=SCORES),
    )
    assert {kind: n for kind, n in tally.groups.items() if n} == by_hand(old, new)
    ids_before, ids_now = ({one for star in side for one in star["ids"]} for side in (old, new))
    assert tally.n_shared == len(ids_before & ids_now)
    assert tally.n_lost == len(ids_before - ids_now) and tally.n_gained == len(ids_now - ids_before)
    names = [name for row in rows for name in row["names"]]
    assert len(names) == len(set(names))


def test_each_partition_is_read_once_and_each_row_comes_once(tmp_path, write_stars, monkeypatch) -> None:
    rng = np.random.default_rng(1)
    stars = [star(k, float(rng.uniform(0, 360)), [k]) for k in range(300)]
    old = open_star_catalogue(write_stars(tmp_path / "old", stars, order=2))
    new = open_star_catalogue(write_stars(tmp_path / "new", stars, order=0))
    opened = []
    read = type(old).read
    monkeypatch.setattr(
        type(old), "read", lambda self, part, columns: opened.append(part.path) or read(self, part, columns)
    )
    pieces = list(stretches(old, new, ["ids"], ["ids"]))
    assert len(opened) == len(set(opened)) == len(old.parts) + len(new.parts)
    for name in ("old", "new"):
        ids = [one for piece in pieces for one in getattr(piece, name)["ids"].to_pylist()]
        assert sorted(ids) == sorted([k] for k in range(300))
    assert max(piece.new.num_rows for piece in pieces) < 60


def test_rows_out_of_order_and_beyond_the_rim_come_once(tmp_path, write_stars) -> None:
    rng = np.random.default_rng(2)
    stars = [star(k, float(rng.uniform(1, 30)), [k]) for k in range(50)]
    path = write_stars(tmp_path / "old", stars, order=0)
    (file,) = path.rglob("Npix=*.parquet")
    rows = pq.read_table(file)
    cells = rows["_healpix_29"].to_numpy().copy()
    # One a little before and one a little behind what the partition holds.
    cells[0], cells[-1] = (4 << 58) - 3, (5 << 58) + 3
    rows = rows.set_column(0, "_healpix_29", pa.array(cells)).take(pa.array(rng.permutation(50)))
    pq.write_table(rows, file)
    new = write_stars(tmp_path / "new", stars, order=3)
    tally, _ = compared(path, new)
    assert tally.counts()["same"] == 50 and not tally.groups["new"]
    pieces = list(stretches(open_star_catalogue(path), open_star_catalogue(new), ["ids"], ["ids"]))
    assert sum(piece.old.num_rows for piece in pieces) == 50
    # Each star is where its partner is, but for the two at most: rows were put in order.
    together = sum(
        len({one[0] for one in piece.old["ids"].to_pylist()} & {one[0] for one in piece.new["ids"].to_pylist()})
        for piece in pieces
    )
    assert together >= 48


def test_a_star_without_light_curves_is_a_group_of_its_own() -> None:
    groups = group_stars(pa.chunked_array([[[1], []]]), pa.chunked_array([[[1], [None], []]], pa.list_(pa.int64())))
    assert len(groups) == 4 and groups.n_shared.sum() == 1


# -- what is no catalogue


def test_what_is_no_catalogue_is_refused(tmp_path, write_stars) -> None:
    with pytest.raises(FormatError, match="no folder 'dataset'"):
        open_star_catalogue(tmp_path)
    path = write_stars(tmp_path / "one", [star(1, 10.0, [1])], order=1)
    with pytest.raises(MissingColumnError, match="rrlyr"):
        open_star_catalogue(path, needed=["name", "rrlyr"])
    (path / "dataset" / "Norder=1" / "part.parquet").write_bytes(next(path.rglob("Npix*")).read_bytes())
    with pytest.raises(FormatError, match="is no partition"):
        open_star_catalogue(path)


def test_partitions_that_overlap_or_differ_are_refused(tmp_path, write_stars) -> None:
    path = write_stars(tmp_path / "one", [star(1, 10.0, [1])], order=1)
    finer = write_stars(tmp_path / "two", [star(1, 10.0, [1])], order=2)
    (finer / "dataset" / "Norder=2").rename(path / "dataset" / "Norder=2")
    with pytest.raises(FormatError, match="overlap"):
        open_star_catalogue(path)
    other = write_stars(tmp_path / "three", [star(1, 100.0, [1])], order=3, scores=("vnv",))
    (other / "dataset" / "Norder=3").rename(path / "dataset" / "Norder=3")
    with pytest.raises(FormatError, match="has not the columns"):
        open_star_catalogue(path)


def test_the_table_of_changes_has_units() -> None:
    assert [column.name for column in CHANGE_COLUMNS] == CHANGE_SCHEMA.names
    assert {column.name for column in CHANGE_COLUMNS if column.unit == "d"} == {"period_before", "period"}
