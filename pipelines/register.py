"""Register the classes and algorithms that a pipeline's settings name; folders of others, trained before, are left alone.

python pipelines/register.py SETTINGS RESULTS [key=value ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from scope_ml.register import DOOR


def main(settings: Path, results: Path, extra: list[str]) -> int:
    """Return the exit code of the door ``register``."""
    chosen = OmegaConf.load(settings)
    folders = [f"{results}/models/{tag}/{algorithm}" for tag in chosen.classes for algorithm in chosen.algorithms]
    return DOOR.open([f"models=[{','.join(folders)}]", f"output={results}/models.lock.json", *extra])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
