from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.protocols import NullProgress
from scope_ml.errors import FormatError, MissingColumnError, OutputError
from scope_ml.io.tables import read_table
from scope_ml.stages import catalog_changes
from scope_ml.stages.catalog_pages import (
    CatalogueFacts,
    CatalogueModel,
    KnownCatalogue,
    PageOptions,
    write_changes,
    write_release_page,
)
from scope_ml.stages.feature_sources import SourceConfig
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

SCORES = ("vnv_xgb", "vnv", "ea", "rrlyr")


@pytest.fixture(scope="module")
def taxonomy():
    return load_classes(packaged_conf_dir())


@pytest.fixture
def catalogue(tmp_path, write_stars):
    def write(name, stars, **facts):
        path = write_stars(tmp_path / name, stars, scores=facts.pop("scores", SCORES), without=facts.pop("without", ()))
        return KnownCatalogue(path=path, facts=CatalogueFacts(**facts))

    return write


@pytest.fixture
def curves(tmp_path):
    """A file of three light curves: of stars 1 (twice) and 2."""
    time = 2_458_000.5 + np.sort(np.random.default_rng(1).uniform(0, 500, 120))
    lengths = {1: 60, 101: 120, 2: 80}
    rows = {
        "id": list(lengths),
        "band": ["g", "r", "g"],
        "hjd": [time[:n] for n in lengths.values()],
        "mag": [15 + 0.3 * np.sin(2 * np.pi * time[:n] / 0.7) for n in lengths.values()],
        "magerr": [np.full(n, 0.01) for n in lengths.values()],
        "catflags": [np.zeros(n, dtype=np.int32) for n in lengths.values()],
    }
    path = tmp_path / "curves.parquet"
    pq.write_table(pa.table(rows), path)
    return SourceConfig(path=str(path))


def star(number, ra=10.0, **more):
    return {"name": f"S{number}", "ra": ra, "dec": 3.0, "ids": [number, 100 + number], **more}


STARS = [
    star(1, ea=0.95, vnv=0.9, vnv_xgb=0.9, period=0.7, confident_classes=["vnv", "ea"]),
    star(2, rrlyr=0.9, vnv=0.8, vnv_xgb=0.8, period=0.7),
    star(3, 80.0, vnv=0.1, vnv_xgb=0.1),
]


# -- the page of a release


def test_a_page_with_light_curves(catalogue, curves, taxonomy, tmp_path) -> None:
    known = catalogue("now", STARS)
    written = write_release_page(
        known,
        tmp_path / "page.html",
        taxonomy=taxonomy,
        light_curves=curves,
        options=PageOptions(title="A title", n_examples=2),
        progress=NullProgress(),
    )
    text = (tmp_path / "page.html").read_text()
    # Two stars for vnv, one each for ea and rrlyr.
    assert written.n_examples == text.count("<figure>") == 4
    assert (written.n_stars, written.n_bytes, written.warnings) == (3, len(text.encode()), ())
    assert "A title" in text and "<strong>RR Lyrae</strong>" in text and str(known.path) not in text
    # Variable: against time; eclipsing: folded.
    cards = {tag: text[text.index(f'id="class-{tag}"') :].split("</article>")[0] for tag in ("vnv", "ea")}
    assert "P = 0.7 d" in cards["ea"] and "P = 0.7 d" not in cards["vnv"] and "101 r folded" in cards["ea"]


def test_pages_without_light_curves(catalogue, curves, taxonomy, tmp_path) -> None:
    def written(known, **how):
        return write_release_page(known, tmp_path / "page.html", taxonomy=taxonomy, progress=NullProgress(), **how)

    known = catalogue("now", STARS)
    assert written(known).n_examples == 0 and "Light curves</h2>" not in (tmp_path / "page.html").read_text()
    none_shown = written(known, light_curves=curves, options=PageOptions(n_examples=0))
    assert (none_shown.n_examples, none_shown.warnings) == (0, ())
    elsewhere = catalogue("elsewhere", [star(77, vnv=0.9)])
    assert "None of the light curves" in written(elsewhere, light_curves=curves).warnings[0]
    faint = catalogue("faint", [star(1, vnv=0.2)])
    assert "No star reaches" in written(faint, light_curves=curves).warnings[0]
    empty = written(catalogue("empty", []), light_curves=curves)
    assert empty.n_stars == 0 and "No star reaches" in empty.warnings[0]
    one_class = written(catalogue("one", STARS, scores=("vnv",)), light_curves=curves)
    assert one_class.n_examples == 2


def test_what_is_no_catalogue_of_stars(catalogue, taxonomy, tmp_path) -> None:
    with pytest.raises(FormatError, match="is no catalogue"):
        write_release_page(
            KnownCatalogue(path=tmp_path), tmp_path / "page.html", taxonomy=taxonomy, progress=NullProgress()
        )
    known = catalogue("now", STARS, without=("n_light_curves",))
    with pytest.raises(MissingColumnError, match="n_light_curves"):
        write_release_page(known, tmp_path / "page.html", taxonomy=taxonomy, progress=NullProgress())
    assert not (tmp_path / "page.html").exists()


def test_a_torn_partition_is_named(catalogue, taxonomy, tmp_path) -> None:
    known = catalogue("now", STARS)
    file = sorted(known.path.rglob("Npix=*.parquet"))[0]
    whole = file.read_bytes()
    # In the footer, and in the pages of columns.
    for torn in (whole[:-9], whole[:40] + bytes(len(whole) // 3) + whole[40 + len(whole) // 3 :]):
        file.write_bytes(torn)
        with pytest.raises(FormatError, match=file.name):
            write_release_page(known, tmp_path / "page.html", taxonomy=taxonomy, progress=NullProgress())
    assert not (tmp_path / "page.html").exists()


# -- what changed


def changed(previous, now, folder, taxonomy, **how):
    return write_changes(previous, now, folder, taxonomy=taxonomy, progress=NullProgress(), **how)


def test_changes_are_written_in_three_ways(catalogue, taxonomy, tmp_path) -> None:
    old_model = CatalogueModel(tag="vnv", algorithm="xgb", digest="aa")
    new_model = CatalogueModel(tag="vnv", algorithm="xgb", digest="bb", threshold=0.5)
    old = catalogue("old", STARS, models=(old_model,), provenance={"code": "1"})
    new = catalogue(
        "new",
        [STARS[0] | {"vnv": 0.4, "confident_classes": []}, STARS[1], star(9, 200.0)],
        models=(new_model,),
        provenance={"code": "2"},
    )
    written = changed(old, new, tmp_path / "out", taxonomy, proven={"partitions kept": 4})
    assert written.warnings == ()
    assert written.counts == {
        "n_stars_before": 3,
        "n_stars": 3,
        "same": 2,
        "new": 1,
        "gone": 1,
        "split": 0,
        "merged": 0,
        "regrouped": 0,
        "changed": 1,
        "unchanged": 1,
    }
    record = json.loads(written.outputs["changes"].read_text())
    assert record["counts"] == written.counts and record["proven"] == {"partitions kept": 4}
    assert record["classes"]["vnv"]["lost"] == record["classes"]["ea"]["lost"] == 1
    assert record["models_changed"][0]["before"]["threshold"] is None
    assert record["models_changed"][0]["now"]["digest"] == "bb" and record["n_rows_of_changed_stars"] == 3
    table = read_table(written.outputs["stars"], kind="catalogue_changes")
    assert sorted(table.data["change"].to_pylist()) == ["gone", "new", "same"]
    assert table.metadata.n_rows == 3
    text = written.outputs["page"].read_text()
    assert "1 -&gt; 2" in text and "partitions kept" in text and str(tmp_path) not in text


def test_the_same_catalogues_give_the_same_files(catalogue, taxonomy, tmp_path) -> None:
    old, new = catalogue("old", STARS), catalogue("new", STARS[:2])
    first, second = (changed(old, new, tmp_path / name, taxonomy).outputs for name in "ab")
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes()


def test_only_what_both_have_is_compared(catalogue, taxonomy, tmp_path) -> None:
    # The older one had no list of classes, no periods, and no rrlyr.
    old = catalogue("old", STARS, scores=("vnv",), without=("confident_classes", "period", "fields"))
    new = catalogue("new", STARS, thresholds={"vnv": 0.85})
    record = json.loads(changed(old, new, tmp_path, taxonomy).outputs["changes"].read_text())
    assert set(record["classes"]) == {"vnv", "ea", "rrlyr"}
    # Thresholds decide on both sides: 0.7 on the older one, of whose models nothing is known.
    assert (record["classes"]["vnv"]["before"], record["classes"]["vnv"]["now"]) == (2, 1)
    assert record["classes"]["rrlyr"]["before"] == 0 and record["classes"]["rrlyr"]["scores_compared"] == 0
    assert record["same_stars"]["period_came"] == 0 and record["fields"] == {"before": {}, "now": {}}


def test_catalogues_of_different_surveys_are_wondered_at(catalogue, taxonomy, tmp_path) -> None:
    old, new = catalogue("old", [star(1)]), catalogue("new", [star(2)])
    assert "share no light curve" in changed(old, new, tmp_path, taxonomy).warnings[0]
    assert not changed(old, catalogue("none", []), tmp_path, taxonomy).warnings


def test_limits_are_options(catalogue, taxonomy, tmp_path) -> None:
    old = catalogue("old", [star(1, vnv=0.5, period=1.0)])
    new = catalogue("new", [star(1, vnv=0.55, period=1.005)])
    assert changed(old, new, tmp_path, taxonomy).counts["changed"] == 1
    wide = PageOptions(period_change=0.01)
    assert changed(old, new, tmp_path, taxonomy, options=wide).counts["changed"] == 0
    narrow = PageOptions(period_change=0.01, score_change=0.04, n_largest=0)
    assert changed(old, new, tmp_path, taxonomy, options=narrow).counts["changed"] == 1


def test_a_run_that_fails_leaves_nothing(catalogue, taxonomy, tmp_path, monkeypatch) -> None:
    old, new = catalogue("old", STARS), catalogue("new", STARS)
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        changed(old, new, tmp_path / "taken", taxonomy)

    def broken(*_):
        raise FormatError("torn")

    monkeypatch.setattr(catalog_changes, "change_rows", broken)
    with pytest.raises(FormatError, match="torn"):
        changed(old, new, tmp_path / "out", taxonomy)
    assert not list((tmp_path / "out").iterdir())
