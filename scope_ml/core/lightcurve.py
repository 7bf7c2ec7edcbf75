"""`LightCurveBatch`, the only light-curve type that kernels, features, readers and services speak.

A batch is a handful of flat, read-only columns plus int64 offsets: the points of light curve ``i`` are
``offsets[i]:offsets[i + 1]`` of every per-point column. That is how Arrow stores list columns, so a batch
shares memory with the table it came from (`core/lightcurve_arrow.py` converts). May import
`errors`, `core.lightcurve_checks` and numpy, pyarrow only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from scope_ml.core.lightcurve_checks import check_ids, check_lengths, check_offsets, check_points
from scope_ml.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["POINT_COLUMNS", "LightCurve", "LightCurveBatch"]

Array: TypeAlias = npt.NDArray[Any]

#: Per-point columns in the order of the fields; the last three are optional.
POINT_COLUMNS = ("time", "mag", "mag_err", "band", "flags", "programid")


@dataclass(frozen=True, kw_only=True, eq=False)
class LightCurve:
    """One light curve: views into its batch.

    Attributes
    ----------
    id
        Integer or string, as given.
    time, mag, mag_err
        Shape (n_obs,); [d, HJD], [mag], [mag].
    band, flags, programid
        Shape (n_obs,) or None.
    """

    id: int | str
    time: npt.NDArray[np.float64]
    mag: Array
    mag_err: Array
    band: Array | None = None
    flags: Array | None = None
    programid: Array | None = None

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, kw_only=True, eq=False)
class LightCurveBatch:
    """Light curves as flat columns and offsets.

    The invariants (shapes, dtypes, offsets) are checked once, here. The *values* are not: NaN, unsorted times,
    duplicate times and errors that are not positive are allowed, cleaning deals with them.

    Attributes
    ----------
    id
        Shape (n,), int64 or strings (``object`` or ``str`` dtype); need not be unique.
    offsets
        Shape (n + 1,), int64, from 0 to the number of points N, never falling.
    time
        Shape (N,), float64 [d, HJD]. float32 is refused: its step is 0.25 d at HJD 2.46e6.
    mag, mag_err
        Shape (N,), both float64 or both float32 [mag].
    band
        Shape (N,), strings or integer codes per point, or None.
    flags
        Shape (N,), integers (`catflags`; 0 is clean), or None.
    programid
        Shape (N,), integers: the observing programme that took the point (ZTF: 1 public, 2 partnership, 3 Caltech), or
        None.

    Raises
    ------
    DataError
        If a column has the wrong shape or dtype, or the offsets do not partition the points.
    """

    id: Array
    offsets: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64]
    mag: Array
    mag_err: Array
    band: Array | None = None
    flags: Array | None = None
    programid: Array | None = None

    def __post_init__(self) -> None:
        for name in ("id", "offsets", *POINT_COLUMNS):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _read_only(np.asarray(value), name))
        check_ids(self.id)
        check_points(**{name: getattr(self, name) for name in POINT_COLUMNS})
        check_offsets(self.offsets, n_sources=len(self.id), n_points=len(self.time))

    @classmethod
    def _trusted(cls, columns: dict[str, Array | None]) -> LightCurveBatch:
        """Make a batch of columns that are known to fit, such as pieces of a checked batch."""
        batch = object.__new__(cls)
        for name, value in columns.items():
            object.__setattr__(batch, name, None if value is None else _read_only(value, name))
        return batch

    def __setstate__(self, state: dict[str, Array | None]) -> None:
        # Sent to another process, arrays arrive writable.
        for name, value in state.items():
            object.__setattr__(self, name, None if value is None else _read_only(value, name))

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        extras = "".join(f", {name}" for name in POINT_COLUMNS[3:] if getattr(self, name) is not None)
        return f"LightCurveBatch({len(self)} light curves, {self.n_points} points, {self.mag.dtype}{extras})"

    def __iter__(self) -> Iterator[LightCurve]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> LightCurve:
        """Return light curve `index` (negative counts from the end) as views."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"light curve {index} of a batch of {len(self)}")
        index %= len(self)
        points = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        name = self.id[index]
        return LightCurve(
            id=str(name) if isinstance(name, str) else int(name),
            **{column: values[points] for column, values in self._points().items() if values is not None},
        )

    @property
    def n_obs(self) -> npt.NDArray[np.int64]:
        """Number of points of each light curve, shape (n,), int64."""
        return np.diff(self.offsets)

    @property
    def n_points(self) -> int:
        """Number of points of all light curves together."""
        return len(self.time)

    def _points(self) -> dict[str, Array | None]:
        return {name: getattr(self, name) for name in POINT_COLUMNS}

    def _with_points(self, chosen: Array | slice) -> dict[str, Array | None]:
        return {name: None if values is None else values[chosen] for name, values in self._points().items()}

    def slice(self, start: int, stop: int | None = None) -> LightCurveBatch:
        """Return the light curves `start` to `stop` (exclusive, default the end), sharing the points' memory."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return self._trusted(
            {
                "id": self.id[start:stop],
                "offsets": self.offsets[start : stop + 1] - first,
                **self._with_points(slice(first, last)),
            }
        )

    def take(self, indices: Sequence[int] | Array) -> LightCurveBatch:
        """Return the light curves at `indices`, shape (k,), in that order (copies; negative counts from the end)."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise IndexError(f"take needs integer indices of one dimension, not {chosen.dtype} of shape {chosen.shape}")
        ids = self.id[chosen]
        lengths = self.n_obs[chosen]
        offsets = _offsets_of(lengths)
        # The points of each chosen light curve are a run: its old start plus 0, 1, 2, ...
        points = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return self._trusted({"id": ids, "offsets": offsets, **self._with_points(points)})

    def select(self, point_mask: npt.NDArray[np.bool_]) -> LightCurveBatch:
        """Keep the points where `point_mask`, shape (N,), bool, is true; every light curve stays, maybe empty."""
        mask = np.asarray(point_mask)
        if mask.dtype != np.bool_ or mask.shape != self.time.shape:
            raise ValueError(
                f"point_mask must be bool of shape {self.time.shape}, not {mask.dtype} of shape {mask.shape}"
            )
        kept_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(mask, dtype=np.int64)])
        return self._trusted({"id": self.id, "offsets": kept_before[self.offsets], **self._with_points(mask)})

    @classmethod
    def concatenate(cls, batches: Sequence[LightCurveBatch]) -> LightCurveBatch:
        """Return one batch of all light curves of `batches` in order; mixed precisions become float64.

        Raises
        ------
        DataError
            If there is no batch, or some have integer and some string ids, or only some have an optional column.
        """
        if not batches:
            raise DataError("cannot concatenate no light-curve batches; give at least one")
        columns: dict[str, Array | None] = {}
        for name in ("id", *POINT_COLUMNS):
            values = [getattr(batch, name) for batch in batches]
            if len({"none" if value is None else _kind(value) for value in values}) > 1:
                raise DataError(
                    f"cannot concatenate light-curve batches whose '{name}' is of different kinds or missing in some;"
                    " convert or drop the column first"
                )
            columns[name] = None if values[0] is None else np.concatenate(values)
        if columns["mag"] is not None and columns["mag_err"] is not None:
            precision = np.result_type(columns["mag"], columns["mag_err"])
            columns |= {name: columns[name].astype(precision, copy=False) for name in ("mag", "mag_err")}  # type: ignore[union-attr]
        columns["offsets"] = _offsets_of(np.concatenate([batch.n_obs for batch in batches]))
        return cls._trusted(columns)

    @classmethod
    def from_lists(
        cls,
        ids: Sequence[int] | Sequence[str] | Array,
        times: Sequence[Any],
        mags: Sequence[Any],
        mag_errs: Sequence[Any],
        *,
        bands: Sequence[Any] | None = None,
        flags: Sequence[Any] | None = None,
        programids: Sequence[Any] | None = None,
    ) -> LightCurveBatch:
        """Make a batch of one sequence per light curve and column; for tests, notebooks and small input.

        Raises
        ------
        DataError
            If the sequences of one light curve differ in length, or a column has the wrong dtype.
        """
        names = np.asarray(ids, dtype=object) if len(ids) and isinstance(ids[0], str) else np.asarray(ids)
        names = names.astype(np.int64) if names.size == 0 else names
        given = dict(zip(POINT_COLUMNS, (times, mags, mag_errs, bands, flags, programids), strict=True))
        lists = {name: [np.asarray(item) for item in values] for name, values in given.items() if values is not None}
        lengths = np.array([len(item) for item in lists["time"]], dtype=np.int64)
        for name, items in lists.items():
            check_lengths(names, lengths, np.array([len(item) for item in items], dtype=np.int64), "time", name)
        return cls(id=names, offsets=_offsets_of(lengths), **{name: _joined(name, lists[name]) for name in lists})

    @classmethod
    def from_arrow(
        cls,
        table: pa.Table | pa.RecordBatch,
        *,
        id: str = "id",
        time: str = "hjd",
        mag: str = "mag",
        mag_err: str = "magerr",
        band: str | None = None,
        flags: str | None = "catflags",
        programid: str | None = "programid",
    ) -> LightCurveBatch:
        """Make a batch of a table with one row a light curve and list columns, sharing its memory.

        Nothing is copied but the ids (if strings) and the offsets, unless a column has several chunks, holds nulls,
        or is of mixed precision. Null lists become empty light curves; a null magnitude or time becomes NaN, a null
        flag or programid has all bits set, so that it never counts as clean or allowed.

        Parameters
        ----------
        table
            Any Arrow table, sliced or chunked, with ``list`` or ``large_list`` columns.
        id, time, mag, mag_err
            Names of the columns; time in [d, HJD], float64.
        band, flags, programid
            Names of optional list columns; `flags` and `programid` may be absent from the table, `band` may not if it
            is named.

        Raises
        ------
        MissingColumnError
            If a named column is not there.
        SchemaError
            If a per-point column is not a list column.
        DataError
            If an id is null or no integer or string, or the lists of one row differ in length.
        """
        from scope_ml.core.lightcurve_arrow import batch_from_arrow

        names = {"time": time, "mag": mag, "mag_err": mag_err, "band": band, "flags": flags, "programid": programid}
        return batch_from_arrow(table, {"id": id, **names})

    def to_arrow(self) -> pa.Table:
        """Return a table `id`, `hjd`, `mag`, `magerr` and, where there, `band`, `catflags`, `programid`, sharing memory."""
        from scope_ml.core.lightcurve_arrow import batch_to_arrow

        return batch_to_arrow(self)


def _offsets_of(lengths: Array) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _joined(name: str, items: list[Array]) -> Array:
    """Join lists; empty ones have no say in the dtype, and whole numbers of time or magnitude become float64."""
    filled = [item for item in items if len(item)]
    is_float = name in ("time", "mag", "mag_err")
    if not filled:
        return np.zeros(0, np.float64 if is_float else np.int64)
    values = np.concatenate(filled)
    return values.astype(np.float64) if is_float and values.dtype.kind in "iu" else values


def _kind(values: Array) -> str:
    """Return what may be concatenated with what: integers, floats, strings."""
    return {"i": "integer", "u": "integer", "f": "float"}.get(values.dtype.kind, "string")


def _read_only(values: Array, name: str) -> Array:
    if values.ndim != 1:
        raise DataError(f"light-curve column '{name}' has shape {values.shape}; it must have one dimension")
    view = np.ascontiguousarray(values).view()
    view.setflags(write=False)
    return view
