"""The small interfaces through which a lower floor is given something from a higher one.

Stages receive a `RunLogger` and a `Progress`; features receive a `LightCurveSource` and a `CatalogSource`.
Services, tracking and doors implement them; nothing here imports those floors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from scope_ml.core.lightcurve import LightCurveBatch

__all__ = [
    "BulkCatalogSource",
    "CatalogSource",
    "Executor",
    "LightCurveChunk",
    "LightCurveSource",
    "NullProgress",
    "NullRunLogger",
    "Progress",
    "RunLogger",
]

Item = TypeVar("Item")
Result = TypeVar("Result")


class LightCurveChunk(Protocol):
    """A piece of a source: single-band light curves and one row of facts about each."""

    @property
    def batch(self) -> LightCurveBatch:
        """Light curves, one per row of `rows`, in the same order."""
        ...

    @property
    def rows(self) -> pa.Table:
        """Facts per light curve: `id`, `source_id`, `band`, `ra`, `dec`, `field`, `ccd`, `quad`, `filter`."""
        ...


@runtime_checkable
class LightCurveSource(Protocol):
    """Something that yields light curves in chunks, always the same chunks in the same order."""

    @property
    def digest(self) -> str:
        """Hex digest of what will be read; changes when the content changes."""
        ...

    @property
    def n_rows(self) -> int | None:
        """Number of stored rows where it is known without reading them, for progress."""
        ...

    def chunks(self) -> Iterator[LightCurveChunk]:
        """Yield the light curves; memory does not grow with the source."""
        ...


@runtime_checkable
class CatalogSource(Protocol):
    """Catalogues ("collections") that can be asked what they hold around a place on the sky."""

    def digest(self, catalog: str) -> str:
        """Return the hex digest of what `catalog` holds; changes when its content does."""
        ...

    def cone_search(
        self,
        catalog: str,
        ra: float,
        dec: float,
        *,
        radius_arcsec: float,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        below: Mapping[str, float] | None = None,
    ) -> pa.Table:
        """Return the rows of `catalog` within one circle, always in the same order.

        Parameters
        ----------
        catalog
            Name of the collection, such as ``Gaia_EDR3``.
        ra, dec
            Centre [deg].
        radius_arcsec
            Radius [arcsec], the rim included.
        columns
            What to return, by the names of Kowalski's documents: `_id`, `phot_g_mean_mag`, `classifications.braai`. A
            value that a row does not have is null.
        optional
            Columns that may be left out of the answer where the collection has no such thing.
        below
            Rows are wanted only if each of these (required) columns has a value less than the number beside it.

        Returns
        -------
        pa.Table
            `ra`, `dec` (double [deg]) and the columns, each under the name by which it was asked for.

        Raises
        ------
        ScopeError
            If there is no such collection or column, or a service does not answer.
        """
        ...


@runtime_checkable
class BulkCatalogSource(CatalogSource, Protocol):
    """Catalogues far away: an answer takes long, whatever its size, so that many circles are asked at once."""

    @property
    def connections(self) -> int:
        """How many requests may be under way at a time."""
        ...

    @property
    def cache(self) -> Path | None:
        """Folder for what was asked where the configuration names none; None keeps nothing."""
        ...

    def cones(
        self,
        catalog: str,
        ra: npt.NDArray[np.float64],
        dec: npt.NDArray[np.float64],
        *,
        radius_arcsec: float,
        columns: Sequence[str],
        optional: Sequence[str] = (),
        below: Mapping[str, float] | None = None,
    ) -> pa.Table:
        """Return the rows of `catalog` within many small circles, as `cone_search` does for each of them.

        Parameters
        ----------
        ra, dec
            Centres, float64 (n,) [deg]; one may stand there twice.

        Returns
        -------
        pa.Table
            The columns of `cone_search` and ``position`` (int64), the index of the circle, ascending; a row that lies in
            several circles stands there for each.

        Raises
        ------
        ScopeError
            If there is no such collection or column, or a circle is not answered.
        """
        ...


@runtime_checkable
class RunLogger(Protocol):
    """What a stage may tell about its run; MLflow's implementation lives in `tracking`."""

    def params(self, values: Mapping[str, object]) -> None:
        """Record parameters, all at once."""
        ...

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Record metrics; values that are not finite are left out."""
        ...

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file or a folder with the run."""
        ...


class Progress(Protocol):
    """Progress of long work: a bar on a terminal, a line a minute in a log, nothing in tests."""

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a task of `total` units (unknown if None)."""
        ...

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""
        ...

    def finish(self) -> None:
        """End the task."""
        ...


class Executor(Protocol):
    """Runs one function over many items, in order of completion or not, on threads, processes or nodes."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` in the order of `items`."""
        ...


class NullRunLogger:
    """A `RunLogger` that forgets everything."""

    def params(self, values: Mapping[str, object]) -> None:
        """Do nothing."""

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Do nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Do nothing."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing."""


class NullProgress:
    """A `Progress` that shows nothing."""

    def start(self, what: str, total: int | None = None) -> None:
        """Do nothing."""

    def advance(self, amount: int = 1) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
