"""The style of the pages: the CSS and the little script, kept as files of their own languages, and the frame of a page."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files

__all__ = ["document", "script", "style_sheet"]


@cache
def style_sheet(*further: str) -> str:
    """Return the CSS of a page: a light and a dark scheme, system fonts only; `further` names more of the templates."""
    return "\n".join(_template(f"{name}.css") for name in ("report", *further))


@cache
def script() -> str:
    """Return the script that sorts and filters the table; the page is complete without it."""
    return _template("report.js")


def document(title: str, body: str, *further: str) -> str:
    """Return a whole HTML file that needs no network: `title` as text, `body` as HTML, `further` style sheets by name."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} - scope_ml</title><style>{style_sheet(*further)}</style></head>"
        f"<body>{body}<script>{script()}</script></body></html>\n"
    )


def _template(name: str) -> str:
    return (files("scope_ml.reporting") / "templates" / name).read_text(encoding="utf-8")
