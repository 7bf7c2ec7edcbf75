"""What belongs to the scores of a field as a whole, and the report that adds up over all fields.

In the folder of a field: ``_models.lock.json`` (the exact versions), ``_meta.json`` (what each table was made with and what
was counted), ``_drift.json`` and ``.html``. May import the other rooms of this stage, tracking, io, core and errors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.core.provenance import code_version
from scope_ml.core.report import Report
from scope_ml.io.atomic import atomic_path
from scope_ml.models.drift import DriftCounter
from scope_ml.stages.inference_drift import drift_facts, drift_warnings, field_drift_paths, write_field_drift
from scope_ml.stages.inference_plan import Scoring
from scope_ml.stages.inference_quadrants import FieldQuadrants, QuadrantTable, feature_tables, field_folder
from scope_ml.stages.inference_shards import REPORT_VERSION, Became, QuadrantReport, meta_path
from scope_ml.tracking.lock import LOCK_NAME, write_lock

__all__ = ["FieldsReport", "Outcome"]

#: Failures, quadrants or warnings that a report names one by one.
N_NAMED = 10

#: What is to be said of quadrants that were scored again.
AGAIN: Mapping[Became, str] = {
    "changed": "have other features or light curves than before and were scored again",
    "broken": "had no whole table and were scored again",
    "stale": "had been scored with other models, options or code and were scored again",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one quadrant: a report, or an error."""

    quadrant: QuadrantTable
    report: QuadrantReport | None = None
    became: Became = "made"
    error: str = ""


@dataclass(kw_only=True)
class FieldsReport:
    """Adds up over quadrants, field after field, and writes what belongs to a field.

    Attributes
    ----------
    scoring
        Models and options.
    found
        The quadrants that there are.
    folder
        Of the scores; None writes nothing.
    """

    scoring: Scoring
    found: FieldQuadrants
    folder: Path | None
    n_rows: int = 0
    n_empty: int = 0
    became: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    flagged: dict[str, Any] = field(default_factory=dict)
    periods: dict[str, Counter[str]] = field(default_factory=dict)
    conflicts: dict[str, Counter[str]] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)
    superfluous: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    n_fields: int = 0
    #: Quadrants whose models are not all: their counts have other bins.
    n_without_drift: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._drift = self._counter()

    def add_field(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """Add the quadrants of a field, and write what belongs to it as a whole.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        drift = self._counter()
        done = [one for one in outcomes if one.report is not None]
        for one in outcomes:
            self._count(one, drift)
        self.n_fields += 1
        if self.folder is None or not done:
            return
        folder = field_folder(self.folder, number)
        used = {name for one in done if one.report is not None for name in one.report.models}
        pins = [model.pin for model in self.scoring.chosen if f"{model.pin.tag}_{model.pin.algorithm}" in used]
        write_lock(folder / f"_{LOCK_NAME}", pins)
        if drift is not None:
            write_field_drift(drift.record(), folder, f"Drift of field {number}")
        self._note_superfluous(number)
        with atomic_path(meta_path(self.folder, number)) as temporary:
            text = json.dumps(self._meta(number, outcomes, [asdict(pin) for pin in pins]), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def report(self, seconds: float) -> Report:
        """Return the report over all fields."""
        n_unplaced = self.found.n_unplaced
        names = set(self.models)
        chosen = [one for one in self.scoring.chosen if f"{one.pin.tag}_{one.pin.algorithm}" in names]
        record = None if self._drift is None else self._drift.record()
        outputs = {} if self.folder is None else {"predictions": str(self.folder)}
        n_missing = sum(len(places) for places in self.found.missing.values())
        facts: dict[str, Any] = {
            "models": {model.pin.name: model.pin.version for model in chosen},
            "n_models": len(chosen),
            "n_fields": self.n_fields,
            "n_quadrants": sum(self.became.values()),
            "n_quadrants_kept": self.became["kept"],
            "n_quadrants_without_light_curves": self.n_empty,
            "n_quadrants_without_features": n_missing,
            "n_failed": len(self.failed),
            "failed": self.failed,
            **{name: dict(sorted(counts.items())) for name, counts in sorted(self.periods.items())},
            **({"conflicts": self._conflicts()} if self.conflicts else {}),
            **({"missing_features": _added([self.flagged])} if self.scoring.config.flags else {}),
            **({} if record is None else drift_facts(record)),
        }
        return Report(
            stage="infer",
            n_in=self.n_rows + n_unplaced,
            n_out=self.n_rows,
            dropped={"no_quadrant": n_unplaced} if n_unplaced else {},
            seconds=seconds,
            warnings=(
                *self.found.warnings,
                *self._lines(),
                *(() if record is None else drift_warnings(record, self._drift_page())),
            ),
            outputs=outputs,
            facts=facts,
        )

    def _counter(self) -> DriftCounter | None:
        return DriftCounter(self.scoring.bundles) if self.scoring.config.drift else None

    def _count(self, one: Outcome, drift: DriftCounter | None) -> None:
        made = one.report
        if made is None:
            self.failed.append(f"{one.quadrant.title}: {one.error}")
            return
        self.n_rows += made.n_rows
        self.n_empty += not made.n_rows
        self.became[one.became] += 1
        self.named.setdefault(one.became, []).append(one.quadrant.title)
        self.models |= made.models
        self.said.update(made.warnings)
        self.flagged = _added([self.flagged, made.facts.get("missing_features", {})])
        for name in ("periods", "period_factors"):
            if name in made.facts:
                self.periods.setdefault(name, Counter()).update(made.facts[name])
        for algorithm, counts in made.facts.get("conflicts", {}).items():
            of = self.conflicts.setdefault(algorithm, Counter())
            of["rows"] += counts["rows"]
            of.update({f"{kind}/{name}": n for kind in ("pairs", "siblings") for name, n in counts[kind].items()})
        if drift is None or self._drift is None or made.drift is None:
            return
        if len(made.models) < len(self.scoring.bundles):
            self.n_without_drift += 1
            return
        drift.add_counts(made.drift)
        self._drift.add_counts(made.drift)

    def _meta(self, number: int, outcomes: Sequence[Outcome], pins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what is to be known of a field's scores; equal runs give the same."""
        thresholds = {bundle.name: bundle.record.threshold for bundle in self.scoring.bundles}
        made = [(one.quadrant, one.report) for one in outcomes if one.report is not None]
        flags = [report.facts.get("missing_features", {}) for _, report in made]
        return {
            "version": REPORT_VERSION,
            "code_version": code_version(),
            "field": number,
            "n_light_curves": sum(report.n_rows for _, report in made),
            "n_quadrants": len(made),
            "quadrants": [
                {
                    "ccd": one.ccd,
                    "quad": one.quad,
                    "table": one.output(Path()).name,
                    "n_light_curves": report.n_rows,
                    "digest": report.table,
                    "features": report.made_with["features"],
                    "light_curves": report.made_with["light_curves"],
                    "n_models": len(report.models),
                }
                for one, report in made
            ],
            "quadrants_without_features": [list(place) for place in self.found.missing.get(number, ())],
            "quadrants_failed": [[one.quadrant.ccd, one.quadrant.quad] for one in outcomes if one.report is None],
            "models": [{**pin, "threshold": thresholds[f"{pin['tag']}_{pin['algorithm']}"]} for pin in pins],
            "made_with": {"options": self.scoring.options, "code": sorted({r.made_with["code"] for _, r in made})},
            "missing_features": _added(flags) if self.scoring.config.flags else None,
        }

    def _note_superfluous(self, number: int) -> None:
        """Note tables in a field's folder for which there are no features any more."""
        assert self.folder is not None
        known = {one.key for one in self.found.quadrants}
        self.superfluous += [
            str(one.features) for one in feature_tables(self.folder, only=number) if one.key not in known
        ]

    def _drift_page(self) -> Path | None:
        if self.folder is None:
            return None
        fields = self.found.fields
        folder = field_folder(self.folder, fields[0]) if len(fields) == 1 else self.folder / "field_*"
        return field_drift_paths(folder)[1]

    def _conflicts(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for algorithm, counts in self.conflicts.items():
            found[algorithm] = {"rows": counts["rows"]}
            for kind in ("pairs", "siblings"):
                own = {name.partition("/")[2]: n for name, n in counts.items() if name.startswith(f"{kind}/")}
                found[algorithm][kind] = dict(sorted(own.items(), key=lambda item: (-item[1], item[0])))
        return found

    def _lines(self) -> Iterable[str]:
        """Yield what to wonder at, one line each."""
        for kind, text in AGAIN.items():
            if names := self.named.get(kind):
                yield f"{len(names)} quadrants {text}: {_first(names)}"
        for line, n in self.said.most_common(N_NAMED):
            yield line if n == 1 else f"{line} (so in {n} quadrants)"
        if self.n_without_drift:
            yield f"the drift is of quadrants with all models only; {self.n_without_drift} lack features of some"
        if self.superfluous:
            yield (
                f"{len(self.superfluous)} tables of scores have no feature table any more and stay as they are:"
                f" {_first(self.superfluous)}; remove them if those quadrants are not to count"
            )
        if self.failed:
            yield from (f"failed: {line}" for line in self.failed[:N_NAMED])
            n_all = len(self.failed) + sum(self.became.values())
            yield f"{len(self.failed)} of {n_all} quadrants failed; mend it and type the same command again"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:N_NAMED]) + (", ..." if len(names) > N_NAMED else "")


def _added(flags: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of what `MissingFeatures.facts` gave of several tables."""
    features: Counter[str] = Counter()
    for one in flags:
        features.update(one.get("features", {}))
    ordered = sorted(features.items(), key=lambda item: (-item[1], item[0]))
    return {"n_light_curves": sum(one.get("n_light_curves", 0) for one in flags), "features": dict(ordered)}
