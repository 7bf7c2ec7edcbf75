"""Find stars of which two algorithms, or two versions of the models, say the opposite; list them, and take them to Fritz."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="fritz_disagreements",
    stage="scope_ml.stages.fritz_disagreements:FritzDisagreements",
    doc=__doc__,
    example="""
python -m scope_ml.fritz_disagreements predictions=[predictions.parquet] exclude=[labels.parquet] output=disagreements
python -m scope_ml.fritz_disagreements predictions=[new.parquet] against=[old.parquet] pair.names=[new,old] classes=[all] \\
    output=versions
python -m scope_ml.fritz_disagreements predictions=[dnn.parquet,xgb.parquet] features=features.parquet groups=[1535] \\
    source=kowalski survey=kowalski output=disagreements apply=true
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
