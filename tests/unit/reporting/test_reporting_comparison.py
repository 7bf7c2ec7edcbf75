"""The comparison of all classes: which model stands for which, numbers of the page, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from scope_ml.models.algorithms import configure
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.intervals import evaluate
from scope_ml.models.preparation import Preparation, PreparationConfig
from scope_ml.models.record import BundleRecord, Provenance
from scope_ml.reporting.comparison import COMPARED, Comparison, compare_models
from scope_ml.reporting.comparison_page import comparison_page
from scope_ml.reporting.scores import TrainedModel
from scope_ml.reporting.view import SkippedView
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

NAMES = ("period_ls", "skew")
TAXONOMY = load_classes(packaged_conf_dir())
VOID = {"meta", "br", "input"}


class Balance(HTMLParser):
    """Follow the elements of a page: every one that is opened must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    return parser


def trained(tag: str, algorithm: str, seed: int | None, separation: float = 2.0, n_positive: int = 30) -> TrainedModel:
    rng = np.random.default_rng([ord(tag[0]), len(tag), seed or 0, len(algorithm)])
    y = np.arange(120) < n_positive
    parts = {}
    for part in ("val", "test"):
        score = 1 / (1 + np.exp(-(rng.normal(size=120) - 1 + separation * y)))
        parts[part] = evaluate(y.astype(int), score, np.arange(120), threshold=0.6, n_resamples=20)
    record = BundleRecord(
        spec=TAXONOMY[tag],
        algorithm=configure({"name": algorithm}),
        features=FeatureRecord(names=NAMES),
        preparation=Preparation.fit(rng.normal(size=(9, 2)), NAMES, PreparationConfig(impute="zero")),
        threshold=0.6,
        seed=seed,
        members=() if seed is not None else (1, 2),
        metrics=parts,
        importance={"gain": {"skew": 0.75, "period_ls": 0.25}, "permutation": {"skew": 0.3, "period_ls": -0.01}},
        provenance=Provenance(data_digest="d", split_digest="s"),
    )
    return TrainedModel(folder=Path(f"{tag}/{algorithm}/{seed}"), record=record, digest=f"{tag}{algorithm}{seed}")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    models = [trained(tag, name, seed) for tag in ("rrlyr", "ea") for name in ("dnn", "xgb") for seed in (None, 2, 1)]
    models += [trained("agn", "xgb", 1, n_positive=120), trained("mir", "dnn_shared", 1)]
    return compare_models(
        models, [SkippedView(tag="rvtau", label="RV Tau", algorithm="xgb", reason="2 < 10 positives")]
    )


def test_classes_stand_in_the_order_of_the_taxonomy_and_trees_before_networks(comparison):
    assert [(one.tag, one.algorithm) for one in comparison.contenders] == [
        ("ea", "xgb"),
        ("ea", "dnn"),
        ("agn", "xgb"),
        ("mir", "dnn_shared"),
        ("rrlyr", "xgb"),
        ("rrlyr", "dnn"),
    ]
    assert comparison.algorithms == ("xgb", "dnn", "dnn_shared")
    assert [model.record.seed for model in comparison.of_class("ea")[0].models] == [1, 2, None]


def test_the_ensemble_stands_for_its_seeds_else_the_best_on_the_validation_part(comparison):
    assert all(one.chosen.record.seed is None for one in comparison.of_class("rrlyr"))
    weak, strong = trained("ea", "xgb", 1, separation=0.5), trained("ea", "xgb", 2, separation=4.0)
    # On the test part it is the other way round: that must not decide.
    weak = replace(
        weak, record=replace(weak.record, metrics=weak.record.metrics | {"test": strong.record.metrics["test"]})
    )
    for order in ([weak, strong], [strong, weak]):
        (one,) = compare_models(order).contenders
        assert one.chosen is strong


def test_a_row_a_model_with_the_numbers_of_its_record(comparison):
    rows = comparison.rows
    assert len(rows) == sum(len(one.models) for one in comparison.contenders) == 14
    assert len({tuple(row) for row in rows}) == 1
    assert sum(row["chosen"] for row in rows) == len(comparison.contenders)
    (row,) = [row for row in rows if (row["class"], row["algorithm"], row["model"]) == ("ea", "xgb", "seed 2")]
    metrics = trained("ea", "xgb", 2).record.metrics["test"]
    for name in COMPARED:
        assert row[name] == metrics.estimates[name].value
        assert row[f"{name}_low"] == metrics.estimates[name].low
    assert [row[cell] for cell in ("tn", "fp", "fn", "tp")] == [metrics.confusion[c] for c in ("tn", "fp", "fn", "tp")]
    assert sum(row[cell] for cell in ("tn", "fp", "fn", "tp")) == row["n_rows"] == 120
    (one,) = [row for row in rows if row["class"] == "agn"]
    assert {row["calibration"] for row in rows if row["model"] == "ensemble"} == {"by member"}
    # A test part of members only has no average precision, and that is None, not NaN.
    assert (one["average_precision"], one["roc_auc"]) == (None, None)


def test_json_has_no_nan_and_every_model(comparison):
    plain = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert [one["tag"] for one in plain["classes"]] == ["ea", "agn", "mir", "rrlyr"]
    ea = plain["classes"][0]["algorithms"]["xgb"]
    assert (ea["chosen"], len(ea["models"])) == ("ensemble", 3)
    seeds = [trained("ea", "xgb", seed).record.metrics["test"].value("f1") for seed in (1, 2)]
    assert ea["seeds"]["f1"]["mean"] == pytest.approx(np.mean(seeds))
    assert ea["seeds"]["f1"]["scatter"] == pytest.approx(np.std(seeds, ddof=1))
    assert plain["classes"][2]["algorithms"]["dnn_shared"]["seeds"]["f1"]["scatter"] is None
    assert plain["skipped"] == [{"tag": "rvtau", "algorithm": "xgb", "reason": "2 < 10 positives"}]


def test_the_page_is_well_formed_and_needs_no_network(comparison):
    text = comparison_page(comparison)
    parser = parsed(text)
    assert len(parser.ids) == len(set(parser.ids))
    assert all(address.startswith("#") and address[1:] in parser.ids for address in parser.addresses)
    assert not re.search(r"https?://|@import|url\(|\bnan\b", text, flags=re.IGNORECASE)
    assert comparison_page(comparison) == text
    assert text.count("<tbody data-tag=") == len(comparison.tags)
    assert "2 &lt; 10 positives" in text


def test_the_page_shows_the_numbers_of_the_records(comparison):
    text = comparison_page(comparison)
    body = text.split('<tbody data-tag="ea"')[1].split("</tbody>")[0]
    metrics = trained("ea", "xgb", None).record.metrics["test"]
    for name in COMPARED:
        assert f"{metrics.value(name):.3f}" in body
    cells = metrics.confusion
    assert f"{cells['tn']} / {cells['fp']}<br>{cells['fn']} / {cells['tp']}" in body
    assert "ensemble of 2" in body
    seeds = [trained("ea", "xgb", seed).record.metrics["test"].value("average_precision") for seed in (1, 2)]
    assert f"2 seeds {min(seeds):.2f}\N{EN DASH}{max(seeds):.2f}" in body
    assert "ea xgb: precision " in text
    card = text.split('id="class-ea"')[1].split("</article>")[0]
    assert card.index("75 %") < card.index("25 %")
    # What a shuffle does not cost is not shown as important.
    assert "0.300" in card
    assert "-0.010" not in card


def test_bars_are_as_high_as_the_numbers(comparison):
    chart = comparison_page(comparison).split("precision by class on the test part")[1].split("</svg>")[0]
    tops = {name: float(y) for name, y in re.findall(r"<title>(\w+ \w+): precision.*?V([\d.]+)H", chart)}
    for one in comparison.contenders:
        height = (206 - tops[f"{one.tag} {one.algorithm}"]) / 180
        assert height == pytest.approx(one.estimate("precision").value, abs=0.002)


def test_every_text_is_escaped(comparison):
    evil = "<script>alert(1)</script>&\"'"
    model = trained("ea", "xgb", 1)
    spec = replace(model.record.spec, tag=evil, label=evil)
    bad = replace(model, record=replace(model.record, spec=spec, importance={evil: {evil: 1.0}}))
    skipped = [SkippedView(tag=evil, label=evil, algorithm=evil, reason=evil)]
    text = comparison_page(compare_models([bad], skipped), title=evil)
    assert "<script>alert" not in text
    parsed(text)


def test_nothing_but_skipped_classes_is_a_page_too():
    only = compare_models([], [SkippedView(tag="o", label="O", algorithm="xgb", reason="no positives")])
    text = comparison_page(only)
    parsed(text)
    assert "No class was trained" in text
    assert only.rows == []


def test_all_classes_fit_one_page():
    tags = TAXONOMY.tags
    model = trained("ea", "xgb", 1)
    models = [
        replace(model, record=replace(model.record, spec=TAXONOMY[tag], algorithm=configure({"name": name})))
        for tag in tags
        for name in ("xgb", "dnn")
    ]
    text = comparison_page(compare_models(models))
    parsed(text)
    assert len(text) < 2e6
    assert text.count("<figure>") == len(tags)
    # Labels of classes, whatever their number, stay inside the drawing.
    width = float(re.search(r'class="classes"[^>]*viewBox="0 0 ([\d.]+)', text).group(1))
    places = [float(x) for x in re.findall(r"translate\(([\d.]+) ", text)]
    assert max(places) < width < 1200


def test_the_rows_make_a_table(comparison):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(comparison.rows[0]))
    writer.writeheader()
    writer.writerows(comparison.rows)
    back = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert [row["class"] for row in back] == [row["class"] for row in comparison.rows]
    assert "nan" not in stream.getvalue()
