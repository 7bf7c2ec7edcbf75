"""The script of a run's tasks, readable and kept, and the words that sbatch is given with it.

What is the same for all tasks stands in the script; what is another for each wave (array, throttle, dependency) are words
of sbatch. Environment variables travel by name: no value is in either. May import compute's plan, processes and settings, and errors.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.processes import thread_limits
from scope_ml.compute.settings import ClusterConfig, ExecutorConfig
from scope_ml.errors import ConfigError

__all__ = [
    "COLLECT",
    "LOGS",
    "SCRIPT_FILE",
    "check_cluster",
    "command",
    "exported",
    "job_name",
    "preparation",
    "render",
    "time_limit",
    "wave_words",
]

SCRIPT_FILE = "slurm.sh"
LOGS = "logs"

#: First word of the script in the job that adds up.
COLLECT = "collect"

#: What a task needs of the environment whatever it does; each is given where it is set.
NEEDED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "TF_CPP_MIN_LOG_LEVEL"),
)

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

TEMPLATE = """\
#!/bin/bash
# Tasks of {door} in {folder}; rendered by python -m scope_ml.slurm, which submits it. Words: a number of a wave, or collect.
{directives}
set -uo pipefail
cd {workdir} || exit 2
{preparation}{threads}

what=${{1:?a number of a wave, or {collect}}}
# The time limit and scancel tell everybody; this shell waits for the work to say what became of its shard.
trap : TERM
if [[ $what == {collect} ]]; then
  {python} -m scope_ml.slurm collect {words}
else
  {python} -m scope_ml.slurm work {words} \\
    wave="$what" task="$SLURM_ARRAY_TASK_ID" job="'${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}'" \\
    threads="${{SLURM_CPUS_PER_TASK:-1}}"
fi
code=$?
((code <= 128)) || echo "ended by signal $((code - 128))" >&2
exit "$code"
"""


def job_name(folder: Path) -> str:
    """Return the name of all jobs of a run, by which squeue finds them: the folder's."""
    return "scope-" + re.sub(r"[^A-Za-z0-9_.-]", "_", Path(folder).resolve().name)


def check_cluster(executor: ExecutorConfig, environment: Mapping[str, str], *, key: str = "executor.cluster.") -> None:
    """Find out before sbatch does that something is missing.

    Raises
    ------
    ConfigError
        If the cluster needs an account and none is given, or a named environment variable is not set.
    """
    cluster = executor.cluster
    if cluster.needs_account and not cluster.account:
        raise ConfigError(
            f"{cluster.name} refuses jobs without an account, and none is given; give {key}account=...",
            key=f"{key}account",
        )
    strange = [name for name in executor.environment if not VARIABLE.match(name)]
    if strange:
        raise ConfigError(
            f"executor.environment takes names of variables, not {strange[0].partition('=')[0]!r} with anything behind;"
            " give executor.environment=[NAME,...] and set them in the shell",
            key="executor.environment",
        )
    missing = [name for name in executor.environment if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"the tasks are to be given {', '.join(missing)}, which this shell has not set;"
            f" type export {missing[0]}=... first",
            key="executor.environment",
        )


def exported(executor: ExecutorConfig, environment: Mapping[str, str]) -> str:
    """Return the names for ``sbatch --export``: what every task needs, and what this run is given."""
    return ",".join(dict.fromkeys([name for name in NEEDED if name in environment] + list(executor.environment)))


def render(executor: ExecutorConfig, plan: WorkPlan) -> str:
    """Return the script of all tasks of a run.

    Parameters
    ----------
    executor
        What a task asks for.
    plan
        The run: whose work it is, and where it was planned.
    """
    cluster, folder = executor.cluster, plan.folder.resolve()
    return TEMPLATE.format(
        door=plan.door,
        folder=folder,
        # What Hydra would log stands in the task's own log.
        words=shlex.join([_word("plan", folder), _word("hydra.run.dir", folder / LOGS), "hydra/job_logging=stdout"]),
        directives="\n".join(f"#SBATCH {word}" for word in _directives(cluster, folder)),
        workdir=shlex.quote(str(plan.workdir)),
        preparation="".join(f"{line}\n" for line in preparation(cluster)),
        threads="export " + " ".join(f"{name}={value}" for name, value in thread_limits(cluster.cores).items()),
        collect=COLLECT,
        python=shlex.quote(cluster.python or plan.python),
    )


def wave_words(executor: ExecutorConfig, folder: Path, *, n_tasks: int | None, after: str | None) -> list[str]:
    """Return sbatch's words before the script for one wave, or for the job that adds up.

    Parameters
    ----------
    executor
        Says how many tasks run at a time.
    folder
        Of the run.
    n_tasks
        Of the array; None: a single job.
    after
        Number of the job whose end is waited for, however it ends.
    """
    words = [f"--job-name={job_name(folder)}"]
    if n_tasks is None:
        logs = str(Path(folder).resolve() / LOGS / COLLECT).replace("%", "%%")
        words += [f"--output={logs}_%j.out", f"--error={logs}_%j.err"]
    else:
        words.append(f"--array=0-{n_tasks - 1}%{executor.max_instances}")
    if after is not None:
        words.append(f"--dependency=afterany:{after}")
    return words


def _directives(cluster: ClusterConfig, folder: Path) -> Sequence[str]:
    asked = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(cluster.cores),
        "gpus": str(cluster.gpus) if cluster.gpus else "",
        "mem": f"{max(1, round(cluster.memory_gb * 1024))}M" if cluster.memory_gb else "",
        "time": time_limit(cluster.hours),
        # %A and %a: number of the array and place in it; % of the folder's own name is doubled.
        "output": f'"{str(folder).replace("%", "%%")}/{LOGS}/%A_%a.out"',
        "error": f'"{str(folder).replace("%", "%%")}/{LOGS}/%A_%a.err"',
    }
    return [f"--{name}={value}" for name, value in asked.items() if value] + list(cluster.options)


def preparation(cluster: ClusterConfig) -> list[str]:
    """Return the lines of shell that modules and setup come to."""
    lines = []
    if cluster.modules:
        # A batch shell is no login shell: where module is not known yet, the system's profile knows it.
        lines += ["type module >/dev/null 2>&1 || source /etc/profile", "module purge"]
        lines += [f"module load {shlex.quote(module)} || exit 2" for module in cluster.modules]
    lines += cluster.setup
    return ["set +u", *lines, "set -u"] if lines else []


def command(action: str, folder: Path) -> str:
    """Return the line that a person types to do something about a run, whatever the folder is called."""
    word = _word("plan", Path(folder))
    # Hydra wants quotes of its own: "plan='a folder'" reads better than what shlex makes of it.
    plain = "'" in word and not re.search(r'["$`\\!]', word)
    return f"python -m scope_ml.slurm {action} " + (f'"{word}"' if plain else shlex.quote(word))


def _word(name: str, path: Path) -> str:
    """Return ``name=path`` as Hydra reads it."""
    text = str(path)
    if re.fullmatch(r"[\w./+@~-]+", text):
        return f"{name}={text}"
    return f"{name}='" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def time_limit(hours: float) -> str:
    """Return hours as Slurm writes a limit: ``0-04:00:00``."""
    seconds = max(60, round(hours * 3600))
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
