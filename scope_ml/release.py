"""Pack a data release: scores, catalogue, models, training set, checksums, DataCite metadata; verify and unpack one.

The same inputs give the same bytes. A packing that was interrupted goes on when the same command is typed again.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="release",
    stage="scope_ml.stages.release:Release",
    doc=__doc__,
    example="""
python -m scope_ml.release pack predictions=results/predictions/predictions.parquet models=results/models.lock.json \\
    bundles=results/models training_set=results/dataset catalogue=results/catalogue output=results/release
python -m scope_ml.release verify path=results/release
python -m scope_ml.release unpack path=results/release parts=[training_set,catalogue] output=unpacked
python -m scope_ml.registry import path=results/release
""",
    actions=("pack", "verify", "unpack"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
