"""Stars from coordinates or ids to scores: the same numbers as stage by stage, and every star accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import LightCurveSource, NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    DataError,
    FeatureMismatchError,
    FormatError,
    JobError,
    ModelNotFoundError,
    ScopeError,
)
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import feature_digest, feature_set
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.output_lock import output_lock
from scope_ml.io.selection import Selection
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.services.account import Account, Missing
from scope_ml.stages import classify as classify_stage
from scope_ml.stages import feature_run, generate_features, infer
from scope_ml.stages.classify import Classify, run
from scope_ml.stages.classify_models import NeededModel, catalogue_features, known_share, needs_of, read_models
from scope_ml.stages.classify_request import Asked, ask, folder_name
from scope_ml.stages.classify_tables import UNSCORED, Outcome
from scope_ml.stages.classify_views import Views, text_table
from scope_ml.stages.feature_sources import SourceConfig, open_source
from scope_ml.stages.inference_models import choose_models
from scope_ml.stages.requested_sources import Request
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.tracking.settings import TrackingConfig

#: The search that the models of these tests were trained with.
SEARCH = PeriodSearch(method="ls", max_frequency=5.0, samples_per_peak=3)

#: Stars: place and bands with their numbers of points; the last is a neighbour of the first, 3 arcsec away.
STARS = [
    (298.0025, 29.87147, {"g": 80, "r": 90}),
    (10.0, -5.0, {"g": 60, "r": 20}),
    (200.0, 60.0, {"r": 12}),
    (298.0025, 29.87147 + 3 / 3600, {"g": 70}),
]


def light_curves() -> tuple[LightCurveBatch, pa.Table]:
    random = np.random.default_rng(4)
    ids, time, mag, rows = [], [], [], []
    for number, (ra, dec, bands) in enumerate(STARS):
        for band, n in bands.items():
            ids.append(2**53 + 10 * number + "gri".index(band) + 1)
            time.append(np.sort(random.uniform(2458000, 2458300, n)))
            mag.append(16 + 0.3 * np.sin(2 * np.pi * time[-1] / (0.5 + 0.1 * number)) + random.normal(0, 0.02, n))
            rows.append({"source_id": 7 + number, "band": band, "ra": ra, "dec": dec, "field": 250, "filter": 1})
    batch = LightCurveBatch.from_lists(np.array(ids), time, mag, [np.full(len(t), 0.02) for t in time])
    return batch, pa.Table.from_pylist([{"id": name, **row} for name, row in zip(ids, rows, strict=True)])


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("survey") / "light_curves.parquet"
    write_light_curves(*light_curves(), path)
    return path


@pytest.fixture(scope="module")
def models(
    train_values: Callable[..., Train], training_tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with one bundle of rrlyr and one of pnp, trained on features with the search of these tests."""
    folder = tmp_path_factory.mktemp("models")
    table = read_table(training_tables[0])
    facts = {**table.metadata.facts, "period_search": SEARCH.binding}
    write_table(table.data, folder / "features.parquet", replace(table.metadata, facts=facts))
    dataset = {"features": str(folder / "features.parquet"), "labels": str(training_tables[1])}
    for tag in ("rrlyr", "pnp"):
        run_train(train_values(tag, dataset=dataset, output=str(folder / tag / "xgb")), progress=NullProgress())
    return folder


@pytest.fixture
def classify(models: Path, survey: Path, tmp_path: Path) -> Callable[..., Report]:
    def call(**changes: Any) -> Report:
        values: dict[str, Any] = {
            "source": {"kind": "parquet", "path": str(survey)},
            "models": str(models),
            "also": [],
            "output": str(tmp_path / "out"),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return run(build(Classify, values | changes), progress=NullProgress())

    return call


def scores(folder: Path) -> list[dict[str, Any]]:
    return read_table(folder / "scores.csv", kind="scores").data.to_pylist()


def unscored(folder: Path) -> list[dict[str, Any]]:
    return read_table(folder / "unscored.csv", kind="unscored").data.to_pylist()


def stars_file(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_one_star_has_the_numbers_of_the_stages_typed_one_by_one(
    classify: Callable[..., Report], models: Path, survey: Path, tmp_path: Path
) -> None:
    report = classify(ra=298.0025, dec=29.87147)
    path = stars_file(tmp_path / "stars.parquet", [{"ra": 298.0025, "dec": 29.87147}])
    features = {
        "source": {"kind": "parquet", "path": str(survey)},
        "target": {"kind": "source_ids", "path": path},
        "output": str(tmp_path / "features.parquet"),
        "features": {"groups": ["basic", "period", "fourier", "quality"]},
        "period_search": {"method": "ls", "max_frequency": 5.0, "samples_per_peak": 3},
        "machine": {"workers": 1},
    }
    generate_features.run(build(generate_features.GenerateFeatures, features), progress=NullProgress())
    values = {
        "features": features["output"],
        "output": str(tmp_path / "predictions.parquet"),
        "source": {"kind": "parquet", "path": str(survey)},
        "models": str(models),
        "tracking": {"enabled": False},
        "machine": {"workers": 1},
        "drift": False,
    }
    infer.run(build(infer.Infer, values), progress=NullProgress())
    expected = read_table(tmp_path / "predictions.parquet").data
    assert read_table(tmp_path / "out" / "predictions.parquet").data.equals(expected)
    made = read_table(tmp_path / "out" / "features.parquet").data
    typed = read_table(tmp_path / "features.parquet").data
    # As text, in which a missing number is equal to itself.
    assert str(made.select(typed.column_names).to_pylist()) == str(typed.to_pylist())
    table = read_table(tmp_path / "out" / "scores.csv").data
    assert table.select(["id", "period", "pnp_xgb", "rrlyr_xgb"]).equals(
        expected.select(["id", "period", "pnp_xgb", "rrlyr_xgb"])
    )
    assert table["name"].to_pylist() == ["ZTFJ195200.60+295217.3"] * 2
    assert table["band"].to_pylist() == ["g", "r"]
    assert table["n_obs"].to_pylist() == [80, 90]
    assert (report.n_in, report.n_out) == (2, 2)
    assert not report.warnings


def test_light_curves_are_kept_as_they_came(classify: Callable[..., Report], survey: Path, tmp_path: Path) -> None:
    classify(ra=298.0025, dec=29.87147, radius_arcsec=5)
    fetched, whole = pq.read_table(tmp_path / "out" / "sources.parquet"), pq.read_table(survey)
    mine = whole.take(pa.array([0, 1, 5]))
    for name in whole.column_names:
        assert fetched[name].equals(mine[name]), name


def test_every_star_is_scored_or_named_with_a_reason(classify: Callable[..., Report], tmp_path: Path) -> None:
    rows = [
        {"obj_id": "b", "ra": 10.0, "dec": -5.0},
        {"obj_id": None, "ra": 298.0025, "dec": 29.87147},
        {"obj_id": "b again", "ra": 10.0, "dec": -5.0},
        {"obj_id": "few", "ra": 200.0, "dec": 60.0},
        {"obj_id": "beside", "ra": 10.0, "dec": -5.0 + 1.0 / 3600},
        {"obj_id": "nowhere", "ra": 100.0, "dec": 0.0},
    ]
    report = classify(path=stars_file(tmp_path / "stars.parquet", rows))
    told = [(row["name"], row["band"], row["n_obs"]) for row in scores(tmp_path / "out")]
    unnamed = "ZTFJ195200.60+295217.3"
    # In the order of the file, whatever that of the light curves.
    assert told == [("b", "g", 60), (unnamed, "g", 80), (unnamed, "r", 90)]
    lost = [(row["name"], row["band"], row["reason"], row["n_obs"]) for row in unscored(tmp_path / "out")]
    assert lost == [
        ("b", "r", "too_few_points", 20),
        ("few", "r", "too_few_points", 12),
        ("beside", None, "nearer_to_another_star", None),
        ("nowhere", None, "no_light_curve", None),
    ]
    facts = report.facts
    counts = [facts[f"stars_{what}"] for what in ("repeated", "scored", "dropped", "not_found")]
    assert counts == [1, 2, 1, 2]
    assert facts["stars_asked"] == sum(counts) == len(rows)
    assert (report.n_in, report.n_out, report.dropped) == (5, 3, {"too_few_points": 2})
    assert report.warnings == (
        "1 of 6 stars are repeated and count once",
        "4 rows of unscored.csv say what has no score (nearer_to_another_star 1, no_light_curve 1, too_few_points 2); 3 of 5"
        " stars have none at all",
    )
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert kept["facts"]["unscored"] == facts["unscored"]
    assert "text" not in kept["facts"]
    text = facts["text"]
    assert "20 clean points of 20, cleaning.min_n_obs asks for 50" in text
    assert "nearer to another star" in text
    page = (tmp_path / "out" / "page.html").read_text()
    assert all(f"<h3>{name}</h3>" in page for name in ("b", "few", "beside", "nowhere", unnamed))
    assert page.count("folded at P") == 3


@pytest.mark.parametrize("as_text", [False, True])
def test_stars_may_be_asked_for_by_id(classify: Callable[..., Report], tmp_path: Path, as_text: bool) -> None:
    known, unknown = 2**53 + 2, 2**53 + 5000
    rows = [{"ztf_id": str(name) if as_text else name} for name in (known, unknown)]
    report = classify(path=stars_file(tmp_path / "ids.parquet", rows))
    (row,) = scores(tmp_path / "out")
    assert (row["name"], row["id"], row["band"], row["separation_arcsec"]) == (f"ZTF_{known}", known, "r", None)
    (lost,) = unscored(tmp_path / "out")
    assert (lost["name"], lost["id"], lost["reason"]) == (f"ZTF_{unknown}", str(unknown), "no_light_curve")
    assert report.facts["stars_not_found"] == 1
    (one,) = [classify(id=str(known) if as_text else known, output=str(tmp_path / "one")).n_out]
    assert one == 1
    assert scores(tmp_path / "one")[0]["pnp_xgb"] == row["pnp_xgb"]


def test_nothing_found_is_an_answer(classify: Callable[..., Report], tmp_path: Path) -> None:
    report = classify(ra=1, dec=2, name="gone")
    assert (report.n_in, report.n_out) == (0, 0)
    assert scores(tmp_path / "out") == []
    assert unscored(tmp_path / "out")[0]["name"] == "gone"
    assert "there is no light curve within the radius" in report.facts["text"]
    assert "there is no light curve within the radius" in (tmp_path / "out" / "page.html").read_text()


class Service:
    """Sends what the files have, and says that one light curve of each star did not come."""

    def __init__(self, files: LightCurveSource, missing: tuple[Missing, ...]) -> None:
        self.chunks = files.chunks
        self.missing = missing

    def account(self) -> Account:
        n_missing = sum(one.id is not None for one in self.missing)
        return Account(asked=3 + n_missing, answered=3, positions_asked=3, missing=self.missing, warnings=("odd",))


def test_what_a_service_did_not_send_is_named_with_its_star(
    classify: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = (
        Missing(id=77, ra=298.0025, dec=29.87147, reason="service: timed out", again=True),
        Missing(id=None, ra=100.0, dec=0.0, reason="service: no answer", again=True),
    )

    def opened(config: SourceConfig, **given: Any) -> Callable[[Selection], Any]:
        return lambda selection: Service(open_source(config, selection=selection), missing)

    monkeypatch.setattr(classify_stage, "light_curves_of", opened)
    rows = [{"name": "a", "ra": 298.0025, "dec": 29.87147}, {"name": "b", "ra": 100.0, "dec": 0.0}]
    report = classify(path=stars_file(tmp_path / "stars.parquet", rows))
    told = [(row["name"], row["id"], row["reason"]) for row in unscored(tmp_path / "out")]
    assert told == [("a", "77", "service: timed out"), ("b", None, "service: no answer")]
    assert (report.facts["stars_scored"], report.facts["stars_not_found"]) == (1, 1)
    assert report.facts["ids_open"] == 2
    assert report.warnings[-1] == "odd"
    assert "service: timed out" in (tmp_path / "out" / "page.html").read_text()


def test_a_killed_run_goes_on_and_ends_with_the_same(
    classify: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"ra": ra, "dec": dec} for ra, dec, _ in STARS[:3]]
    path = stars_file(tmp_path / "stars.parquet", rows)
    one_by_one = {"workers": 1, "max_batch_sources": 1}
    classify(path=path, machine=one_by_one, output=str(tmp_path / "whole"))
    measure, calls = feature_run._measure, []

    def killed(*given: Any, **named: Any) -> int:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return measure(*given, **named)

    monkeypatch.setattr(feature_run, "_measure", killed)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        classify(path=path, machine=one_by_one)
    assert not (tmp_path / "out" / "report.json").exists()
    monkeypatch.setattr(feature_run, "_measure", lambda *given, **named: calls.append(1) or measure(*given, **named))
    calls.clear()
    classify(path=path, machine=one_by_one)
    assert len(calls) == 2
    for name in ("scores.csv", "unscored.csv", "features.parquet", "predictions.parquet", "report.json", "page.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_dry_run_keeps_nothing(
    classify: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = classify(ra=298.0025, dec=29.87147, output=None, machine={"workers": 1, "dry_run": True})
    assert (report.n_out, report.outputs) == (2, {})
    assert "nothing was kept" in report.warnings[-1]
    assert list(tmp_path.iterdir()) == []
    report = classify(ra=298.0025, dec=29.87147, output=None)
    assert report.outputs["scores"] == "outputs/classify/ZTFJ195200.60+295217.3/scores.csv"
    assert Path(report.outputs["scores"]).is_file()


def test_two_runs_do_not_write_one_folder(classify: Callable[..., Report], tmp_path: Path) -> None:
    with (
        output_lock(tmp_path / "out" / ".lock", tmp_path / "out"),
        pytest.raises(JobError, match="is being written by process"),
    ):
        classify(ra=298.0025, dec=29.87147)


@pytest.fixture
def mixed(needed: NeededModel) -> list[NeededModel]:
    """Two classes, one with two algorithms, thresholds 0.5."""
    spec = needed.record.spec
    return [
        replace(
            needed,
            record=replace(
                needed.record,
                spec=replace(spec, tag=tag, label=tag.upper(), parents=parents),
                algorithm=SimpleNamespace(name=algorithm),
                threshold=0.5,
            ),
        )
        for tag, parents, algorithm in (("ew", ("e",), "dnn"), ("ew", ("e",), "xgb"), ("agn", (), "xgb"))
    ]


def test_best_classes_stand_first_and_are_marked(mixed: list[NeededModel]) -> None:
    request = Request(
        selection=Selection(ids=pa.array([5])), sources=pa.table({"id": [5], "name": ["x"]}), n_asked=1, n_duplicates=0
    )
    facts = {"id": 5, "ra": None, "dec": None, "n_obs": 60, "n_obs_raw": 70, "period": 0.5}
    rows = [
        {**facts, "band": "g", "ew_xgb": 0.9, "ew_dnn": 0.2, "agn_xgb": 0.4},
        {**facts, "band": "r", "ew_xgb": 0.1, "ew_dnn": 0.2, "agn_xgb": 0.6},
    ]
    outcome = Outcome(
        scores=pa.Table.from_pylist(rows),
        details=pa.table({"quality": [0, 64], "colour_g_r": [0.3, None], "Gaia_EDR3___id": [1, None]}),
        unscored=UNSCORED.empty_table(),
        star=np.array([0, 0]),
        unscored_star=np.empty(0, dtype=np.int64),
        stars={"scored": 1, "dropped": 0, "not_found": 0},
        reasons={},
        metadata=TableMetadata(kind="predictions"),
    )
    views = Views(
        outcome=outcome,
        request=request,
        models=mixed,
        in_doubt=frozenset({"agn_xgb"}),
        periods={"ls": "period_ls"},
        catalogues_known=True,
        points={},
    )
    (star,) = views.of([0])
    assert star.algorithms == ("xgb", "dnn")
    assert [(one.tag, one.reached, one.best) for one in star.classes] == [("agn", True, 0.6), ("ew", True, 0.55)]
    agn, ew = star.classes
    assert agn.scores == ((0.4, False, True), None, (0.6, True, True), None)
    assert ew.scores == ((0.9, True, False), (0.2, False, False), (0.1, False, False), (0.2, False, False))
    assert star.phase_zero == "faint"
    assert star.curves[0].flags == ()
    assert [flag.split()[0] for flag in star.curves[1].flags] == ["so", "its", "no"]
    _, green, red = text_table([star], 0).split("\n")
    assert green.endswith("ew 0.55*, agn 0.40?")
    assert red.endswith("agn 0.60*?, ew 0.15")
    (unknown,) = replace(views, catalogues_known=False).of([0])
    assert [flag.split()[0] for flag in unknown.curves[1].flags] == ["so", "its"]


def test_more_stars_than_the_page_shows(classify: Callable[..., Report], tmp_path: Path) -> None:
    path = stars_file(tmp_path / "stars.parquet", [{"ra": ra, "dec": dec} for ra, dec, _ in STARS])
    report = classify(path=path, page_stars=1)
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<article") == 1
    assert "3 more stars are in the tables" in page
    assert report.facts["text"].count("\n") == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no star is named; give ra=298.0025 dec=29.87147"),
        ({"ra": 1.0}, r"give dec=\.\.\. too"),
        ({"ra": 1.0, "dec": 2.0, "id": 3}, "both ra and dec and id say which stars"),
        ({"path": "s.csv", "name": "x"}, "name= is of one star"),
    ],
)
def test_it_must_be_said_which_stars_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Asked, given)


@pytest.mark.parametrize(("ra", "dec", "key"), [(361, 0, "ra"), ("25:00:00", 0, "ra"), (0, 91, "dec"), (0, "x", "dec")])
def test_a_position_must_be_one(ra: Any, dec: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}=.* is not a") as caught:
        ask(build(Asked, {"ra": ra, "dec": dec}), radius_arcsec=2)
    assert caught.value.key == key


def test_positions_of_a_file_may_be_sexagesimal(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("name,ra,dec\nx,19:52:00,-00:30:00\ny,12:30:00,+10:00:00\n")
    request = ask(Asked(path=str(tmp_path / "s.csv")), radius_arcsec=2)
    assert request.sources.to_pylist() == [
        {"name": "x", "ra": 298.0, "dec": -0.5},
        {"name": "y", "ra": 187.5, "dec": 10.0},
    ]
    (tmp_path / "w.csv").write_text("ra,dec\n19:52:00,10\n12:61:00,10\n")
    with pytest.raises(DataError, match=r"w\.csv: column 'ra' in row 2: ra=12:61:00 is not a right ascension"):
        ask(Asked(path=str(tmp_path / "w.csv")), radius_arcsec=2)


@pytest.mark.parametrize(
    ("asked", "folder"),
    [
        ({"ra": "19:52:00.6", "dec": "+29:52:17.3"}, "ZTFJ195200.60+295217.3"),
        ({"id": 12, "name": "../V* RR Lyr/1"}, "_V_RR_Lyr_1"),
        ({"id": 12}, "ZTF_12"),
        ({"id": 12, "name": ".."}, "star"),
    ],
)
def test_the_folder_is_called_after_the_star(asked: dict[str, Any], folder: str) -> None:
    config = build(Asked, asked)
    assert folder_name(config, ask(config, radius_arcsec=2)) == folder


def test_without_models_it_is_said_how_to_make_some(classify: Callable[..., Report], tmp_path: Path) -> None:
    hint = "make repro makes models for a start: type it and give models=results/models"
    for changes in (
        {"models": "champion"},
        {"models": "champion", "tracking": {"uri": f"sqlite:///{tmp_path}/none.db"}},
        {"models": str(tmp_path / "none")},
        {"models": str(tmp_path / "none.json")},
    ):
        with pytest.raises(ModelNotFoundError, match=hint):
            classify(ra=1, dec=2, **changes)
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there(classify: Callable[..., Report], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        classify(ra=1, dec=2, source={"kind": "parquet", "path": str(tmp_path / "none")})
    with pytest.raises(ScopeError):
        classify(path=str(tmp_path / "none.csv"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def needed(models: Path) -> NeededModel:
    (model, *_) = read_models(choose_models(str(models), None, TrackingConfig(enabled=False), ("rrlyr",), ()))
    return model


def taking(model: NeededModel, names: list[str], search: dict[str, Any] | None = None, **changes: Any) -> NeededModel:
    facts = {} if search is None else {"period_search": search}
    spec = replace(model.record.spec, tag="other")
    record = replace(model.record, features=FeatureRecord(names=tuple(names), facts=facts), importance={}, spec=spec)
    return replace(model, record=record, **changes)


def test_what_is_measured_follows_from_the_models(needed: NeededModel) -> None:
    needs = needs_of([needed])
    assert needs.features.groups == ("basic", "period", "fourier", "quality")
    assert needs.search == SEARCH
    assert (needs.names, needs.period_columns) == ("ours", {"ls": "period_ls"})
    more = taking(needed, ["skew", "period_ls", "lag_0", "colour_g_r", "Gaia_EDR3__parallax", "period_2_ce"])
    needs = needs_of([needed, more], also=("ls", "aov"))
    expected = ("basic", "period", "fourier", "timescales", "colour", "quality", "crossmatch")
    assert needs.features.groups == expected
    assert needs.search == replace(SEARCH, also=("ce", "aov"), n_peaks=2)
    assert needs.search.binding == SEARCH.binding
    assert "dmdt" in needs_of([taking(needed, ["skew"], images=True)]).features.groups
    assert needs_of([taking(needed, ["skew"], {"method": "none"})], also=("ls",)).search.methods == ("none",)


def test_models_of_scope_get_its_names_and_its_search(needed: NeededModel) -> None:
    theirs = taking(needed, ["f1_amp_ELS_ECE_EAOV", "pdot_ELS_ECE_EAOV", "n_ztf_alerts", "median"])
    needs = needs_of([theirs], also=("ls", "aov", "mhaov", "bls"))
    assert needs.names == "legacy"
    assert needs.search == PeriodSearch(method="ls_ce_aov", also=("bls",))
    assert needs.features.groups == ("basic", "period", "fourier", "quality", "alerts")
    assert needs.period_columns["ls_ce_aov"] == "period_ELS_ECE_EAOV"
    with pytest.raises(
        ConfigError, match=r"the models cannot score one table: .* with names=ours, .* with names=legacy"
    ):
        needs_of([needed, theirs])


def test_models_that_contradict_each_other_are_named(needed: NeededModel) -> None:
    other = taking(needed, ["period_ls"], {**SEARCH.binding, "max_frequency": 48.0})
    with pytest.raises(
        ConfigError, match=r"rrlyr_xgb with period_search=.*other_xgb with period_search=.* classes= or"
    ):
        needs_of([needed, other])
    with pytest.raises(FeatureMismatchError, match="takes my_feature and 1 more features, which"):
        needs_of([taking(needed, ["skew", "my_feature", "yours"])])
    with pytest.raises(ConfigError, match="SCoPe's names and of ours"):
        needs_of([taking(needed, ["period_ls", "period_ELS"])])


def test_the_known_share_is_weighed_by_importance(needed: NeededModel) -> None:
    record = taking(needed, ["skew", "median", "n_ztf_alerts", "Gaia_EDR3__parallax"]).record
    assert catalogue_features(record) == ("n_ztf_alerts", "Gaia_EDR3__parallax")
    unknown = catalogue_features(record)
    assert known_share(record, unknown).share == 0.5
    assert known_share(record, ()).share == 1.0
    weighed = replace(record, importance={"permutation": {"skew": 0.3, "n_ztf_alerts": 0.1, "median": -0.4}})
    assert known_share(weighed, unknown).share == pytest.approx(0.75)
    both = replace(record, importance={"permutation": {"skew": 1.0}, "gain": {"skew": 1.0, "n_ztf_alerts": 3.0}})
    assert known_share(both, unknown).share == 0.25
    useless = replace(record, importance={"gain": {"skew": 0.0}, "permutation": {"Gaia_EDR3__parallax": 2.0}})
    share = known_share(useless, unknown)
    assert (share.n_features, share.n_unknown, share.share) == (4, 2, 0.0)


def test_what_no_catalogue_says_is_told_and_marked(
    classify: Callable[..., Report],
    train_values: Callable[..., Train],
    training_tables: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """A model that looks at Gaia's parallax most of all has scores in doubt where there is no catalogue."""
    table = read_table(training_tables[0])
    members = np.arange(table.data.num_rows) < table.data.num_rows // 5
    random, data = np.random.default_rng(0), table.data
    added = [name for name in feature_set("ontological", "ls") if "__" in name]
    for name in added:
        told = 5.0 * members if name == "Gaia_EDR3__parallax" else np.zeros(len(members))
        data = data.append_column(name, pa.array(told + random.normal(0, 0.1, len(members))))
    columns = [*table.metadata.facts["features"], *added]
    facts = {"features": columns, "feature_digest": feature_digest(columns), "period_search": SEARCH.binding}
    write_table(data, tmp_path / "features.parquet", replace(table.metadata, facts=facts))
    dataset = {"features": str(tmp_path / "features.parquet"), "labels": str(training_tables[1])}
    run_train(
        train_values("rrlyr", dataset=dataset, output=str(tmp_path / "m" / "rrlyr" / "xgb")), progress=NullProgress()
    )
    run_train(train_values("pnp", dataset=dataset, output=str(tmp_path / "m" / "pnp" / "xgb")), progress=NullProgress())
    report = classify(ra=298.0025, dec=29.87147, models=str(tmp_path / "m"))
    assert report.facts["catalogs"] == "none"
    said = report.facts["models"]["rrlyr_xgb"]
    assert said["in_doubt"]
    assert said["n_unknown"] == len(added)
    assert said["known_share"] < 0.5
    # The model of a shape takes nothing of catalogues.
    assert report.facts["models"]["pnp_xgb"]["n_unknown"] == 0
    unknown, doubt = report.warnings
    assert "up to 22 features of 1 of 2 models, whose scores tend to come out too low: rrlyr_xgb" in unknown
    assert doubt.startswith("in doubt are the scores of rrlyr_xgb: of what these models look at")
    assert {row["in_doubt"] for row in scores(tmp_path / "out")} == {"rrlyr_xgb"}
    assert "rrlyr" in report.facts["text"]
    assert "?" in report.facts["text"].split("\n")[1]
    page = (tmp_path / "out" / "page.html").read_text()
    assert "There is no catalogue: magnitudes and colours" in page
    assert "in doubt" in page
    assert (
        classify(ra=298.0025, dec=29.87147, models=str(tmp_path / "m"), min_known=0.0).facts["models"]["rrlyr_xgb"][
            "in_doubt"
        ]
        is False
    )
