"""Scores made consistent with the class graph, against exact projections of small random graphs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from scope_ml.errors import ConfigError, DataError
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.consistency import REPAIRS, ScoreGraph


@st.composite
def graphs(draw) -> ScoreGraph:
    """Up to six classes; a class may imply any later one."""
    n = draw(st.integers(1, 6))
    tags = tuple(f"t{k}" for k in range(n))
    links = {(i, j) for i in range(n) for j in range(i + 1, n) if draw(st.integers(0, 3)) == 0}
    return ScoreGraph.of(tags, {tags[i]: {tags[j] for a, j in links if a == i} for i in range(n)})


def scores_of(graph: ScoreGraph, seed: int, n: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Ties and whole numbers are the corners of every comparison.
    values = rng.random((n, len(graph.tags)))
    values[0] = np.round(values[0])
    return values


def exact(graph: ScoreGraph, row: np.ndarray) -> np.ndarray:
    """The projection onto child <= parent by its minimax formula: best mean over upper sets, worst over lower ones."""
    n = row.size
    subsets = [np.array(bits, dtype=bool) for bits in product((False, True), repeat=n)]
    upper = [one for one in subsets if not (graph.implies[one] & ~one).any()]
    lower = [~one for one in upper]
    return np.array([max(min(row[u & low].mean() for low in lower if low[k]) for u in upper if u[k]) for k in range(n)])


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 10_000))
def test_repairs_are_consistent_final_and_ordered(graph, seed):
    raw = scores_of(graph, seed)
    for how in REPAIRS:
        result = graph.repaired(raw, how)
        assert graph.excess(result).max(initial=0.0) == 0.0
        for child, parent in zip(*np.nonzero(graph.implies), strict=True):
            assert (result[:, child] <= result[:, parent]).all()
        np.testing.assert_array_equal(graph.repaired(result, how), result)
        # float32, as catalogues have it, keeps the order.
        assert graph.excess(result.astype(np.float32)).max(initial=0.0) == 0.0
        clean = (graph.excess(raw) == 0).all(axis=1)
        np.testing.assert_array_equal(result[clean], raw[clean])
    cap, nearest, lift = (graph.repaired(raw, how) for how in ("cap", "nearest", "lift"))
    assert (cap <= raw).all()
    assert (raw <= lift).all()
    assert (cap - 1e-9 <= nearest).all()
    assert (nearest <= lift + 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 10_000))
def test_nearest_is_the_closest_of_all_consistent_scores(graph, seed):
    raw = scores_of(graph, seed)
    nearest = graph.repaired(raw, "nearest")
    np.testing.assert_allclose(nearest, [exact(graph, row) for row in raw], atol=1e-7)
    for how in ("cap", "lift"):
        other = graph.repaired(raw, how)
        assert (((nearest - raw) ** 2).sum(axis=1) <= ((other - raw) ** 2).sum(axis=1) + 1e-9).all()


@pytest.fixture(scope="module")
def whole() -> ScoreGraph:
    taxonomy = load_classes(packaged_conf_dir())
    return ScoreGraph.of(taxonomy.tags, {tag: taxonomy.parents(tag) for tag in taxonomy.tags})


def test_all_classes_are_projected_exactly(whole):
    raw = np.random.default_rng(5).random((4, len(whole.tags)))
    pull = np.zeros((len(whole.tags), len(whole.pairs)))
    for k, (child, parent) in enumerate(whole.pairs):
        pull[child, k], pull[parent, k] = 1.0, -1.0
    for row, found in zip(raw, whole.repaired(raw, "nearest"), strict=True):
        # The dual problem: what the pairs take from the raw scores, none of them with a negative force.
        force = lsq_linear(pull, row, bounds=(0.0, np.inf), tol=1e-14).x
        np.testing.assert_allclose(found, row - pull @ force, atol=1e-6)


@pytest.mark.parametrize("how", REPAIRS)
def test_a_rows_result_does_not_depend_on_the_others(whole, how):
    raw = np.random.default_rng(6).random((40, len(whole.tags)))
    together = whole.repaired(raw, how)
    np.testing.assert_array_equal(together[::-1], whole.repaired(raw[::-1], how))
    np.testing.assert_array_equal(together[17:18], whole.repaired(raw[17:18], how))
    assert whole.repaired(raw[:0], how).shape == (0, len(whole.tags))


def test_classes_without_a_score_are_bridged():
    taxonomy = load_classes(packaged_conf_dir())
    tags = ("rrab", "vnv", "rrlyr")
    graph = ScoreGraph.of(tags, {tag: taxonomy.parents(tag) for tag in tags})
    named = {(tags[child], tags[parent]) for child, parent in graph.pairs}
    assert named == {("rrab", "rrlyr"), ("rrlyr", "vnv")}
    np.testing.assert_allclose(graph.excess([[0.9, 0.2, 0.4]]), [[0.5, 0.2]])
    np.testing.assert_allclose(graph.repaired([[0.9, 0.2, 0.4]], "cap"), [[0.2, 0.2, 0.2]])
    np.testing.assert_allclose(graph.repaired([[0.9, 0.2, 0.4]], "lift"), [[0.9, 0.9, 0.9]])
    np.testing.assert_allclose(graph.repaired([[0.9, 0.2, 0.4]], "nearest"), [[0.5, 0.5, 0.5]])


def test_siblings_share_a_parent_and_do_not_imply_one_another(whole):
    named = {(whole.tags[one], whole.tags[other]) for one, other in whole.siblings}
    assert {("rrab", "rrc"), ("ea", "ew")} <= named
    assert not named & {("rrlyr", "rrab"), ("rrab", "rrlyr"), ("rrab", "f")}
    assert all(one != other and (other, one) not in named for one, other in named)


def test_what_cannot_be_repaired_is_refused(whole):
    with pytest.raises(ConfigError, match="a, b imply one another"):
        ScoreGraph.of(("a", "b"), {"a": {"b"}, "b": {"a"}})
    with pytest.raises(DataError, match=r"shape \(n, 52\)"):
        whole.repaired(np.zeros((3, 4)), "cap")
    with pytest.raises(DataError, match="not finite"):
        whole.repaired(np.full((1, 52), np.nan), "lift")
    alone = ScoreGraph.of(("a",), {"a": {"b"}})
    np.testing.assert_array_equal(alone.repaired([[0.3]], "nearest"), [[0.3]])
