"""Look into the registry of models, move its champions, keep it safe and small.

list, show, compare, promote, rollback; export, import; backup, restore, clean.
"""

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
python -m scope_ml.registry import path=results/release
python -m scope_ml.registry backup output=backups/2026-11-23.zip
python -m scope_ml.registry restore path=backups/2026-11-23.zip tracking.uri=sqlite:///restored/mlflow.db
python -m scope_ml.registry clean lock=[results/models.lock.json] clean.keep=3 clean.older_than=30 apply=true
""",
    actions=("list", "show", "compare", "promote", "rollback", "export", "import", "backup", "restore", "clean"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
