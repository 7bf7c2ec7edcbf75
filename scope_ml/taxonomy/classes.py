"""One class of the taxonomy, and the reading of ``conf/class/<tag>.yaml``.

Each class is an independent binary classifier whose file holds its name, its direct parents and its settings.
The same files form the Hydra group ``class``; nothing else in the project parses them.
May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scope_ml.core.configuration import build, option
from scope_ml.errors import ConfigError
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ClassDnn", "ClassSpec", "ClassXgb", "load_classes", "packaged_conf_dir", "read_class"]

#: Order of a class whose file gives none: after the 52 of SCoPe, whose files count in tens.
LAST_ORDER = 100_000


@dataclass(frozen=True, kw_only=True)
class ClassDnn:
    """What a class changes in the neural network's training; the values are those of SCoPe's production runs."""

    batch_size: int = option(64, at_least=1, doc="rows per step of the optimiser")
    epsilon: float = option(1e-7, more_than=0, doc="epsilon of Adam")
    learning_rate: float | None = option(None, more_than=0, at_most=1, doc="learning rate; null = the algorithm's own")


@dataclass(frozen=True, kw_only=True)
class ClassXgb:
    """What a class changes in the boosted trees; null = the algorithm's own. SCoPe had no such settings."""

    max_depth: int | None = option(None, at_least=1, doc="depth of a tree")
    min_child_weight: float | None = option(None, at_least=0, doc="least sum of weights in a leaf")
    learning_rate: float | None = option(None, more_than=0, at_most=1, doc="shrinkage of each tree (eta)")
    subsample: float | None = option(None, more_than=0, at_most=1, doc="share of the rows per tree")
    colsample_bytree: float | None = option(None, more_than=0, at_most=1, doc="share of the features per tree")


#: A class that changes nothing in the algorithms' settings.
DEFAULT_DNN, DEFAULT_XGB = ClassDnn(), ClassXgb()


@dataclass(frozen=True, kw_only=True)
class ClassSpec:
    """One class: what it is, what it implies, and how it is trained.

    Attributes
    ----------
    tag
        Short name used in columns, files and models (``rrlyr``); equal to the file's name.
    label
        Name in words (``RR Lyrae``).
    kind
        ``phenomenological`` (the shape of the light curve) or ``ontological`` (the star itself).
    parents
        Tags that a member of this class belongs to as well (direct ones; `Taxonomy.parents` gives the closure).
    threshold
        Score above which a source counts as a member.
    balance
        Most negatives per positive kept in training; null keeps all.
    weight_per_class
        True to weigh positives and negatives by the inverse of their numbers.
    feature_set
        Name of the set of model inputs.
    dnn, xgb
        What this class changes in an algorithm's settings.
    aliases
        Further names by which label tables may call the class.
    order
        Place in lists and tables; SCoPe's 52 classes come first, in SCoPe's order.
    """

    tag: str = option(doc="short name, as in rrlyr")
    label: str = option(doc="name in words, as in 'RR Lyrae'")
    kind: Literal["phenomenological", "ontological"] = option(doc="shape of the light curve, or nature of the star")
    parents: tuple[str, ...] = option((), doc="tags that a member belongs to as well")
    threshold: float = option(0.7, at_least=0, at_most=1, doc="score above which a source counts as a member")
    balance: float | None = option(None, more_than=0, doc="most negatives per positive in training; null = all")
    weight_per_class: bool = option(False, doc="weigh both classes by the inverse of their numbers")
    feature_set: str = option("ontological", doc="name of the set of model inputs")
    dnn: ClassDnn = option(DEFAULT_DNN, doc="what this class changes in the neural network's training")
    xgb: ClassXgb = option(DEFAULT_XGB, doc="what this class changes in the boosted trees")
    aliases: tuple[str, ...] = option((), doc="further names in label tables")
    order: int = option(LAST_ORDER, at_least=0, machine=True, doc="place in lists and tables")


def packaged_conf_dir() -> Path:
    """Return the folder of configuration files that came with this package: the checkout's, else the wheel's."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "class").is_dir() else package / "conf"


def load_classes(*conf_dirs: Path) -> Taxonomy:
    """Read every ``<conf_dir>/class/<tag>.yaml`` into a checked `Taxonomy`.

    Parameters
    ----------
    *conf_dirs
        Folders of configuration files; a class in a later one replaces that of the same tag in an earlier one.

    Raises
    ------
    ConfigError
        If a folder is not there, the folders hold no class, or a file has a wrong key or value, a tag that is not its name,
        an unknown parent, a parent that is its own descendant, or a name that another class has.
    """
    for folder in conf_dirs:
        if not Path(folder).is_dir():
            raise ConfigError(f"there is no folder {folder}; give one that holds class/<tag>.yaml", key="class_folders")
    paths = {path.stem: path for folder in conf_dirs for path in sorted((Path(folder) / "class").glob("*.yaml"))}
    specs = [read_class(path) for path in paths.values()]
    if not specs:
        shown = ", ".join(str(folder) for folder in conf_dirs)
        raise ConfigError(
            f"no class file class/<tag>.yaml under {shown or 'no folder'}; give the project's conf folder"
        )
    rank = {"phenomenological": 0, "ontological": 1}
    specs.sort(key=lambda spec: (rank[spec.kind], spec.order, spec.tag))
    return Taxonomy({spec.tag: spec for spec in specs})


def read_class(path: Path) -> ClassSpec:
    """Read one class file; every error names it."""
    values = _read_mapping(path)
    try:
        spec = build(ClassSpec, values)
    except ConfigError as error:
        raise ConfigError(f"class file {path}: {error}", key=error.key, choices=error.choices) from error
    if spec.tag != path.stem:
        raise ConfigError(f"class file {path}: tag is {spec.tag!r}, but the file's name says {path.stem!r}", key="tag")
    return spec


def _read_mapping(path: Path) -> Mapping[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"class file {path} cannot be read: {reason}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"class file {path}: expected keys and values, got {values!r}")
    return {str(key): value for key, value in values.items()}
