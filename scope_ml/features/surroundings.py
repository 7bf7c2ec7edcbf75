"""What lies around light curves: catalogues, alerts and bright stars, opened as far as a run needs them.

May import `crossmatch`, `alerts`, `bright_stars`, `core` and `io`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option
from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.protocols import BulkCatalogSource, CatalogSource
from scope_ml.core.provenance import digest_file
from scope_ml.errors import ConfigError, DataError, MissingColumnError
from scope_ml.features.alerts import AlertMatcher, UnknownAlerts
from scope_ml.features.bright_stars import BrightStars
from scope_ml.features.crossmatch import CrossMatch, CrossMatcher, UnknownMatches
from scope_ml.io.catalogs import ParquetCatalogs
from scope_ml.io.tables import read_foreign_table

__all__ = [
    "NEAR_BRIGHT_STAR",
    "CatalogsConfig",
    "PrecomputedBrightStars",
    "Surroundings",
    "Survey",
    "SurveyCollections",
    "open_surroundings",
]

Item = TypeVar("Item")

#: Right ascensions and declinations [deg], float64 (n,) each.
Positions: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class Pool(Protocol):
    """Threads that call what they are given."""

    def submit(self, function: Callable[[], object], /) -> object:
        """Have a function called when a thread is free."""
        ...


#: Reason by which a table of dropped light curves names those in the halo of a bright star.
NEAR_BRIGHT_STAR = "near_bright_star"

#: Feature groups that need catalogues.
GROUPS = ("alerts", "crossmatch")


@dataclass(frozen=True, kw_only=True)
class SurveyCollections:
    """Names of a survey's collections."""

    sources: str = option("ZTF_sources", doc="collection of the light curves")
    alerts: str = option("ZTF_alerts", doc="collection of the alerts")
    gaia: str = option("Gaia_EDR3", doc="collection of Gaia's stars, in which bright ones are looked for")


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The survey group of the configuration."""

    collections: SurveyCollections = option(SurveyCollections(), doc="names of the survey's collections")


@dataclass(frozen=True, kw_only=True)
class CatalogsConfig:
    """The catalogs group of the configuration: where catalogues are."""

    kind: Literal["folder", "kowalski", "none"] = option(
        "folder",
        doc="folder: Parquet files; kowalski: the service; none: nowhere, columns that need them have no values",
        machine=True,
    )
    path: str | None = option(
        None,
        doc="folder with one folder or file <name>.parquet per catalogue; null: that of source=survey",
        machine=True,
    )
    cache: str | None = option(
        None,
        doc="folder that keeps what catalogues were asked, for later runs; null keeps nothing, with kind=kowalski it is"
        " the folder catalogs in service.kowalski.cache",
        machine=True,
    )
    bright_stars: str | None = option(
        None,
        doc="table of the light curves to drop with bright_star_exclusion=precomputed: a column id, such as"
        " OUT.dropped.parquet of an earlier run",
        machine=True,
    )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run looks up around its light curves; None where it looks up nothing.

    Attributes
    ----------
    crossmatch, alerts, bright_stars
        Matchers of positions.
    precomputed
        The light curves that an earlier run found near bright stars.
    digests
        Content digest of everything that is looked up, by collection; ``bright_stars`` for the table of `precomputed`.
    connections
        Requests that may be under way at a time; 0 where catalogues are files of this machine.
    warnings
        What a reader of the results should know.
    """

    crossmatch: CrossMatcher | UnknownMatches | None = None
    alerts: AlertMatcher | UnknownAlerts | None = None
    bright_stars: BrightStars | None = None
    precomputed: PrecomputedBrightStars | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    connections: int = 0
    warnings: tuple[str, ...] = ()

    @contextmanager
    def asked_ahead(
        self, where: Callable[[Item], Positions], threads: Callable[[int], AbstractContextManager[Pool]]
    ) -> Iterator[Callable[[Iterable[Item]], Iterator[Item]]]:
        """Give a way to go through items for which all catalogues are asked at once, and before their turn.

        Each item is taken one early, and what its positions need is asked in the background, by `connections` threads.
        An error is not told here: who looks up what was not answered asks again, and is told. At the end what was not
        begun is not asked.

        Parameters
        ----------
        where
            Gives the right ascensions and declinations [deg] of an item, float64 (n,) each.
        threads
            Makes a pool of so many threads. At its end what was not begun must not be begun, nor may a thread be waited for
            that the network holds.
        """
        if not self.connections:
            yield iter
            return
        matchers = [one for one in (self.bright_stars, self.crossmatch, self.alerts) if one is not None]
        with threads(self.connections) as pool:

            def begun(items: Iterable[Item]) -> Iterator[Item]:
                waiting: list[Item] = []
                for item in items:
                    ra, dec = where(item)
                    requests = [one.requests(ra, dec) for one in matchers]
                    # A request of each catalogue in turn: they may be answered by different machines.
                    for request in chain.from_iterable(zip_longest(*requests)):
                        if request is not None:
                            pool.submit(request)
                    waiting.append(item)
                    if len(waiting) > 1:
                        yield waiting.pop(0)
                yield from waiting

            yield begun

    def near_bright_star(
        self, ids: pa.Array | pa.ChunkedArray, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_] | None:
        """Return which light curves a bright star spoils, bool (n,); None if that is not asked.

        Parameters
        ----------
        ids
            Ids of the light curves (n,).
        ra, dec
            Their positions [deg], float64 (n,), NaN where unknown.

        Raises
        ------
        ScopeError
            If the catalogue cannot be asked.
        """
        if self.precomputed is not None:
            return self.precomputed.near_ids(ids)
        return None if self.bright_stars is None else self.bright_stars.near(ra, dec)


class PrecomputedBrightStars:
    """Light curves that are known to lie near bright stars.

    Parameters
    ----------
    path
        A table (.parquet, .h5 or .csv) with a column `id`: the table of light curves that an earlier run dropped, of
        which the rows with reason ``near_bright_star`` count, or any table without a column `reason`.

    Raises
    ------
    FormatError
        If it cannot be read.
    MissingColumnError
        If it has no column `id`.
    DataError
        If the ids are floats or null.
    """

    def __init__(self, path: Path) -> None:
        table = read_foreign_table(Path(path))
        if "id" not in table.column_names:
            raise MissingColumnError(str(path), ("id",), table.column_names)
        if "reason" in table.column_names:
            table = table.filter(pc.equal(table["reason"], NEAR_BRIGHT_STAR))
        self.digest = digest_file(Path(path))
        self._ids = pa.array([], pa.string())
        if table.num_rows:
            self._ids = _texts(exact_ids(table["id"], "id", where=str(path)))
            rounded = self._ids.filter(pc.match_substring_regex(self._ids, r"^-?[0-9]+[.eE][-+.0-9eE]*$"))
            if len(rounded):
                raise DataError(f"{path}: id '{rounded[0].as_py()}' was written as a float; write ids as whole numbers")

    def __len__(self) -> int:
        return len(self._ids)

    def near_ids(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Return whether each light curve is one of them, bool (n,); ids are whole numbers or text, compared exactly.

        Raises
        ------
        DataError
            If `ids` are floats or null.
        """
        if not len(ids):
            return np.zeros(0, dtype=np.bool_)
        near = pc.is_in(_texts(exact_ids(ids, "id", where="light curves")), value_set=self._ids)
        return np.asarray(one_chunk(near).to_numpy(zero_copy_only=False), dtype=np.bool_)


def open_surroundings(
    groups: Collection[str],
    *,
    catalogs: CatalogsConfig,
    survey: SurveyCollections,
    crossmatch: CrossMatch,
    bright_star_exclusion: Literal["off", "catalog", "precomputed"] = "off",
    bright_star_radius_arcsec: float = 300.0,
    source: CatalogSource | None = None,
) -> Surroundings:
    """Open the catalogues that the chosen feature groups and the cleaning need, and no others.

    Parameters
    ----------
    groups
        Chosen feature groups.
    catalogs, survey, crossmatch
        Groups of the configuration.
    bright_star_exclusion, bright_star_radius_arcsec
        Options of the cleaning.
    source
        Where catalogues are, if not in the folder `catalogs.path`.

    Raises
    ------
    ConfigError
        If catalogues, or the table of bright stars, are needed and not given.
    ScopeError
        If they are not there or cannot be read.
    """
    wanted = [f"feature group '{name}'" for name in GROUPS if name in groups]
    if bright_star_exclusion == "catalog":
        wanted.append("cleaning.bright_star_exclusion=catalog")
    precomputed = _precomputed(catalogs) if bright_star_exclusion == "precomputed" else None
    digests = {} if precomputed is None else {"bright_stars": precomputed.digest}
    if not wanted:
        return Surroundings(precomputed=precomputed, digests=digests)
    if catalogs.kind == "none":
        return _unknown(groups, crossmatch, precomputed, digests, bright_star_exclusion)
    source = source or _folder(catalogs, wanted)
    far = source if isinstance(source, BulkCatalogSource) else None
    cache = Path(catalogs.cache) if catalogs.cache is not None else None if far is None else far.cache
    names: list[str] = list(crossmatch.catalogs) if "crossmatch" in groups else []
    names += [survey.alerts] if "alerts" in groups else []
    names += [survey.gaia] if bright_star_exclusion == "catalog" else []
    radius = crossmatch.radius_arcsec
    return Surroundings(
        crossmatch=CrossMatcher(source, crossmatch, cache) if "crossmatch" in groups else None,
        alerts=AlertMatcher(source, survey.alerts, radius, cache) if "alerts" in groups else None,
        bright_stars=BrightStars(source, survey.gaia, bright_star_radius_arcsec, radius, cache)
        if bright_star_exclusion == "catalog"
        else None,
        precomputed=precomputed,
        digests={**digests, **{name: source.digest(name) for name in dict.fromkeys(names)}},
        connections=0 if far is None else far.connections,
    )


def _unknown(
    groups: Collection[str],
    crossmatch: CrossMatch,
    precomputed: PrecomputedBrightStars | None,
    digests: Mapping[str, str],
    bright_star_exclusion: str,
) -> Surroundings:
    """Return what there is without catalogues.

    Raises
    ------
    ConfigError
        If light curves near bright stars are to be left out.
    """
    if bright_star_exclusion == "catalog":
        raise ConfigError(
            "cleaning.bright_star_exclusion=catalog needs catalogues, and catalogs=none has none; give"
            " cleaning.bright_star_exclusion=off, or catalogues: catalogs=folder or catalogs=kowalski",
            key="cleaning.bright_star_exclusion",
        )
    empty = [name for name in GROUPS if name in groups]
    return Surroundings(
        crossmatch=UnknownMatches(crossmatch) if "crossmatch" in groups else None,
        alerts=UnknownAlerts() if "alerts" in groups else None,
        precomputed=precomputed,
        digests=digests,
        warnings=(f"catalogs=none: the columns of {' and '.join(empty)} have no values",),
    )


def _folder(catalogs: CatalogsConfig, wanted: Collection[str]) -> CatalogSource:
    needs = f"{' and '.join(wanted)} {'needs' if len(wanted) == 1 else 'need'} catalogues"
    if catalogs.kind == "kowalski":
        raise ConfigError(f"{needs}; this cannot ask Kowalski, give catalogs=folder", key="catalogs.kind")
    if catalogs.path is None:
        raise ConfigError(
            f"{needs}; give their folder with catalogs.path=FOLDER, or leave out what needs them", key="catalogs.path"
        )
    return ParquetCatalogs(Path(catalogs.path))


def _precomputed(catalogs: CatalogsConfig) -> PrecomputedBrightStars:
    if catalogs.bright_stars is None:
        raise ConfigError(
            "cleaning.bright_star_exclusion=precomputed needs the list of light curves to drop; give"
            " catalogs.bright_stars=TABLE, such as OUT.dropped.parquet of an earlier run",
            key="catalogs.bright_stars",
        )
    return PrecomputedBrightStars(Path(catalogs.bright_stars))


def _texts(ids: pa.Array) -> pa.Array:
    """Return ids as text, so that numbers and the same numbers written as text are equal."""
    return ids.cast(pa.string())
