"""Which model a training starts from: what ``init_from`` stands for.

May import `tracking`, `training_options` and below.
"""

from __future__ import annotations

from pathlib import Path

from scope_ml.errors import ConfigError, ModelNotFoundError, suggest
from scope_ml.models.record import read_record
from scope_ml.stages.training_options import Train
from scope_ml.tracking.records import registered_name
from scope_ml.tracking.resolve import RegistryView, open_view, whole_bundle

__all__ = ["Starts"]

#: How an address in the registry begins.
REGISTRY = "models:/"


class Starts:
    """Folders of the bundles that trainings start from; each is looked for once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Path] = {}
        self._views: dict[str, RegistryView] = {}

    def folder(self, config: Train) -> Path | None:
        """Return the folder of the bundle that `config` starts from, or None.

        Raises
        ------
        ConfigError
            If ``init_from`` has a placeholder that there is not, or is no address.
        ModelNotFoundError
            If there is no such model.
        ModelError
            If it is not whole.
        """
        if config.init_from is None:
            return None
        text = _filled(config)
        if "://" in text:
            # Such an address may hold a password: it is not repeated.
            raise ConfigError(
                "init_from is the address of another system; give models:/NAME@champion, models:/NAME/VERSION or a folder,"
                " and tracking.uri=... of the registry",
                key="init_from",
            )
        key = (text, config.tracking.uri)
        if key not in self._found:
            if text.startswith(REGISTRY):
                self._found[key] = self._registered(text, config)
            else:
                read_record(Path(text))
                self._found[key] = Path(text).resolve()
        return self._found[key]

    def _registered(self, text: str, config: Train) -> Path:
        name, alias, number = _address(text)
        if config.tracking.uri not in self._views:
            self._views[config.tracking.uri] = open_view(config.tracking)
        view = self._views[config.tracking.uri]
        versions = view.versions(name)
        wanted = [one for one in versions if (alias in one.aliases if alias else one.version == number)]
        if not wanted:
            what = f"with the alias {alias}" if alias else f"of version {number}"
            raise ModelNotFoundError(
                f"init_from={text}: there is no model {name} {what}{suggest(name, view.names()) if not versions else ''};"
                " type python -m scope_ml.registry list to see what there is"
            )
        return whole_bundle(view, wanted[0]).folder


def _filled(config: Train) -> str:
    tag, algorithm = config.class_spec.tag, config.algorithm_name
    text = config.init_from or ""
    try:
        return text.format(tag=tag, algorithm=algorithm, name=registered_name(tag, algorithm))
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"init_from={text} has a placeholder that there is not ({error}); there are {{tag}}, {{algorithm}} and"
            " {name}, which is scope-{tag}-{algorithm}",
            key="init_from",
        ) from error


def _address(text: str) -> tuple[str, str, int | None]:
    """Return name, alias and number of ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER``."""
    rest = text.removeprefix(REGISTRY)
    name, at, alias = rest.partition("@")
    if at and name and alias:
        return name, alias, None
    name, slash, number = rest.rpartition("/")
    if slash and name and number.isdigit():
        return name, "", int(number)
    raise ConfigError(
        f"init_from={text} is no address of a model; give models:/NAME@champion, models:/NAME/VERSION or a folder",
        key="init_from",
    )
