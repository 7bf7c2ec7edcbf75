"""The single checks of `doctor`: what was seen, and what to type where something is amiss.

Only names of credentials are ever looked at in a way that shows; no value of an environment variable leaves this
room except the paths of data folders. Heavy packages are found by their metadata, never imported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scope_ml.core.machine import usable_cores
from scope_ml.core.provenance import code_version, git_commit
from scope_ml.errors import ConfigError
from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "Check",
    "check_configuration",
    "check_credentials",
    "check_data_folder",
    "check_device",
    "check_extras",
    "check_python",
    "check_room",
    "check_tools",
    "credential_names",
]

#: ``note`` is for what is not there and not needed for the default pipeline.
Level = Literal["ok", "note", "warn", "fail"]

GIGABYTE = 1e9

#: The default pipeline stays under 4 GiB of memory and about 2 GB of disk.
LEAST_MEMORY_GB, LEAST_DISK_GB = 4.0, 2.0

#: Environment variables of the remote services where no file in conf/service names others.
DEFAULT_CREDENTIALS = {"KOWALSKI_TOKEN": "Kowalski, the collaboration's database", "FRITZ_TOKEN": "Fritz"}

#: Sets that ``pipelines/benchmark`` reads, and whether they are labelled. Written down again here since the pipelines
#: belong to the checkout, above the stages, and are not there where the package alone is installed.
BENCHMARK_SETS = {
    "asas": True,
    "acvs": True,
    "crts_sss": True,
    "debosscher_hip_ogle": True,
    "s82_rrlyrae": True,
    "qso_ceph_lmc": True,
    "sn_ia_bts": True,
    "ztf_named": True,
    "ztf_field250": False,
}

#: Programs that the doors and the pipeline call, and what for.
TOOLS = {"git": "versions of code and configuration", "make": "make repro", "dvc": "dvc repro"}

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the doctor's: a name, how it is, what was seen, what to type ("" where nothing is to be done)."""

    group: str
    name: str
    level: Level
    seen: str
    todo: str = ""


def check_python() -> list[Check]:
    """Return the versions of Python and of this package."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    todo = "" if fits else "install Python 3.11, 3.12 or 3.13 and run make repro again"
    commit = git_commit()
    seen = code_version() + (
        f", commit {commit[:12]}{'-dirty' * commit.endswith('-dirty')}" if commit != "unknown" else ""
    )
    installed = code_version() != "0+unknown"
    return [
        Check(group="environment", name="python", level="ok" if fits else "fail", seen=version, todo=todo),
        Check(
            group="environment",
            name="scope_ml",
            level="ok" if installed else "warn",
            seen=seen if installed else "running from a folder, not installed",
            todo="" if installed else "pip install -e .",
        ),
    ]


def check_extras(distribution: str = "scope_ml") -> list[Check]:
    """Return for the core and each extra of the package whether its requirements are installed, in fitting versions."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(text) for text in declared.get_all("Requires-Dist") or []]
    checks = []
    for extra in ("", *(declared.get_all("Provides-Extra") or [])):
        wanted = [item for item in requirements if _belongs(item, extra)]
        problems = [problem for item in wanted if (problem := _problem(item))]
        name = f"extra {extra}" if extra else "packages"
        if not problems:
            seen = ", ".join(f"{item.name} {metadata.version(item.name)}" for item in wanted)
            checks.append(Check(group="packages", name=name, level="ok", seen=seen or "nothing needed here"))
            continue
        level: Level = "note" if extra else "fail"
        todo = f"pip install '{distribution}[{extra}]'" if extra else f"pip install --force-reinstall {distribution}"
        checks.append(Check(group="packages", name=name, level=level, seen="; ".join(problems), todo=todo))
    return checks


def check_device(wanted: str) -> list[Check]:
    """Return the processors and the GPU; a missing one is a failure only where ``machine.device=gpu`` asks for it."""
    checks = [Check(group="machine", name="processors", level="ok", seen=f"{usable_cores()} cores usable")]
    names = _gpu_names()
    has_cupy = util.find_spec("cupy") is not None
    if names and has_cupy:
        checks.append(Check(group="machine", name="gpu", level="ok", seen=", ".join(names)))
    elif names:
        todo = "pip install 'scope_ml[gpu]'"
        seen = f"{', '.join(names)}, but CuPy is not installed"
        checks.append(
            Check(group="machine", name="gpu", level="fail" if wanted == "gpu" else "warn", seen=seen, todo=todo)
        )
    else:
        asked = wanted == "gpu"
        todo = "machine.device=auto runs on the processors" if asked else ""
        checks.append(
            Check(group="machine", name="gpu", level="fail" if asked else "note", seen="none found", todo=todo)
        )
    return checks


def check_room(folder: Path) -> list[Check]:
    """Return the memory that is available and the disk space under `folder`."""
    checks = []
    memory = _available_memory()
    if memory is not None:
        enough = memory >= LEAST_MEMORY_GB * GIGABYTE
        todo = (
            "" if enough else "give machine.workers=1 and a smaller machine.max_batch_sources, or close other programs"
        )
        seen = f"{memory / GIGABYTE:.1f} GB available"
        checks.append(Check(group="machine", name="memory", level="ok" if enough else "warn", seen=seen, todo=todo))
    free = shutil.disk_usage(folder).free
    enough = free >= LEAST_DISK_GB * GIGABYTE
    todo = "" if enough else f"make room: the default pipeline writes about {LEAST_DISK_GB:.0f} GB"
    seen = f"{free / GIGABYTE:.1f} GB free here"
    checks.append(Check(group="machine", name="disk", level="ok" if enough else "warn", seen=seen, todo=todo))
    return checks


def check_tools() -> list[Check]:
    """Return which of the programs that the pipeline needs are found."""
    checks = []
    beside = str(Path(sys.executable).parent)
    for name, purpose in TOOLS.items():
        path = shutil.which(name) or shutil.which(name, path=beside)
        todo = "" if path else ("pip install 'scope_ml[pipeline]'" if name == "dvc" else f"install {name}")
        seen = path or f"not found (needed for: {purpose})"
        checks.append(Check(group="programs", name=name, level="ok" if path else "warn", seen=seen, todo=todo))
    return checks


def check_configuration(folder: Path | None = None) -> list[Check]:
    """Return whether the configuration files are there and the classes in them fit together."""
    conf = folder or packaged_conf_dir()
    try:
        taxonomy = load_classes(conf)
    except ConfigError as error:
        return [
            Check(group="configuration", name="conf", level="fail", seen=str(error), todo="mend the file that is named")
        ]
    return [Check(group="configuration", name="conf", level="ok", seen=f"{conf}: {len(taxonomy)} classes")]


def credential_names(conf: Path) -> dict[str, str]:
    """Return environment variables that hold credentials, and the service each is for.

    Read from ``conf/service/<name>.yaml``: the value of every key that ends in ``_env`` and looks like the name
    of a variable. `DEFAULT_CREDENTIALS` stand in for services without a file.
    """
    from omegaconf import OmegaConf

    names: dict[str, str] = {}
    for path in sorted((conf / "service").glob("*.yaml")):
        for key, value in _leaves(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
            if key.endswith("_env") and isinstance(value, str) and _VARIABLE.fullmatch(value):
                names[value] = path.stem
    return names | {name: service for name, service in DEFAULT_CREDENTIALS.items() if name not in names}


def check_credentials(names: Mapping[str, str], environment: Mapping[str, str]) -> list[Check]:
    """Return which credentials are present, by the names of their environment variables, never their values."""
    checks = []
    for name, service in names.items():
        value = environment.get(name)
        if value is None:
            level: Level = "note"
            seen, todo = f"not set (needed only for {service})", f"export {name}=..., if you have one"
        elif not value.strip():
            level, seen, todo = "warn", "set, but empty", f"export {name}=..., or unset {name}"
        elif value != value.strip():
            level, seen, todo = (
                "warn",
                "set, but with spaces or a line break around it",
                f"export {name}=... without them",
            )
        else:
            level, seen, todo = "ok", f"set (for {service})", ""
        checks.append(Check(group="credentials", name=name, level=level, seen=seen, todo=todo))
    return checks


def check_data_folder(variable: str, environment: Mapping[str, str]) -> Check:
    """Return whether the folder of real light curves that `variable` names is there and laid out as expected."""
    value = environment.get(variable)
    if not value:
        todo = f"export {variable}=FOLDER, if you have the sets; then make benchmark"
        return Check(
            group="data", name=variable, level="note", seen="not set (needed only for make benchmark)", todo=todo
        )
    folder = Path(value)
    if not folder.is_dir():
        todo = f"export {variable}=FOLDER that exists"
        return Check(group="data", name=variable, level="warn", seen=f"{folder} is not a folder", todo=todo)
    missing = list(_missing_sets(folder))
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        todo = "see docs/benchmarks.md for the layout"
        return Check(group="data", name=variable, level="warn", seen=f"{folder} lacks {shown}", todo=todo)
    return Check(group="data", name=variable, level="ok", seen=f"{folder}: {len(BENCHMARK_SETS)} sets")


def _belongs(requirement: Requirement, extra: str) -> bool:
    """Say whether `requirement` is one of `extra` ("" = the core) on this machine and Python."""
    marker = requirement.marker
    if (marker is not None and "extra" in str(marker)) != bool(extra):
        return False
    return marker is None or marker.evaluate({"extra": extra})


def _problem(requirement: Requirement) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is not {requirement.specifier}"


def _gpu_names() -> list[str]:
    """Return the names that the NVIDIA driver lists; it answers without a library of ours."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listed = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def _available_memory() -> int | None:
    """Return the bytes that can be taken without swapping, None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _leaves(node: object) -> Iterable[tuple[str, object]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from _leaves(value)
            else:
                yield str(key), value


def _missing_sets(folder: Path) -> Iterable[str]:
    for name, is_labelled in BENCHMARK_SETS.items():
        if not (folder / name).is_dir():
            yield name
        elif is_labelled and not (folder / name / "labels.parquet").is_file():
            yield f"{name}/labels.parquet"
        elif not any((folder / name).glob("lightcurves*.parquet" if is_labelled else "*.parquet")):
            yield f"{name}/lightcurves*.parquet"
