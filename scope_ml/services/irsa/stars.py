"""Single stars from IRSA's light-curve service, by position or by id, each kept on disk once it has come.

The service takes seconds to minutes for a star. One request is one position, or a few ids; what has come is not asked for
again. May import io, core, errors, and what lies beside and below it.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.errors import (
    ConfigError,
    DataError,
    QueryRefusedError,
    ReplyError,
    ScopeError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from scope_ml.io.layouts import Chunk
from scope_ml.io.lightcurves import of_bands, open_light_curves
from scope_ml.io.selection import Positions, Selection
from scope_ml.services.account import Account, Missing
from scope_ml.services.http import Reply
from scope_ml.services.http_text import one_line
from scope_ml.services.irsa.connection import OK, Connection, check_address
from scope_ml.services.irsa.replies import BANDS, light_curves
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.irsa.star_files import Wanted, check_answers, wanted_stars
from scope_ml.services.waiting import WaitingPool

__all__ = ["MAX_RADIUS_ARCSEC", "IrsaStars"]

_log = logging.getLogger(__name__)

#: Largest radius around a position [arcsec]; more sky than this is not single stars.
MAX_RADIUS_ARCSEC = 600.0

#: Requests without an answer, one after the other, that end a run: the service is down.
HOPELESS = 5

#: Why there is no light curve of what was asked.
NOT_THERE = "not in IRSA's light curves"


class IrsaStars:
    """Light curves of single stars; a `core.protocols.LightCurveSource`.

    Nothing is asked before `fetch`, which `digest`, `n_rows`, `chunks` and `account` call by themselves.

    Parameters
    ----------
    config
        How the service is asked.
    positions
        Where the stars are [deg], and how far a light curve may be from there [arcsec].
    ids
        Object ids (`oid`) instead, whole numbers or their text.
    bands
        Bands to take, of g, r, i; all if empty.
    progress
        Told of each star.

    Raises
    ------
    ConfigError
        If there are neither or both of positions and ids, too many, an unknown band, an odd radius or address.
    DataError
        If an id is not a whole number.
    """

    def __init__(
        self,
        config: IrsaConfig,
        *,
        positions: Positions | None = None,
        ids: pa.Array | Sequence[int] | None = None,
        bands: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> None:
        if (positions is None) == (ids is None):
            raise ConfigError("single stars need either positions or ids; type target=source_ids target.path=FILE")
        unknown = [band for band in bands if band not in BANDS]
        if unknown:
            raise ConfigError(
                f"band '{unknown[0]}' is none of IRSA's; give any of {', '.join(BANDS)}", key="band", choices=BANDS
            )
        check_address(config.light_curves, "service.irsa.light_curves")
        self._config, self._bands = config, tuple(sorted(set(bands)))
        self._progress = progress or NullProgress()
        self._selection = Selection(ids=None if ids is None else _whole(ids), positions=positions)
        if positions is not None and positions.radius_arcsec > MAX_RADIUS_ARCSEC:
            raise ConfigError(
                f"a radius of {positions.radius_arcsec:g} arcsec is no single star; give at most {MAX_RADIUS_ARCSEC:g}"
                " (target.radius_arcsec), or use bulk files: source=irsa",
                key="target.radius_arcsec",
            )
        n_stars = len(positions.ra) if positions is not None else len(self._selection.ids or ())
        if n_stars > config.max_stars:
            raise ConfigError(
                f"{n_stars} single stars are more than service.irsa.max_stars={config.max_stars}: the service takes up to"
                " minutes for each; use bulk files instead, source=irsa with a field",
                key="service.irsa.max_stars",
            )
        self._wanted = wanted_stars(config, self._selection, self._bands, self._folder_of(config))
        self._missing: dict[int, Missing] = {}
        self._fetched = False
        self._lock = threading.Lock()
        self.n_requests = 0

    def _folder_of(self, config: IrsaConfig) -> Path:
        if config.cache is not None:
            return Path(config.cache)
        # Where nothing is to be kept, a folder of this object's own, which goes with it.
        own = tempfile.mkdtemp(prefix="scope-irsa-")
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        return Path(own)

    @property
    def digest(self) -> str:
        """SHA-256 digest of what came, and of what was wanted."""
        self.fetch()
        kept = [digest_file(one.file) if at not in self._missing else "" for at, one in enumerate(self._wanted)]
        return digest_json(["irsa_stars", kept, self._selection.digest, self._bands])

    @cached_property
    def n_rows(self) -> int:
        """Number of light curves."""
        return sum(len(chunk.batch) for chunk in self.chunks())

    @property
    def selection(self) -> Selection:
        """What was asked for."""
        return self._selection

    def missing(self) -> tuple[Missing, ...]:
        """Return the ids or positions without a light curve, in their order: not there, or not answered (`again`)."""
        self.fetch()
        return tuple(self._missing[at] for at in sorted(self._missing))

    def account(self) -> Account:
        """Return what became of each id or position; at a position that is answered there may be nothing."""
        missing = self.missing()
        if self._selection.positions is None:
            n_asked = len(self._wanted)
            return Account(asked=n_asked, answered=n_asked - len(missing), missing=missing)
        n_found, open_ones = self.n_rows, tuple(one for one in missing if one.again)
        return Account(asked=n_found, answered=n_found, positions_asked=len(self._wanted), missing=open_ones)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the light curves of one position or id after the other; each light curve once, though two positions have it."""
        self.fetch()
        seen: set[int] = set()
        for at, one in enumerate(self._wanted):
            if at in self._missing:
                continue
            for chunk in open_light_curves(one.file, layout="scope").chunks():
                ids = chunk.batch.id.tolist()
                new = [row for row, name in enumerate(ids) if name not in seen]
                seen.update(ids)
                if not new:
                    continue
                yield of_bands(
                    Chunk(batch=chunk.batch.take(new), rows=chunk.rows.take(pa.array(new, pa.int64()))), self._bands
                )

    def fetch(self) -> None:
        """Ask for what is not kept yet; does nothing the second time.

        Raises
        ------
        ServiceUnavailableError
            If the service answers nothing for a while.
        QueryRefusedError
            If it refuses the question.
        OutputError
            If what came cannot be kept.
        """
        with self._lock:
            if self._fetched:
                return
            asked = [at for at, one in enumerate(self._wanted) if self._config.refresh or not self._stands(at, one)]
            pieces = _pieces(asked, 1 if self._selection.ids is None else self._config.ids_a_request)
            self._progress.start("asking IRSA for single stars", len(self._wanted))
            self._progress.advance(len(self._wanted) - len(asked))
            try:
                self._ask(pieces)
            finally:
                self._progress.finish()
            self._fetched = True

    def _stands(self, at: int, one: Wanted) -> bool:
        """Return whether what was wanted is kept, and remember if that is nothing; what cannot be read is asked again."""
        if not one.file.exists():
            return False
        try:
            n_rows = one.n_kept()
        except ScopeError as error:
            _log.warning("%s is not what was asked for and is asked for again (%s)", one.file, error)
            return False
        if not n_rows:
            self._missing[at] = one.missing(NOT_THERE, again=False)
        return True

    def _ask(self, pieces: list[list[int]]) -> None:
        """Ask piece after piece, a few at a time; what fails is split, then named, and a service that is down ends it."""
        if not pieces:
            return
        config, failures = self._config, list[str]()
        with Connection(config) as connection, WaitingPool(config.connections) as pool:
            waiting, answered = deque(pieces), False
            under_way: dict[Future[None], list[int]] = {}
            try:
                while waiting or under_way:
                    while waiting and len(under_way) < config.connections:
                        piece = waiting.popleft()
                        under_way[pool.submit(self._fetch_piece, connection, piece)] = piece
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        piece = under_way.pop(future)
                        error = self._outcome(future)
                        if error is None:
                            answered = True
                            failures.clear()
                            self._progress.advance(len(piece))
                            continue
                        failures.append(error)
                        if len(piece) > 1:
                            waiting.extendleft([at] for at in reversed(piece))
                            continue
                        self._missing[piece[0]] = self._wanted[piece[0]].missing(f"service: {error}", again=True)
                        self._progress.advance()
                    nothing = not (waiting or under_way or answered)
                    if len(failures) >= HOPELESS or (failures and nothing):
                        raise ServiceUnavailableError(
                            f"IRSA's light-curve service answered none of the last {len(failures)} requests:"
                            f" {failures[-1]}; what came before is kept, type the same command again later"
                        )
            finally:
                connection.stop()
        self.n_requests += connection.n_requests

    @staticmethod
    def _outcome(future: Future[None]) -> str | None:
        """Return why a request has no answer; None if it has."""
        try:
            future.result()
        except (ServiceUnavailableError, ServiceTimeoutError) as error:
            return str(error)
        return None

    def _fetch_piece(self, connection: Connection, piece: list[int]) -> None:
        words = dict(self._wanted[piece[0]].words)
        if "ID" in words:
            words["ID"] = ",".join(self._wanted[at].words["ID"] for at in piece)
        url = f"{self._config.light_curves}?{urlencode({**words, 'FORMAT': self._config.format})}"

        decoded: list[Chunk] = []

        def whole(reply: Reply) -> str | None:
            try:
                decoded.append(light_curves(reply.body, self._config.format))
                check_answers(decoded[-1], [self._wanted[at] for at in piece])
            except ReplyError as error:
                return str(error)
            return None

        reply = connection.ask(url, whole=whole)
        if reply.status != OK:
            raise QueryRefusedError(
                f"IRSA's light-curve service refuses {words} (status {reply.status}, {one_line(reply.body)})"
            )
        for at in piece:
            self._keep(at, self._wanted[at].part_of(decoded[-1]))

    def _keep(self, at: int, chunk: Chunk) -> None:
        one = self._wanted[at]
        if len(chunk.batch):
            self._missing.pop(at, None)
        else:
            self._missing[at] = one.missing(NOT_THERE, again=False)
        one.keep(chunk)


def _pieces(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _whole(ids: pa.Array | Sequence[int]) -> pa.Array:
    """Return ids as int64.

    Raises
    ------
    DataError
        If one is none of IRSA's.
    """
    given = exact_ids(
        ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(list(ids)), "ids", where="single stars"
    )
    if pa.types.is_string(given.type):
        wrong = next((text for text in given.to_pylist() if not (text.isascii() and text.isdigit())), None)
        if wrong is not None:
            raise DataError(
                f"'{wrong}' is no id of IRSA's light curves, which are whole numbers such as 686103400067717"
            )
        given = given.cast(pa.int64())
    return given
