"""Train, evaluate, track and register a classifier for one class; with -m a sweep.

One MLflow run per class, algorithm and seed under a parent run. Sets of classes: class=all, class=phenomenological,
class=ontological.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="train",
    stage="scope_ml.stages.train:Train",
    sweep="scope_ml.stages.train_sweep:run_sweep",
    doc=__doc__,
    example="""
python -m scope_ml.train class=rrlyr seed=42 dataset=table dataset.features=features.parquet dataset.labels=results/survey/labels.parquet
python -m scope_ml.train -m class=rrlyr,ea 'seed=range(1,4)' algorithm=xgb,dnn
python -m scope_ml.train -m class=all 'seed=range(1,11)' algorithm=xgb,dnn ensemble=true dataset.path=results/dataset
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
