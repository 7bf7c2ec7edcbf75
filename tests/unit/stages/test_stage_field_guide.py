"""Which stars the field guide shows of a class, and how they are folded."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.reporting.examples import Points
from scope_ml.stages.field_guide import _chosen, _examples, _is_periodic, _Star
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_classes(packaged_conf_dir())


def star(number: int, *tags: str, native: str = "n", period: float = 2.0, clarity: float = 1.0) -> _Star:
    return _Star(
        star=f"s{number}",
        id=str(number),
        tags=frozenset(tags),
        uncertain=frozenset(),
        native=native,
        period=period,
        amplitude=0.5,
        clarity=clarity,
    )


def points(*stars: _Star) -> dict[tuple[str, str | None], Points]:
    time = np.linspace(0.0, 50.0, 100)
    measured = Points(time=time, mag=np.sin(time), mag_err=np.full(100, 0.01))
    return {(one.id, "r"): measured for one in stars}


@pytest.mark.parametrize(
    ("tag", "folds"), [("hp", [1.0, 2.0]), ("dp", [4.0, 2.0]), ("wp", [0.6657, 2.0]), ("saw", [2.0])]
)
def test_wrong_periods_are_shown_beside_the_right_one(tag: str, folds: list[float]) -> None:
    one = star(1, tag, "pnp")
    shown = list(_examples(tag, [one], points(one), is_periodic=True))
    assert [example.view.period for example in shown] == pytest.approx(folds, rel=2e-3)
    assert f"P = {one.period:.5g} d" in shown[-1].caption


def test_eclipses_are_at_phase_zero() -> None:
    one, other = star(1, "e", "pnp"), star(2, "saw", "pnp")
    zeros = [example.phase_zero for example in _examples("pnp", [one, other], points(one, other), is_periodic=True)]
    assert zeros == ["faint", "bright"]


def test_a_class_of_few_periodic_members_is_shown_against_time() -> None:
    members = [star(1, "bogus", "pnp"), star(2, "bogus"), star(3, "bogus")]
    assert not _is_periodic("bogus", members)
    assert _is_periodic("bogus", members[:1])
    shown = list(_examples("bogus", members, points(*members), is_periodic=False))
    assert len(shown) == 3
    assert all(np.isnan(example.view.period) for example in shown)


def test_clear_stars_of_several_kinds_are_shown_and_seldom_twice(taxonomy: Taxonomy) -> None:
    cepheids = [star(k, "ceph", "puls", "vnv", native="ceph_f", clarity=10.0 - k) for k in range(8)]
    others = [star(20 + k, "puls", "vnv", native="slow", clarity=0.5) for k in range(8)]
    # One of a kind among sixteen: its label may be wrong.
    odd = star(90, "puls", "vnv", native="nonvar", clarity=99.0)
    chosen = _chosen(taxonomy, [*cepheids, *others, odd], 2)
    assert [one.id for one in chosen["ceph"]] == ["0", "1"]
    assert {one.native for one in chosen["puls"]} == {"ceph_f", "slow"}
    assert not {one.id for one in chosen["puls"]} & {"0", "1"}
    assert chosen["rrab"] == []
