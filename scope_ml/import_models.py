"""Turn SCoPe's own model files (.json of XGBoost, .h5 of Keras) into bundles, to compare with and to move over."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="import_models",
    stage="scope_ml.stages.import_models:ImportModels",
    doc=__doc__,
    example="""
python -m scope_ml.import_models path=models_xgb/DR16 stats=config.yaml output=outputs/imported
python -m scope_ml.import_models path=my_model.h5 tag=rrlyr stats=stats.csv output=outputs/imported
python -m scope_ml.register models=outputs/imported promotion=never
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
