"""Turn light curves into a feature table: clean, search periods, measure.

Kept light curves go to OUTPUT, dropped ones with their reason to OUTPUT.dropped.parquet, digests of all to
OUTPUT.light_curves.parquet, counts to OUTPUT.report.json, how the run went to OUTPUT.log.jsonl. With target=field or
quadrant_list OUTPUT is a folder with one table a quadrant, made by processes here, by Slurm or by Dask (executor=...). A
killed run goes on where it was; finished quadrants are not made again. With previous=EARLIER what has not changed since is
taken over.
"""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="generate_features",
    stage="scope_ml.stages.generate_features:GenerateFeatures",
    doc=__doc__,
    example="""
python -m scope_ml.generate_features source=parquet source.path=results/survey/ZTF_sources output=features.parquet
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
