"""List the sources of quadrants or whole fields: ids, positions and numbers of observations, one file each."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="get_quad_ids",
    stage="scope_ml.stages.get_quad_ids:GetQuadIds",
    doc=__doc__,
    example="""
python -m scope_ml.get_quad_ids field=301 ccd=[1,2] quad=1-4 output=sources
python -m scope_ml.get_quad_ids source=survey source.path=results/survey field=296 output=sources
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
