"""All jobs of a sweep at once: their configurations composed, their task run, for the launcher in ``hydra_plugins``.

Composing a job takes Hydra some 30 ms, which for a thousand jobs is longer than many of them train. Jobs that differ in
`seed` alone are composed once: the others get their seed put in by the same call by which Hydra puts in an override.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scope_ml.doorway.hydra_errors import resolved

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

__all__ = ["compose_jobs", "launch_all"]

#: The key by which most jobs of a sweep differ.
VARIED = "seed"


def launch_all(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Compose all jobs, give them to the task, and return what Hydra wants to know of each.

    Parameters
    ----------
    launcher
        The launcher, with what Hydra gave it.
    job_overrides
        Overrides of each job.
    first
        Number of the first job.

    Raises
    ------
    HydraException, OmegaConfBaseException, ScopeError
        If a job cannot be composed: none has begun then.
    """
    from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
    from omegaconf import open_dict, read_write

    setup_globals()
    loader, config = launcher.hydra_context.config_loader, launcher.config
    folder = Path(str(config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    # One log for all jobs: a job of its own has one in a folder of its own.
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder.resolve())
    configure_log(config.hydra.job_logging, config.hydra.verbose)
    launcher.task_function.run_all(compose_jobs(loader, config, job_overrides, first))
    return [
        JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=None)
        for overrides in job_overrides
    ]


def compose_jobs(
    loader: Any, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int = 0
) -> list[Mapping[str, Any]]:
    """Return the composed values of each job, as `OmegaConf.to_container` gives them, without Hydra's own.

    Parameters
    ----------
    loader
        Hydra's loader of configurations.
    config
        The composed configuration of the sweep.
    job_overrides
        Overrides of each job.
    first
        Number of the first job.
    """
    from omegaconf import OmegaConf

    composed: dict[tuple[str, ...], tuple[DictConfig, bool]] = {}
    jobs = []
    for number, overrides in enumerate(job_overrides, start=first):
        shared = tuple(word for word in overrides if not word.startswith(f"{VARIED}="))
        own = [word for word in overrides if word.startswith(f"{VARIED}=")]
        known, is_plain = composed.get(shared, (None, False))
        if known is not None and is_plain and len(own) == 1:
            OmegaConf.update(known, VARIED, _value(loader, own[0]), merge=True)
            jobs.append(resolved(known))
            continue
        job = loader.load_sweep_config(config, list(overrides))
        jobs.append(_job_values(job, number))
        composed[shared] = (job, not _asks_hydra(job))
    return jobs


def _job_values(job: DictConfig, number: int) -> Mapping[str, Any]:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    with open_dict(job):
        job.hydra.job.id = str(number)
        job.hydra.job.num = number
    # What stands in a file as ${hydra:...} is looked up there.
    HydraConfig.instance().set_config(job)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return resolved(job)


def _asks_hydra(job: DictConfig) -> bool:
    """Return whether a value is Hydra's own, which may be another for each job."""
    from omegaconf import OmegaConf

    return "${hydra:" in OmegaConf.to_yaml(job)


def _value(loader: Any, word: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return cast("Any", OverridesParser.create(config_loader=loader).parse_override(word).value())
