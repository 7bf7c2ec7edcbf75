"""The page about drift, and the numbers it is drawn from."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import FeatureMismatchError
from scope_ml.models.distributions import Distributions
from scope_ml.models.drift import DriftCounter, DriftRecord, level_of
from scope_ml.reporting.drift_page import drift_page

NAMES = ("steady", "shifted", "lost", "<b>&")


def matrix(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, len(NAMES)))


def bundle(name: str, distributions: Distributions | None) -> SimpleNamespace:
    return SimpleNamespace(name=name, record=SimpleNamespace(distributions=distributions))


def counted(x: np.ndarray, *, n_batches: int = 1, bundles=None) -> DriftRecord:
    known = Distributions.of(matrix(800, 0), NAMES, scores=np.linspace(0, 1, 800))
    counter = DriftCounter([bundle("a_xgb", known), bundle("old_xgb", None)] if bundles is None else bundles)
    scores = np.linspace(0, 0.5, len(x), dtype=np.float32)
    for rows in np.array_split(np.arange(len(x)), n_batches):
        features = pa.table({name: x[rows, k] for k, name in enumerate(NAMES)})
        counter.add(features, pa.table({"a_xgb": scores[rows], "old_xgb": scores[rows]}))
    return counter.record()


@pytest.fixture(scope="module")
def record() -> DriftRecord:
    x = matrix(600, 1)
    x[:, 1] += 1.5
    x[:400, 2] = np.nan
    return counted(x)


def test_what_drifts_most_stands_first(record):
    assert [one.name for one in record.features][2:] in (["steady", "<b>&"], ["<b>&", "steady"])
    levels = {one.name: one.level for one in record.features}
    assert levels == {"steady": "none", "shifted": "strong", "lost": "strong", "<b>&": "none"}
    assert {one.name for one in record.drifted("strong")} == {"shifted", "lost"}
    lost = next(one for one in record.features if one.name == "lost")
    assert lost.missing_share == pytest.approx(2 / 3)
    assert lost.index[0] - lost.index[1] < 0.1
    (score,) = record.scores
    assert (score.level, sum(score.counts)) == ("strong", 600)
    assert record.unknown == ("old_xgb",)


def test_batches_do_not_matter(record):
    x = matrix(600, 1)
    x[:, 1] += 1.5
    x[:400, 2] = np.nan
    assert counted(x, n_batches=7).to_json() == record.to_json()


def test_few_rows_are_not_called_drift():
    # Six rows fill six of ten bins: the index is large, and so is what chance gives.
    small = counted(matrix(6, 3))
    assert max(one.index[0] for one in small.features) > 0.5
    assert small.drifted("notable", "strong") == ()
    none = counted(matrix(0, 3))
    assert none.drifted("notable", "strong") == ()
    assert json.dumps(none.to_json(), allow_nan=False)


def test_levels_begin_above_their_thresholds():
    assert [level_of(value) for value in (-1.0, 0.2, 0.21, 0.5, 0.51)] == [
        "none",
        "none",
        "notable",
        "notable",
        "strong",
    ]
    assert level_of(0.0, 0.3) == "notable"


def test_the_widest_training_set_counts_where_models_differ():
    wide, narrow = Distributions.of(matrix(500, 0), NAMES), Distributions.of(matrix(50, 5)[:, :1], NAMES[:1])
    for order in ([wide, narrow], [narrow, wide]):
        found = counted(matrix(30, 1), bundles=[bundle(f"{k}_xgb", one) for k, one in enumerate(order)])
        assert {one.name: one.training.n_rows for one in found.features} == dict.fromkeys(NAMES, 500)


def test_a_feature_that_the_table_lacks_is_named():
    counter = DriftCounter([bundle("a_xgb", Distributions.of(matrix(50, 0), NAMES))])
    with pytest.raises(FeatureMismatchError, match="lost"):
        counter.add(pa.table({name: [1.0] for name in NAMES if name != "lost"}), pa.table({"a_xgb": [0.5]}))


def test_the_page_shows_every_feature_once_in_order(record):
    text = drift_page(record, title="Drift of <x>")
    assert drift_page(record, title="Drift of <x>") == text
    assert "Drift of &lt;x&gt;" in text
    assert "<b>&<" not in text
    shown = re.findall(r'<figure class="drift (\w+)"><p><code>([^<]*)</code><b class="badge \w+">([\d.]+)</b>', text)
    expected = [
        (one.level, one.name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) for one in record.features
    ]
    assert [one[:2] for one in shown] == [*expected, ("strong", "a_xgb")]
    assert float(shown[0][2]) == pytest.approx(record.features[0].excess, abs=0.006)
    assert "old_xgb" in text
    assert not re.search(r"https?://|@import|url\(|\bnan\b", text, flags=re.IGNORECASE)
    assert "missing 0\N{NARROW NO-BREAK SPACE}% \N{RIGHTWARDS ARROW} 67\N{NARROW NO-BREAK SPACE}%" in text


def test_bars_are_shares_of_all_rows_and_what_is_missing_stands_apart(record):
    lost = next(one for one in record.features if one.name == "lost")
    text = drift_page(record, title="t").split("<code>lost</code>")[1].split("</svg>")[0]
    heights = [96 - float(top) for top in re.findall(r"M[\d.]+ 96V([\d.]+)H", text)]
    # The missing rows are two thirds of all and the highest bar; it fills the room from 8 to 96 pixels.
    assert heights[-1] == pytest.approx(88)
    values = [share * (1 - lost.missing_share) for share in lost.shares if share > 0]
    np.testing.assert_allclose(heights[:-1], 88 * np.array(values) / lost.missing_share, atol=0.1)
