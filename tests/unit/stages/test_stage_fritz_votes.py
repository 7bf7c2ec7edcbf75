"""What votes decide: each voter once, ties left open, contradictions by the class graph, nothing that contradicts itself after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.errors import ConfigError
from scope_ml.services.fritz.records import Classification, Vote
from scope_ml.stages.fritz_votes import MEMBER, NO_MEMBER, UNDECIDED, Tally, VoteRule, decide, tallies
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

TAXONOMY = load_classes(packaged_conf_dir())
EXCLUSIVE = ("ea,eb,ew", "rrab,rrc,rrd")


def copy(number: int, name: str, votes: Mapping[int, int], *, day: int = 1, taxonomy_id: int = 5) -> Classification:
    at = datetime(2026, 1, day)
    return Classification(
        id=number,
        obj_id="A",
        classification=name,
        taxonomy_id=taxonomy_id,
        created_at=at,
        votes=tuple(Vote(voter_id=voter, vote=vote, at=at) for voter, vote in votes.items()),
    )


def verdicts(least: int = 1, taxonomy: Taxonomy = TAXONOMY, **net: int) -> dict[str, str]:
    votes = {tag: Tally(n_for=max(value, 0), n_against=max(-value, 0)) for tag, value in net.items()}
    found = decide(votes, taxonomy, VoteRule.of(least, EXCLUSIVE, taxonomy))
    return {tag: one.verdict for tag, one in found.items()}


def test_copies_count_together_and_each_voter_once_with_the_latest_vote() -> None:
    copies = [
        copy(1, "RRab", {7: 1, 8: 1}, day=1),
        copy(2, "RRab", {7: -1}, day=3, taxonomy_id=3),
        copy(3, "RRab", {8: 1}, day=2),
        copy(4, "rrab", {9: 1}),
    ]
    expected = {"rrab": Tally(n_for=1, n_against=1, n_copies=3)}
    assert tallies(copies, {"RRab": "rrab"}) == expected
    assert tallies(copies[::-1], {"RRab": "rrab"}) == expected


def test_names_that_differ_by_case_are_two_classes() -> None:
    copies = [copy(1, "Eclipsing", {7: 1}), copy(2, "eclipsing", {7: -1})]
    assert {tag: one.net for tag, one in tallies(copies, {"Eclipsing": "bis", "eclipsing": "e"}).items()} == {
        "bis": 1,
        "e": -1,
    }


@pytest.mark.parametrize(
    ("least", "n_for", "n_against", "expected"),
    [
        (1, 1, 0, MEMBER),
        (1, 1, 1, UNDECIDED),
        (1, 0, 0, UNDECIDED),
        (1, 0, 1, NO_MEMBER),
        (2, 2, 1, UNDECIDED),
        (2, 2, 0, MEMBER),
        (2, 1, 2, UNDECIDED),
        (2, 0, 2, NO_MEMBER),
        (0, 1, 1, MEMBER),
        (0, 0, 0, MEMBER),
        (0, 0, 1, NO_MEMBER),
    ],
)
def test_net_votes_decide(least: int, n_for: int, n_against: int, expected: str) -> None:
    rule = VoteRule(min_net_votes=least)
    found = decide({"agn": Tally(n_for=n_for, n_against=n_against)}, TAXONOMY, rule)
    assert found["agn"].verdict == expected


def test_what_follows_up_and_down() -> None:
    up = verdicts(rrab=1)
    assert {tag for tag, one in up.items() if one == MEMBER} == {"rrab", *TAXONOMY.parents("rrab")}
    down = verdicts(puls=-1)
    assert down["rrab"] == down["osarg"] == NO_MEMBER
    assert "ea" not in down
    open_ = verdicts(rrlyr=0, bis=1)
    assert open_["rrlyr"] == open_["rrc"] == UNDECIDED
    assert open_["puls"] == UNDECIDED, "a star that may be an RR Lyrae may be a pulsator"
    assert open_["vnv"] == MEMBER


def test_contradictions_go_to_more_votes_and_ties_are_left_open() -> None:
    assert verdicts(rrab=2, rrlyr=-1)["rrlyr"] == MEMBER
    assert verdicts(rrab=1, rrlyr=-2)["rrab"] == NO_MEMBER
    tie = verdicts(rrab=1, rrlyr=-1)
    assert tie["rrab"] == tie["rrlyr"] == UNDECIDED
    assert verdicts(rrab=2, rrc=1)["rrc"] == NO_MEMBER
    both = verdicts(rrab=1, rrc=1, rrd=-1)
    assert (both["rrab"], both["rrc"], both["rrd"], both["rrlyr"]) == (UNDECIDED, UNDECIDED, NO_MEMBER, MEMBER)
    shapes = verdicts(emsms=1, eb=2)
    assert (shapes["eb"], shapes["ea"], shapes["emsms"]) == (MEMBER, NO_MEMBER, NO_MEMBER)
    constant = verdicts(nonvar=3, ea=2)
    assert (constant["nonvar"], constant["vnv"], constant["ea"]) == (MEMBER, NO_MEMBER, NO_MEMBER)
    assert verdicts(nonvar=1)["ea"] == verdicts(rrab=1)["rrc"] == verdicts(emsms=1)["wuma"] == NO_MEMBER
    assert verdicts(nonvar=1, ea=2)["nonvar"] == NO_MEMBER
    equal = verdicts(nonvar=2, ea=2)
    assert equal["nonvar"] == equal["ea"] == equal["vnv"] == UNDECIDED


@given(
    st.dictionaries(st.sampled_from((*TAXONOMY.tags, "nonvar")), st.integers(-3, 3), max_size=7),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_the_end_never_contradicts_itself(net: dict[str, int], least: int, random: object) -> None:
    found = verdicts(least, **net)
    members = {tag for tag, one in found.items() if one == MEMBER}
    for tag in members - {"nonvar"}:
        assert set(TAXONOMY.parents(tag)) <= members, "a member is a member of all that it implies"
    for tag, one in found.items():
        if one == NO_MEMBER and tag != "nonvar":
            assert all(found[below] == NO_MEMBER for below in TAXONOMY.tags if tag in TAXONOMY.parents(below))
    for group in (*(text.split(",") for text in EXCLUSIVE), ("nonvar", "vnv")):
        assert len(members & set(group)) <= 1
    shuffled = list(net.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert verdicts(least, **dict(shuffled)) == found


def test_groups_that_cannot_exclude_one_another_are_refused() -> None:
    with pytest.raises(ConfigError, match="rrab is a kind of rrlyr"):
        VoteRule.of(1, ("rrlyr,rrab",), TAXONOMY)
    with pytest.raises(ConfigError, match="ea,eb,ew"):
        VoteRule.of(1, ("rrab",), TAXONOMY)
    with pytest.raises(ConfigError, match="rrx"):
        VoteRule.of(1, ("rrab,rrx",), TAXONOMY)
