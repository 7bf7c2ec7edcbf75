"""The scores of one quadrant: made, or found finished by their digests, or refused because others stand there.

Beside the table, in ``_reports``, stands what it was made with: digests of table, features, light curves, options and
code; and what was counted. The table is what `infer` makes of the quadrant's feature table alone, byte for byte. May
import the other rooms of this stage, io, core and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import TableMetadata, code_digest, digest_file, digest_json
from scope_ml.errors import DataError, SchemaError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.tables import read_table
from scope_ml.models.drift import DriftCounter
from scope_ml.stages.inference_plan import Scoring, TablePlan, plan_table, refinement_of, table_record
from scope_ml.stages.inference_quadrants import QuadrantTable, field_folder
from scope_ml.stages.inference_table import Scored, score_table

__all__ = [
    "REPORT_VERSION",
    "Became",
    "QuadrantReport",
    "QuadrantScorer",
    "meta_path",
    "read_meta",
    "read_report",
    "scoring_code",
]

#: Version of the reports.
REPORT_VERSION = 1

#: Packages, and rooms of the stages, whose code decides on scores; tables that were made by other code are stale.
CODE = (
    *("models", "networks", "taxonomy", "stages/catalogue_*.py", "stages/training_inputs.py"),
    *(f"stages/inference_{name}.py" for name in ("flags", "models", "plan", "rows", "table")),
)

#: And where periods are refined.
CODE_OF_PERIODS = ("features", "kernels")

#: What became of a quadrant: scored; found finished; scored again since its features or light curves are others, since
#: what stood there was torn, or since it was stale.
Became = Literal["made", "kept", "changed", "broken", "stale"]


@dataclass(frozen=True, kw_only=True)
class QuadrantReport:
    """What stands beside a table of scores.

    Attributes
    ----------
    table, missing
        Digest of the table, and of the list of missing features; "" where there is none.
    made_with
        Digests of `features`, `light_curves` ("" where there are none), `options` and `code`.
    models
        Digest of each model, by score column.
    n_rows
        Rows of the table.
    warnings, facts
        As in the report of `infer`, whenever it was made.
    drift
        Counts of features and scores (`DriftCounter.counts`); None where nothing was to be counted.
    """

    table: str
    missing: str
    made_with: Mapping[str, str]
    models: Mapping[str, str]
    n_rows: int
    warnings: tuple[str, ...]
    facts: Mapping[str, Any]
    drift: Mapping[str, Any] | None


def scoring_code(*, periods: bool) -> str:
    """Return the digest of the code that decides on scores, also on `periods` if they are refined."""
    return code_digest(*CODE, *(CODE_OF_PERIODS if periods else ()))


def read_report(path: Path) -> QuadrantReport | None:
    """Return what stands beside a table of scores; None if nothing does, or it is torn or of another version."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("version") != REPORT_VERSION:
            return None
        return QuadrantReport(**{**values, "warnings": tuple(values["warnings"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def meta_path(folder: Path, number: int) -> Path:
    """Return where it stands what the scores of a field are made with."""
    return field_folder(folder, number) / "_meta.json"


def read_meta(path: Path) -> Mapping[str, Any] | None:
    """Return what the scores of a field are made with; None where that is not known."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != REPORT_VERSION:
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    found: Mapping[str, Any] = values
    return found


@dataclass(frozen=True, kw_only=True)
class _Stands:
    """What the scores of a field were made with: digest of the options, digest of each model, and where that stands."""

    options: str
    models: Mapping[str, str]
    path: Path


def _made_before(folder: Path, quadrant: QuadrantTable) -> _Stands | None:
    """Return what the field of a quadrant was scored with; if that was interrupted, what one of its tables was."""
    path = meta_path(folder, quadrant.field)
    meta = read_meta(path)
    if meta is not None:
        models = {f"{one['tag']}_{one['algorithm']}": one["digest"] for one in meta["models"]}
        return _Stands(options=meta["made_with"]["options"], models=models, path=path)
    for beside in sorted(quadrant.report_path(folder).parent.glob("*.json")):
        if (known := read_report(beside)) is not None:
            return _Stands(options=known.made_with["options"], models=known.models, path=beside)
    return None


class QuadrantScorer:
    """Scores one quadrant after the other with the same models.

    Parameters
    ----------
    scoring
        Models and options.
    folder
        Where the scores go; None keeps nothing.
    progress
        Is told the rows done.
    """

    def __init__(self, scoring: Scoring, folder: Path | None, progress: Progress) -> None:
        self.scoring, self.folder, self.progress = scoring, folder, progress
        self._code = scoring_code(periods=scoring.config.source.given)
        self._stands: dict[int, _Stands | None] = {}

    def score(self, quadrant: QuadrantTable) -> tuple[QuadrantReport, Became]:
        """Return what stands of a quadrant in the end, and what became of it now.

        Raises
        ------
        DataError
            If scores of other models, options or code stand there, and stale ones stay.
        ScopeError
            If its features cannot be scored or the table not written.
        """
        plan = plan_table(self.scoring, quadrant.rows())
        light_curves = self.scoring.config.source.open(quadrant.selection)
        made_with = self._made_with(plan, light_curves)
        became: Became = "made"
        output = missing = None
        if self.folder is not None:
            output, missing = quadrant.output(self.folder), quadrant.missing_path(self.folder)
            further = None if light_curves is None else refinement_of(self.scoring, plan, light_curves).science
            known, became = self._standing(quadrant, made_with, table_record(plan, further))
            if known is not None:
                return known, became
        scored = score_table(
            self.scoring,
            plan,
            output,
            missing=missing,
            light_curves=light_curves,
            write_beside=_nothing,
            progress=self.progress,
        )
        return self._written(quadrant, plan, scored, made_with), became

    def _made_with(self, plan: TablePlan, light_curves: LightCurveSource | None) -> dict[str, str]:
        return {
            "options": self.scoring.options,
            "code": self._code,
            "features": digest_json([item.digest for item in plan.rows.inputs]),
            "light_curves": "" if light_curves is None else light_curves.digest,
        }

    def _written(
        self, quadrant: QuadrantTable, plan: TablePlan, scored: Scored, made_with: Mapping[str, str]
    ) -> QuadrantReport:
        """Write what the table was made with; it comes last, so that it stands beside a whole table only."""
        drift: DriftCounter | None = scored.drift
        made = QuadrantReport(
            table="" if self.folder is None else digest_file(quadrant.output(self.folder)),
            missing=_digest(None if self.folder is None else quadrant.missing_path(self.folder)),
            made_with=made_with,
            models={bundle.name: bundle.digest for bundle in plan.bundles},
            n_rows=scored.n_rows,
            warnings=scored.warnings,
            facts=scored.facts,
            drift=None if drift is None else drift.counts(),
        )
        if self.folder is not None:
            with atomic_path(quadrant.report_path(self.folder)) as temporary:
                values = {**vars(made), "version": REPORT_VERSION}
                temporary.write_text(json.dumps(values, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
        return made

    def _standing(
        self, quadrant: QuadrantTable, made_with: Mapping[str, str], record: TableMetadata
    ) -> tuple[QuadrantReport | None, Became]:
        """Return the report of a finished table, or what is to be said of a table that has to be made again."""
        assert self.folder is not None
        output = quadrant.output(self.folder)
        if not output.exists():
            return None, self._beside_others(quadrant, made_with)
        known = read_report(quadrant.report_path(self.folder))
        if known is None or known.table != digest_file(output):
            # Killed between table and report, or torn since: what the table says of itself decides.
            return None, self._without_report(output, record)
        others = [name for name in ("options", "code") if known.made_with.get(name) != made_with[name]]
        if others:
            before, now = (digest_json([one.get(name) for name in others])[:12] for one in (known.made_with, made_with))
            self._refuse_stale(output, _differences(known.models, record.facts["models"], others), before, now)
            return None, "stale"
        if any(known.made_with.get(name) != made_with[name] for name in ("features", "light_curves")):
            return None, "changed"
        config = self.scoring.config
        if config.flags and (not known.missing or known.missing != _digest(quadrant.missing_path(self.folder))):
            return None, "made"
        if config.drift and known.drift is None:
            return None, "made"
        return known, "kept"

    def _beside_others(self, quadrant: QuadrantTable, made_with: Mapping[str, str]) -> Became:
        """Refuse to put the first table of other models beside the tables of a field."""
        assert self.folder is not None
        if quadrant.field not in self._stands:
            self._stands[quadrant.field] = _made_before(self.folder, quadrant)
        stands = self._stands[quadrant.field]
        if stands is None or stands.options == made_with["options"]:
            return "made"
        now = {bundle.name: bundle.digest for bundle in self.scoring.bundles}
        what = _differences(stands.models, now, ["options"])
        self._refuse_stale(stands.path, what, stands.options[:12], made_with["options"][:12])
        return "made"

    def _without_report(self, output: Path, record: TableMetadata) -> Became:
        try:
            stands = read_table(output, columns=()).metadata
        except SchemaError:
            return "broken"
        if stands.config_digest == record.config_digest or not isinstance(stands.facts.get("models"), dict):
            return "broken"
        models = _differences(stands.facts["models"], record.facts["models"], ["options"])
        self._refuse_stale(output, models, stands.config_digest[:12], record.config_digest[:12])
        return "stale"

    def _refuse_stale(self, output: Path, what: str, before: str, now: str) -> None:
        if self.scoring.config.stale == "refuse":
            raise DataError(
                f"{output} is stale: made with other {what} ({before}, now {now}); give another output, or type stale=remake"
                " to make it again"
            )


def _differences(before: Mapping[str, str], now: Mapping[str, str], others: list[str]) -> str:
    """Return what was other, with the first model that was."""
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if not changed:
        return " and ".join(others)
    first = changed[0]
    was, is_now = (one.get(first, "none")[:12] for one in (before, now))
    more = f" and {len(changed) - 1} others" if len(changed) > 1 else ""
    return f"models: {first} was {was}, is {is_now}{more}"


def _digest(path: Path | None) -> str:
    return digest_file(path) if path is not None and path.is_file() else ""


def _nothing(scored: Scored) -> None:
    """Write nothing beside a table: what belongs to a field is written once for all of them."""
    del scored
