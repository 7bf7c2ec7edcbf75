"""Download features that the survey has measured already; ids that are not there are named in OUTPUT.not_found.parquet."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="get_features",
    stage="scope_ml.stages.get_features:GetFeatures",
    doc=__doc__,
    example="""
python -m scope_ml.get_features target=source_ids target.path=ids.csv output=features.parquet
python -m scope_ml.get_features target=quadrant target.field=301 target.ccd=1 target.quad=2 output=features.parquet
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
