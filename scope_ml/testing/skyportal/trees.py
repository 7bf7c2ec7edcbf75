"""The class trees that the server begins with: small ones that hold every label SCoPe's mapper files name.

`ASTROPHYSICAL` resembles the tdtax taxonomy (nested as there, "kilonova" occurs twice), `PHENOMENOLOGICAL` is SCoPe's own.
A node is ``{class, subclasses?, ...}``, as tdtax's JSON schema asks. May import nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["ASTROPHYSICAL", "PHENOMENOLOGICAL", "class_names", "node_fault"]

#: Keys of a node and the type of what they hold.
KEYS: dict[str, type | tuple[type, ...]] = {
    "class": str,
    "comments": str,
    "tags": list,
    "links": list,
    "other names": list,
    "subclasses": list,
}


def _node(name: str, *below: Any) -> dict[str, Any]:
    """Return a node; those below it are nodes, or names of nodes without any below."""
    if not below:
        return {"class": name}
    return {"class": name, "subclasses": [_node(one) if isinstance(one, str) else one for one in below]}


_ECLIPSING = _node(
    "Eclipsing",
    _node("Beta Lyrae"),
    _node("W Ursae Maj"),
    _node("detached MS-MS"),
    _node("Compact Binary", "NN Ser", "HW Vir", "Redback Pulsar"),
)

_PULSATING = _node(
    "Pulsating",
    _node("Delta Scuti"),
    _node("RR Lyrae", "RRab", "RRc", "RRd", "Blazhko"),
    _node("Cepheid", "Fundamental", "Overtone"),
    _node("Population II Cepheid", "BL Her", "W Vir", "RV Tau"),
    _node("LPV", "Mira", "Semiregular", "OSARG"),
)

ASTROPHYSICAL = _node(
    "Time-domain Source",
    _node(
        "Stellar variable",
        _ECLIPSING,
        _PULSATING,
        _node("Rotational variable", "RS CVn"),
        _node("Eruptive variable", "YSO"),
        _node("Cataclysmic", "Nova"),
    ),
    _node("GRB", "Long GRB", _node("Short GRB", "kilonova")),
    _node("Supernova", "Type I", "Type II", "kilonova"),
    _node("AGN", "QSO"),
)

PHENOMENOLOGICAL = _node(
    "Phenomenological",
    _node(
        "variable",
        _node(
            "periodic",
            _node("eclipsing", "EA", "EB", "EW"),
            "ellipsoidal",
            "sinusoidal",
            "sawtooth",
            "multi periodic",
            _node("wrong period", "half period", "double period"),
        ),
        "irregular",
        "long timescale",
        "flaring",
        "dipping",
    ),
    "non-variable",
    _node("bogus", "ccd artifact", "bright star", "blend", "extended"),
)


def class_names(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a tree, from the top, a name as often as it occurs."""
    if "class" in node:
        yield node["class"]
    for below in node.get("subclasses", []):
        yield from class_names(below)


def node_fault(node: object) -> str | None:
    """Return what tdtax's JSON schema would object to in a tree, or None."""
    if not isinstance(node, Mapping):
        return f"{node!r} is not an object"
    if not isinstance(node.get("class"), str):
        return "'class' is a required property"
    for key, value in node.items():
        if key not in KEYS:
            return f"'{key}' was unexpected"
        if not isinstance(value, KEYS[key]):
            return f"{value!r} is not of the right type"
    return next(filter(None, map(node_fault, node.get("subclasses", []))), None)
