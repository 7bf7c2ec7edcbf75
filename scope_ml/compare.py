"""Compare all trained models: classes and algorithms side by side, on one page."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="compare",
    stage="scope_ml.stages.compare:Compare",
    doc=__doc__,
    example="""
python -m scope_ml.compare models=results/models output=comparison.html
python -m scope_ml.compare 'models=[sweep/rrlyr,sweep/ea]' output=comparison.html
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
