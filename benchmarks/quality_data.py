"""Stars of the real sets for `benchmarks.quality`: our features as the doors wrote them, and a peer's, measured here.

The peer is 52 features of the package light-curve: its statistics of magnitudes and what it makes of its own periodogram
(the four highest peaks and the spectrum as if it were a light curve), to the same highest frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.provenance import digest_file, digest_json
from scope_ml.datasets.assemble import assemble
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.join import JoinConfig
from scope_ml.errors import DataError
from scope_ml.features.cleaning import Cleaning, clean
from scope_ml.features.registry import column_spec, feature_set
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_foreign_table
from scope_ml.models.tables import feature_matrix
from scope_ml.taxonomy.classes import load_classes
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["SETS", "Stars", "Table", "load_stars"]

#: The labelled sets and the bands taken of each (all if none is named), as in pipelines/benchmark/params.yaml.
SETS: dict[str, tuple[str, ...]] = {
    "asas": (),
    "acvs": (),
    "crts_sss": (),
    "debosscher_hip_ogle": (),
    "s82_rrlyrae": ("g",),
    "qso_ceph_lmc": (),
    "sn_ia_bts": (),
}

#: As conf/cleaning/sparse.yaml.
CLEANING = Cleaning(min_n_obs=20, min_cadence_minutes=0.0)

#: Stars of two sets are one up to this distance [arcsec], as in the pipeline.
JOIN = JoinConfig(group_radius_arcsec=15.0)

#: The peer's periodogram: highest frequency [1/d], least steps a peak, most frequencies (a power of two), peaks.
MAX_FREQUENCY, SAMPLES, MOST_FREQUENCIES, N_PEAKS = 24.0, 5, 2**20, 4

#: Version of the peer's list of features: part of the name of what is kept of it.
PEER = "52 of light-curve, 1"


@dataclass(frozen=True)
class Table:
    """Features of all rows: names and float64 (n, k)."""

    names: tuple[str, ...]
    matrix: NDArray[np.float64]

    def without(self, names: Sequence[str]) -> Table:
        """Return the table without some columns."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return Table(tuple(self.names[place] for place in kept), self.matrix[:, kept])


@dataclass(frozen=True)
class Stars:
    """Light curves of all sets.

    Attributes
    ----------
    dataset
        Labels, stars and origins.
    taxonomy
        The classes.
    native
        The label of the origin, (n,).
    ours, peer
        Our model inputs without colours (one band is all there is), and the peer's features.
    """

    dataset: Dataset
    taxonomy: Taxonomy
    native: NDArray[np.str_]
    ours: Table
    peer: Table

    def tables(self) -> dict[str, Table]:
        """Return both by the name that they have in the tables."""
        return {"peer": self.peer, "ours": self.ours}


def load_stars(features: Path, data: Path, cache: Path, conf: Path) -> Stars:
    """Read the tables of the doors and the labels, and measure the peer's features or read what is kept of them.

    Parameters
    ----------
    features
        Folder with ``<set>/features.parquet``.
    data
        Folder with ``<set>/labels.parquet`` and light curves.
    cache
        Folder for the peer's features.
    conf
        The configuration, for the classes.
    """
    taxonomy = load_classes(conf)
    dataset, _ = assemble(
        [features / name / "features.parquet" for name in SETS],
        [data / name / "labels.parquet" for name in SETS],
        taxonomy,
        join_config=JOIN,
        origins=tuple(SETS),
    )
    names = feature_set("ontological", "best", dataset.table.column_names)
    names = tuple(name for name in names if column_spec(name).group != "colour")
    ids, bands = dataset.table["id"].to_pylist(), dataset.table["band"].to_pylist()
    native: dict[tuple[str, str], str] = {}
    measured: dict[tuple[str, str, str], NDArray[np.float64]] = {}
    peer_names: tuple[str, ...] = ()
    for name, chosen in SETS.items():
        for row in read_foreign_table(data / name / "labels.parquet").to_pylist():
            native[name, row["id"]] = str(row["native_class"])
        own, peer_names = _peer(name, data / name, chosen, cache)
        measured |= own
    keys = list(zip(dataset.origin.tolist(), ids, bands, strict=True))
    missing = [key for key in keys if key not in measured]
    if missing:
        raise DataError(
            f"{data / missing[0][0]} lacks {len(missing)} light curve(s) of the feature tables: {missing[0]}"
        )
    return Stars(
        dataset=dataset,
        taxonomy=taxonomy,
        native=np.array([native[origin, star] for origin, star, _ in keys]),
        ours=Table(names, feature_matrix(dataset.table, names)),
        peer=Table(peer_names, np.stack([measured[key] for key in keys])),
    )


def _peer(
    name: str, folder: Path, bands: tuple[str, ...], cache: Path
) -> tuple[dict[tuple[str, str, str], NDArray[np.float64]], tuple[str, ...]]:
    """Return the peer's features by set, id and band, and their names."""
    source = {path.name: digest_file(path) for path in sorted(folder.glob("lightcurves*.parquet"))}
    kept = cache / f"{name}_{digest_json([PEER, source, list(bands)])[:12]}.npz"
    if not kept.exists():
        ids, of_bands, rows, names = _measure(folder, bands)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, ids=ids, bands=of_bands, values=rows, names=names)
    with np.load(kept) as found:
        ids, of_bands, values, names = (found[key] for key in ("ids", "bands", "values", "names"))
    rows_by_key = {(name, str(star), str(band)): row for star, band, row in zip(ids, of_bands, values, strict=True)}
    return rows_by_key, tuple(map(str, names))


def _measure(folder: Path, bands: tuple[str, ...]) -> tuple[list[str], list[str], NDArray[np.float64], list[str]]:
    ids: list[str] = []
    of_bands: list[str] = []
    rows: list[NDArray[np.float64]] = []
    names: list[str] = []
    for chunk in open_light_curves(folder, bands=bands).chunks():
        cleaned = clean(chunk.batch, CLEANING)
        batch = cleaned.batch
        chunk_ids, chunk_bands = chunk.rows["id"].to_pylist(), chunk.rows["band"].to_pylist()
        for i in np.flatnonzero(cleaned.status == 0).tolist():
            points = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
            # The package wants rising times; those of one moment are put a tenth of a millisecond apart.
            time = batch.time[points] - batch.time[points][0] + 1e-9 * np.arange(points.stop - points.start)
            extractor = _extractor(float(time[-1]))
            names = list(extractor.names)
            values = [batch.mag[points].astype(float), batch.mag_err[points].astype(float)]
            rows.append(extractor(time, *values, sorted=True, check=False, fill_value=np.nan))
            ids.append(str(chunk_ids[i]))
            of_bands.append(str(chunk_bands[i]))
    return ids, of_bands, np.array(rows), names


def _extractor(baseline: float) -> Any:
    import light_curve as lc

    wanted = MAX_FREQUENCY * SAMPLES * baseline
    n = min(2 ** int(np.ceil(np.log2(max(wanted, 1024.0)))), MOST_FREQUENCIES)
    spectrum = [lc.Amplitude(), lc.BeyondNStd(2.0), lc.BeyondNStd(3.0), lc.Cusum(), lc.Eta(), lc.StandardDeviation()]
    periodogram = lc.Periodogram(
        peaks=N_PEAKS,
        freqs=np.linspace(0.0, 2 * np.pi * MAX_FREQUENCY, n + 1),
        fast=True,
        features=[*spectrum, lc.PercentAmplitude()],
    )
    plain = [
        *(lc.Amplitude(), lc.AndersonDarlingNormal(), lc.BeyondNStd(1.0), lc.BeyondNStd(2.0), lc.Cusum(), lc.Eta()),
        *(lc.EtaE(), lc.ExcessVariance(), lc.InterPercentileRange(0.25), lc.InterPercentileRange(0.1)),
        *(lc.InterPercentileRange(0.02), lc.Kurtosis(), lc.LinearFit(), lc.LinearTrend()),
        *(lc.MagnitudePercentageRatio(0.4, 0.05), lc.MagnitudePercentageRatio(0.2, 0.05), lc.MaximumSlope()),
        *(lc.MeanVariance(), lc.Median(), lc.MedianAbsoluteDeviation(), lc.MedianBufferRangePercentage(0.1)),
        *(lc.MedianBufferRangePercentage(0.2), lc.OtsuSplit(), lc.PercentAmplitude()),
        *(lc.PercentDifferenceMagnitudePercentile(0.05), lc.PercentDifferenceMagnitudePercentile(0.1)),
        *(lc.ReducedChi2(), lc.Skew(), lc.StandardDeviation(), lc.StetsonK()),
    ]
    return lc.Extractor(*plain, periodogram)
