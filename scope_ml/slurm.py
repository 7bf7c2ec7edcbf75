"""Run many shards as job arrays of Slurm: show, submit, status, cancel, resubmit, collect; tasks themselves call work."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="slurm",
    stage="scope_ml.stages.slurm:SlurmTask",
    doc=__doc__,
    example="""
python -m scope_ml.generate_features target=field target.field=296 source.path=survey output=features \\
    executor=slurm executor/cluster=expanse executor.cluster.account=abc123 executor.submit=false
python -m scope_ml.slurm show plan=features.run
python -m scope_ml.slurm submit plan=features.run
python -m scope_ml.slurm status plan=features.run
python -m scope_ml.slurm resubmit plan=features.run reasons=[timed_out] hours=8
python -m scope_ml.slurm cancel plan=features.run
python -m scope_ml.slurm collect plan=features.run
""",
    actions=("show", "submit", "status", "cancel", "resubmit", "collect", "work"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
