"""The main job, `make repro`: DVC runs what is stale in dvc.yaml, then the user is told where things are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

RESULTS = """
Done in {minutes:.1f} min.
  report        results/report.html                 open it in a browser
  scores        results/predictions/predictions.parquet   one row a light curve, <tag>_xgb and <tag>_dnn
  catalogue     results/catalogue/catalogue.html    one row a star; make release-data packs it
  champions     results/models.lock.json
  metrics       .venv/bin/dvc metrics show          plots: .venv/bin/dvc plots show
  MLflow UI     make ui                             then http://127.0.0.1:5000
"""


def main() -> int:
    """Run the pipeline and return DVC's exit code."""
    began = time.monotonic()
    # The stages call `python`: it is this one, activated or not.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "dvc", "repro", *sys.argv[1:]]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode == 0:
        sys.stdout.write(RESULTS.format(minutes=(time.monotonic() - began) / 60))
    else:
        sys.stderr.write("The pipeline stopped; mend what the lines above name and type the same command again.\n")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
