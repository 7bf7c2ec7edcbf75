"""The group `source` of the configuration: where light curves come from, and how what is wanted of them is opened.

A run has one client of Kowalski at most, which light curves and catalogues share; it connects when it is asked first.
May import services, features, `io`, core and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.errors import ConfigError, FormatError
from scope_ml.io.hats import HatsOptions, open_hats
from scope_ml.io.lightcurves import LayoutName, open_irsa_tree, open_light_curves
from scope_ml.io.selection import Selection
from scope_ml.services.kowalski.client import Asks, KowalskiClient
from scope_ml.services.kowalski.light_curves import KowalskiLightCurves
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages.irsa_sources import check_archive, check_stars, is_address, open_archive, open_stars

__all__ = ["SURVEY_FOLDER", "SourceConfig", "check_source", "light_curves_of", "open_client", "open_source"]

#: Collection of an embedded survey that holds its light curves.
SURVEY_FOLDER = "ZTF_sources"

#: What to say to somebody who wants all of Kowalski.
TOO_MANY = (
    "the database has some 10^9 light curves; type target=quadrant target.field=250 target.ccd=1 target.quad=1, or"
    " target=field, quadrant_list or source_ids"
)

EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The source group of the configuration: where light curves come from."""

    kind: Literal["parquet", "survey", "irsa", "irsa_stars", "hats", "kowalski"] = option(
        "parquet",
        doc="parquet: a file or folder of light curves; survey: a folder made by simulate; irsa: IRSA's bulk files, a"
        " mirror or their address; irsa_stars: single stars from IRSA; hats: a HATS catalogue; kowalski: the survey's database",
        machine=True,
    )
    path: str | None = option(
        doc="file, folder or (hats, irsa) address of light curves; null for source=kowalski, irsa_stars", machine=True
    )
    layout: LayoutName = option("auto", doc="layout of the files; auto looks at their columns", machine=True)
    band: str | tuple[str, ...] | None = option(None, doc="bands to take, such as g or [g,r]; null takes all")
    hats: HatsOptions | None = option(None, doc="cone, nested, columns and read_ahead of source=hats")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands to take; none means all."""
        given = self.band.split(",") if isinstance(self.band, str) else self.band or ()
        return tuple(part.strip() for part in given if part.strip())


def check_source(config: SourceConfig, *, everything: bool = False) -> None:
    """Find out before the first of many tables, or before a service is asked, that there is no source at all.

    Raises
    ------
    ConfigError
        If `path` is not given, or is and a service is asked, or if a service is asked for everything.
    FormatError
        If `path` does not exist.
    """
    if config.kind == "kowalski":
        if config.path is not None:
            raise ConfigError(
                f"source.path={config.path} says where files are, but source=kowalski reads none; leave it out, the collection"
                " is survey.collections.sources",
                key="source.path",
            )
        if everything:
            raise ConfigError(f"source=kowalski needs a target: {TOO_MANY}", key="target")
        return
    if config.kind == "irsa_stars":
        check_stars(config.path)
        return
    if config.path is None:
        raise ConfigError(
            f"source={config.kind} needs light curves; give source.path=FILE_OR_FOLDER", key="source.path"
        )
    if config.kind == "irsa" and is_address(config.path):
        check_archive(config.path)
        return
    if config.kind != "hats" and not Path(config.path).exists():
        raise FormatError(f"{config.path} does not exist; give source.path=FILE_OR_FOLDER")


def open_source(
    config: SourceConfig, *, selection: Selection = EVERYTHING, collection: str = SURVEY_FOLDER
) -> LightCurveSource:
    """Return the light curves that a source group names, or what of them is wanted; they are in files.

    Parameters
    ----------
    config
        The group.
    selection
        Which light curves; that there are none of them is no error.
    collection
        Of a survey, the folder with its light curves.

    Raises
    ------
    ConfigError
        If they are not in files.
    ScopeError
        If there is no such source, or it cannot be said which of its rows are wanted.
    """
    asked = config.kind == "irsa" and is_address(config.path)
    if config.kind in ("kowalski", "irsa_stars") or config.path is None or asked:
        seen = f"source.path={config.path}" if asked else f"source={config.kind}"
        given = "source=irsa source.path=MIRROR, a folder" if asked else "source=parquet source.path=FILE_OR_FOLDER"
        raise ConfigError(f"{seen}: light curves are read from files here; give {given}", key="source.path")
    path = Path(config.path)
    if config.kind == "hats":
        return open_hats(config.path, options=config.hats, bands=config.bands, selection=selection)
    if config.kind == "irsa":
        return open_irsa_tree(path, bands=config.bands, selection=selection)
    if config.kind == "survey":
        path = path / collection
    return open_light_curves(path, layout=config.layout, bands=config.bands, selection=selection)


@contextmanager
def open_client(services: ServicesConfig, *, needed: bool) -> Iterator[KowalskiClient | None]:
    """Open what a run asks Kowalski with, closed at the end; None where nothing is asked. It connects when it must."""
    if not needed:
        yield None
        return
    with KowalskiClient(services.kowalski) as client:
        yield client


def light_curves_of(
    config: SourceConfig,
    *,
    collection: str,
    client: Asks | None,
    services: ServicesConfig,
    progress: Progress,
) -> Callable[[Selection], LightCurveSource]:
    """Return what opens the light curves of a selection, from files or from a service.

    Parameters
    ----------
    config
        The group `source`.
    collection
        Of a survey or of Kowalski, the light curves.
    client, services
        Who asks Kowalski, and how services are asked; of no account for files.
    progress
        Told how looking for light curves goes.
    """
    if config.kind == "kowalski" and client is not None:
        return lambda selection: KowalskiLightCurves(
            client, collection, selection, config=services.kowalski, bands=config.bands, progress=progress
        )
    if config.kind == "irsa_stars":
        return open_stars(services.irsa, bands=config.bands, progress=progress)
    if config.kind == "irsa" and config.path is not None and is_address(config.path):
        return open_archive(config.path, services.irsa, bands=config.bands, progress=progress)
    return lambda selection: open_source(config, selection=selection, collection=collection)
