"""What cron calls: events -> sources of Fritz -> features -> scores -> Fritz; where nothing is new, nothing is done.

Fritz is asked for sources by fritz_gcn, what is stale of pipelines/gcn/dvc.yaml is run by DVC, and scores that are new go
to fritz_upload and fritz_annotate, which make plans, or carry them out where params.yaml says apply: true. One run at a
time; each adds one line to results/gcn/gcn.log.jsonl. Killed anywhere, the next run goes on.

Exit codes: 0 done, or nothing to do; 1 something is left for the next run; 2 somebody has to mend something; 3 another run
is going on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scope_ml.core.configuration import build, option
from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.errors import ConfigError, JobError, ScopeError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.output_lock import output_lock
from scope_ml.io.run_log import RunLog
from scope_ml.io.tables import read_table

ROOT = Path(__file__).resolve().parents[2]
PIPELINE, SETTINGS = Path("pipelines/gcn/dvc.yaml"), Path("pipelines/gcn/params.yaml")
RESULTS = Path("results/gcn")
SOURCES, LOCK = RESULTS / "sources.parquet", RESULTS / "models.lock.json"
FEATURES, SCORES = RESULTS / "features" / "features.parquet", RESULTS / "scores" / "scores.parquet"

#: What was sent to Fritz last.
SENT = RESULTS / "sent.json"

#: Fact of the feature table: light curves that a service did not send.
OPEN = "n_unanswered"

#: Type of the columns of scores, and of no other.
SCORE = "float"

#: Exit codes.
DONE, LEFT, MEND, BUSY = 0, 1, 2, 3

#: The word for the registry's models of the moment.
CHAMPION = "champion"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What of the scores goes to Fritz."""

    groups: tuple[int | str, ...] = option(doc="groups, by id or name")
    p_threshold: float = option(0.7, doc="classes with at least this", more_than=0.0, at_most=1.0)
    words: tuple[str, ...] = option((), doc="further words for fritz_upload")


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Which scores stand in annotations."""

    groups: tuple[int | str, ...] = option(doc="groups, by id or name")
    origin: str = option(doc="of the annotations")
    keys: tuple[str, ...] = option((), doc="columns of the scores; empty: all classes")
    words: tuple[str, ...] = option((), doc="further words for fritz_annotate")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What params.yaml says; see there."""

    service: tuple[str, ...] = option(doc="words for all doors that ask Fritz")
    events: tuple[str, ...] = option(doc="words for fritz_gcn")
    light_curves: tuple[str, ...] = option(doc="words for fritz_gcn and generate_features")
    features: tuple[str, ...] = option(doc="words for generate_features")
    models: str = option(doc="a lock file, or champion")
    bundles: str = option(doc="folder where bundles are looked for")
    scores: dict[str, str] = option(doc="how scores are joined")
    apply: bool = option(doc="whether Fritz is changed")
    upload: Upload | None = option(doc="what is uploaded; null: nothing")
    annotate: Annotate | None = option(doc="what is annotated; null: nothing")


@dataclass(kw_only=True)
class Told:
    """What the run's line in the log says."""

    status: str = "done"
    code: int = DONE
    n_sources: int = 0
    n_light_curves: int = 0
    n_scored: int = 0
    is_new: bool = False
    upload: str = "none"
    annotate: str = "none"
    reasons: list[str] = field(default_factory=list)

    def left(self, reason: str) -> None:
        """Note that something is left for the next run."""
        self.code = max(self.code, LEFT)
        self.reasons.append(reason)

    def line(self, seconds: float) -> str:
        """Return the line for whoever looks."""
        what = (
            f"{self.n_sources} sources with {self.n_light_curves} light curves, {self.n_scored} scored"
            f" ({'new' if self.is_new else 'nothing new'}), upload: {self.upload}, annotate: {self.annotate}"
        )
        return f"gcn: {self.status}: {what}, {seconds:.0f} s" + "".join(f"; {reason}" for reason in self.reasons)


def main() -> int:
    """Run once and return the exit code."""
    if sys.argv[1:]:
        sys.stdout.write(f"{__doc__}\nSettings: {SETTINGS}\n")
        return DONE if sys.argv[1:] in (["--help"], ["-h"]) else MEND
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, _stop)
    began, told = time.monotonic(), Told()
    try:
        with output_lock(RESULTS / "running", RESULTS) as lock:
            # A command that outlives this process, killed, still holds the lock: the next run must not meet it.
            os.set_inheritable(lock, True)
            log = RunLog(RESULTS / "gcn.log.jsonl")
            try:
                _run(_settings(), told)
            except ScopeError as error:
                told.status, told.code = "failed", MEND
                told.reasons.append(str(error))
            log.event("gcn", **asdict(told), seconds=round(time.monotonic() - began, 1))
    except JobError as error:
        sys.stderr.write(f"gcn: {error}\n")
        return BUSY
    except ScopeError as error:
        sys.stderr.write(f"gcn: error: {error}\n")
        return MEND
    (sys.stderr if told.code else sys.stdout).write(told.line(time.monotonic() - began) + "\n")
    return told.code


def _run(settings: Settings, told: Told) -> None:
    """Do all that there is to do."""
    code = _door("fritz_gcn", *settings.service, *settings.light_curves, *settings.events, f"output={SOURCES}")
    if code == LEFT:
        told.left("the light curves of some sources are not known yet")
    elif code:
        raise JobError("fritz_gcn failed, see above")
    names = read_table(SOURCES, columns=["fritz_name"]).data["fritz_name"].to_pylist()
    told.n_sources, told.n_light_curves = len(set(names)), len(names)
    if not names:
        told.status = "no light curves"
        return
    _pin(settings)
    before = digest_file(SCORES) if SCORES.is_file() else ""
    if _is_open():
        # Nothing that DVC knows of changed, but what did not come may come now.
        _dvc("--force", "--single-item", f"{PIPELINE}:features")
    _dvc(str(PIPELINE))
    if _is_open():
        told.left("some light curves were not sent")
    told.n_scored = read_table(SCORES, columns=()).metadata.n_rows
    told.is_new = digest_file(SCORES) != before
    if told.n_scored:
        _upload(settings, told)
        _annotate(settings, told)


def _settings() -> Settings:
    try:
        values = OmegaConf.to_container(OmegaConf.load(SETTINGS), resolve=True)
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"cannot read {SETTINGS}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{SETTINGS} has no settings")
    return build(Settings, {str(name): value for name, value in values.items()})


def _pin(settings: Settings) -> None:
    """Write which models score; the file changes only if they do."""
    if settings.models == CHAMPION:
        from scope_ml.stages.inference_models import choose_models
        from scope_ml.tracking.lock import write_lock
        from scope_ml.tracking.settings import TrackingConfig

        chosen = choose_models(CHAMPION, settings.bundles, TrackingConfig(), (), ())
        write_lock(LOCK, [model.pin for model in chosen])
        return
    path = Path(settings.models)
    if not path.is_file():
        raise ConfigError(
            f"models: {path} does not exist; give a lock file, such as `make repro` writes, or {CHAMPION}"
        )
    if not LOCK.is_file() or digest_file(path) != digest_file(LOCK):
        with atomic_path(LOCK) as temporary:
            temporary.write_bytes(path.read_bytes())


def _is_open() -> bool:
    """Return whether the feature table lacks what a service did not send."""
    return FEATURES.is_file() and bool(read_table(FEATURES, columns=()).metadata.facts.get(OPEN))


def _upload(settings: Settings, told: Told) -> None:
    """Plan or carry out the classes that the scores say."""
    upload = settings.upload
    if upload is None:
        return
    scores = read_table(SCORES, columns=_tags()).data
    if not any((column.to_numpy() >= upload.p_threshold).any() for column in scores.columns):
        told.upload = f"no class reaches {upload.p_threshold:g}"
        return
    words = [
        f"table={SCORES}",
        "find.use_existing_obj_id=true",
        "classifications=read",
        f"groups=[{','.join(map(str, upload.groups))}]",
        f"p_threshold={upload.p_threshold}",
        *upload.words,
    ]
    told.upload = _sent(settings, told, "fritz_upload", [words])


def _annotate(settings: Settings, told: Told) -> None:
    """Plan or carry out the annotations: those that are there are changed, then the others are posted."""
    annotate = settings.annotate
    if annotate is None:
        return
    words = [
        f"path={SCORES}",
        f"origin={annotate.origin}",
        f"keys=[{','.join(annotate.keys or _tags())}]",
        *annotate.words,
    ]
    groups = f"groups=[{','.join(map(str, annotate.groups))}]"
    told.annotate = _sent(settings, told, "fritz_annotate", [["update", *words], ["post", *words, groups]])


def _tags() -> list[str]:
    """Return the columns of scores."""
    return [one.name for one in read_table(SCORES, columns=()).metadata.columns if one.dtype == SCORE]


def _sent(settings: Settings, told: Told, door: str, calls: Sequence[Sequence[str]]) -> str:
    """Call a door that changes Fritz, unless that was done with the very same; return what was done.

    Raises
    ------
    JobError
        If the door refuses.
    """
    shared = [*settings.service, f"apply={str(settings.apply).lower()}"]
    key = digest_json([digest_file(SCORES), shared, [list(words) for words in calls]])
    sent = json.loads(SENT.read_text(encoding="utf-8")) if SENT.is_file() else {}
    if sent.pop(door, None) == key:
        return "as before"
    # From here on Fritz is neither as it was nor as it will be; the next run must not take it for either.
    _note(sent)
    for number, words in enumerate(calls, start=1):
        # A folder for each thing that is sent: what a killed run left open is gone on with if it is the same, and else is no
        # obstacle.
        code = _door(door, *words, *shared, f"output={RESULTS / door / f'{key[:12]}-{number}'}")
        if code == LEFT:
            told.left(f"{door} left some sources")
            return "partly"
        if code:
            raise JobError(f"{door} failed, see above")
    _note({**sent, door: key})
    return "applied" if settings.apply else "planned"


def _note(sent: Mapping[str, str]) -> None:
    """Write what was sent last by each door."""
    with atomic_path(SENT) as temporary:
        temporary.write_text(json.dumps(dict(sent)) + "\n", encoding="utf-8")


def _door(name: str, *words: str) -> int:
    return _call([sys.executable, "-m", f"scope_ml.{name}", *words])


def _dvc(*words: str) -> None:
    if _call([sys.executable, "-m", "dvc", "repro", *words]):
        raise JobError("a stage of the pipeline failed, see above")


def _call(command: Sequence[str]) -> int:
    """Run a command to its end; if this process is stopped, so are the command and all that it started."""
    # The stages call `python`: it is this one, activated or not.
    environment: dict[str, Any] = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    process = subprocess.Popen(command, env=environment, start_new_session=True, close_fds=False)
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
