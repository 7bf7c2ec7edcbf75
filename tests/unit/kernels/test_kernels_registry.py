from __future__ import annotations

import subprocess
import sys

import pytest

from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.kernels.registry import KERNELS, available_devices, load, resolve_device, spec


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_a_definition_and_runs_on_the_cpu(name):
    entry = spec(name)
    assert entry.kind in ("measure", "search")
    assert entry.reference
    assert entry.summary
    assert callable(load(name, "reference"))
    assert callable(load(name, "cpu"))
    assert "cpu" in available_devices(name)
    assert "reference" not in available_devices(name)


def test_short_names_are_names_too():
    assert spec("ls") is spec("lomb_scargle")


def test_an_unknown_kernel_is_named_with_the_closest():
    with pytest.raises(ConfigError, match="lomb_scargle"):
        spec("lomb_scargel")


def test_a_device_that_is_not_there_is_an_error_that_says_so():
    with pytest.raises(BackendUnavailableError, match=r"gpu.*only on cpu.*machine\.device=auto"):
        load("statistics", "gpu")
    with pytest.raises(BackendUnavailableError):
        resolve_device("gpu", ("statistics",))


def test_auto_is_the_cpu_where_a_kernel_has_no_gpu_target():
    assert resolve_device("auto", ("statistics", "ls")) == "cpu"
    assert resolve_device("cpu", ("statistics",)) == "cpu"


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    broken = KERNELS["statistics"].__class__(
        name="broken", short="b", kind="measure", summary="-", reference="-", min_n_obs=1,
        targets={"gpu": "no_such_package.module:run"},
    )  # fmt: skip
    monkeypatch.setitem(KERNELS, "broken", broken)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'scope_ml\[gpu\]'"):
        load("broken", "gpu")
    assert available_devices("broken") == ()


def test_no_place_for_compiled_code_is_named_with_the_way_to_give_one(monkeypatch):
    def nowhere(name):
        raise RuntimeError("cannot cache function '_moments': no locator available for file 'cpu.py'")

    monkeypatch.setattr("scope_ml.kernels.registry.import_module", nowhere)
    load.cache_clear()
    with pytest.raises(BackendUnavailableError, match="set the environment variable NUMBA_CACHE_DIR"):
        load("fourier", "cpu")
    load.cache_clear()


def test_the_table_itself_imports_nothing_heavy(root):
    code = (
        "import sys; import scope_ml.kernels.registry, scope_ml.features.registry, scope_ml.features.extract;"
        "sys.exit(int(bool({'numba', 'nifty_ls', 'scipy', 'cupy'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
