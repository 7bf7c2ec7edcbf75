"""What the votes on Fritz say of a source: which classes it belongs to, which not, and which are left open.

The strategy, whole:

1. All copies of a class on a source count together, whoever posted them and to whichever upload of a taxonomy. Of each
   voter the latest vote counts. *Net votes* are votes for minus votes against.
2. ``min_net_votes`` or more: a member. As many against (at least one): no member. Anything between, and a class on which nobody
   has voted, is undecided. With 0 a tie and a class without votes are members.
3. Contradictions: a member of a class whose ancestor was voted down; two members of one ``exclusive`` group; a non-variable
   star that is of a class of variables. The side with more votes wins and the other is no member; as many: all undecided.
   A class has the votes of the strongest class that implies it, if these are more than its own. What undecided classes of a
   group have in common stays: a star that is RRab or RRc is an RR Lyrae.
4. What follows: ancestors of a member are members; the other classes of its group are not, and a non-variable star is of no class
   of variables; what lies below no member is no member; what lies below an undecided class is undecided, and so is what lies
   above it, unless something else decides that.
5. Classes on which all that says nothing are left to who makes a label table of it.

May import taxonomy, services (records), core and errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from scope_ml.errors import ConfigError
from scope_ml.services.fritz.records import Classification, Vote
from scope_ml.taxonomy.fritz_names import NONVAR
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["MEMBER", "NO_MEMBER", "UNDECIDED", "Decision", "Tally", "VoteRule", "decide", "tallies"]

Verdict = Literal["member", "not_member", "undecided"]
MEMBER: Verdict = "member"
NO_MEMBER: Verdict = "not_member"
UNDECIDED: Verdict = "undecided"

#: The class of ours that no non-variable star belongs to.
VARIABLE = "vnv"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The votes on one class of one source: for, against, and how many copies of it were posted."""

    n_for: int = 0
    n_against: int = 0
    n_copies: int = 1

    @property
    def net(self) -> int:
        """Return votes for minus votes against."""
        return self.n_for - self.n_against


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is known of one class of a source.

    Attributes
    ----------
    verdict
        ``member``, ``not_member`` or ``undecided``.
    reason
        Why, in a few words.
    basis
        ``own``: it was decided of the class itself; ``follows``: of another that implies it or is implied; ``open``: nothing is
        said but that a class below is undecided.
    """

    verdict: Verdict
    reason: str
    basis: Literal["own", "follows", "open"] = "own"


@dataclass(frozen=True, kw_only=True)
class VoteRule:
    """When votes decide.

    Attributes
    ----------
    min_net_votes
        Net votes of a member; of no member as many against.
    exclusive
        Groups of classes of which a star belongs to one at most.
    """

    min_net_votes: int = 1
    exclusive: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, min_net_votes: int, exclusive: Iterable[str], taxonomy: Taxonomy) -> VoteRule:
        """Return the rule of a configuration, whose groups are texts such as ``ea,eb,ew``.

        Raises
        ------
        ConfigError
            If a group names what is no class, fewer than two classes, or one that implies another.
        """
        groups = []
        for text in exclusive:
            group = taxonomy.expand(text)
            both = [(one, other) for one in group for other in group if other in taxonomy.parents(one)]
            if len(group) < 2 or both:
                why = f"{both[0][0]} is a kind of {both[0][1]}" if both else "one class excludes nothing"
                raise ConfigError(
                    f"training.exclusive: '{text}' cannot be: {why}; write it as ea,eb,ew", key="exclusive"
                )
            groups.append(group)
        return cls(min_net_votes=min_net_votes, exclusive=tuple(groups))

    def verdict(self, tally: Tally) -> Decision:
        """Return what the votes on a class say by themselves."""
        net = tally.net
        if net >= self.min_net_votes and (self.min_net_votes == 0 or tally.n_for):
            return Decision(verdict=MEMBER, reason="votes")
        if not tally.n_for + tally.n_against:
            return Decision(verdict=UNDECIDED, reason="nobody has voted")
        if net <= -max(self.min_net_votes, 1):
            return Decision(verdict=NO_MEMBER, reason="votes")
        return Decision(verdict=UNDECIDED, reason="as many for as against" if net == 0 else "too few votes")


def tallies(classifications: Iterable[Classification], tags: Mapping[str, str]) -> dict[str, Tally]:
    """Return the votes on each class of a source.

    Parameters
    ----------
    classifications
        Those of one source.
    tags
        Tag by label on Fritz; classes that are not in it are left out.
    """
    copies: dict[str, list[Classification]] = {}
    for one in classifications:
        if one.classification in tags:
            copies.setdefault(tags[one.classification], []).append(one)
    return {tag: _tally(several) for tag, several in copies.items()}


def _tally(copies: Sequence[Classification]) -> Tally:
    latest: dict[int, tuple[tuple[datetime, int], int]] = {}
    for copy in copies:
        for vote in copy.votes:
            when = _when(vote, copy)
            if vote.voter_id not in latest or when >= latest[vote.voter_id][0]:
                latest[vote.voter_id] = (when, vote.vote)
    votes = [vote for _, vote in latest.values()]
    return Tally(n_for=sum(vote > 0 for vote in votes), n_against=sum(vote < 0 for vote in votes), n_copies=len(copies))


def _when(vote: Vote, copy: Classification) -> tuple[datetime, int]:
    """Return what tells the later of two votes; where the service does not date votes, that of the later copy."""
    return (vote.at or copy.created_at or datetime.min, copy.id)


def decide(votes: Mapping[str, Tally], taxonomy: Taxonomy, rule: VoteRule) -> dict[str, Decision]:
    """Return what is known of the classes of one source; those on which nothing is said are not in it.

    Parameters
    ----------
    votes
        Of `tallies`.
    taxonomy
        The classes and what they imply.
    rule
        When votes decide.
    """
    case = _Case(votes, taxonomy, {tag: rule.verdict(tally) for tag, tally in votes.items()})
    for ancestor in sorted(case.of(NO_MEMBER), key=case.depth):
        case.settle_ancestor(ancestor)
    groups = (*rule.exclusive, (NONVAR, VARIABLE))
    for group in groups:
        case.settle_group(group)
    case.exclude(groups)
    case.follow()
    return case.known


class _Case:
    """One source: what is known of its classes, and how much speaks for it."""

    def __init__(self, votes: Mapping[str, Tally], taxonomy: Taxonomy, known: dict[str, Decision]) -> None:
        #: Net votes, also those that a class has from others.
        self.net = {tag: tally.net for tag, tally in votes.items()}
        self.taxonomy = taxonomy
        self.known = known

    def depth(self, tag: str) -> int:
        """Return how far below the top a class lies; `NONVAR` is in no tree."""
        return 0 if tag == NONVAR else self.taxonomy.depth(tag)

    def of(self, verdict: Verdict) -> list[str]:
        """Return the classes of a verdict, in the order of the taxonomy."""
        return [
            tag for tag in (*self.taxonomy.tags, NONVAR) if tag in self.known and self.known[tag].verdict == verdict
        ]

    def side(self, tag: str) -> list[str]:
        """Return the members that are `tag` or imply it."""
        return [one for one in self.of(MEMBER) if one == tag or tag in self._above(one)]

    def strength(self, side: Collection[str]) -> int:
        """Return the net votes of the strongest of some members."""
        return max(self.net[tag] for tag in side)

    def settle_ancestor(self, ancestor: str) -> None:
        """Settle a class that was voted down against the members below it."""
        below = self.side(ancestor)
        if not below:
            return
        strongest = max(below, key=self.net.__getitem__)
        votes_for, votes_against = self.strength(below), -self.net[ancestor]
        if votes_for > votes_against:
            self._set([ancestor], MEMBER, f"{strongest} has more votes")
        elif votes_for < votes_against:
            self._set(below, NO_MEMBER, f"more votes against {ancestor}")
        else:
            self._set([ancestor], UNDECIDED, f"contradicts {strongest}")
            self._set(below, UNDECIDED, f"contradicts {ancestor}")

    def settle_group(self, group: Sequence[str]) -> None:
        """Settle classes that exclude one another."""
        sides = {tag: side for tag in group if (side := self.side(tag))}
        if len(sides) < 2:
            return
        strength = {tag: self.strength(side) for tag, side in sides.items()}
        first = [tag for tag in sides if strength[tag] == max(strength.values())]
        if len(first) > 1:
            for tag in first:
                self._set([tag, *sides[tag]], UNDECIDED, f"contradicts {next(one for one in first if one != tag)}")
            # Whichever it is, it is one of what all of them are.
            for above in set.intersection(*(set(self._above(tag)) for tag in first)):
                if above not in self.known or self.known[above].verdict != NO_MEMBER:
                    self.known[above] = Decision(
                        verdict=MEMBER, reason=f"implied by {' and '.join(first)}", basis="follows"
                    )
                    self.net[above] = max(self.net.get(above, 0), *strength.values())
        for tag in [one for one in sides if one not in first]:
            self._set([tag, *sides[tag]], NO_MEMBER, f"{first[0]} has more votes")

    def exclude(self, groups: Iterable[Sequence[str]]) -> None:
        """Note that a member of a group belongs to none of its other classes, whether or not these were posted."""
        for group in groups:
            inside = [tag for tag in group if self.side(tag)]
            for tag in group if len(inside) == 1 else ():
                if tag != inside[0] and (tag not in self.known or self.known[tag].verdict == UNDECIDED):
                    self.known[tag] = Decision(verdict=NO_MEMBER, reason=f"excluded by {inside[0]}", basis="follows")

    def follow(self) -> None:
        """Fill in what follows for other classes."""
        seeds = list(self.known)
        for tag in self.of(MEMBER):
            for above in self._above(tag):
                if above not in self.known or self.known[above].verdict != MEMBER:
                    self.known[above] = Decision(verdict=MEMBER, reason=f"implied by {tag}", basis="follows")
        for verdict in (NO_MEMBER, UNDECIDED):
            for tag in [one for one in self.of(verdict) if one in seeds]:
                for below in self.taxonomy.tags:
                    known = self.known.get(below)
                    is_open = known is None or (verdict == NO_MEMBER and known.verdict == UNDECIDED)
                    if is_open and tag in self._above(below):
                        self.known[below] = Decision(verdict=verdict, reason=f"below {tag}", basis="follows")
        for tag in [one for one in self.of(UNDECIDED) if self.known[one].basis == "own"]:
            for above in self._above(tag):
                if above not in self.known:
                    self.known[above] = Decision(verdict=UNDECIDED, reason=f"above {tag}", basis="open")

    def _above(self, tag: str) -> tuple[str, ...]:
        return () if tag == NONVAR else self.taxonomy.parents(tag)

    def _set(self, tags: Iterable[str], verdict: Verdict, reason: str) -> None:
        for tag in tags:
            known = self.known.get(tag, Decision(verdict=verdict, reason=reason))
            self.known[tag] = replace(known, verdict=verdict, reason=reason)
