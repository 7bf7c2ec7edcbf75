"""The group `target` of `generate_features`: which light curves of a source are measured, and where the tables go.

One target is one table. A field has 64 of them, a list of quadrants one each; their tables lie in a folder as
``field_000250/ccd_01_quad_2.parquet``. May import `io`, core, errors, and the rooms that read the lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, overload

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError
from scope_ml.io.selection import CCDS, QUADS, Selection
from scope_ml.io.tables import FORMATS
from scope_ml.stages.quadrant_list import Quadrant, read_quadrants
from scope_ml.stages.requested_sources import Accounting, Request, read_request

__all__ = [
    "MANY",
    "Accounting",
    "Request",
    "Target",
    "TargetConfig",
    "Targets",
    "quadrant_path",
    "quadrant_target",
    "resolve_targets",
]

TargetKind = Literal["all", "quadrant", "field", "quadrant_list", "source_ids"]

#: Distance from a position within which a light curve is taken, where nothing else is said [arcsec].
RADIUS_ARCSEC = 2.0

#: What each kind of target needs, and what it may be given besides.
NEEDS: dict[TargetKind, tuple[str, ...]] = {
    "all": (),
    "quadrant": ("field", "ccd", "quad"),
    "field": ("field",),
    "quadrant_list": ("path",),
    "source_ids": ("path",),
}
TAKES: dict[TargetKind, tuple[str, ...]] = {
    "all": (),
    "quadrant": (),
    "field": ("index",),
    "quadrant_list": ("index",),
    "source_ids": ("radius_arcsec",),
}

#: What to type for each option.
EXAMPLES = {
    "field": "target.field=250",
    "ccd": "target.ccd=1 (1 to 16)",
    "quad": "target.quad=1 (1 to 4)",
    "path": "target.path=FILE",
}

#: Kinds whose output is a folder of tables.
MANY: tuple[TargetKind, ...] = ("field", "quadrant_list")


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The target group of the configuration: which light curves are measured.

    Nothing here counts in the digest of the configuration: what was selected is part of the digest of the light curves,
    so that a quadrant has the same table whether it was asked for alone, with its field or in a list.
    """

    kind: TargetKind = option(
        "all",
        doc="all; quadrant: field, ccd, quad; field: its 64 quadrants; quadrant_list: those of a file; source_ids: ids or"
        " positions of a file",
        machine=True,
    )
    field: int | None = option(None, doc="ZTF field, for quadrant and field", at_least=0, at_most=999999, machine=True)
    ccd: int | None = option(None, doc="detector, for quadrant", at_least=1, at_most=16, machine=True)
    quad: int | None = option(None, doc="quadrant of the detector, for quadrant", at_least=1, at_most=4, machine=True)
    path: str | None = option(
        None,
        doc="quadrant_list: file of lines 'field ccd quad'; source_ids: .parquet, .csv or .h5 with ztf_id or ra, dec, or a"
        " folder of lists of ids",
        machine=True,
    )
    index: int | None = option(
        None, doc="take this quadrant only, counted from 0 (job arrays); for quadrant_list and field", machine=True
    )
    radius_arcsec: float = option(
        RADIUS_ARCSEC, unit="arcsec", doc="source_ids without ids: how far a star may be", more_than=0.0, machine=True
    )

    def __post_init__(self) -> None:
        """Check that what the kind needs is there, and nothing else.

        Raises
        ------
        ConfigError
            If something is missing or superfluous; the message says what to type.
        """
        given = {one.name for one in fields(self) if getattr(self, one.name) != one.default} - {"kind"}
        for name in NEEDS[self.kind]:
            if name not in given or getattr(self, name) == "":
                raise ConfigError(
                    f"target={self.kind} needs target.{name}; type {EXAMPLES[name]}", key=f"target.{name}"
                )
        for name in sorted(given - {*NEEDS[self.kind], *TAKES[self.kind]}):
            takers = [kind for kind in NEEDS if name in (*NEEDS[kind], *TAKES[kind])]
            raise ConfigError(
                f"target={self.kind} takes no target.{name}; leave it out, or type target={' or target='.join(takers)}",
                key=f"target.{name}",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """One table to make.

    Attributes
    ----------
    name
        For messages and logs: ``all``, ``source_ids``, or ``field 250 ccd 1 quad 2``.
    selection
        Its light curves.
    output
        Where the table goes.
    field, ccd, quad
        The quadrant, where the target is one.
    request
        The sources that were asked for one by one, to be accounted for; only of kind ``source_ids``.
    """

    name: str
    selection: Selection
    output: Path
    field: int | None = None
    ccd: int | None = None
    quad: int | None = None
    request: Request | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """The tables to make, in order, and what is to be said about them.

    Attributes
    ----------
    many
        Whether `output` is a folder of tables, also if only one of them is to be made.
    warnings
        One line each, such as how many lines of the list were repeated.
    n_sources
        Light curves of targets, by their names, as far as a list says.
    """

    targets: tuple[Target, ...]
    many: bool = False
    n_sources: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Target, ...]: ...
    def __getitem__(self, index: int | slice) -> Target | tuple[Target, ...]:
        return self.targets[index]


def resolve_targets(config: TargetConfig, output: Path) -> Targets:
    """Return the tables to make.

    Parameters
    ----------
    config
        The target group.
    output
        The table, or the folder of the tables where there can be many.

    Raises
    ------
    ConfigError
        If `output` is a file where a folder is needed, or `index` is none of the list.
    ScopeError
        If the file of quadrants or sources cannot be used.
    """
    output = Path(output)
    if config.kind in MANY:
        return _many(config, output)
    request = None
    warnings: tuple[str, ...] = ()
    selection = Selection(field=config.field, ccd=config.ccd, quad=config.quad)
    name = config.kind if config.kind != "quadrant" else str(selection)
    if config.kind == "source_ids":
        request = read_request(Path(str(config.path)), radius_arcsec=config.radius_arcsec)
        selection = request.selection
        warnings = request.warnings
        if request.n_duplicates:
            warnings = (
                *warnings,
                f"{config.path}: {request.n_duplicates} of {request.n_asked} rows repeat a source and count once",
            )
    target = Target(name=name, selection=selection, output=output, request=request, **selection.constant)
    return Targets(targets=(target,), warnings=warnings)


def quadrant_path(folder: Path, quadrant: Quadrant) -> Path:
    """Return where the table of a quadrant lies."""
    return folder / f"{quadrant.key}.parquet"


def quadrant_target(quadrant: Quadrant, folder: Path) -> Target:
    """Return the target of a quadrant whose table lies in `folder`."""
    return Target(
        name=str(quadrant.selection),
        selection=quadrant.selection,
        output=quadrant_path(folder, quadrant),
        **quadrant._asdict(),
    )


def _many(config: TargetConfig, output: Path) -> Targets:
    if output.suffix.lower() in FORMATS:
        raise ConfigError(
            f"target={config.kind} makes one table a quadrant, so output={output} cannot be a file; give a folder, such as"
            f" output={output.with_suffix('')}",
            key="output",
        )
    if output.exists() and not output.is_dir():
        raise ConfigError(
            f"target={config.kind} makes one table a quadrant, but output={output} is a file; give a folder",
            key="output",
        )
    warnings: tuple[str, ...] = ()
    n_sources: Mapping[Quadrant, int] = {}
    if config.kind == "field":
        whole = [Quadrant(int(config.field or 0), ccd, quad) for ccd in CCDS for quad in QUADS]
        quadrants: Mapping[int, Quadrant] = dict(enumerate(whole))
    else:
        listed = read_quadrants(Path(str(config.path)))
        quadrants, n_sources = listed.quadrants, listed.n_sources
        warnings = tuple(f"{config.path}: {line}" for line in listed.oddities())
    chosen = list(quadrants.values()) if config.index is None else [_one(config, quadrants)]
    return Targets(
        targets=tuple(quadrant_target(quadrant, output) for quadrant in chosen),
        many=True,
        n_sources={str(one.selection): n_sources[one] for one in chosen if one in n_sources},
        warnings=warnings,
    )


def _one(config: TargetConfig, quadrants: Mapping[int, Quadrant]) -> Quadrant:
    index = config.index
    if index is None or index not in quadrants:
        source = config.path if config.path else f"field {config.field}"
        raise ConfigError(
            f"target.index={index} is none of {source}: it has {len(quadrants)} quadrants, numbered {min(quadrants)} to"
            f" {max(quadrants)}",
            key="target.index",
        )
    return quadrants[index]
