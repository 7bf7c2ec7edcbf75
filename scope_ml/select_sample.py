"""Choose stars to be labelled: the highest scores, some of every class, or the hardest to decide; one row a star."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="select_sample",
    stage="scope_ml.stages.select_sample:SelectSample",
    doc=__doc__,
    example="""
python -m scope_ml.select_sample predictions=[predictions.parquet] exclude=[labels.parquet] output=sample.parquet
python -m scope_ml.select_sample predictions=[dnn.parquet,xgb.parquet] select=uncertainty select.uncertainty=algorithms \\
    classes=[rrlyr,ea] select.per_class=50 output=unsure.csv
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
