"""The report page as one HTML file that needs no network: style, script and every figure are inside."""

from __future__ import annotations

from pathlib import Path

from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.sections import (
    class_card,
    conflict_table,
    heading,
    provenance_table,
    skipped_table,
    summary_table,
)
from scope_ml.reporting.theme import document
from scope_ml.reporting.view import PageView

__all__ = ["render_page", "write_page"]

HOW_TO_READ = (
    "Each model is judged on stars it has never seen (the test part; all light curves of a star are on one side). "
    "Bars are 95\N{NARROW NO-BREAK SPACE}% bootstrap intervals, the small tick is the average precision of guessing. "
    "Numbers of positives in ochre are too small to rank models by."
)

HOW_TO_READ_CARDS = (
    "Strong curves are the registered champions, faint ones the other seeds; circles sit at the threshold. "
    "Light curves are the ones the models are surest of, one per star, among everything that was scored: "
    "a mark says what the label table holds, and in which part of the split the star was."
)


def render_page(page: PageView) -> str:
    """Return the whole page as HTML text.

    The same `page` gives the same text: there is no clock in it.
    """
    cards = "".join(class_card(view) for view in page.classes)
    if cards:
        cards = f'<h2>Class by class</h2><p class="note">{HOW_TO_READ_CARDS}</p>{cards}'
    body = (
        f'{heading(page)}<main><h2>How well each class is found</h2><p class="note">{HOW_TO_READ}</p>'
        f"{summary_table(page)}{cards}{skipped_table(page)}{conflict_table(page)}</main><footer>{provenance_table(page)}</footer>"
    )
    return document(page.title, body)


def write_page(page: PageView, path: Path) -> int:
    """Write the page to `path` (atomically) and return its size in bytes.

    Raises
    ------
    OutputError
        If the path cannot be written.
    """
    text = render_page(page).encode("utf-8")
    with atomic_path(path) as partial:
        partial.write_bytes(text)
    return len(text)
