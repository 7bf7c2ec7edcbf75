"""Search the best settings of an algorithm for one class: an Optuna study with pruning, which goes on where it was.

Each trial is an MLflow run; the best settings are written where train picks them up (tuned=<tag>).
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="tune",
    stage="scope_ml.stages.tune:Tune",
    doc=__doc__,
    example="""
python -m scope_ml.tune class=rrlyr algorithm=xgb n_trials=50 dataset.path=results/dataset
python -m scope_ml.tune class=rrlyr algorithm=dnn tune.batch_size.high=512 n_trials=30 dataset.path=results/dataset
python -m scope_ml.train class=rrlyr algorithm=xgb tuned=rrlyr dataset.path=results/dataset
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
