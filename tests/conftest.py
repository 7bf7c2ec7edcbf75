"""What every test may use: nothing outside the repository, no progress on the terminal, no network."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# TensorFlow reads these when it is imported, in this process or in those the tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Small matrices: on a busy machine threads that wait for one another take ten times as long as one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _log_files_are_closed() -> Iterator[None]:
    """Take away the log files that doors opened in this process leave open: later tests would write on into them."""
    yield
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler) and handler.baseFilename != os.devnull:
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: no real light curves to test with")
    return Path(value)


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder of real labelled light curves."""
    return _folder("SCOPE_BENCHMARK_DATA")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of values computed by scope-ml 0.9.5."""
    return _folder("SCOPE_REFERENCE_DATA")
