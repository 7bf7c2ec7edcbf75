"""The options of IRSA, under the key `service.irsa` of the doors. May import core and errors only.

None of them counts in the digest of a configuration: what was fetched is part of the digest of the light curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError

__all__ = ["LIGHT_CURVES_URL", "IrsaConfig"]

#: The light-curve service for single stars.
LIGHT_CURVES_URL = "https://irsa.ipac.caltech.edu/cgi-bin/ZTF/nph_light_curves"


@dataclass(frozen=True, kw_only=True)
class IrsaConfig:
    """How IRSA, the public archive of ZTF, is asked: its bulk files, and its service for single stars."""

    mirror: str = option(
        "cache/irsa",
        doc="folder that keeps fetched bulk files, one folder a release; the next run reads them",
        machine=True,
    )
    cache: str | None = option(
        "cache/irsa/stars", doc="folder that keeps single stars for the next run; null keeps nothing", machine=True
    )
    refresh: bool = option(False, doc="ask again for what is kept, also for what was not there", machine=True)
    light_curves: str = option(LIGHT_CURVES_URL, doc="address of the service for single stars", machine=True)
    format: Literal["csv", "votable"] = option(
        "csv", doc="form of its replies; votable says where it ends, so that a cut is always seen", machine=True
    )
    collection: str | None = option(
        None, doc="data release of single stars, such as ztf_dr23; null takes the newest", machine=True
    )
    bad_catflags_mask: int | None = option(
        None,
        doc="epochs with any of these flag bits stay there, such as 32768; null leaves it to cleaning",
        at_least=0,
        machine=True,
    )
    nobs_min: int | None = option(None, unit="epochs", doc="leave out shorter light curves", at_least=1, machine=True)
    time: tuple[float, ...] | None = option(
        None, unit="d", doc="first and last MJD of epochs; null takes all", machine=True
    )
    max_stars: int = option(
        1000, doc="more single stars than this are refused: bulk files are for many", at_least=1, machine=True
    )
    ids_a_request: int = option(
        10, doc="light curves asked for at once where ids are given", at_least=1, at_most=100, machine=True
    )
    connections: int = option(2, doc="requests at a time", at_least=1, at_most=4, machine=True)
    timeout_s: float = option(300.0, unit="s", doc="longest silence of the service", more_than=0.0, machine=True)
    retries: int = option(
        4, doc="how often a request that failed by chance is repeated", at_least=0, at_most=20, machine=True
    )
    backoff_s: float = option(
        2.0, unit="s", doc="first pause before a repetition; the next ones are longer", more_than=0.0, machine=True
    )

    def __post_init__(self) -> None:
        """Check `time` and `collection`.

        Raises
        ------
        ConfigError
            If they are not what the service understands.
        """
        if self.time is not None and (len(self.time) != 2 or not self.time[0] < self.time[1]):
            raise ConfigError(
                f"service.irsa.time={list(self.time)} is no span; give first and last MJD, such as [58000,60000]",
                key="service.irsa.time",
            )
        if self.collection is not None and not self.collection.replace("_", "").isalnum():
            raise ConfigError(
                f"service.irsa.collection={self.collection!r} is no data release; give one such as ztf_dr23",
                key="service.irsa.collection",
            )
