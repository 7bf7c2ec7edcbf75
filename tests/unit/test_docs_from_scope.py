"""The page for those who come from SCoPe names every option of the old commands, and only settings that there are."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from importlib import import_module
from pathlib import Path

import pytest

from scope_ml.models.algorithms import ALGORITHMS

ROOT = Path(__file__).resolve().parents[2]

#: Every option of the old commands.
OLD = {
    "generate-features": "source-catalog alerts-catalog gaia-catalog bright-star-query-radius-arcsec xmatch-radius-arcsec"
    " query-size-limit period-algorithms period-batch-size doCPU doGPU samples-per-peak doScaleMinPeriod doRemoveTerrestrial"
    " Ncore field ccd quad min-n-lc-points min-cadence-minutes max-timestamp-hjd dirname filename doCesium doNotSave stop-early"
    " doQuadrantFile quadrant-file quadrant-index doSpecificIDs skipCloseSources top-n-periods max-freq fg-dataset",
    "get-quad-ids": "catalog output output-dir field ccd-range quad-range minobs skip limit verbose multi-quads whole-field",
    "check-quads-for-sources": "fields catalog count-sources minobs save filename",
    "get-features": "field ccd-range quad-range limit-per-query max-sources features-catalog whole-field start end restart"
    " no-write-results write-csv column-list suffix impute-missing-features no-self-impute tm verbose",
    "run-scope-local": "path-dataset cone-radius-arcsec save-sources-filepath algorithms group-names",
    "scope-train": "tag path-dataset algorithm gpu verbose job-type group run-sweeps period-suffix threshold balance"
    " weight-per-class scale-features test-size val-size random-state feature-stats batch-size shuffle-buffer-size epochs"
    " float-convert-types lr beta-1 beta-2 epsilon decay momentum monitor patience callbacks run-eagerly pre-trained-model"
    " save plot plot-model weights-only skip-cv",
    "create-training-script": "filename algorithm min-count path-dataset pre-trained-group-name add-keywords train-all"
    " period-suffix",
    "generate-features-slurm": "job-name cluster-name partition-type submit-partition-type nodes gpus memory-GB submit-memory-GB"
    " time mail-user account-name python-env-name generateQuadrantFile field-list max-instances wait-time-minutes doSubmitLoop"
    " runParallel user submit-interval-minutes",
    "generate-features-job-submission": "dirname filename filetype doSubmit max-instances wait-time-minutes doSubmitLoop"
    " runParallel user reset-running submit-interval-minutes",
    "train-algorithm-slurm": "scriptname dirname job-name cluster-name partition-type submit-partition-type nodes Ncore"
    " submit-nodes submit-Ncore gpus memory-GB submit-memory-GB time mail-user account-name python-env-name"
    " generateTrainingFile user max-instances wait-time-minutes submit-interval-seconds sweep",
    "train-algorithm-job-submission": "dirname scriptname max-instances wait-time-minutes submit-interval-seconds user"
    " reset-running sweep group",
    "run-inference-slurm": "scriptname dirname job-name cluster-name partition-type submit-partition-type nodes Ncore"
    " submit-nodes submit-Ncore gpus memory-GB submit-memory-GB time mail-user account-name python-env-name user algorithm",
    "combine-preds-slurm": "dirname job-name cluster-name partition-type nodes Ncore memory-GB time mail-user account-name"
    " python-env-name",
    "assemble-training-stats": "group-name algorithm set-name importance-directory stats-directory",
    "create-inference-script": "filename group-name algorithm scale-features feature-directory write-csv batch-size"
    " use-custom-python path-to-python period-suffix",
    "run-inference": "paths-models model-class-names field ccd quad whole-field flag-ids xgb-model verbose time-run write-csv"
    " float-convert-types feature-stats scale-features trainingSet feature-directory feature-file-prefix period-suffix"
    " no-write-metadata batch-size",
    "combine-preds": "path-to-preds combined-preds-dirname specific-field use-config-fields dateobs merge-dnn-xgb"
    " dnn-directory xgb-directory doNotSave write-csv agg-method p-threshold",
    "select-fritz-sample": "fields group min-class-examples select-top-n include-all-highprob-labels probability-threshold"
    " al-directory al-filename algorithm exclude-training-sources write-csv verbose consolidation-statistic"
    " write-consolidation-results consol-filename doAllSources read-consolidation-results doNotSave",
    "scope-upload-classification": "file group-ids classification taxonomy-map comment start stop classification-origin"
    " skip-phot post-survey-id survey-id-origin p-threshold match-ids use-existing-obj-id post-upvote check-labelled-box"
    " write-obj-id result-dir result-filetag result-format replace-classifications radius-arcsec no-ml post-phot-as-comment"
    " post-phasefolded-phot phot-dirname instrument-name",
    "scope-download-classification": "file group-ids start merge-features features-catalog features-limit taxonomy-map"
    " output-dir output-filename output-format get-ztf-filters impute-missing-features update-training-set"
    " updated-training-set-prefix min-vote-diff",
    "scope-manage-annotation": "action source group-ids origin key value",
    "scope-download-gcn-sources": "dateobs group-ids days-range radius-arcsec save-filename",
    "post-taxonomy": "taxonomy group-ids name version provenance",
}

#: Doors whose settings the page may name.
STAGES = (
    "training_options:Train",
    "infer:Infer",
    "compare:Compare",
    "generate_features:GenerateFeatures",
    "get_quad_ids:GetQuadIds",
    "check_quads:CheckQuads",
    "get_features:GetFeatures",
    "classify:Classify",
    "analyze_logs:AnalyzeLogs",
    "select_sample:SelectSample",
    "fritz_upload:FritzUpload",
    "fritz_download_options:FritzDownload",
    "fritz_annotate:FritzAnnotate",
    "fritz_gcn:FritzGcn",
    "fritz_disagreements:FritzDisagreements",
    "post_taxonomy:PostTaxonomy",
    "slurm:SlurmTask",
    "catalog:Catalog",
    "release:Release",
)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "how-to" / "from-scope.md").read_text()


@pytest.mark.parametrize("command", OLD)
def test_every_old_option_has_its_place(page: str, command: str) -> None:
    assert command in page
    # The table of its own, where it has one.
    table = re.search(rf"^\| `{command}` \|[^|\n]*\|\n\|---\|---\|\n(?:\|.*\n)+", page, re.MULTILINE)
    options = set(re.findall(r"--([\w-]+)", page if table is None else table[0]))
    assert not set(OLD[command].split()) - options


def known(schema: typing.Any, dotted: list[str]) -> bool:
    """Say whether a dataclass, or one inside it, has the setting."""
    hints = typing.get_type_hints(schema)
    fields = {field.metadata.get("key") or field.name: field.name for field in dataclasses.fields(schema)}
    first, *rest = dotted
    if first == "algorithm" and rest:
        return any(known(spec.config_type, rest) for spec in ALGORITHMS.values())
    if first == "class":
        first = "class_spec"
    name = fields.get(first, first)
    if name not in hints:
        return False
    kinds = [hints[name], *typing.get_args(hints[name])] if isinstance(hints[name], types.UnionType) else [hints[name]]
    return not rest or any(dataclasses.is_dataclass(kind) and known(kind, rest) for kind in kinds)


def test_every_setting_that_is_named_is_there(page: str) -> None:
    schemas = []
    for path in STAGES:
        module, _, name = path.partition(":")
        schemas.append(getattr(import_module(f"scope_ml.stages.{module}"), name))
    named = set(re.findall(r"(?:`| |')'?([a-z_]+(?:\.[a-z_0-9]+)*)=", page))
    # Of the search, which has its own test, and a group that sets what others have.
    named -= {"n_trials", "debug"}
    assert len(named) > 45
    assert sorted(one for one in named if not any(known(schema, one.split(".")) for schema in schemas)) == []


def test_a_wrong_setting_would_be_found() -> None:
    from scope_ml.stages.training_options import Train

    assert known(Train, ["fit", "calibration"])
    assert known(Train, ["class", "balance"])
    assert known(Train, ["algorithm", "preparation", "scale"])
    assert not known(Train, ["fit", "calibrated"])
    assert not known(Train, ["algorithm", "eta"])
