"""A door: Hydra composes, the stage's dataclass is built, `run` is called, one summary line is shown.

A `ScopeError` or a mistake in the configuration ends in one line on standard error and exit code 2; a traceback
means a bug of ours.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from scope_ml.doorway.command_line import (
    SWEEP_FLAGS,
    beside_overrides,
    expand_class_sets,
    extra_conf_dir,
    refuse_flags,
    refuse_secrets,
    sweep_flag_first,
    with_action,
)
from scope_ml.doorway.tasks import JobTask, SweepTask
from scope_ml.errors import JobError, ScopeError
from scope_ml.taxonomy.classes import packaged_conf_dir

if TYPE_CHECKING:
    from scope_ml.core.report import Report

__all__ = ["EXIT_USER_ERROR", "Door"]

#: Exit code for everything that the user can mend.
EXIT_USER_ERROR = 2


@dataclass(frozen=True, kw_only=True)
class Door:
    """One command.

    Attributes
    ----------
    name
        Name of the command and of ``conf/<name>.yaml``.
    stage
        ``module:ConfigClass``; the module's `run(config, *, progress)` does the work.
    doc, example
        Texts of ``--help``.
    actions
        Words of which the first may be one, meaning ``action=WORD``: ``registry list``.
    sweep
        ``module:function`` that takes all jobs of a sweep (``-m``) at once, ``function(configs, *, progress)``; "" runs
        the stage job after job.
    """

    name: str
    stage: str
    doc: str
    example: str
    actions: tuple[str, ...] = ()
    sweep: str = ""

    def open(self, arguments: list[str] | None = None) -> int:
        """Run the command line `arguments` (default: this process's) and return the exit code.

        0: done; 1: done, and the report counts failures (``facts["n_failed"]``); 2: the user has something to mend.
        """
        words = list(sys.argv[1:] if arguments is None else arguments)
        try:
            if {"--help", "-h"} & set(words):
                self._write(self._help())
                return 0
            refuse_secrets(words)
            words = sweep_flag_first(with_action(words, self.actions))
            refuse_flags(words)
            reports = self._hydra(self._with_context(expand_class_sets(words)))
        except ScopeError as error:
            return self._refuse(str(error))
        except KeyboardInterrupt:
            return self._refuse("stopped; type the same command again to go on where it was") and 130
        return int(any(report.facts.get("n_failed") for report in reports))

    def _schema(self) -> tuple[type[Any], Callable[..., Report]]:
        module_name, _, class_name = self.stage.partition(":")
        module = import_module(module_name)
        return getattr(module, class_name), module.run

    def _with_context(self, words: list[str]) -> list[str]:
        """Add what follows from the whole command line: folders of own classes, one parent run for a sweep."""
        known = self._schema()[0].__dataclass_fields__
        added = [f"hydra.job.name={self.name}"]
        extra = extra_conf_dir(words)
        if extra is not None and "class_folders" in known:
            added.append(f"class_folders=['{extra}']")
        if SWEEP_FLAGS & set(words) and "sweep" in known and not any(word.startswith("sweep=") for word in words):
            added.append(f"sweep={self.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        return beside_overrides(words, added)

    def _help(self) -> str:
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        from scope_ml.doorway.help_page import groups_to_choose, help_text

        chosen = groups_to_choose(packaged_conf_dir(), self.name)
        with initialize_config_dir(str(packaged_conf_dir()), version_base="1.3"):
            composed = compose(self.name, overrides=[f"{group}={choice}" for group, choice in chosen.items()])
        defaults = {str(key): value for key, value in OmegaConf.to_container(composed).items()}  # type: ignore[union-attr]
        return help_text(self, self._schema()[0], defaults, frozenset(chosen))

    def _hydra(self, words: list[str]) -> list[Report]:
        """Give the command line to Hydra, return the reports of its jobs; its errors become `ConfigError`."""
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError  # type: ignore[import-untyped]

        from scope_ml.core.configuration import describe
        from scope_ml.doorway.hydra_errors import hydra_error

        # Hydra prints and exits by itself unless told to raise.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        task = self._task()
        before = sys.argv
        sys.argv = [f"scope_ml.{self.name}", *words]
        try:
            hydra.main(version_base="1.3", config_path=str(packaged_conf_dir()), config_name=self.name)(task)()
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise hydra_error(error, [line.key for line in describe(self._schema()[0])]) from error
        finally:
            sys.argv = before
        if len(task.failures) == 1:
            raise task.failures[0]
        if task.failures:
            raise JobError(f"{len(task.failures)} jobs of the sweep failed, named above; the first: {task.failures[0]}")
        return task.reports

    def _task(self) -> JobTask:
        schema, run = self._schema()
        if not self.sweep:
            return JobTask(schema, run)
        module_name, _, function = self.sweep.partition(":")
        return SweepTask(schema, run, cast("Callable[..., Report]", getattr(import_module(module_name), function)))

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text + "\n")

    def _refuse(self, message: str) -> int:
        sys.stderr.write(f"{self.name}: error: {message}\n")
        return EXIT_USER_ERROR
