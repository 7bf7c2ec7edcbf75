"""The field guide of `post_taxonomy guide`: its texts, its numbers and example light curves from an embedded survey.

Texts are in ``conf/fritz/field_guide.yaml`` (and those of folders with classes of one's own). The survey is read twice
from top to bottom: for the amplitude of every star, then for the points of the few that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import build, option
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import code_version, digest_file
from scope_ml.errors import ConfigError, suggest
from scope_ml.io.atomic import atomic_path
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_foreign_table
from scope_ml.reporting.examples import Candidate, Points, collect_points
from scope_ml.reporting.field_guide import GuideClass, GuideExample, GuidePage, Range, render_field_guide
from scope_ml.reporting.view import ExampleView
from scope_ml.taxonomy.classes import packaged_conf_dir
from scope_ml.taxonomy.fritz_names import FritzNames
from scope_ml.taxonomy.graph import Taxonomy
from scope_ml.taxonomy.hierarchy import class_hierarchy, place_of, read_descriptions

__all__ = ["GuideWritten", "write_guide"]

#: Band in which amplitudes are told and light curves are shown: ZTF's deepest.
BAND = "r"

#: Fewer points than this show no shape.
FEWEST_POINTS = 80

#: Classes of a wrong period, and what the period that a search finds is times the true one; wp: an alias of one day.
WRONG_PERIODS = {"hp": (0.5, "half its period"), "dp": (2.0, "twice its period")}
ALIAS_PER_DAY = 1.0027379

PERIODIC, ECLIPSING, WRONG = "pnp", "e", "wp"


@dataclass(frozen=True, kw_only=True)
class GuideWritten:
    """What was written."""

    n_classes: int
    n_examples: int
    n_bytes: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Text:
    look: str = option(doc="what to look for")
    not_: dict[str, str] = option({}, key="not", doc="class that it is taken for -> how to tell them apart")


@dataclass(frozen=True, kw_only=True)
class _Star:
    """One labelled star with a light curve in `BAND`."""

    star: str
    id: str
    tags: frozenset[str]
    uncertain: frozenset[str]
    native: str
    period: float
    amplitude: float
    clarity: float


def write_guide(
    path: Path,
    names: FritzNames,
    folders: Sequence[Path],
    survey: Path | None,
    n_examples: int,
    progress: Progress,
) -> GuideWritten:
    """Write the page.

    Parameters
    ----------
    path
        HTML file to write.
    names
        Classes and their names on Fritz.
    folders
        Configuration folders with classes of one's own.
    survey
        Folder of ``simulate``, with ``labels.parquet`` and ``ZTF_sources``; None leaves numbers and examples out.
    n_examples
        Light curves of each class.
    progress
        Told the pieces of the survey that were read.

    Raises
    ------
    ConfigError
        If the folder is no survey, or a text is about no class.
    SchemaError
        If labels or light curves cannot be read.
    OutputError
        If the page cannot be written.
    """
    taxonomy = names.taxonomy
    texts = _texts(taxonomy, folders)
    stars = _stars(survey, taxonomy, progress) if survey is not None else []
    chosen = _chosen(taxonomy, stars, n_examples)
    points = _points(survey, chosen, progress)
    descriptions = read_descriptions(*folders)
    # Places that lead back to themselves are found here, before a way up is followed.
    class_hierarchy(names, "all", descriptions)
    classes = tuple(
        replace(
            _class(names, tag, texts.get(tag), descriptions.get(tag, ""), stars),
            examples=tuple(_examples(tag, chosen[tag], points, is_periodic=_is_periodic(tag, stars))),
        )
        for tag in taxonomy
    )
    ordered = _tree_order(names)
    by_tag = {one.tag: one for one in classes}
    page = GuidePage(
        classes=tuple(by_tag[tag] for tag, _ in ordered),
        depths=tuple(depth for _, depth in ordered),
        subtitle=f"{len(classes)} classes of light curves and stars: what to look for when voting, and what is taken for what.",
        provenance=_provenance(names, survey),
    )
    text = render_field_guide(page).encode("utf-8")
    with atomic_path(path) as partial:
        partial.write_bytes(text)
    without = [one.tag for one in classes if not one.examples]
    warnings = (
        (f"the survey has no star of {', '.join(without)}",) if survey is not None and n_examples and without else ()
    )
    shown = sum(len(one.examples) for one in classes)
    return GuideWritten(n_classes=len(classes), n_examples=shown, n_bytes=len(text), warnings=warnings)


def _texts(taxonomy: Taxonomy, folders: Sequence[Path]) -> dict[str, _Text]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    found = {}
    for folder in (packaged_conf_dir(), *folders):
        path = Path(folder) / "fritz" / "field_guide.yaml"
        if not path.is_file():
            continue
        try:
            values: Any = OmegaConf.to_container(OmegaConf.load(path))
        except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path}: expected a class a key, got {values!r}")
        for tag, value in values.items():
            for name in (tag, *(value.get("not") or {} if isinstance(value, Mapping) else {})):
                if name not in taxonomy:
                    raise ConfigError(f"{path}: '{name}' is no class{suggest(str(name), taxonomy.tags)}")
            found[str(tag)] = build(_Text, value, str(tag))
    return found


def _stars(survey: Path, taxonomy: Taxonomy, progress: Progress) -> list[_Star]:
    """Return the labelled stars of a survey with the amplitude of each in `BAND`."""
    labels = survey / "labels.parquet"
    if not labels.is_file():
        raise ConfigError(f"examples={survey} has no labels.parquet; give a folder that simulate wrote", key="examples")
    known = {str(row["id"]): row for row in read_foreign_table(labels).to_pylist()}
    source = open_light_curves(_light_curves(survey))
    progress.start("amplitudes of the survey's stars", source.n_chunks)
    stars = []
    for chunk in source.chunks():
        progress.advance()
        columns = (chunk.rows[name].cast(pa.string()).to_pylist() for name in ("id", "source_id", "band"))
        for row, (name, star, band) in enumerate(zip(*columns, strict=True)):
            if band == BAND and star in known:
                found = _star(name, star, known[star], chunk.batch[row], taxonomy)
                stars += [found] if found is not None else []
    progress.finish()
    return stars


def _star(name: str, star: str, row: Mapping[str, Any], light_curve: Any, taxonomy: Taxonomy) -> _Star | None:
    mag, error = (np.asarray(values, dtype=np.float64) for values in (light_curve.mag, light_curve.mag_err))
    keep = np.isfinite(mag) & np.isfinite(error)
    if light_curve.flags is not None:
        keep &= np.asarray(light_curve.flags) == 0
    if np.count_nonzero(keep) < FEWEST_POINTS:
        return None
    low, high = np.quantile(mag[keep], [0.05, 0.95])
    amplitude = float(high - low)
    period = row.get("period")
    return _Star(
        star=star,
        id=name,
        tags=frozenset(tag for tag in taxonomy if row.get(tag) == 1),
        uncertain=frozenset(filter(None, (row.get("uncertain_tags") or "").split(","))),
        native=row.get("native_class") or "",
        period=float("nan") if period is None else float(period),
        amplitude=amplitude,
        clarity=amplitude / max(float(np.median(error[keep])), 1e-4),
    )


def _chosen(taxonomy: Taxonomy, stars: Sequence[_Star], n_examples: int) -> dict[str, list[_Star]]:
    """Return the stars that are shown of each class: clear ones of usual amplitude, of as many kinds as there are."""
    used: set[str] = set()
    chosen: dict[str, list[_Star]] = {}
    # Small classes choose first, so that the large ones show others.
    for tag in sorted(taxonomy, key=lambda tag: (-taxonomy.depth(tag), taxonomy.index(tag))):
        members = [one for one in stars if tag in one.tags and tag not in one.uncertain]
        amplitudes = np.asarray([one.amplitude for one in members] or [0.0])
        low, high = np.quantile(amplitudes, [0.2, 0.9])
        members.sort(key=lambda one: (one.star in used, not low <= one.amplitude <= high, -one.clarity, one.id))
        kinds: dict[str, int] = {}
        ranked: list[tuple[int, int, bool, int, _Star]] = []
        for one in members:
            kinds[one.native] = kinds.get(one.native, 0) + 1
            ranked.append((_oddity(one, members), kinds[one.native], one.star in used, len(ranked), one))
        n_stars = n_examples if tag not in WRONG_PERIODS and tag != WRONG else (n_examples + 1) // 2
        chosen[tag] = [item[-1] for item in sorted(ranked, key=lambda item: item[:4])[:n_stars]]
        used |= {one.star for one in chosen[tag]}
    return chosen


def _oddity(star: _Star, members: Sequence[_Star]) -> int:
    """Return 1 for a star whose kind is rare among the members: it may be of the class by a wrong label alone."""
    same = sum(one.native == star.native for one in members)
    return int(same < max(2, 0.04 * len(members)))


def _points(
    survey: Path | None, chosen: Mapping[str, Sequence[_Star]], progress: Progress
) -> dict[tuple[str, str | None], Points]:
    wanted = {one.id: one for stars in chosen.values() for one in stars}
    if survey is None or not wanted:
        return {}
    source = open_light_curves(_light_curves(survey))
    progress.start("light curves that are shown", source.n_chunks)
    found = collect_points(
        source,
        [Candidate(id=one.id, band=BAND, star=one.star, period=one.period, scores={}) for one in wanted.values()],
        progress,
    )
    progress.finish()
    return found


def _light_curves(survey: Path) -> Path:
    folder = survey / "ZTF_sources"
    if not folder.is_dir():
        raise ConfigError(f"examples={survey} has no ZTF_sources; give a folder that simulate wrote", key="examples")
    return folder


def _examples(
    tag: str, stars: Sequence[_Star], points: Mapping[tuple[str, str | None], Points], *, is_periodic: bool
) -> Iterator[GuideExample]:
    for star in stars:
        measured = points.get((star.id, BAND))
        if measured is None or not len(measured.time):
            continue
        is_folded = is_periodic and _has_period(star)
        view = ExampleView(
            id=star.id,
            band=BAND,
            time=measured.time,
            mag=measured.mag,
            mag_err=measured.mag_err,
            period=star.period if is_folded else float("nan"),
            native_class=star.native,
        )
        zero: Literal["bright", "faint"] = "faint" if ECLIPSING in star.tags else "bright"
        facts = f"P = {star.period:.5g} d" if is_folded else "against time"
        right = GuideExample(view=view, caption=f"{facts}, {star.amplitude:.2f} mag", phase_zero=zero)
        if is_folded and tag in WRONG_PERIODS:
            factor, words = WRONG_PERIODS[tag]
            yield replace(right, view=replace(view, period=factor * star.period), caption=f"as found: {words}")
            yield replace(right, caption=f"the same at P = {star.period:.5g} d")
        elif is_folded and tag == WRONG:
            alias = 1.0 / (1.0 / star.period + ALIAS_PER_DAY)
            yield replace(right, view=replace(view, period=alias), caption=f"at a daily alias, {alias:.5g} d")
            yield replace(right, caption=f"the same at P = {star.period:.5g} d")
        else:
            yield right


def _class(names: FritzNames, tag: str, text: _Text | None, description: str, stars: Sequence[_Star]) -> GuideClass:
    taxonomy, name = names.taxonomy, names[tag]
    spec = taxonomy[tag]
    members = [one for one in stars if tag in one.tags]
    periods = [one.period for one in members if _has_period(one)] if _is_periodic(tag, stars) else []
    return GuideClass(
        tag=tag,
        label=spec.label,
        kind=spec.kind,
        on_fritz=None if name is None else name.label,
        other_names=tuple(other for other in spec.aliases if name is None or other != name.label),
        place=() if name is None else _way(names, tag),
        description=description,
        look=text.look if text is not None else "",
        confusions=tuple((text.not_ if text is not None else {}).items()),
        parents=spec.parents,
        implied=tuple(one for one in taxonomy.parents(tag) if one not in spec.parents),
        children=taxonomy.children(tag),
        period=_range(periods),
        amplitude=_range([one.amplitude for one in members]),
        n_members=len(members) if stars else None,
    )


def _has_period(star: _Star) -> bool:
    return PERIODIC in star.tags and bool(np.isfinite(star.period))


def _is_periodic(tag: str, stars: Sequence[_Star]) -> bool:
    """Return whether most members have a period: a few bogus ones are labelled periodic by mistake."""
    members = [one for one in stars if tag in one.tags]
    return 2 * sum(map(_has_period, members)) > len(members)


def _way(names: FritzNames, tag: str) -> tuple[str, ...]:
    """Return the names on Fritz from the top of a class's tree down to it, without itself."""
    above, way = place_of(names, tag), []
    while above is not None:
        entry = names.nodes.get(above) or names[above]
        way.append(entry.label if entry is not None else above)
        above = place_of(names, above)
    name = names[tag]
    return (names.trees[name.tree].root if name is not None else "", *reversed(way))


def _tree_order(names: FritzNames) -> list[tuple[str, int]]:
    """Return ``(tag, depth)`` of all classes: each kind as a tree, by first parents of the same kind."""
    taxonomy = names.taxonomy
    above = {
        tag: next((one for one in taxonomy[tag].parents if taxonomy[one].kind == taxonomy[tag].kind), None)
        for tag in taxonomy
    }

    def below(parent: str | None, depth: int) -> Iterator[tuple[str, int]]:
        for tag in taxonomy:
            if above[tag] == parent:
                yield tag, depth
                yield from below(tag, depth + 1)

    return list(below(None, 0))


def _range(values: Sequence[float]) -> Range | None:
    if not values:
        return None
    low, median, high = (float(value) for value in np.quantile(values, [0.05, 0.5, 0.95]))
    return Range(low=low, median=median, high=high)


def _provenance(names: FritzNames, survey: Path | None) -> tuple[tuple[str, str], ...]:
    lines = [("scope_ml", code_version()), ("classes", names.taxonomy.digest[:16])]
    lines += [(f"{tree} tree on Fritz", f"{of.name} {of.version}") for tree, of in names.trees.items()]
    lines += [("labels of the survey", digest_file(survey / "labels.parquet")[:16])] if survey is not None else []
    return tuple(lines)
