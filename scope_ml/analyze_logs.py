"""Tell from run logs where the time went: runtime of each run or quadrant, light curves a second, shares of the groups.

The plot goes to OUTPUT, the numbers to OUTPUT.json. Logs of runs that still go on, or were killed, are read as far as they go.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="analyze_logs",
    stage="scope_ml.stages.analyze_logs:AnalyzeLogs",
    doc=__doc__,
    example="""
python -m scope_ml.analyze_logs logs=results output=results/runtimes.png
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
