"""What of a command line must be settled before Hydra reads it."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from scope_ml.errors import ConfigError, suggest
from scope_ml.tracking.settings import redact

__all__ = [
    "SWEEP_FLAGS",
    "beside_overrides",
    "expand_class_sets",
    "extra_conf_dir",
    "refuse_flags",
    "refuse_secrets",
    "sweep_flag_first",
    "with_action",
]

#: An override of Hydra's: ``key=value``, ``+key=value``, ``~key``.
_OVERRIDE = re.compile(r"~|\+{0,2}[A-Za-z_][\w.@/]*=")

#: Hydra's flags that ask for a sweep.
SWEEP_FLAGS = frozenset({"-m", "--multirun"})


def beside_overrides(words: list[str], added: list[str]) -> list[str]:
    """Return `words` with further overrides put before the first one; Hydra wants them all in one row."""
    places = [place for place, word in enumerate(words) if _OVERRIDE.match(word)]
    place = places[0] if places else len(words)
    return [*words[:place], *added, *words[place:]]


def sweep_flag_first(words: list[str]) -> list[str]:
    """Return `words` with a sweep flag at the front: between overrides (``class=ea -m seed=1,2``) Hydra cannot take it."""
    flags = [word for word in words if word in SWEEP_FLAGS]
    return [*flags, *(word for word in words if word not in flags)]


def with_action(words: list[str], actions: tuple[str, ...]) -> list[str]:
    """Return `words` with a leading action as Hydra takes it: ``list`` becomes ``action=list``.

    Raises
    ------
    ConfigError
        If the door has actions and none is given, or the first word is another one.
    """
    if not actions:
        return words
    first = words[0] if words else ""
    if first in actions:
        return [f"action={first}", *words[1:]]
    if any(word.startswith("action=") for word in words):
        return words
    what = f"'{first}' is none" if first and not _OVERRIDE.match(first) else "none is given"
    raise ConfigError(
        f"the first word says what to do, and {what}{suggest(first, actions)}; give one of {', '.join(actions)}",
        key="action",
        choices=actions,
    )


def refuse_flags(arguments: list[str]) -> None:
    """Refuse what is no flag of Hydra's, in one line where Hydra would print its whole usage and leave.

    Raises
    ------
    ConfigError
        Naming the flag.
    """
    # Hydra has no public way to ask which flags it knows.
    from hydra._internal.utils import get_args_parser

    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            get_args_parser().parse_args(arguments)
    except SystemExit as left:
        if left.code:
            reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
            raise ConfigError(f"{reason}; options are key=value without dashes, see --help") from left


def extra_conf_dir(arguments: list[str]) -> Path | None:
    """Return the folder given with Hydra's ``--config-dir``, or None."""
    for position, word in enumerate(arguments):
        if word in {"--config-dir", "-cd"} and position + 1 < len(arguments):
            return Path(arguments[position + 1]).resolve()
        if word.startswith("--config-dir="):
            return Path(word.partition("=")[2]).resolve()
    return None


def refuse_secrets(arguments: list[str]) -> None:
    """Refuse a value that holds a password, before anything can write it down.

    Raises
    ------
    ConfigError
        Naming the key, not the value.
    """
    for word in arguments:
        if redact(word) != word:
            key = word.partition("=")[0]
            instead = " and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
            raise ConfigError(
                f"{key} holds a user name, password or token, which would be written into logs; leave it out of the"
                f" URL{instead if key.startswith('tracking') else ''}",
                key=key,
            )


def expand_class_sets(arguments: list[str]) -> list[str]:
    """Replace names of class sets (``class=all``, ``class=phenomenological,ea``) by their tags.

    Raises
    ------
    ConfigError
        If a set is asked for without ``-m``.
    """
    words = [word for word in arguments if word.startswith("class=")]
    if not words:
        return arguments
    from scope_ml.taxonomy.classes import load_classes, packaged_conf_dir

    extra = extra_conf_dir(arguments)
    taxonomy = load_classes(packaged_conf_dir(), *([extra] if extra is not None else []))
    result = []
    for word in arguments:
        names = word.removeprefix("class=").split(",") if word.startswith("class=") else []
        if not any(name in taxonomy.sets for name in names):
            result.append(word)
            continue
        if not SWEEP_FLAGS & set(arguments):
            raise ConfigError(f"{word} means several classes; add -m to train them all", key="class")
        result.append("class=" + ",".join(taxonomy.expand(names)))
    return result
