"""How many minima a cycle has, by class: the only thing that a second look at a period takes from the class.

May import `errors` only.
"""

from __future__ import annotations

from enum import Enum

from scope_ml.errors import ConfigError, suggest

__all__ = ["EXPECTED", "Minima", "expected_minima"]


class Minima(Enum):
    """What the period of a class spans."""

    #: Two minima, equal or not: eclipsing and ellipsoidal binaries.
    TWO = "two"
    #: Two minima unless the curve says otherwise: spotted stars, among which survey catalogues keep many contact and
    #: ellipsoidal binaries.
    TWO_OR_ONE = "two or one"
    #: One minimum: pulsating stars.
    ONE = "one"
    #: The period that was found is half of the true one: that is what the class means.
    HALF_FOUND = "half found"
    #: The period that was found is twice the true one.
    DOUBLE_FOUND = "double found"
    #: The class does not say, or its cycles alternate in some stars as in type II Cepheids; the period stays as it is.
    ANY = "any"


_CLASSES: dict[Minima, str] = {
    Minima.TWO: "e ea eb ew wuma blyr el bis hwvir nnser emsms",
    Minima.TWO_OR_ONE: "rscvn",
    Minima.ONE: "puls rrlyr rrab rrc rrd rrblz ceph f o blher wvir dscu lpv mir srv osarg saw",
    Minima.HALF_FOUND: "hp",
    Minima.DOUBLE_FOUND: "dp",
    Minima.ANY: "vnv pnp sin mp i yso agn cv cbin ceph2 rvtau longt fla dip ext bogus artfct blend bright wp rdbkp",
}

#: What each class expects.
EXPECTED: dict[str, Minima] = {tag: minima for minima, tags in _CLASSES.items() for tag in tags.split()}


def expected_minima(class_tag: str) -> Minima:
    """Return how many minima a cycle of a class has.

    Raises
    ------
    ConfigError
        If there is no such class.
    """
    if class_tag not in EXPECTED:
        raise ConfigError(
            f"class_tag is '{class_tag}'; it must be the tag of a class, as 'ea' or 'rrab'{suggest(str(class_tag).lower(), EXPECTED)}"
        )
    return EXPECTED[class_tag]
