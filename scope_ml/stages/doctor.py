"""The stage `doctor`: what is installed, which device, which credentials are present, whether the registry answers.

The one stage that looks at the environment, since that is what it is asked about. It changes nothing.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.stages.doctor_checks import (
    Check,
    check_configuration,
    check_credentials,
    check_data_folder,
    check_device,
    check_extras,
    check_python,
    check_room,
    check_tools,
    credential_names,
)
from scope_ml.stages.doctor_registry import check_registry
from scope_ml.taxonomy.classes import packaged_conf_dir
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["Check", "Doctor", "examine", "render", "run"]

#: Columns of the text: level, name; what was seen is wrapped behind them.
LEVEL_WIDTH, TEXT_WIDTH = 6, 118

#: What stands in front of a line; ``-`` is for what is not there and not needed.
MARKS = {"ok": "ok", "note": "-", "warn": "warn", "fail": "FAIL"}


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Options of the doctor."""

    tracking: TrackingConfig = option(TrackingConfig(), doc="the registry to ask", machine=True)
    machine: Machine = option(Machine(), doc="device=gpu makes a missing GPU a failure", machine=True)
    timeout: float = option(3.0, unit="s", doc="patience with a tracking server", more_than=0, at_most=60, machine=True)


def run(config: Doctor, *, progress: Progress) -> Report:
    """Run every check.

    Returns
    -------
    Report
        ``facts["checks"]`` holds one mapping a check (group, name, level, seen, todo), ``facts["n_failed"]`` the
        number of failures (a door exits with an error only if there are any), ``facts["text"]`` the lines to show.
    """
    started = time.perf_counter()
    progress.start("looking around")
    checks = examine(config)
    progress.finish()
    facts = {
        "checks": [asdict(check) for check in checks],
        "n_failed": sum(check.level == "fail" for check in checks),
        "text": render(checks),
    }
    return Report(stage="doctor", seconds=time.perf_counter() - started, facts=facts)


def examine(config: Doctor) -> list[Check]:
    """Return the checks in the order in which they are shown."""
    environment = os.environ
    conf = packaged_conf_dir()
    return [
        *check_python(),
        *check_extras(),
        *check_device(config.machine.device),
        *check_room(Path.cwd()),
        *check_tools(),
        *check_configuration(conf),
        check_registry(config.tracking, environment, timeout_s=config.timeout),
        *check_credentials(credential_names(conf), environment),
        check_data_folder("SCOPE_BENCHMARK_DATA", environment),
    ]


def render(checks: Sequence[Check]) -> str:
    """Return the checks as aligned lines of text, grouped, with what to type under those that need something."""
    width = max((len(check.name) for check in checks), default=0) + 2
    indent = " " * (2 + LEVEL_WIDTH + width)
    lines: list[str] = []
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            lines += ["", group]
        head = f"  {MARKS[check.level]:<{LEVEL_WIDTH}}{check.name:<{width}}"
        lines += textwrap.wrap(
            head + check.seen, TEXT_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        if check.todo:
            lines.append(f"{indent}-> {check.todo}")
    counts = {level: sum(check.level == level for check in checks) for level in MARKS}
    names = {"ok": "ok", "note": "not there and not needed", "warn": "to look at", "fail": "failed"}
    total = ", ".join(f"{counts[level]} {name}" for level, name in names.items() if counts[level])
    return "\n".join([*lines, "", total]).lstrip("\n")
