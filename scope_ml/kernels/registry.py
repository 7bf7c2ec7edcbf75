"""The table of kernels, and the one way to get one: `load(name, device)`.

Two kinds, two signatures, no third:

* *measure* ``(batch, options) -> {column: array with one row per light curve}``
* *search* ``(batch, grid, options) -> PeriodogramPeaks``

Each kernel names its definition (``reference``: plain NumPy, shipped so that users can check us, never chosen by
itself) and its targets by device. May import `core` and `errors`; nothing heavy is imported before `load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

from scope_ml.errors import BackendUnavailableError, ConfigError, suggest

__all__ = ["KERNELS", "KernelSpec", "available_devices", "load", "resolve_device", "spec"]

#: Optional dependency group that brings what a target needs, by device; for error messages.
EXTRAS: Mapping[str, str] = {"cpu": "scope_ml", "gpu": "scope_ml[gpu]"}


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """One method, whatever device it runs on.

    Attributes
    ----------
    name, short
        Name of the folder, and the suffix of the method's columns.
    kind
        ``"measure"`` or ``"search"``: the signature.
    summary
        What comes out, in one line, with units.
    reference
        The papers that define it.
    min_n_obs
        Fewest points a light curve needs for a defined result, with default options; with fewer it gets NaN or a
        status, never an error.
    targets
        ``module:function`` by device, plus ``"reference"``.
    best
        Searches: whether a period shows as a maximum or a minimum of the statistic.
    """

    name: str
    short: str
    kind: Literal["measure", "search"]
    summary: str
    reference: str
    min_n_obs: int
    targets: Mapping[str, str]
    best: Literal["max", "min"] = "max"


def _targets(folder: str, *, gpu: bool = False) -> dict[str, str]:
    """Return the targets of a kernel whose rooms have their usual names."""
    rooms = ("reference", "cpu", "gpu") if gpu else ("reference", "cpu")
    return {room: f"scope_ml.kernels.{folder}.{room}:run" for room in rooms}


#: All kernels. To add one: a folder with `reference.py` and `cpu.py`, and a line here; the conformance suite finds it.
KERNELS: Mapping[str, KernelSpec] = {
    entry.name: entry
    for entry in (
        KernelSpec(
            name="statistics",
            short="stats",
            kind="measure",
            summary="the 22 basic statistics of SCoPe, Anderson-Darling and Shapiro-Wilk included",
            reference="Coughlin et al. 2021, MNRAS 505, 2954; Royston 1995, Applied Statistics 44, 547 (AS R94)",
            min_n_obs=4,
            targets=_targets("statistics"),
        ),
        KernelSpec(
            name="fourier",
            short="fourier",
            kind="measure",
            summary="weighted Fourier fit of 0 to 5 harmonics with a slope [mag/d], order chosen by BIC",
            reference="Coughlin et al. 2021, MNRAS 505, 2954; Schwarz 1978, Annals of Statistics 6, 461",
            min_n_obs=3,
            targets=_targets("fourier"),
        ),
        KernelSpec(
            name="folded",
            short="folded",
            kind="measure",
            summary="shape of the light curve at its cycle, half and twice it; minima, residuals, second modes",
            reference="Simon & Lee 1981, ApJ 248, 291; Soszynski et al. 2009, AcA 59, 1",
            min_n_obs=10,
            targets=_targets("folded"),
        ),
        KernelSpec(
            name="timescales",
            short="timescales",
            kind="measure",
            summary="distribution of magnitudes, three slow sinusoids, mean square differences by separation",
            reference="Richards et al. 2011, ApJ 733, 10; Roberts, Lehar & Dreher 1987, AJ 93, 968",
            min_n_obs=10,
            targets=_targets("timescales"),
        ),
        KernelSpec(
            name="dmdt",
            short="dmdt",
            kind="measure",
            summary="26 x 26 image of magnitude differences over time differences of all pairs, norm 1",
            reference="Mahabal et al. 2017, arXiv:1709.06257; Coughlin et al. 2021, MNRAS 505, 2954",
            min_n_obs=2,
            targets=_targets("dmdt"),
        ),
        KernelSpec(
            name="damped_random_walk",
            short="drw",
            kind="measure",
            summary="damped random walk of largest likelihood: tau [d], sigma [mag], ln L over that of white noise",
            reference="Kelly et al. 2009, ApJ 698, 895; MacLeod et al. 2010, ApJ 721, 1014",
            min_n_obs=5,
            targets=_targets("damped_random_walk"),
        ),
        KernelSpec(
            name="lomb_scargle",
            short="ls",
            kind="search",
            summary="generalised Lomb-Scargle power in [0, 1]: weights, floating mean",
            reference="Zechmeister & Kuerster 2009, A&A 496, 577",
            min_n_obs=4,
            best="max",
            targets=_targets("lomb_scargle", gpu=True),
        ),
        KernelSpec(
            name="multiharmonic",
            short="mhaov",
            kind="search",
            summary="multi-harmonic analysis of variance: F of a weighted fit of n_harmonics sinusoids",
            reference="Schwarzenberg-Czerny 1996, ApJ 460, L107",
            min_n_obs=8,
            best="max",
            targets=_targets("multiharmonic", gpu=True),
        ),
        KernelSpec(
            name="conditional_entropy",
            short="ce",
            kind="search",
            summary="conditional entropy [nat] of the magnitude bins given the phase bins",
            reference="Graham et al. 2013, MNRAS 434, 2629",
            min_n_obs=3,
            best="min",
            targets=_targets("conditional_entropy", gpu=True),
        ),
        KernelSpec(
            name="analysis_of_variance",
            short="aov",
            kind="search",
            summary="analysis of variance: F of the means of phase bins",
            reference="Schwarzenberg-Czerny 1989, MNRAS 241, 153",
            min_n_obs=21,
            best="max",
            targets=_targets("analysis_of_variance", gpu=True),
        ),
        KernelSpec(
            name="phase_dispersion",
            short="pdm",
            kind="search",
            summary="phase dispersion minimisation: variance within phase bins over the whole",
            reference="Stellingwerf 1978, ApJ 224, 953",
            min_n_obs=21,
            best="min",
            targets=_targets("phase_dispersion", gpu=True),
        ),
        KernelSpec(
            name="phase_weighted",
            short="fpw",
            kind="search",
            summary="weighted signal of the means of phase bins, the mean removed",
            reference="Coughlin et al. 2021, MNRAS 505, 2954",
            min_n_obs=21,
            best="max",
            targets=_targets("phase_weighted", gpu=True),
        ),
        KernelSpec(
            name="box_least_squares",
            short="bls",
            kind="search",
            summary="box least squares: signal of the best box in phase",
            reference="Kovacs, Zucker & Mazeh 2002, A&A 391, 369",
            min_n_obs=5,
            best="max",
            targets=_targets("box_least_squares", gpu=True),
        ),
        KernelSpec(
            name="nested",
            short="ls_ce_aov",
            kind="search",
            summary="peaks of ls and ce decided by aov",
            reference="Coughlin et al. 2021, MNRAS 505, 2954",
            min_n_obs=21,
            best="max",
            targets=_targets("nested", gpu=True),
        ),
        KernelSpec(
            name="best",
            short="best",
            kind="search",
            summary="the recommended search: candidates of several harmonics weighed by the evidence of a smooth curve",
            reference="docs/period_search.md",
            min_n_obs=8,
            targets=_targets("best"),
        ),
    )
}


def spec(name: str) -> KernelSpec:
    """Return the spec of a kernel by its name or its short name.

    Raises
    ------
    ConfigError
        If there is no such kernel.
    """
    for entry in KERNELS.values():
        if name in (entry.name, entry.short):
            return entry
    raise ConfigError(
        f"there is no kernel '{name}'; known are {', '.join(KERNELS)}{suggest(name, KERNELS)}", choices=KERNELS
    )


@cache
def load(name: str, device: str) -> Callable[..., Any]:
    """Return the function of a kernel on a device, importing it now.

    Parameters
    ----------
    name
        Name or short name of a kernel.
    device
        ``"cpu"``, ``"gpu"`` or ``"reference"``; already resolved, not ``"auto"``.

    Raises
    ------
    BackendUnavailableError
        If the kernel has no such target, or a package or device that it needs is not there.
    ConfigError
        If there is no such kernel.
    """
    entry = spec(name)
    if device not in entry.targets:
        raise BackendUnavailableError(
            f"kernel '{entry.name}' does not run on device '{device}', only on"
            f" {', '.join(key for key in entry.targets if key != 'reference')}; set machine.device=auto"
        )
    module_name, _, function_name = entry.targets[device].partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"kernel '{entry.name}' on device '{device}' needs a package that is not installed ({error});"
            f" install it with: pip install '{EXTRAS.get(device, 'scope_ml')}'"
        ) from error
    except RuntimeError as error:
        # numba's words where neither the package's folder nor the user's cache can be written to.
        if "no locator available" not in str(error):
            raise
        raise BackendUnavailableError(
            f"there is no place to keep the compiled code of kernel '{entry.name}' ({error});"
            " set the environment variable NUMBA_CACHE_DIR to a folder that can be written to"
        ) from error
    function: Callable[..., Any] = getattr(module, function_name)
    return function


def available_devices(name: str) -> tuple[str, ...]:
    """Return the devices on which a kernel can be loaded on this machine, ``"reference"`` left out."""
    found = []
    for device in spec(name).targets:
        if device == "reference":
            continue
        try:
            load(name, device)
        except BackendUnavailableError:
            continue
        found.append(device)
    return tuple(found)


def resolve_device(device: str, names: tuple[str, ...]) -> str:
    """Turn ``"auto"``, ``"cpu"`` or ``"gpu"`` into the device on which all kernels `names` will run.

    Parameters
    ----------
    device
        What was asked for. ``"auto"`` takes the GPU where every kernel has a target for one that is there.
    names
        The kernels of this run.

    Raises
    ------
    BackendUnavailableError
        If a device was asked for by name and a kernel cannot run there: never a silent fallback.
    """
    if device != "auto":
        for name in names:
            load(name, device)
        return device
    if names and all("gpu" in available_devices(name) for name in names):
        return "gpu"
    for name in names:
        load(name, "cpu")
    return "cpu"
