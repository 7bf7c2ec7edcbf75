"""The group `source` of the configuration: where light curves come from, and how what is wanted of them is opened.

May import `io`, core and errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.core.protocols import LightCurveSource
from scope_ml.errors import FormatError
from scope_ml.io.hats import HatsOptions, open_hats
from scope_ml.io.lightcurves import LayoutName, open_irsa_tree, open_light_curves
from scope_ml.io.selection import Selection

__all__ = ["SURVEY_FOLDER", "SourceConfig", "check_source", "open_source"]

#: Collection of an embedded survey that holds its light curves.
SURVEY_FOLDER = "ZTF_sources"

EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """The source group of the configuration: where light curves come from."""

    kind: Literal["parquet", "survey", "irsa", "hats"] = option(
        "parquet",
        doc="parquet: a file or folder of light curves; survey: a folder made by simulate; irsa: a mirror of IRSA's bulk"
        " files; hats: a HATS catalogue",
        machine=True,
    )
    path: str = option(doc="file, folder or (hats) address of light curves", machine=True)
    layout: LayoutName = option("auto", doc="layout of the files; auto looks at their columns", machine=True)
    band: str | tuple[str, ...] | None = option(None, doc="bands to take, such as g or [g,r]; null takes all")
    hats: HatsOptions | None = option(None, doc="cone, nested, columns and read_ahead of source=hats")

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands to take; none means all."""
        given = self.band.split(",") if isinstance(self.band, str) else self.band or ()
        return tuple(part.strip() for part in given if part.strip())


def check_source(config: SourceConfig) -> None:
    """Find out before the first of many tables that there is no source at all.

    Raises
    ------
    FormatError
        If `path` does not exist.
    """
    if config.kind != "hats" and not Path(config.path).exists():
        raise FormatError(f"{config.path} does not exist; give source.path=FILE_OR_FOLDER")


def open_source(
    config: SourceConfig, *, selection: Selection = EVERYTHING, collection: str = SURVEY_FOLDER
) -> LightCurveSource:
    """Return the light curves that a source group names, or what of them is wanted; `path` is given.

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
    ScopeError
        If there is no such source, or it cannot be said which of its rows are wanted.
    """
    path = Path(config.path)
    if config.kind == "hats":
        return open_hats(config.path, options=config.hats, bands=config.bands, selection=selection)
    if config.kind == "irsa":
        return open_irsa_tree(path, bands=config.bands, selection=selection)
    if config.kind == "survey":
        path = path / collection
    return open_light_curves(path, layout=config.layout, bands=config.bands, selection=selection)
