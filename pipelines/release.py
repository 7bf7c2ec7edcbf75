"""`make release-data`: the results of `make repro` as a data release in results/release."""

from __future__ import annotations

import sys
from pathlib import Path

from scope_ml.release import DOOR

#: What `make repro` leaves.
PREDICTIONS, LOCK, CATALOGUE = "predictions/predictions.parquet", "models.lock.json", "catalogue"


def main(results: Path, extra: list[str]) -> int:
    """Return the exit code of ``release pack``, or 2 where there is nothing to pack.

    Parameters
    ----------
    results
        Folder that the pipeline wrote.
    extra
        Further words for ``release pack``, such as ``publication=mine``.
    """
    missing = [name for name in (PREDICTIONS, LOCK, CATALOGUE) if not (results / name).exists()]
    if missing:
        sys.stderr.write(f"release: there is no {results / missing[0]}; type make repro first\n")
        return 2
    return DOOR.open(
        [
            "pack",
            f"predictions={results / PREDICTIONS}",
            f"models={results / LOCK}",
            f"bundles={results}/models",
            f"training_set={results}/dataset",
            f"catalogue={results / CATALOGUE}",
            f"output={results}/release",
            *extra,
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
