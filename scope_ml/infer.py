"""Score a feature table with registered models: one row a light curve, <tag>_<algorithm> in [0, 1]."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="infer",
    stage="scope_ml.stages.infer:Infer",
    doc=__doc__,
    example="""
python -m scope_ml.infer features=features.parquet models=champion output=predictions.parquet
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
