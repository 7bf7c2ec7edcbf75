"""Call build_dataset with the feature and label tables of all training sets of params.yaml, each named by its set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf

#: Surveys place the same star up to this far apart [arcsec]: the two are one star for the split.
GROUP_RADIUS_ARCSEC = 15


def main() -> int:
    """Return the exit code of build_dataset."""
    sets = list(OmegaConf.load(Path(__file__).with_name("params.yaml")).training_sets)
    data = os.environ["SCOPE_BENCHMARK_DATA"]
    features = ",".join(f"results/benchmark/features/{name}/features.parquet" for name in sets)
    labels = ",".join(f"'{data}/{name}/labels.parquet'" for name in sets)
    words = [
        f"features=[{features}]",
        f"labels=[{labels}]",
        f"origins=[{','.join(sets)}]",
        "output=results/benchmark/dataset",
        f"join.group_radius_arcsec={GROUP_RADIUS_ARCSEC}",
    ]
    return subprocess.run([sys.executable, "-m", "scope_ml.build_dataset", *words], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
