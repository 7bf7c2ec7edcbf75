"""A real Slurm on this machine, started once for the tests of this folder and ended with them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

LAB = Path(__file__).parent / "slurm_lab.sh"

#: What the lab needs, from Debian's slurm-wlm and munge.
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munge")


def lacking() -> str:
    """Why no Slurm can be started here, or ""."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    return f"{', '.join(missing)} is not here: apt-get install slurm-wlm munge" if missing else ""


def free_port() -> int:
    """A port that is free, and the next one too."""
    for port in range(6817, 7817, 2):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        return port
    raise AssertionError("no free port")


@pytest.fixture(scope="session")
def slurm_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration file of a Slurm that runs; SLURM_CONF names it."""
    reason = lacking()
    if reason:
        if os.environ.get("SCOPE_REQUIRE_SLURM"):
            pytest.fail(f"SCOPE_REQUIRE_SLURM is set, but {reason}")
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    environment = {
        **os.environ,
        "SLURM_LAB_PORT": str(free_port()),
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }
    with (folder / "lab.log").open("w") as log:
        # The daemons keep what they inherit open: a pipe would never end.
        done = subprocess.run([LAB, "start", folder], env=environment, stdout=log, stderr=log, check=False, timeout=120)
    try:
        assert done.returncode == 0, (folder / "lab.log").read_text()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            yield folder / "slurm.conf"
    finally:
        subprocess.run([LAB, "stop", folder], env=environment, check=False, timeout=60)
