"""List the light curves of Fritz's sources in the localizations of events, as input for generate_features."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="fritz_gcn",
    stage="scope_ml.stages.fritz_gcn:FritzGcn",
    doc=__doc__,
    example="""
python -m scope_ml.fritz_gcn dateobs=2019-08-14T21:10:39 output=gcn.parquet
python -m scope_ml.fritz_gcn since_days=7 min_epochs=50 groups=[1544] output=gcn.parquet
python -m scope_ml.generate_features source=kowalski survey=kowalski target=source_ids target.path=gcn.parquet output=features.parquet
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
