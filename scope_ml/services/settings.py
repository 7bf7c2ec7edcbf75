"""The group `service` of the configuration: remote services, each under its name. May import core and the services' settings."""

from __future__ import annotations

from dataclasses import dataclass

from scope_ml.core.configuration import option
from scope_ml.services.fritz.settings import FritzConfig
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.kowalski.settings import KowalskiConfig

__all__ = ["AllServicesConfig", "BrokerConfig", "ServicesConfig"]


@dataclass(frozen=True, kw_only=True)
class ServicesConfig:
    """The service group of the configuration."""

    kowalski: KowalskiConfig = option(KowalskiConfig(), doc="the survey's database")
    irsa: IrsaConfig = option(IrsaConfig(), doc="the public archive")


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """The service group of doors that ask Fritz alone."""

    fritz: FritzConfig = option(FritzConfig(), doc="where sources are seen and voted on")


@dataclass(frozen=True, kw_only=True)
class AllServicesConfig(ServicesConfig):
    """The service group of doors that ask Fritz, and the survey's database or the archive."""

    fritz: FritzConfig = option(FritzConfig(), doc="where sources are seen and voted on")
