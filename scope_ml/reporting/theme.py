"""The style of the report page: the CSS and the little script, kept as files of their own languages."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["script", "style_sheet"]


@cache
def style_sheet() -> str:
    """Return the CSS of the page: a light and a dark scheme, system fonts only."""
    return _template("report.css")


@cache
def script() -> str:
    """Return the script that sorts and filters the table; the page is complete without it."""
    return _template("report.js")


def _template(name: str) -> str:
    return (files("scope_ml.reporting") / "templates" / name).read_text(encoding="utf-8")
