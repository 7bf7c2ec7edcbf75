"""Write one self-contained HTML page about a run."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="report",
    stage="scope_ml.stages.report:MakeReport",
    doc=__doc__,
    example="""
python -m scope_ml.report predictions=results/predictions.parquet models=results/models output=results/report.html
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
