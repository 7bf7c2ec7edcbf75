"""Find which field, ccd and quad have sources, with counts, and write the list of quadrants for array jobs."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="check_quads",
    stage="scope_ml.stages.check_quads:CheckQuads",
    doc=__doc__,
    example="""
python -m scope_ml.check_quads field=300-310 output=quadrants
python -m scope_ml.check_quads source=survey source.path=results/survey output=quadrants
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
