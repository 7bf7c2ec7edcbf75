"""Make `pandas_hdf5.tar.xz`: files as SCoPe writes them with `HDFStore`, for tests that read them without PyTables.

Needs pandas (made with 2.2.3) and tables (3.11.1), which are no dependencies of scope_ml:
``python make_pandas_hdf5.py FOLDER && tar cJf pandas_hdf5.tar.xz -C FOLDER .``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd


def put(path: Path, key: str, table: pd.DataFrame | pd.Series, mode: str = "w", **options: object) -> None:
    """Write a table under `key`, its attrs as SCoPe does."""
    with pd.HDFStore(str(path), mode=mode) as store:
        store.put(key, table, **options)
        if table.attrs:
            store.get_storer(key).attrs.metadata = table.attrs


def main(folder: Path) -> None:
    """Write all files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = pd.DataFrame(
        {
            "_id": 10245362000000 + np.arange(3),
            "ra": [0.5, 120.25, 359.75],
            "field": np.int64(245),
            "filter": np.array([2, 2, 2], dtype="int32"),
            "median": [15.5, np.nan, 17.0],
            "wstd": np.array([0.25, 0.5, 0.75], dtype="float32"),
            "known": [True, False, True],
            "variable": [1.0, 0.25, 0.0],
        }
    )
    attrs = {"scope_code_version": "0.9.5", "ZTF_source_catalog": "ZTF_sources_20240117", "n": 3}
    text = plain.assign(obj_id=["ZTFJ1", None, "ZTFJ3"])
    plain.attrs, text.attrs = attrs, attrs
    put(folder / "fixed.h5", "df", plain)
    put(folder / "training.h5", "df", plain)
    places = [{"radec_geojson": {"coordinates": [ra - 180, 1.0]}} for ra in plain.ra]
    put(folder / "training.h5", "coordinates", pd.Series(places, name="coordinates"), mode="a")
    put(folder / "training.h5", "dmdt", pd.Series([np.zeros((26, 26)).tolist()] * 3, name="dmdt"), mode="a")
    put(folder / "table.h5", "df", text, format="table", index=False)
    put(folder / "fixed_text.h5", "df", text)
    put(folder / "blosc.h5", "df", plain, format="table", index=False, complevel=5, complib="blosc")
    put(folder / "empty.h5", "df", plain.iloc[:0])
    put(folder / "indexed.h5", "df", plain.set_index("_id"))
    put(folder / "categories.h5", "df", plain.assign(c=pd.Categorical(["a", "b", "a"])), format="table", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
