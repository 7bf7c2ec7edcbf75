"""Download classifications, votes and periods of sources from Fritz; merge them with features, update a training set by votes."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="fritz_download",
    stage="scope_ml.stages.fritz_download:FritzDownload",
    doc=__doc__,
    example="""
python -m scope_ml.fritz_download groups=[1544] output=fritz/sources.parquet
python -m scope_ml.fritz_download file=stars.csv output=fritz features=results/features/features.parquet
python -m scope_ml.fritz_download groups=[1544] output=fritz features=kowalski update_training_set=true training.path=training_set.parquet
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
