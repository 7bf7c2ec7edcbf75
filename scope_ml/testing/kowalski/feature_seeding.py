"""Documents of the catalogues of features and of classifications: from a table of ours, or drawn.

What is drawn has the columns that the service documents, NaNs and nulls among them, and depends on the id alone. May
import numpy, pyarrow and what lies beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.testing.kowalski.seeding import coordinates

__all__ = ["CLASSIFICATIONS", "FEATURES", "SUFFIX", "classification_documents", "drawn_features", "table_features"]

Document = dict[str, Any]

FEATURES = "ZTF_source_features_DR16"
CLASSIFICATIONS = "ZTF_source_classifications_DR16"

#: What newer features of a period search are called after; they stand beside those without.
SUFFIX = "ELS_ECE_EAOV"

STATISTICS = (
    "median", "wmean", "chi2red", "roms", "wstd", "norm_peak_to_peak_amp", "norm_excess_var", "median_abs_dev", "iqr", "i60r",
    "i70r", "i80r", "i90r", "skew", "smallkurt", "inv_vonneumannratio", "welch_i", "stetson_j", "stetson_k", "ad", "sw",
)  # fmt: skip

PERIODIC = (
    "period", "significance", "pdot", "f1_power", "f1_BIC", "f1_a", "f1_b", "f1_amp", "f1_phi0",
    *(f"f1_relamp{n}" for n in range(1, 5)), *(f"f1_relphi{n}" for n in range(1, 5)),
)  # fmt: skip

ALLWISE = ("w1mpro", "w1sigmpro", "w2mpro", "w2sigmpro", "w3mpro", "w3sigmpro", "w4mpro", "w4sigmpro")

GAIA = (
    "phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag", "parallax", "parallax_error", "pmra", "pmra_error", "pmdec",
    "pmdec_error", "astrometric_excess_noise", "phot_bp_rp_excess_factor",
)  # fmt: skip

PS1 = tuple(f"{band}MeanPSFMag{kind}" for band in "grizy" for kind in ("", "Err"))

#: Edge of the images of differences in magnitude and time.
EDGE = 26

#: Tags whose scores are drawn.
TAGS = ("vnv", "pnp", "e", "rrlyr")


def drawn_features(sources: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Return features of documents of light curves: every seventh has a NaN, every fifth no match, every ninth no image."""
    return [_drawn(source) for source in sources]


def _drawn(source: Mapping[str, Any]) -> Document:
    key = int(source["_id"])
    rng = np.random.default_rng(key)
    features: Document = {"_id": key, "ra": source["ra"], "dec": source["dec"], "n": source["nobs"]}
    features |= dict(zip(STATISTICS, rng.normal(size=len(STATISTICS)).tolist(), strict=True))
    periodic = dict(zip(PERIODIC, rng.normal(size=len(PERIODIC)).tolist(), strict=True))
    periodic |= {"period": 10.0 ** rng.uniform(-1, 2), "significance": 10.0 + rng.exponential(5.0), "pdot": 0.0}
    features |= periodic | {f"{name}_{SUFFIX}": value for name, value in periodic.items()}
    if key % 7 == 0:
        features["stetson_k"] = features[f"f1_relamp1_{SUFFIX}"] = math.nan
    n_alerts = int(rng.integers(0, 5))
    features["n_ztf_alerts"] = n_alerts
    features["mean_ztf_alert_braai"] = float(rng.random()) if n_alerts else None
    image = rng.random((EDGE, EDGE))
    features["dmdt"] = None if key % 9 == 0 else (image / np.linalg.norm(image)).tolist()
    matched = key % 5 != 0
    identity: dict[str, Any] = {"AllWISE": key * 10 + 1, "Gaia_EDR3": str(2**62 + key), "PS1_DR1": key * 10 + 2}
    for catalog, columns in (("AllWISE", ALLWISE), ("Gaia_EDR3", GAIA), ("PS1_DR1", PS1)):
        features[f"{catalog}___id"] = identity[catalog] if matched else None
        values = rng.normal(15.0, 2.0, len(columns)).tolist()
        features |= {
            f"{catalog}__{name}": value if matched else None for name, value in zip(columns, values, strict=True)
        }
    features["AllWISE__ph_qual"] = "AABU" if matched else None
    features["PS1_DR1__qualityFlag"] = 60 if matched else None
    place = {name: source[name] for name in ("field", "ccd", "quad", "filter")}
    return features | place | {"coordinates": coordinates(source["ra"], source["dec"])}


def table_features(table: pa.Table) -> list[Document]:
    """Return the rows of a feature table of ours; columns of its period search stand there without suffix too."""
    suffix = next((name.removeprefix("period_") for name in table.column_names if name.startswith("period_")), None)
    made = []
    for values in table.to_pylist():
        row = {"_id": values.pop("id")} | values
        if row.get("dmdt") is not None:
            row["dmdt"] = np.asarray(row["dmdt"]).reshape(EDGE, EDGE).tolist()
        if suffix is not None:
            plain = {name: row[f"{name}_{suffix}"] for name in PERIODIC if f"{name}_{suffix}" in row}
            row |= plain | {f"{name}_{SUFFIX}": value for name, value in plain.items()}
        made.append(row | {"coordinates": coordinates(row["ra"], row["dec"])})
    return made


def classification_documents(ids: Iterable[int]) -> list[Document]:
    """Return scores of light curves; which classes and algorithms a document has varies."""
    made = []
    for key in ids:
        rng = np.random.default_rng(key)
        scores = {f"{tag}_{algorithm}": round(float(rng.random()), 4) for tag in TAGS for algorithm in ("xgb", "dnn")}
        gone = [] if key % 2 else ["rrlyr_dnn", "e_xgb"]
        made.append({"_id": key} | {name: score for name, score in scores.items() if name not in gone})
    return made
