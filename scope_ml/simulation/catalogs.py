"""Rows of the catalogues that a survey is matched with: Gaia EDR3, AllWISE and Pan-STARRS1.

Magnitudes follow from a star's mean g, r, i by smooth colour relations, with each survey's limits, errors and gaps: stars
without a match, stars with a neighbour inside the search radius, sentinels of -999 in Pan-STARRS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.simulation.seeds import Stream, random_stream
from scope_ml.simulation.stars import EXTRAGALACTIC_PC, Star, red_colour
from scope_ml.simulation.variation import FloatArray

__all__ = ["PS1_MISSING", "catalog_tables"]

#: Value of a magnitude that Pan-STARRS could not measure.
PS1_MISSING = -999.0

#: Normal and uniform deviates that each star's rows use.
N_NORMAL, N_UNIFORM = 40, 16

#: Faint limits of detection in W1 to W4 [mag].
WISE_LIMITS = (17.2, 16.0, 11.8, 8.0)

#: Probability of a neighbour within the search radius, far from and near the plane of the Galaxy.
NEIGHBOUR = (0.015, 0.06)

ARCSEC = 1.0 / 3600.0


def catalog_tables(stars: Sequence[Star], seed: int) -> dict[str, pa.Table]:
    """Return the rows of ``Gaia_EDR3``, ``AllWISE`` and ``PS1_DR1`` near `stars`.

    Parameters
    ----------
    seed
        Seed of the survey; each star has its own stream.
    """
    streams = [random_stream(seed, Stream.CATALOGS, star.index) for star in stars]
    normal = np.array([rng.standard_normal((2, N_NORMAL)) for rng in streams]).reshape(len(stars), 2, N_NORMAL)
    flat = np.array([rng.random((2, N_UNIFORM)) for rng in streams]).reshape(len(stars), 2, N_UNIFORM)
    chance = np.array([NEIGHBOUR[star.where.plane] for star in stars])
    paired = np.flatnonzero(flat[:, 0, 0] < chance)
    targets = _facts(stars, normal[:, 0], flat[:, 0])
    near = _neighbours([stars[row] for row in paired.tolist()], normal[paired, 1], flat[paired, 1])
    tables: dict[str, list[pa.Table]] = {}
    for facts in (targets, near):
        for name, make in (("Gaia_EDR3", _gaia), ("AllWISE", _allwise), ("PS1_DR1", _ps1)):
            tables.setdefault(name, []).append(make(facts))
    return {name: pa.concat_tables(parts) for name, parts in tables.items()}


def _facts(stars: Sequence[Star], normal: FloatArray, flat: FloatArray) -> dict[str, Any]:
    """Return the quantities that all catalogues start from, one array each."""
    populations = [star.population for star in stars]

    def column(values: list[float]) -> FloatArray:
        return np.array(values, dtype=np.float64)

    return {
        "index": np.array([star.index for star in stars], dtype=np.int64),
        "neighbour": 0,
        "ra": column([star.ra for star in stars]),
        "dec": column([star.dec for star in stars]),
        "g": column([star.mag[0] for star in stars]),
        "r": column([star.mag[1] for star in stars]),
        "i": column([star.mag[2] for star in stars]),
        "distance": column([star.distance for star in stars]),
        "w1_w2": column([p.infrared[0] for p in populations])
        + column([p.infrared[1] for p in populations]) * normal[:, 0],
        "dust": np.clip(
            column([p.dust[0] for p in populations]) + column([p.dust[1] for p in populations]) * normal[:, 1],
            -0.3,
            None,
        ),
        "messy": np.array([bool({"bogus", "ext", "blend", "artfct"} & set(p.tags)) for p in populations], dtype=bool),
        "normal": normal,
        "flat": flat,
    }


def _neighbours(stars: Sequence[Star], normal: FloatArray, flat: FloatArray) -> dict[str, Any]:
    """Return the facts of unrelated, fainter stars within 2 arcsec of `stars`."""
    facts = _facts(stars, normal, flat)
    distance, angle = (0.5 + 1.4 * flat[:, 1]) * ARCSEC, 2.0 * np.pi * flat[:, 2]
    colour = np.clip(0.8 + 0.4 * normal[:, 2], 0.0, 1.6)
    r_mag = facts["r"] + 0.5 + 3.0 * flat[:, 3]
    return {
        **facts,
        "neighbour": 1,
        "ra": facts["ra"] + distance * np.cos(angle) / np.cos(np.radians(facts["dec"])),
        "dec": facts["dec"] + distance * np.sin(angle),
        "g": r_mag + colour,
        "r": r_mag,
        "i": r_mag - red_colour(colour),
        "distance": 800.0 + 4000.0 * flat[:, 4],
        "w1_w2": 0.05 * normal[:, 3],
        "dust": np.zeros(len(stars)),
        "messy": np.ones(len(stars), dtype=bool),
    }


def _near(facts: dict[str, Any], first: int, scatter: float) -> tuple[FloatArray, FloatArray]:
    """Return positions scattered by `scatter` [arcsec]."""
    normal = facts["normal"]
    ra = facts["ra"] + scatter * ARCSEC * normal[:, first] / np.cos(np.radians(facts["dec"]))
    return ra % 360.0, facts["dec"] + scatter * ARCSEC * normal[:, first + 1]


def _optional(values: FloatArray, valid: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float64(), mask=~np.asarray(valid, dtype=bool))


def _gaia(facts: dict[str, Any]) -> pa.Table:
    normal, flat = facts["normal"], facts["flat"]
    colour, r_i = facts["g"] - facts["r"], facts["r"] - facts["i"]
    g_gaia = facts["r"] + 0.05 - 0.35 * np.clip(r_i, -0.2, 2.0) + 0.02 * normal[:, 4]
    bp_rp = 0.33 + 1.05 * colour + 0.5 * np.clip(r_i - 0.45, 0.0, None) + 0.02 * normal[:, 5]
    bp, rp = g_gaia + 0.32 * bp_rp + 0.06, g_gaia - 0.68 * bp_rp + 0.06
    faint = np.clip(g_gaia - 14.0, 0.0, None)
    error = 0.018 * 10.0 ** (0.155 * faint)
    parallax = (
        np.where(facts["distance"] >= EXTRAGALACTIC_PC, 0.0, 1000.0 / facts["distance"]) + error * normal[:, 6] - 0.02
    )
    speed = np.where(facts["distance"] >= EXTRAGALACTIC_PC, 0.0, 30.0 / 4.74 * 1000.0 / facts["distance"])
    noise = np.where(flat[:, 5] < 0.35, 0.0, np.abs(normal[:, 7]) * (0.08 + 0.03 * faint)) * np.where(
        facts["messy"], 5.0, 1.0
    )
    seen = (g_gaia < 20.9) & (flat[:, 6] > np.where(facts["messy"], 0.15, 0.03))
    solved = flat[:, 7] > 0.04
    has_colour = flat[:, 8] > 0.03
    # 19 digits, as Gaia's are: a random place on the sky above, the star's number below.
    ids = (10**18 + (flat[:, 9] * 5e12).astype(np.int64) * 10**6 + facts["index"]) * 1
    ids = ids + (3 * 10**18 if facts["neighbour"] else 0)
    ra, dec = _near(facts, 8, 0.05)
    table = pa.table(
        {
            "_id": pa.array([str(value) for value in ids.tolist()], pa.string()),
            "ra": ra,
            "dec": dec,
            "phot_g_mean_mag": g_gaia,
            "phot_bp_mean_mag": _optional(bp, has_colour),
            "phot_rp_mean_mag": _optional(rp, has_colour),
            "bp_rp": _optional(bp_rp, has_colour),
            "phot_bp_rp_excess_factor": _optional(
                1.16 + 0.06 * bp_rp + np.abs(normal[:, 10]) * np.where(facts["messy"], 0.3, 0.02 + 0.02 * faint),
                has_colour,
            ),
            "parallax": _optional(parallax, solved),
            "parallax_error": _optional(error * np.exp(0.1 * normal[:, 11]), solved),
            "pmra": _optional(speed * normal[:, 12] + error * normal[:, 13], solved),
            "pmra_error": _optional(1.03 * error, solved),
            "pmdec": _optional(speed * normal[:, 14] + error * normal[:, 15], solved),
            "pmdec_error": _optional(0.97 * error, solved),
            "astrometric_excess_noise": noise,
        }
    )
    return table.filter(pa.array(seen))


def _allwise(facts: dict[str, Any]) -> pa.Table:
    normal, flat = facts["normal"], facts["flat"]
    colour, r_i = facts["g"] - facts["r"], facts["r"] - facts["i"]
    w1 = facts["r"] - (0.4 + 1.9 * colour + 1.3 * np.clip(r_i - 0.45, 0.0, None) + facts["dust"])
    w2 = w1 - facts["w1_w2"]
    w3 = w2 - 0.15 - 2.2 * np.clip(facts["w1_w2"], 0.0, None) - 0.25 * facts["dust"] + 0.1 * normal[:, 16]
    w4 = w3 - 0.1 - 1.3 * np.clip(facts["w1_w2"], 0.0, None) - 0.2 * facts["dust"] + 0.2 * normal[:, 17]
    columns: dict[str, Any] = {}
    quality = []
    for band, (mag, limit) in enumerate(zip((w1, w2, w3, w4), WISE_LIMITS, strict=True), start=1):
        error = np.hypot(0.022, 0.2 * 10.0 ** (0.4 * np.clip(mag - limit, -10.0, 2.0)))
        detected = mag < limit + 0.4 * normal[:, 17 + band]
        columns[f"w{band}mpro"] = np.where(
            detected, mag + error * normal[:, 21 + band], limit + 0.3 * normal[:, 25 + band]
        )
        columns[f"w{band}sigmpro"] = _optional(error, detected)
        quality.append(np.where(detected, np.where(error < 0.1, "A", np.where(error < 0.2, "B", "C")), "U"))
    seen = (w1 < WISE_LIMITS[0] + 0.3 * normal[:, 30]) & (flat[:, 10] > 0.07)
    # The beam of WISE is 6 arcsec wide: neighbours closer than 2 arcsec are not rows of their own, but for a few.
    seen &= (flat[:, 11] < 0.15) if facts["neighbour"] else True
    ra, dec = _near(facts, 31, 0.25)
    ids = (
        10**18
        + (flat[:, 12] * 3e12).astype(np.int64) * 10**6
        + facts["index"]
        + (5 * 10**18 if facts["neighbour"] else 0)
    )
    flags = ["".join(letters) for letters in zip(*[part.tolist() for part in quality], strict=True)]
    table = pa.table(
        {"_id": pa.array(ids, pa.int64()), "ra": ra, "dec": dec, **columns, "ph_qual": pa.array(flags, pa.string())}
    )
    return table.filter(pa.array(seen))


def _ps1(facts: dict[str, Any]) -> pa.Table:
    normal, flat = facts["normal"], facts["flat"]
    r_i = facts["r"] - facts["i"]
    mags = {
        "g": facts["g"],
        "r": facts["r"],
        "i": facts["i"],
        "z": facts["i"] - 0.55 * r_i + 0.02,
        "y": facts["i"] - 0.85 * r_i + 0.03,
    }
    columns: dict[str, Any] = {}
    for number, (band, limit) in enumerate(zip(mags, (23.3, 23.2, 23.1, 22.3, 21.3), strict=True)):
        mag = mags[band]
        error = np.hypot(0.006, 0.2 * 10.0 ** (0.4 * np.clip(mag - limit, -12.0, 1.0)))
        # One more uniform deviate a band, made of two of the star's.
        luck = (flat[:, 13] + flat[:, 14] * (number + 1.0)) % 1.0
        missing = (mag > limit) | (mag < 12.7) | (luck < 0.02 + 0.25 * np.clip(13.8 - mag, 0.0, 1.0))
        scatter = np.hypot(error, 0.02)
        columns[f"{band}MeanPSFMag"] = np.where(missing, PS1_MISSING, mag + scatter * normal[:, 33 + number])
        columns[f"{band}MeanPSFMagErr"] = np.where(missing, PS1_MISSING, error)
    seen = (facts["r"] < 22.5) & (flat[:, 15] > 0.04)
    ra, dec = _near(facts, 38, 0.06)
    ids = (10**17 + (flat[:, 12] * 1e11).astype(np.int64) * 10**6 + facts["index"]) + (
        2 * 10**17 if facts["neighbour"] else 0
    )
    quality = np.where(facts["messy"], 60, 52).astype(np.int32)
    table = pa.table({"_id": pa.array(ids, pa.int64()), "ra": ra, "dec": dec, **columns, "qualityFlag": quality})
    return table.filter(pa.array(seen))
