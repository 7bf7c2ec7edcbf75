"""Join features and labels and split them by star, stratified by class."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="build_dataset",
    stage="scope_ml.stages.build_dataset:BuildDataset",
    doc=__doc__,
    example="""
python -m scope_ml.build_dataset features=[features.parquet] labels=[results/survey/labels.parquet] output=dataset
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
