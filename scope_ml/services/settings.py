"""The group `service` of the configuration: remote services, each under its name. May import core and the services' settings."""

from __future__ import annotations

from dataclasses import dataclass

from scope_ml.core.configuration import option
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.kowalski.settings import KowalskiConfig

__all__ = ["ServicesConfig"]


@dataclass(frozen=True, kw_only=True)
class ServicesConfig:
    """The service group of the configuration."""

    kowalski: KowalskiConfig = option(KowalskiConfig(), doc="the survey's database")
    irsa: IrsaConfig = option(IrsaConfig(), doc="the public archive")
