"""Tables and texts of a data-release page: models, columns, how to open the catalogue, where it comes from.

May import the rooms of this package and `selection`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from scope_ml.reporting.release_view import CatalogueModel
from scope_ml.reporting.sections import DASH, count, plain_table, share
from scope_ml.selection.star_columns import StarColumn

__all__ = ["column_table", "how_to_open", "model_table", "percent", "provenance"]

#: Digits of a digest that are shown; all of them stand in the title.
SHOWN_DIGITS = 12

#: What stands for any class in the names of columns.
ANY = "<class>"

#: Columns of the layout itself.
LAYOUT = {"_healpix_29": "HEALPix cell of order 29 of the star, nested, by which partitions are sorted"}


def percent(part: int | None, whole: int) -> str:
    """Return a share, "" where one of the numbers is not known."""
    if part is None or not whole:
        return ""
    value = 100 * part / whole
    text = f"{value:.0f}" if value >= 10 or not part else f"{value:.2g}"
    return f"{text}\N{NARROW NO-BREAK SPACE}%"


def model_table(models: Sequence[CatalogueModel], labels: Mapping[str, str]) -> str:
    """Return the models that scored, with versions; "" if none is known."""
    rows = "".join(
        f"<tr><td><strong>{escape(labels.get(one.tag, one.tag))}</strong> <code>{escape(one.tag)}</code></td>"
        f'<td><span class="algorithm {escape(one.algorithm)}">{escape(one.algorithm)}</span></td>'
        f"<td>{escape(one.name) or DASH}</td><td>{escape(one.version) or DASH}</td>"
        f'<td class="num">{share(one.threshold)}</td>'
        f'<td><code title="{escape(one.digest)}">{escape(one.digest[:SHOWN_DIGITS]) or DASH}</code></td></tr>'
        for one in models
    )
    if not rows:
        return ""
    head = "<tr><th>class</th><th>algorithm</th><th>model</th><th>version</th><th>threshold</th><th>digest</th></tr>"
    return f"<h2>Models</h2><details open><summary>{count(len(models))} models</summary>{plain_table(rows, head)}</details>"


def column_table(schema: Sequence[tuple[str, str, str]], described: Sequence[StarColumn], tags: Sequence[str]) -> str:
    """Return what the columns are, those of many classes once.

    Parameters
    ----------
    schema
        Name, dtype and unit of each column there is, in order.
    described
        What is known of them.
    tags
        Classes whose scores there are.
    """
    if not schema:
        return ""
    known = {one.name: one for one in described}
    lines: dict[tuple[str, str, str], tuple[str, int]] = {}
    for name, dtype, unit in schema:
        column = known.get(name)
        tag = _tag_of(name, tags)
        doc = column.doc if column is not None else LAYOUT.get(name, "")
        shown = ANY + name.removeprefix(tag) if tag else name
        key = (shown, _short(dtype), column.unit if column is not None else unit)
        words, n = lines.get(key, (_without(tag, doc) if tag else doc, 0))
        lines[key] = (words, n + 1)
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{f' <small>{n} classes</small>' if n > 1 else ''}</td>"
        f"<td>{escape(dtype)}</td><td>{escape(unit)}</td><td>{escape(doc)}</td></tr>"
        for (name, dtype, unit), (doc, n) in lines.items()
    )
    head = "<tr><th>column</th><th>type</th><th>unit</th><th>what it is</th></tr>"
    return f"<h2>Columns</h2>{plain_table(rows, head)}"


def how_to_open(
    tags: Sequence[str], place: tuple[float, float] | None, files: Mapping[str, str], *, has_sure: bool
) -> str:
    """Return examples that work where the catalogue's folder is called ``catalogue``.

    Parameters
    ----------
    tags
        Classes that have scores.
    place
        Where there are stars [deg].
    files
        What lies beside the catalogue: name -> what it is.
    has_sure
        Whether the catalogue says of which classes a star is for sure.
    """
    tag = tags[len(tags) // 2] if tags else ""
    shown = "".join(
        f"<div><h4>{title}</h4><pre><code>{escape(text)}</code></pre></div>"
        for title, text in _ways(
            tag, place or (180.0, 0.0), next((name for name in files if name.endswith(".csv")), "")
        )
    )
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(what)}</td></tr>" for name, what in files.items()
    )
    beside = f'<h4 class="beside">Beside the catalogue</h4>{plain_table(rows)}' if rows else ""
    sure = (
        " The list <code>confident_classes</code> says of which classes a star is for sure, "
        "<code>confident_class</code> the narrowest of them."
        if has_sure
        else ""
    )
    return (
        '<h2>How to open it</h2><p class="note">The catalogue is Parquet in the HATS layout: one file a HEALPix cell, '
        f"rows sorted by their place. Ids are whole numbers and never went through a float.{sure}</p>"
        f'<div class="ways">{shown}</div>{beside}'
    )


def _ways(tag: str, place: tuple[float, float], csv: str) -> list[tuple[str, str]]:
    """Return title and code of each way to open a catalogue."""
    columns = f'columns = ["name", "ra", "dec"{f", {chr(34)}{tag}{chr(34)}" if tag else ""}]\n'
    above = f'sure = stars.query("{tag} > 0.9").compute()\n' if tag else ""
    where = f', filters=[("{tag}", ">", 0.9)]' if tag else ""
    ways = [
        (
            "lsdb, by place and across catalogues",
            f'import lsdb\n\n{columns}stars = lsdb.open_catalog("catalogue", columns=columns)\n{above}'
            f"around = stars.cone_search({place[0]:.4f}, {place[1]:.4f}, radius_arcsec=600).compute()",
        ),
        (
            "pandas",
            f'import pandas as pd\n\n{columns}path = "catalogue/dataset"\n'
            f"stars = pd.read_parquet(path, columns=columns{where})",
        ),
        (
            "pyarrow, piece by piece",
            f'import pyarrow.dataset as ds\n\n{columns}stars = ds.dataset("catalogue/dataset")\n'
            "for batch in stars.to_batches(columns=columns):\n    ...",
        ),
        (
            "DVC, so that a pipeline depends on this version of it",
            "dvc import-url FOLDER_OR_ADDRESS_OF_THE_RELEASE/catalogue\ndvc update catalogue.dvc    # a newer one",
        ),
    ]
    if csv:
        text = (
            "import pandas as pd\n\n# Whole numbers stay whole where some are missing.\n"
            f'stars = pd.read_csv("catalogue/{csv}", dtype_backend="pyarrow")'
        )
        ways.append(("CSV", text))
    return ways


def provenance(rows: Mapping[str, str]) -> str:
    """Return versions and digests; "" if there are none."""
    cells = "".join(
        f"<tr><td>{escape(what)}</td><td><code>{escape(value)}</code></td></tr>" for what, value in rows.items()
    )
    return f"<h2>Where this comes from</h2>{plain_table(cells)}" if cells else ""


def _tag_of(name: str, tags: Sequence[str]) -> str:
    """Return the class whose column it is, "" if it is of none; the longest that fits, for classes may share a start."""
    fitting = [tag for tag in tags if name == tag or name.startswith(f"{tag}_")]
    return max(fitting, key=len, default="")


def _without(tag: str, doc: str) -> str:
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(tag)}(?![A-Za-z0-9])", ANY, doc)


def _short(dtype: str) -> str:
    """Return a type as people say it."""
    short = {"double": "float64", "float": "float32", "bool": "bool", "string": "text"}
    match = re.fullmatch(r"list<\w+: (\w+)>", dtype)
    return f"list of {short.get(match[1], match[1])}" if match else short.get(dtype, dtype)
