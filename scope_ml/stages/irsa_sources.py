"""The sources `irsa` (an address of bulk files) and `irsa_stars` of the configuration: IRSA, asked as a run needs it.

Used by `stages.feature_sources`. May import services, io, core and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.errors import ConfigError
from scope_ml.io.selection import Selection
from scope_ml.services.irsa.bulk import BulkMirror
from scope_ml.services.irsa.connection import check_address
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.irsa.stars import IrsaStars

__all__ = ["announce", "check_archive", "check_stars", "is_address", "open_archive", "open_stars"]

Opener = Callable[[Selection], LightCurveSource]


def is_address(path: str | None) -> bool:
    """Return whether a path is an address of bulk files, and not a folder."""
    return path is not None and path.strip().lower().startswith(("https:", "http:"))


def check_archive(path: str) -> None:
    """Find out before the first of many tables that an address cannot be one.

    Raises
    ------
    ConfigError
        If it is not https, or holds a password.
    """
    check_address(path, "source.path")


def check_stars(path: str | None) -> None:
    """Find out before the service is asked that there is a path, which it does not have.

    Raises
    ------
    ConfigError
        If there is one.
    """
    if path is not None:
        raise ConfigError(
            f"source.path={path} says where files are, but source=irsa_stars reads none; leave it out (the service's address"
            " is service.irsa.light_curves), or type source=irsa",
            key="source.path",
        )


def open_archive(path: str, config: IrsaConfig, *, bands: Sequence[str], progress: Progress) -> Opener:
    """Return what fetches the bulk files of a selection and opens them.

    Raises
    ------
    ConfigError
        If a band is none of IRSA's.
    """
    return _Archive(BulkMirror(path, config, bands=bands, progress=progress))


def open_stars(config: IrsaConfig, *, bands: Sequence[str], progress: Progress) -> Opener:
    """Return what asks the light-curve service for the ids or positions of a selection."""

    def opened(selection: Selection) -> LightCurveSource:
        if selection.ids is None and selection.positions is None:
            raise ConfigError(
                "source=irsa_stars asks for single stars; type target=source_ids target.path=FILE with ids or positions, or"
                " source=irsa source.path=https://... for a field",
                key="target",
            )
        return IrsaStars(config, positions=selection.positions, ids=selection.ids, bands=bands, progress=progress)

    return opened


def announce(opener: Opener, selections: Iterable[Selection]) -> None:
    """Say how much all tables of a run need of the archive, before the first is made; other sources say nothing.

    Raises
    ------
    ScopeError
        If the archive does not answer, or the disk has no room.
    """
    if isinstance(opener, _Archive):
        opener.mirror.announce(selections)


class _Archive:
    """Opens selections of one release."""

    def __init__(self, mirror: BulkMirror) -> None:
        self.mirror = mirror

    def __call__(self, selection: Selection) -> LightCurveSource:
        return self.mirror.open(selection)
