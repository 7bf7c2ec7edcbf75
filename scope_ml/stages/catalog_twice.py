"""Light curves that stand twice in the tables of a catalogue: equal ones count once, others are refused.

May import core, errors, `catalog_inputs` and `catalog_units`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.errors import DataError
from scope_ml.stages.catalog_inputs import Inputs
from scope_ml.stages.catalog_units import KEY_COLUMNS, ROW_BITS, Unit, rows_by_number

__all__ = ["rows_twice"]

IntArray = npt.NDArray[np.int64]
KeyArray = npt.NDArray[np.uint64]

#: Keys that are compared at once; bounds the memory.
AT_ONCE = 1 << 22

#: Rows that stand twice and are read again at once.
PAIRS_AT_ONCE = 1 << 16


def rows_twice(units: Sequence[Unit], inputs: Inputs, places: Path) -> IntArray:
    """Return the numbers of rows that say again what an earlier row says, sorted.

    Raises
    ------
    DataError
        If two rows are the same light curve and differ.
    """
    n_rows = sum(unit.n_rows for unit in units)
    bits = max(0, int(np.ceil(np.log2(max(n_rows, 1) / AT_ONCE))))
    again = [np.zeros(0, dtype=np.int64)]
    for bucket in range(1 << bits):
        key, row = _bucket(units, places, bucket, bits)
        order = np.lexsort((row, key))
        key, row = key[order], row[order]
        same = np.flatnonzero(key[1:] == key[:-1]) + 1
        if len(same):
            again += list(_compared(row, key, same, inputs))
    return np.sort(np.concatenate(again))


def _bucket(units: Sequence[Unit], places: Path, bucket: int, bits: int) -> tuple[KeyArray, IntArray]:
    """Return the keys that begin with some bits, and the numbers of their rows."""
    low, high = bucket << (64 - bits), (bucket + 1) << (64 - bits)
    found = [np.zeros((2, 0), dtype=np.uint64)]
    for unit in units:
        # Sorted, so that of the file only this part is read.
        arrays = np.load(places / f"{unit.name}.keys.npy", mmap_mode="r", allow_pickle=False)
        begin = np.searchsorted(arrays[0], np.uint64(low))
        end = np.searchsorted(arrays[0], np.uint64(high)) if high < 1 << 64 else arrays.shape[1]
        found.append(np.array(arrays[:, begin:end]))
    both = np.concatenate(found, axis=1)
    return both[0], both[1].view(np.int64)


def _compared(row: IntArray, key: KeyArray, same: IntArray, inputs: Inputs) -> Iterator[IntArray]:
    """Yield which of the rows at `same` equal the first with their key."""
    first = np.searchsorted(key, key[same], side="left")
    files = dict(enumerate(inputs.files))
    for low in range(0, len(same), PAIRS_AT_ONCE):
        one, other = row[first[low : low + PAIRS_AT_ONCE]], row[same[low : low + PAIRS_AT_ONCE]]
        before, after = (rows_by_number(numbers, files, inputs.schema) for numbers in (one, other))
        is_same_curve = _equal(before.select(_keys(before)), after.select(_keys(after)))
        equal = _equal(before, after)
        differing = np.flatnonzero(is_same_curve & ~equal)
        if len(differing):
            _refuse(before, after, int(differing[0]), (int(one[differing[0]]), int(other[differing[0]])), inputs)
        yield other[equal]


def _keys(table: pa.Table) -> list[str]:
    return [name for name in KEY_COLUMNS if name in table.column_names]


def _equal(one: pa.Table, other: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which rows are equal, null and NaN to themselves too."""
    equal = np.ones(one.num_rows, dtype=bool)
    for name in one.column_names:
        a, b = one_chunk(one[name]), one_chunk(other[name])
        same = pc.fill_null(pc.equal(a, b), False)
        same = pc.or_(same, pc.and_(pc.is_null(a, nan_is_null=True), pc.is_null(b, nan_is_null=True)))
        equal &= same.to_numpy(zero_copy_only=False)
    return equal


def _refuse(before: pa.Table, after: pa.Table, at: int, numbers: tuple[int, int], inputs: Inputs) -> None:
    one, other = (table.slice(at, 1).to_pylist()[0] for table in (before, after))
    name = next(name for name in one if one[name] != other[name])
    paths = [str(inputs.files[number >> ROW_BITS].path) for number in numbers]
    where = paths[0] if paths[0] == paths[1] else f"{paths[0]} and {paths[1]}"
    what = ", ".join(f"{key}={one[key]}" for key in KEY_COLUMNS if key in one)
    raise DataError(
        f"a light curve ({what}) stands twice in {where} and differs in '{name}': {one[name]} and {other[name]}; leave one of them"
        " out of predictions"
    )
