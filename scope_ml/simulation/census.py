"""The table of all populations of the embedded survey: one row a kind of star.

Periods, amplitudes, colours and absolute magnitudes are broad and overlap as on the sky (Drake et al. 2014, ApJS 213, 9; Chen
et al. 2020, ApJS 249, 18; Eyer et al. 2019, A&A 623, A110); abundances are levelled, so that rare classes can be learned at all.
"""

from __future__ import annotations

from scope_ml.simulation import artefacts, binaries, pulsators, stochastic
from scope_ml.simulation.populations import Population, log_normal, log_uniform

__all__ = ["CENSUS", "DECK_SHARES", "population_tags"]

# One row a population: laid out by hand, so that rows can be compared.
# fmt: off
_PULSATING = (
    Population(
        name="rrab", tags=("rrab",), share=22, shape=pulsators.fundamental_rr_lyrae,
        period=log_normal(0.56, 0.065, 0.38, 0.95), amplitude=log_normal(0.9, 0.13, 0.25, 1.5),
        absolute_mag=(0.55, 0.2), colour=(0.25, 0.08), mag=(14.0, 20.6), plane=0.3,
        uncertain={"saw": 0.10, "rrblz": 0.15}, confused_with=("rrblz", "ceph_f", "ea"),
    ),
    Population(
        name="rrblz", tags=("rrab", "rrblz"), share=6, shape=pulsators.blazhko_rr_lyrae,
        period=log_normal(0.54, 0.06, 0.38, 0.8), amplitude=log_normal(0.9, 0.12, 0.3, 1.4),
        absolute_mag=(0.55, 0.2), colour=(0.25, 0.08), mag=(14.0, 20.0), plane=0.3,
        uncertain={"saw": 0.6, "rrblz": 0.15}, confused_with=("rrab",),
    ),
    Population(
        name="rrc", tags=("rrc",), share=18, shape=pulsators.overtone_rr_lyrae,
        period=log_normal(0.32, 0.06, 0.2, 0.46), amplitude=log_normal(0.42, 0.13, 0.12, 0.75),
        absolute_mag=(0.5, 0.2), colour=(0.15, 0.08), mag=(14.0, 20.3), plane=0.3,
        uncertain={"sin": 0.2}, confused_with=("ew", "dscu", "rrd"),
    ),
    Population(
        name="rrd", tags=("rrd",), share=6, shape=pulsators.double_mode_rr_lyrae,
        period=log_normal(0.365, 0.03, 0.33, 0.43), amplitude=log_normal(0.36, 0.1, 0.15, 0.6),
        absolute_mag=(0.5, 0.2), colour=(0.18, 0.08), mag=(14.5, 20.0), plane=0.3,
        uncertain={"mp": 0.15}, confused_with=("rrc",),
    ),
    Population(
        name="ceph_f", tags=("ceph", "f"), share=8, shape=pulsators.cepheid,
        period=log_normal(6.0, 0.27, 1.0, 70.0), amplitude=log_normal(0.9, 0.15, 0.25, 1.6),
        absolute_mag=(-3.2, 0.7), colour=(0.55, 0.15), mag=(13.0, 18.5), plane=0.92,
        uncertain={"saw": 0.3, "f": 0.1}, confused_with=("ceph_o", "wvir", "rscvn"),
    ),
    Population(
        name="ceph_o", tags=("ceph", "o"), share=5, shape=pulsators.overtone_cepheid,
        period=log_normal(2.2, 0.22, 0.4, 7.0), amplitude=log_normal(0.4, 0.12, 0.12, 0.7),
        absolute_mag=(-2.8, 0.6), colour=(0.5, 0.15), mag=(13.0, 18.5), plane=0.92,
        uncertain={"sin": 0.3, "o": 0.15}, confused_with=("ceph_f", "spotted"),
    ),
    Population(
        name="blher", tags=("blher",), share=4, shape=pulsators.population_two_cepheid,
        period=log_uniform(1.0, 4.0), amplitude=log_normal(0.75, 0.14, 0.25, 1.3),
        absolute_mag=(-0.3, 0.3), colour=(0.4, 0.12), mag=(13.5, 19.5), plane=0.5,
        uncertain={"saw": 0.3}, confused_with=("ceph_f", "rrab"),
    ),
    Population(
        name="wvir", tags=("wvir",), share=4, shape=pulsators.population_two_cepheid,
        period=log_normal(14.0, 0.15, 4.0, 20.0), amplitude=log_normal(0.85, 0.14, 0.3, 1.4),
        absolute_mag=(-1.3, 0.4), colour=(0.6, 0.15), mag=(13.0, 19.0), plane=0.5,
        confused_with=("ceph_f", "rvtau"),
    ),
    Population(
        name="rvtau", tags=("rvtau",), share=3, shape=pulsators.rv_tauri,
        period=log_uniform(30.0, 140.0), amplitude=log_normal(1.0, 0.18, 0.3, 2.2),
        absolute_mag=(-2.5, 0.6), colour=(0.8, 0.2), mag=(12.8, 18.0), infrared=(0.25, 0.3), dust=(1.0, 0.8), plane=0.6,
        uncertain={"longt": 0.2}, confused_with=("srv", "wvir"),
    ),
    Population(
        name="dscu", tags=("dscu",), share=20, shape=pulsators.delta_scuti,
        period=log_normal(0.085, 0.2, 0.025, 0.3), amplitude=log_normal(0.085, 0.33, 0.012, 0.8),
        absolute_mag=(2.0, 0.7), colour=(0.1, 0.12), mag=(13.2, 19.0), plane=0.6,
        uncertain={"mp": 0.2, "sin": 0.2, "saw": 0.1}, confused_with=("rrc", "ew", "nonvar"),
    ),
    Population(
        name="slow_pulsator", tags=("puls", "mp", "pnp"), share=5, shape=pulsators.slow_pulsator,
        period=log_normal(0.9, 0.16, 0.4, 3.0), amplitude=log_normal(0.035, 0.22, 0.01, 0.12),
        absolute_mag=(2.5, 0.8), colour=(0.1, 0.2), mag=(13.0, 16.5), plane=0.7,
        uncertain={"sin": 0.3, "mp": 0.2}, confused_with=("nonvar", "spotted"),
    ),
    Population(
        name="mir", tags=("mir",), share=12, shape=pulsators.mira,
        period=log_normal(290.0, 0.12, 110.0, 600.0), amplitude=log_normal(2.9, 0.21, 0.9, 7.0),
        absolute_mag=(-1.0, 1.0), colour=(1.6, 0.3), mag=(12.6, 17.5), infrared=(0.15, 0.2), dust=(1.8, 1.0), plane=0.75,
        uncertain={"srv": 0.08, "mir": 0.03}, confused_with=("srv",), confusion=4.0,
    ),
    Population(
        name="srv", tags=("srv",), share=16, shape=pulsators.semiregular,
        period=log_normal(95.0, 0.26, 20.0, 600.0), amplitude=log_normal(0.55, 0.36, 0.06, 3.6),
        absolute_mag=(-1.2, 0.8), colour=(1.45, 0.25), mag=(12.6, 17.5), infrared=(0.05, 0.12), dust=(0.8, 0.6), plane=0.75,
        uncertain={"pnp": 0.35, "mp": 0.3, "osarg": 0.1, "mir": 0.05}, confused_with=("osarg", "mir", "irregular"), confusion=2.0,
    ),
    Population(
        name="osarg", tags=("osarg", "lpv"), share=12, shape=pulsators.red_giant,
        period=log_normal(38.0, 0.26, 10.0, 150.0), amplitude=log_normal(0.05, 0.28, 0.008, 0.25),
        absolute_mag=(-0.5, 0.7), colour=(1.2, 0.2), mag=(12.8, 17.0), dust=(0.3, 0.3), plane=0.75,
        uncertain={"pnp": 0.4, "longt": 0.3, "mp": 0.3, "srv": 0.15}, confused_with=("srv", "nonvar"),
    ),
    Population(
        name="trend", tags=("longt",), share=6, shape=stochastic.trend,
        period=log_uniform(300.0, 4000.0), amplitude=log_normal(0.4, 0.35, 0.05, 3.0),
        absolute_mag=(-0.5, 2.0), colour=(0.7, 0.6), mag=(13.0, 18.5), dust=(0.5, 0.6), plane=0.7,
        uncertain={"pnp": 0.5, "i": 0.4}, confused_with=("irregular", "agn", "nonvar"),
    ),
)

_BINARY = (
    Population(
        name="ea", tags=("ea", "bis"), share=8, shape=binaries.algol,
        period=log_normal(2.4, 0.32, 0.4, 40.0), absolute_mag=(2.5, 1.2), colour=(0.3, 0.25), mag=(13.2, 19.8),
        uncertain={"emsms": 0.3}, confused_with=("emsms", "eb", "nonvar"),
    ),
    Population(
        name="emsms", tags=("emsms",), share=16, shape=binaries.main_sequence_pair,
        period=log_normal(1.6, 0.33, 0.3, 30.0), absolute_mag=(4.5, 1.5), colour=(0.55, 0.3), mag=(13.2, 19.8),
        uncertain={"emsms": 0.08}, confused_with=("ea", "nonvar"),
    ),
    Population(
        name="eb", tags=("eb", "bis"), share=6, shape=binaries.beta_lyrae,
        period=log_normal(0.85, 0.25, 0.3, 6.0), absolute_mag=(3.0, 1.3), colour=(0.35, 0.25), mag=(13.2, 19.8),
        uncertain={"blyr": 0.3, "ea": 0.15}, confused_with=("ew", "ea"),
    ),
    Population(
        name="blyr", tags=("blyr",), share=12, shape=binaries.beta_lyrae,
        period=log_normal(0.75, 0.24, 0.3, 15.0), absolute_mag=(2.2, 1.3), colour=(0.3, 0.25), mag=(13.2, 19.5), plane=0.6,
        uncertain={"ew": 0.10}, confused_with=("ew", "ea"),
    ),
    Population(
        name="ew", tags=("ew", "bis"), share=8, shape=binaries.contact_binary,
        period=log_normal(0.42, 0.14, 0.23, 1.2), absolute_mag=(3.5, 1.0), colour=(0.35, 0.2), mag=(13.4, 19.6),
        uncertain={"wuma": 0.35, "el": 0.10}, confused_with=("rrc", "eb", "ellipsoidal"),
    ),
    Population(
        name="wuma", tags=("wuma",), share=28, shape=binaries.w_ursae_majoris,
        period=log_normal(0.34, 0.09, 0.21, 0.8), absolute_mag=(4.3, 0.8), colour=(0.6, 0.2), mag=(13.4, 19.8),
        uncertain={"eb": 0.06}, confused_with=("rrc", "eb", "ellipsoidal"),
    ),
    Population(
        name="ellipsoidal", tags=("el", "bis"), share=6, shape=binaries.ellipsoidal,
        period=log_normal(0.8, 0.45, 0.15, 60.0), amplitude=log_normal(0.16, 0.2, 0.03, 0.4),
        absolute_mag=(2.0, 2.0), colour=(0.5, 0.3), mag=(13.2, 18.5),
        uncertain={"ew": 0.25}, confused_with=("ew", "spotted"),
    ),
    Population(
        name="hwvir", tags=("hwvir", "bis", "cbin"), share=3, shape=binaries.hw_virginis,
        period=log_normal(0.12, 0.14, 0.06, 0.3), absolute_mag=(4.3, 0.6), colour=(-0.2, 0.1), mag=(13.8, 19.5),
        uncertain={"cbin": 0.2}, confused_with=("nnser", "ew"),
    ),
    Population(
        name="nnser", tags=("nnser", "bis", "cbin"), share=3, shape=binaries.nn_serpentis,
        period=log_normal(0.16, 0.2, 0.07, 0.6), absolute_mag=(9.5, 0.8), colour=(0.2, 0.4), mag=(15.5, 20.2), dust=(0.8, 0.6),
        uncertain={"cbin": 0.2}, confused_with=("hwvir", "emsms"),
    ),
    Population(
        name="rscvn", tags=("rscvn",), share=14, shape=binaries.rs_canum_venaticorum,
        period=log_normal(4.0, 0.45, 0.5, 60.0), amplitude=log_normal(0.12, 0.23, 0.02, 0.45),
        absolute_mag=(3.0, 1.3), colour=(0.7, 0.2), mag=(13.0, 18.5), plane=0.6,
        uncertain={"sin": 0.25, "ea": 0.08}, confused_with=("spotted", "ceph_o"),
    ),
    Population(
        name="spotted", tags=("pnp",), share=12, shape=binaries.spotted,
        period=log_normal(3.0, 0.5, 0.2, 50.0), amplitude=log_normal(0.07, 0.25, 0.015, 0.3),
        absolute_mag=(6.5, 1.5), colour=(0.95, 0.3), mag=(13.4, 18.8), plane=0.6,
        uncertain={"rscvn": 0.3, "sin": 0.2}, confused_with=("rscvn", "nonvar", "ellipsoidal"),
    ),
    Population(
        name="cbin", tags=("cbin", "bis", "pnp"), share=4, shape=binaries.compact_binary,
        period=log_normal(0.2, 0.3, 0.06, 1.5), amplitude=log_normal(0.2, 0.25, 0.03, 0.7),
        absolute_mag=(8.5, 1.5), colour=(0.3, 0.45), mag=(15.0, 20.0), dust=(0.8, 0.6),
        uncertain={"hwvir": 0.1}, confused_with=("ellipsoidal", "cv"),
    ),
    Population(
        name="rdbkp", tags=("rdbkp", "cbin", "bis", "pnp"), share=3, shape=binaries.redback,
        period=log_normal(0.38, 0.18, 0.12, 1.0), amplitude=log_normal(0.45, 0.16, 0.15, 1.0),
        absolute_mag=(6.0, 1.0), colour=(0.6, 0.25), mag=(16.0, 20.2),
        uncertain={"el": 0.3, "sin": 0.2}, confused_with=("ew", "ellipsoidal"),
    ),
    Population(
        name="half_period", tags=("hp", "bis"), share=6, shape=binaries.equal_minima,
        period=log_normal(0.6, 0.3, 0.24, 6.0), absolute_mag=(4.2, 1.0), colour=(0.5, 0.2), mag=(13.4, 19.8),
        uncertain={"wuma": 0.3, "emsms": 0.2}, confused_with=("ew", "emsms"),
    ),
    Population(
        name="double_period", tags=("dp",), share=4, shape=stochastic.double_period,
        period=log_normal(1.2, 0.5, 0.15, 30.0), amplitude=log_normal(0.16, 0.25, 0.03, 0.6),
        absolute_mag=(3.5, 2.0), colour=(0.5, 0.3), mag=(13.4, 19.0),
        uncertain={"sin": 0.3, "puls": 0.3}, confused_with=("spotted", "ew"),
    ),
    Population(
        name="wrong_period", tags=("wp", "ea", "bis"), share=4, shape=binaries.wide_algol,
        period=log_normal(14.0, 0.3, 4.0, 90.0), absolute_mag=(4.0, 1.2), colour=(0.5, 0.25), mag=(13.2, 17.5),
        uncertain={"emsms": 0.4}, confused_with=("ea", "nonvar"),
    ),
)

_APERIODIC = (
    Population(
        name="irregular", tags=("i",), share=6, shape=stochastic.irregular, amplitude=log_normal(0.35, 0.28, 0.05, 1.5),
        absolute_mag=(0.0, 2.5), colour=(0.8, 0.5), mag=(13.0, 18.8), dust=(0.5, 0.6), plane=0.8,
        uncertain={"pnp": 0.15, "yso": 0.25}, confused_with=("yso", "srv", "trend"),
    ),
    Population(
        name="fla", tags=("fla",), share=12, shape=stochastic.flaring, amplitude=log_normal(0.5, 0.3, 0.08, 3.0),
        absolute_mag=(10.5, 1.2), colour=(1.45, 0.08), mag=(14.0, 19.2), dust=(0.5, 0.3),
        uncertain={"pnp": 0.15}, confused_with=("nonvar", "bogus", "cv"),
    ),
    Population(
        name="dip", tags=("dip",), share=5, shape=stochastic.dipping, amplitude=log_normal(0.8, 0.3, 0.15, 3.5),
        absolute_mag=(0.5, 3.0), colour=(0.7, 0.4), mag=(13.0, 19.0), infrared=(0.3, 0.3), dust=(1.0, 0.9), plane=0.75,
        uncertain={"yso": 0.2, "e": 0.1}, confused_with=("yso", "ea", "irregular"),
    ),
    Population(
        name="cv", tags=("cv",), share=14, shape=stochastic.cataclysmic, period=log_normal(0.12, 0.2, 0.055, 0.4),
        amplitude=log_normal(2.2, 0.22, 0.4, 5.5), absolute_mag=(8.0, 1.8), colour=(0.2, 0.25), mag=(15.0, 20.3),
        infrared=(0.05, 0.2), dust=(0.6, 0.6), uncertain={"cbin": 0.1, "pnp": 0.1}, confused_with=("agn", "fla", "yso"),
    ),
    Population(
        name="agn", tags=("agn",), share=16, shape=stochastic.active_nucleus, amplitude=log_normal(0.48, 0.2, 0.1, 1.4),
        absolute_mag=None, colour=(0.25, 0.22), mag=(16.0, 20.2), infrared=(0.95, 0.3), dust=(2.2, 0.7), plane=0.06,
        uncertain={"longt": 0.2}, confused_with=("cv", "nonvar", "irregular"),
    ),
    Population(
        name="yso", tags=("yso",), share=18, shape=stochastic.young_star, period=log_normal(5.0, 0.25, 0.6, 20.0),
        amplitude=log_normal(0.8, 0.25, 0.12, 3.0), absolute_mag=(6.0, 1.5), colour=(1.0, 0.3), mag=(13.3, 18.8),
        infrared=(0.45, 0.3), dust=(1.2, 0.9), plane=0.95,
        uncertain={"i": 0.08, "dip": 0.12, "pnp": 0.10}, confused_with=("irregular", "spotted", "dip", "nonvar"),
    ),
)

_NOT_VARIABLE = (
    Population(
        name="nonvar", tags=(), share=176, shape=artefacts.constant, absolute_mag=(5.0, 2.0), colour=(0.6, 0.3), mag=(13.0, 20.5),
        uncertain={"vnv": 0.02}, confused_with=("spotted", "irregular", "ea", "fla"),
    ),
    Population(
        name="nonvar_giant", tags=(), share=16, shape=artefacts.constant, absolute_mag=(0.5, 1.2), colour=(1.15, 0.25),
        mag=(12.8, 17.5), dust=(0.2, 0.3), plane=0.7, uncertain={"vnv": 0.04}, confused_with=("osarg", "srv"),
    ),
    Population(
        name="nonvar_dwarf", tags=(), share=18, shape=artefacts.constant, absolute_mag=(10.5, 1.3), colour=(1.42, 0.1),
        mag=(14.5, 20.4), dust=(0.4, 0.3), uncertain={"vnv": 0.02}, confused_with=("fla", "spotted"),
    ),
    Population(
        name="nonvar_compact", tags=(), share=6, shape=artefacts.constant, absolute_mag=(11.0, 1.2), colour=(0.1, 0.25),
        mag=(16.0, 20.4), infrared=(0.3, 0.4), dust=(0.5, 0.8), confused_with=("cv", "cbin", "agn"),
    ),
    Population(
        name="bogus", tags=("bogus",), share=7, shape=artefacts.bogus, amplitude=log_normal(0.5, 0.25, 0.1, 2.0), mag=(14.0, 20.2),
        uncertain={"vnv": 0.05}, confused_with=("fla", "cv", "artfct"),
    ),
    Population(
        name="ext", tags=("ext",), share=5, shape=artefacts.extended, amplitude=log_normal(0.5, 0.2, 0.15, 1.5), absolute_mag=None,
        colour=(0.75, 0.25), mag=(16.0, 20.0), infrared=(0.25, 0.25), dust=(1.0, 0.7), plane=0.2,
        uncertain={"vnv": 0.05}, confused_with=("nonvar", "agn"),
    ),
    Population(
        name="blend", tags=("blend",), share=7, shape=artefacts.blended, amplitude=log_normal(0.3, 0.25, 0.05, 1.2), mag=(14.0, 19.8),
        plane=0.85, uncertain={"vnv": 0.1}, confused_with=("bogus", "ea", "nonvar"),
    ),
    Population(
        name="bright", tags=("bright",), share=5, shape=artefacts.saturated, amplitude=log_normal(0.35, 0.22, 0.08, 1.2),
        absolute_mag=(3.0, 2.0), mag=(11.6, 13.2), uncertain={"vnv": 0.05}, confused_with=("bogus", "osarg"),
    ),
    Population(
        name="artfct", tags=("artfct",), share=5, shape=artefacts.artefact, amplitude=log_normal(0.55, 0.22, 0.12, 2.0),
        mag=(13.5, 19.5), uncertain={"vnv": 0.05}, confused_with=("bogus", "trend"),
    ),
)

# fmt: on

#: All populations; their order is part of a survey's bytes.
CENSUS: tuple[Population, ...] = _PULSATING + _BINARY + _APERIODIC + _NOT_VARIABLE

#: Members of each population in a deck.
DECK_SHARES: tuple[int, ...] = tuple(population.share for population in CENSUS)

#: Tags that shapes add to those of their population.
_EARNED = ("saw", "sin", "el", "mp", "ea", "ew", "emsms", "i", "dip", "longt", "vnv", "pnp")


def population_tags() -> frozenset[str]:
    """Return all tags that some population's members can have before the taxonomy adds what they imply."""
    return frozenset(tag for population in CENSUS for tag in population.tags) | frozenset(_EARNED)
