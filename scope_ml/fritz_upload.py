"""Upload scores or labels of a table to Fritz as classifications; shows a plan, and carries it out with apply=true."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="fritz_upload",
    stage="scope_ml.stages.fritz_upload:FritzUpload",
    doc=__doc__,
    example="""
python -m scope_ml.fritz_upload table=predictions.parquet groups=[1535] classifications=read p_threshold=0.7 output=upload
python -m scope_ml.fritz_upload table=predictions.parquet groups=[1535] classifications=read p_threshold=0.7 output=upload apply=true
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
