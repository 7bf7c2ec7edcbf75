"""Look into the registry of models and move its champions: list, show, compare, promote, rollback, export, import."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="registry",
    stage="scope_ml.stages.registry:RegistryTask",
    doc=__doc__,
    example="""
python -m scope_ml.registry list
python -m scope_ml.registry compare name=scope-rrlyr-xgb version=challenger dataset.path=results/dataset
python -m scope_ml.registry promote name=scope-rrlyr-xgb version=2 reason="fewer blends among its stars"
python -m scope_ml.registry rollback name=scope-rrlyr-xgb reason="too many blends"
python -m scope_ml.registry export output=champions
python -m scope_ml.registry import path=champions tracking=server tracking.uri=https://mlflow.example.org
""",
    actions=("list", "show", "compare", "promote", "rollback", "export", "import"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
