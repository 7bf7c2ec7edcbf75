"""Stage `fritz_gcn`: sources of Fritz in the localizations of events, as ids of light curves to be measured.

Events -> their sources (`gcn_sources`) -> light curves of the survey around them (`gcn_matching`) -> OUT, one row a light
curve, the input of ``generate_features target=source_ids``. OUT.not_found.parquet names the sources that have no light
curve. What is written depends on what was found alone: where nothing is new, the files stay the same byte by byte.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError
from scope_ml.features.surroundings import Survey
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.selection import Positions
from scope_ml.io.tables import check_columns_fit, table_format, write_table
from scope_ml.services.fritz.client import Fritz, FritzClient
from scope_ml.services.fritz.directory import Directory
from scope_ml.services.fritz.events import read_dateobs
from scope_ml.services.fritz.sources import LONGEST_SPAN
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.settings import AllServicesConfig, ServicesConfig
from scope_ml.stages.feature_sources import SourceConfig, check_source, light_curves_of, open_client
from scope_ml.stages.gcn_matching import (
    NOT_ANSWERED,
    LightCurves,
    Matched,
    light_curves_in_files,
    light_curves_in_kowalski,
    match,
)
from scope_ml.stages.gcn_sources import Found, Region, sources_of

__all__ = ["FritzGcn", "not_found_path", "run"]

#: SCoPe's longitudes are right ascensions less this [deg].
LONGITUDE = 180.0

#: Columns of the table with SCoPe's names, in its order; those that it does not have come last.
LEGACY = ("ztf_id", "coordinates", "fritz_name", "ra", "dec", "event", "distance_arcsec", "n_epochs")


@dataclass(frozen=True, kw_only=True)
class FritzGcn:
    """Options of the stage."""

    source: SourceConfig = option(SourceConfig(kind="kowalski", path=None), doc="the light curves")
    survey: Survey = option(Survey(), doc="what the survey calls its collections")
    service: AllServicesConfig = option(AllServicesConfig(), doc="how Fritz and Kowalski are asked", machine=True)
    output: str = option(doc="table to write: .parquet, .h5 or .csv", machine=True)
    dateobs: str | tuple[str, ...] | None = option(
        None, doc="an event's time, 2019-08-14T21:10:39, or several: [...,...]; null: all events of the last since_days"
    )
    since_days: float = option(
        7.0, unit="d", doc="dateobs=null: how old events may be", more_than=0.0, at_most=LONGEST_SPAN.days
    )
    groups: tuple[int | str, ...] = option((), doc="ids or names of groups; empty: all that the token sees")
    days: float = option(
        7.0,
        unit="d",
        doc="sources with detections up to so long after the event",
        more_than=0.0,
        at_most=LONGEST_SPAN.days,
    )
    cumprob: float = option(0.95, doc="probability of the region of a localization", more_than=0.0, at_most=1.0)
    localization: str | None = option(None, doc="name of the localization; null: the newest of each event")
    require_detections: bool = option(True, doc="false: sources without detections in these days too")
    radius_arcsec: float = option(
        0.5, unit="arcsec", doc="how far a light curve may be from its source", more_than=0.0, at_most=60.0
    )
    min_epochs: int = option(0, unit="epochs", doc="leave out light curves with fewer", at_least=0)
    names: Literal["ours", "legacy"] = option("ours", doc="legacy: ztf_id and coordinates, as SCoPe's tables have")
    json: bool = option(False, doc="SCoPe's list of ids too, beside the table as .json", machine=True)
    machine: Machine = option(Machine(), doc="dry_run asks for everything and writes nothing", machine=True)

    def __post_init__(self) -> None:
        """Find out before anything is asked that a time is none.

        Raises
        ------
        ConfigError
            If an event's time cannot be read, or none is named.
        """
        if self.dateobs is not None and not self.events:
            raise ConfigError("dateobs=[] names no event; give times, or null for the last since_days", key="dateobs")

    @property
    def events(self) -> tuple[datetime, ...]:
        """Return the times of the events that are named, naive UTC."""
        given = (self.dateobs,) if isinstance(self.dateobs, str) else self.dateobs or ()
        return tuple(read_dateobs(one) for one in given)


def run(
    config: FritzGcn,
    *,
    progress: Progress,
    fritz: Fritz | None = None,
    asks: Asks | None = None,
    now: datetime | None = None,
) -> Report:
    """List the light curves of sources in localizations.

    Parameters
    ----------
    config
        Options.
    progress
        Told the events and light curves.
    fritz, asks
        The services; None: as `config` says.
    now
        From when events are counted back, naive UTC; None: from now.

    Returns
    -------
    Report
        `n_in` sources in the localizations, `n_out` those with light curves, `dropped` the others by reason.
        ``facts["n_failed"]`` counts those of which Kowalski did not say what lies there.

    Raises
    ------
    ConfigError
        If there is no such event, localization or group.
    ServiceError
        If a service does not answer, or the token is unknown or may not ask.
    ScopeError
        If the light curves cannot be read, or the output not written.
    """
    began = time.monotonic()
    output = Path(config.output)
    _check(config, output)
    with ExitStack() as stack:
        if fritz is None:
            fritz = stack.enter_context(FritzClient(config.service.fritz))
        found = _sources(config, fritz, now, progress)
        around = _around(config, stack, asks, progress)
        matched = match(found.sources, around, radius_arcsec=config.radius_arcsec, min_epochs=config.min_epochs)
        n_requests = getattr(fritz, "n_requests", None)
    progress.finish()
    reasons = Counter(matched.without["reason"].to_pylist())
    outputs = {} if config.machine.dry_run else _write(config, output, matched, reasons)
    n_with = len(found.sources) - matched.without.num_rows
    return Report(
        stage="fritz_gcn",
        n_in=len(found.sources),
        n_out=n_with,
        dropped=dict(sorted(reasons.items())),
        seconds=time.monotonic() - began,
        warnings=(*found.warnings, *_told(config, found, matched, reasons)),
        outputs=outputs,
        facts={
            "events": [when.isoformat() for when in found.events],
            "n_events": len(found.events),
            "n_light_curves": matched.light_curves.num_rows,
            "n_requests": n_requests,
            "n_failed": reasons[NOT_ANSWERED],
            "text": f"{len(found.events)} events, {len(found.sources)} sources, {n_with} of them with"
            f" {matched.light_curves.num_rows} light curves",
        },
    )


def not_found_path(output: Path) -> Path:
    """Return where the sources without light curves are listed."""
    return output.with_name(f"{output.name}.not_found.parquet")


def _json_path(output: Path) -> Path:
    return output.with_suffix(".json")


def _check(config: FritzGcn, output: Path) -> None:
    """Find out before anything is asked that there are no light curves, or that the output cannot be written."""
    table_format(output)
    check_source(config.source)
    if not config.machine.dry_run:
        check_writable(output, not_found_path(output), *([_json_path(output)] if config.json else []))


def _sources(config: FritzGcn, fritz: Fritz, now: datetime | None, progress: Progress) -> Found:
    group_ids = [group.id for group in Directory(fritz).groups(config.groups)] if config.groups else []
    return sources_of(
        fritz,
        config.events or timedelta(days=config.since_days),
        Region(
            days=config.days,
            cumprob=config.cumprob,
            name=config.localization,
            require_detections=config.require_detections,
        ),
        group_ids=group_ids,
        now=datetime.now(UTC).replace(tzinfo=None) if now is None else now,
        progress=progress,
    )


def _around(
    config: FritzGcn, stack: ExitStack, asks: Asks | None, progress: Progress
) -> Callable[[Positions], LightCurves]:
    """Return what finds the light curves around places; nothing is opened before it is called."""
    services = ServicesConfig(kowalski=config.service.kowalski, irsa=config.service.irsa)
    collection = config.survey.collections.sources

    def around(places: Positions) -> LightCurves:
        client = asks
        if client is None:
            client = stack.enter_context(open_client(services, needed=config.source.kind == "kowalski"))
        if config.source.kind == "kowalski" and client is not None:
            return light_curves_in_kowalski(
                client, collection, places, config=services.kowalski, bands=config.source.bands, progress=progress
            )
        opens = light_curves_of(
            config.source, collection=collection, client=client, services=services, progress=progress
        )
        return light_curves_in_files(opens, places, progress=progress)

    return around


def _write(config: FritzGcn, output: Path, matched: Matched, reasons: Counter[str]) -> dict[str, str]:
    """Write the tables, the one of light curves last."""
    facts: dict[str, Any] = {
        "collection": config.survey.collections.sources,
        "light_curves": config.source.kind,
        "radius_arcsec": config.radius_arcsec,
        "min_epochs": config.min_epochs,
    }
    metadata = TableMetadata(kind="gcn_sources", config_digest=science_digest(config), facts=facts)
    without = TableMetadata(
        kind="sources_not_found", config_digest=metadata.config_digest, facts={"reasons": dict(sorted(reasons.items()))}
    )
    rows = _legacy(matched.light_curves) if config.names == "legacy" else matched.light_curves
    check_columns_fit(output, rows.schema)
    outputs = {"sources": str(output), "not_found": str(not_found_path(output))}
    write_table(matched.without, not_found_path(output), without)
    if config.json:
        outputs["json"] = str(_json_path(output))
        with atomic_path(_json_path(output)) as temporary:
            temporary.write_text(_scope_json(matched.light_curves), encoding="utf-8")
    write_table(rows, output, metadata)
    return outputs


def _legacy(rows: pa.Table) -> pa.Table:
    """Return the rows with SCoPe's names and its column of positions."""
    positions = [
        {"radec_geojson": {"coordinates": [ra - LONGITUDE, dec]}}
        for ra, dec in zip(rows["ra"].to_pylist(), rows["dec"].to_pylist(), strict=True)
    ]
    kind = pa.struct([("radec_geojson", pa.struct([("coordinates", pa.list_(pa.float64()))]))])
    named = rows.rename_columns(["ztf_id" if name == "id" else name for name in rows.column_names])
    return named.append_column("coordinates", pa.array(positions, kind)).select(LEGACY)


def _scope_json(rows: pa.Table) -> str:
    """Return SCoPe's list of ids: name on Fritz and position by id."""
    listed = {
        str(row["id"]): {
            "fritz_name": row["fritz_name"],
            "radec_geojson": {"coordinates": [row["ra"] - LONGITUDE, row["dec"]]},
        }
        for row in rows.to_pylist()
    }
    return json.dumps(listed, indent=1) + "\n"


def _told(config: FritzGcn, found: Found, matched: Matched, reasons: Counter[str]) -> list[str]:
    """Return what to wonder at."""
    n_sources = len(found.sources)
    what = f"{len(found.events)} events" if len(found.events) != 1 else f"the event {found.events[0].isoformat()}"
    if not found.events:
        return [f"Fritz has no event of the last {config.since_days:g} days with a localization; the table is empty"]
    if not n_sources:
        return [f"Fritz has no source in the {config.cumprob:.0%} region of {what}; the table is empty"]
    lines = []
    if reasons:
        names = matched.without["fritz_name"].to_pylist()
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        lines.append(f"{len(names)} of {n_sources} sources have no light curve here ({counts}): {listed}")
    if reasons[NOT_ANSWERED]:
        lines.append(f"{reasons[NOT_ANSWERED]} sources: Kowalski did not answer; type the same command again")
    return lines
