"""Post, update or delete keys of annotations on Fritz, of one source or of a table; apply=true carries the plan out."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="fritz_annotate",
    stage="scope_ml.stages.fritz_annotate:FritzAnnotate",
    doc=__doc__,
    example="""
python -m scope_ml.fritz_annotate post obj_id=ZTFJ170337.70+123413.0 origin=SCoPe key=period value=0.5123 groups=[1535]
python -m scope_ml.fritz_annotate update path=periods.csv origin=SCoPe key=period value_column=best_period apply=true
python -m scope_ml.fritz_annotate delete path=periods.csv origin=SCoPe key=period apply=true
""",
    actions=("post", "update", "delete"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
