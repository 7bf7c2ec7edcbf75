"""Make a catalogue of the scores of fields: one row a star, partitioned over the sky (HATS), with a page."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="catalog",
    stage="scope_ml.stages.catalog:Catalog",
    doc=__doc__,
    example="""
python -m scope_ml.catalog predictions=results/scores fields=[296,297] output=results/catalogue
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
