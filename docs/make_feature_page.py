"""Write docs/features.md: every feature of the registry, with the distribution it has on measured light curves.

::

    python docs/make_feature_page.py
    python docs/make_feature_page.py --features TABLE... --about "WHAT WAS MEASURED"
    python docs/make_feature_page.py --check

The page is made of `scope_ml/features/registry.py` and docs/feature_distributions.json. ``--features`` reads feature tables (Parquet,
HDF5 or CSV) and puts a few numbers a column into that file, replacing what was there, so that the page can be made without data.
``--check`` writes nothing and exits 1 if the page is not what would be written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scope_ml.errors import ConfigError, ScopeError
from scope_ml.features.registry import (
    FEATURE_SETS,
    FEATURES,
    GROUPS,
    FeatureGroup,
    FeatureSpec,
    column_spec,
    split_column,
)
from scope_ml.io.tables import read_foreign_table

HERE = Path(__file__).resolve().parent
PAGE, DISTRIBUTIONS = HERE / "features.md", HERE / "feature_distributions.json"

#: Bins of a distribution, between these percentiles.
N_BINS, PERCENTILES = 16, (1, 50, 99)

#: Scales other than the linear one begin where the largest value is so many times the smallest, or the usual, one.
RATIO = 30.0

#: Digits kept of a percentile.
DIGITS = 4

BLOCKS, EMPTY_BIN, NOTHING = "▁▂▃▄▅▆▇█", "·", "–"

MISSING = {"median": "median", "zero": "0", "below": "below", "none": NOTHING}

INTRODUCTION = """\
# Features

<!-- Made by docs/make_feature_page.py of scope_ml/features/registry.py and feature_distributions.json; edit those. -->

{n_features} features in {n_groups} groups. In formulae, N points have magnitudes m with errors e at times t; w = 1/e², wm is the weighted
mean. `features.groups=[basic,period]` chooses groups.

- **feature**: the column of the table. Names in *italics* are of features that depend on the period: their columns end in the method of
  the period search, as `period_ls`, and further peaks have a number, as `period_2_ls`.
- **missing**: what a model is given where there is no value: the median of the training part, 0, a value below all others
  (there is no such thing: the phase of a harmonic that was not fitted), or {nothing} where none is ever missing or no
  model takes it.
- **models**: the feature sets whose models take it, `both` for {sets}.
- **SCoPe**: the name in SCoPe 0.9.5, {nothing} where it has no such feature.
- **distribution**: {bins} bins between the 1st and the 99th percentile, which stand beside it; the highest block is the fullest bin,
  heights are linear, `{empty}` is an empty bin. Bins are even in the value x; or, where the percentiles lie a factor of {ratio:g} or more
  apart, in its logarithm (**log**), or in asinh(x / s), s the median of |x|, where there are values of both signs (**asinh**). A percentage
  says how many light curves have no value. {nothing}: not measured, or no number.
"""


def summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return the few numbers that are kept of a column, of any length and with NaN where there is no value."""
    finite = values[np.isfinite(values)]
    kept: dict[str, Any] = {
        "n": len(values),
        "missing": _rounded(1 - len(finite) / len(values)) if len(values) else 1.0,
        "percentiles": [],
        "scale": "linear",
        "counts": [],
    }
    if not len(finite):
        return kept
    low, middle, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    kept["percentiles"] = [_rounded(value) for value in (low, middle, high)]
    if low == high:
        return kept
    usual = float(np.median(np.abs(finite)))
    shown = finite[(finite >= low) & (finite <= high)]
    if low > 0 and high > RATIO * low:
        kept["scale"], shown = "log", np.log(shown)
    elif low <= 0 and usual > 0 and max(-low, high) > RATIO * usual:
        kept["scale"], shown = "asinh", np.arcsinh(shown / usual)
    if np.ptp(shown) > N_BINS * np.spacing(np.abs(shown).max()):
        kept["counts"] = [int(count) for count in np.histogram(shown, N_BINS)[0]]
    return kept


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def sparkline(counts: Sequence[int]) -> str:
    """Return counts as blocks; the highest is the largest count."""
    top = max(counts, default=0)
    return "".join(BLOCKS[max(0, -(-count * len(BLOCKS) // top) - 1)] if count else EMPTY_BIN for count in counts)


def measured(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the summaries of all columns of feature tables that are features of one number; rows of all tables count."""
    pieces: dict[str, list[NDArray[np.float64]]] = {}
    for path in paths:
        table = read_foreign_table(path)
        for name in table.column_names:
            if _is_number(table.schema.field(name).type) and _feature_of(name) is not None:
                pieces.setdefault(name, []).append(_numbers(table[name]))
    return {name: summary(np.concatenate(values)) for name, values in pieces.items()}


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype) or pa.types.is_integer(dtype) or pa.types.is_boolean(dtype))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = pc.cast(column, pa.float64()).fill_null(np.nan)
    return np.asarray(values.to_numpy())


def _feature_of(column: str) -> FeatureSpec | None:
    """Return the feature of a column whose distribution says something: of the first peak, and no identifier."""
    try:
        spec = column_spec(column)
    except ConfigError:
        return None
    parts = split_column(column)
    # The registry keeps identifiers, and nothing else, in 64 bits.
    return None if spec.dtype == "int64" or (parts is not None and parts.rank > 1) else spec


def page(distributions: Mapping[str, Any]) -> str:
    """Return the page."""
    of_feature: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for column, kept in distributions["columns"].items():
        spec = _feature_of(column)
        if spec is not None:
            of_feature.setdefault(spec.name, (column, kept))
    text = INTRODUCTION.format(
        n_features=len(FEATURES),
        n_groups=len(GROUPS),
        nothing=NOTHING,
        bins=N_BINS,
        empty=EMPTY_BIN,
        ratio=RATIO,
        sets=" and ".join(f"`{name}`" for name in FEATURE_SETS),
    )
    about = distributions.get("about")
    parts = [text, f"Distributions: {about}\n" if about else "No distribution has been measured yet.\n", _contents()]
    parts += [_section(group, of_feature) for group in GROUPS.values()]
    return "\n".join(parts)


def _in_group(group: FeatureGroup) -> list[FeatureSpec]:
    return [spec for spec in FEATURES.values() if spec.group == group.name]


def _contents() -> str:
    lines = ["| group | features | models take | what it is |", "|---|---|---|---|"]
    for group in GROUPS.values():
        specs = _in_group(group)
        taken = sum(bool(spec.sets) for spec in specs)
        lines.append(f"| [{group.name}](#{group.name}) | {len(specs)} | {taken} | {_cell(group.summary)} |")
    return "\n".join(lines) + "\n"


def _section(group: FeatureGroup, of_feature: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    notes = [f"{group.summary[:1].upper()}{group.summary[1:]}."]
    if group.needs:
        notes.append(f"Needs {', '.join(f'`{name}`' for name in group.needs)}.")
    if group.from_catalogs:
        notes.append("Takes catalogues (`catalogs.path`).")
    if not group.standard:
        notes.append("Measured only where `features.groups` names it.")
    lines = [f"## {group.name}", "", " ".join(notes), ""]
    lines += [
        "| feature | unit | formula | reference | missing | models | SCoPe | distribution |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(spec, of_feature.get(spec.name)) for spec in _in_group(group)]
    return "\n".join(lines) + "\n"


def _line(spec: FeatureSpec, found: tuple[str, Mapping[str, Any]] | None) -> str:
    name = f"*`{spec.name}`*" if spec.periodic else f"`{spec.name}`"
    models = "both" if set(spec.sets) == set(FEATURE_SETS) else ", ".join(spec.sets) or NOTHING
    missing = MISSING[spec.missing] if spec.sets else NOTHING
    legacy = f"`{spec.legacy}`" if spec.legacy else NOTHING
    cells = (name, spec.unit, spec.formula, spec.reference, missing, models, legacy, _distribution(spec, found))
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _distribution(spec: FeatureSpec, found: tuple[str, Mapping[str, Any]] | None) -> str:
    if found is None:
        return NOTHING
    column, kept = found
    words = [] if column == spec.name else [f"`{column}`"]
    if kept["counts"]:
        words.append(f"`{sparkline(kept['counts'])}`")
    if kept["percentiles"]:
        low, _, high = kept["percentiles"]
        words.append(f"{low:g} … {high:g}" if low != high else f"{low:g} throughout")
    if kept["scale"] != "linear":
        words.append(f"**{kept['scale']}**")
    if kept["missing"] == 1:
        words.append("no values")
    elif kept["missing"]:
        percent = 100 * kept["missing"]
        words.append(f"{percent:.1f} % without" if percent >= 0.1 else "under 0.1 % without")
    return " ".join(words)


def _cell(text: str) -> str:
    """Return text as a cell of a table: a bar ends one, and a star or an underscore in a formula is none of Markdown's."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if "`" in text or "**" in text else text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _read_distributions() -> dict[str, Any]:
    if not DISTRIBUTIONS.exists():
        return {"about": "", "columns": {}}
    kept: dict[str, Any] = json.loads(DISTRIBUTIONS.read_text(encoding="utf-8"))
    return kept


def _write_distributions(kept: Mapping[str, Any]) -> None:
    """Write one column a line, so that a change of one is one line of a diff."""
    columns = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in kept["columns"].items())
    text = f'{{"about": {json.dumps(kept["about"], ensure_ascii=False)},\n "columns": {{\n{columns}\n}}}}\n'
    DISTRIBUTIONS.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", type=Path, metavar="TABLE", help="feature tables to measure")
    parser.add_argument("--about", default="", help="what these tables are, a sentence for the page")
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    given = parser.parse_args(arguments)
    if given.features and not given.check:
        try:
            _write_distributions({"about": given.about, "columns": measured(given.features)})
        except ScopeError as error:
            print(f"make_feature_page: error: {error}", file=sys.stderr)
            return 2
    text = page(_read_distributions())
    if given.check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(
            f"{PAGE.name} is up to date" if current else f"{PAGE.name} is stale; run python docs/make_feature_page.py"
        )
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
