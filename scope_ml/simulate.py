"""Make an embedded survey: light curves, catalogues, alerts and labels for all 52 classes.

Seeded: the same seed gives the same bytes. The collections and columns are those of Kowalski, in Parquet.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="simulate",
    stage="scope_ml.stages.simulate:Simulate",
    doc=__doc__,
    example="""
python -m scope_ml.simulate n_sources=2000 seed=1 output=results/survey
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
