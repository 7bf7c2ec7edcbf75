"""Stars by coordinates or ids: light curves, features, scores and a page in one command.

One star by ra and dec, or those of a file. In the folder OUTPUT: scores.csv has one row a light curve, unscored.csv the
light curves and stars without a score and the reason, page.html folded light curves, periods and best classes. What must be
measured, and how, is read from the models. Without catalogues their features are imputed, and the report says which scores
are in doubt for it.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="classify",
    stage="scope_ml.stages.classify:Classify",
    doc=__doc__,
    example="""
python -m scope_ml.classify ra=298.0025 dec=29.87147 models=results/models
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
