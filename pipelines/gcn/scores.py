"""Make one row a source of the scores of its light curves: mean over these, then mean over the algorithms.

Writes results/gcn/scores/scores.parquet: obj_id (the name on Fritz), ra, dec, event, n_light_curves, period, and <tag> for
each class; by_algorithm.parquet beside it has <tag>_<algorithm>, of which they are made.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf

from scope_ml.core.configuration import build, option
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.errors import ScopeError
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.selection.consolidation import Combine, consolidate
from scope_ml.selection.stars import find_stars

SETTINGS = Path(__file__).with_name("params.yaml")
SOURCES, PREDICTIONS = Path("results/gcn/sources.parquet"), Path("results/gcn/predictions/predictions.parquet")
OUTPUT, BY_ALGORITHM = Path("results/gcn/scores/scores.parquet"), Path("results/gcn/scores/by_algorithm.parquet")


@dataclass(frozen=True, kw_only=True)
class Joining:
    """How scores are joined."""

    over_light_curves: Combine = option("mean", doc="over the light curves of a source")
    over_algorithms: Literal["mean", "max"] = option("mean", doc="over the algorithms of a class")


def main() -> int:
    """Return the exit code: 0, or 2 with one line for what the user can mend."""
    try:
        settings = OmegaConf.to_container(OmegaConf.load(SETTINGS).scores)
        join(build(Joining, settings, "scores"))  # type: ignore[arg-type]
    except ScopeError as error:
        sys.stderr.write(f"gcn scores: error: {error}\n")
        return 2
    return 0


def join(how: Joining) -> None:
    """Write the table of sources."""
    sources, predictions = read_table(SOURCES, kind="gcn_sources"), read_table(PREDICTIONS, kind="predictions")
    rows = predictions.data
    ids = sources.data["id"].to_pylist()
    name_of = dict(zip(ids, sources.data["fritz_name"].to_pylist(), strict=True))
    event_of = dict(zip(sources.data["fritz_name"].to_pylist(), sources.data["event"].to_pylist(), strict=True))
    rows = rows.append_column("obj_id", pa.array([name_of.get(one) for one in rows["id"].to_pylist()], pa.string()))
    # Models that were made when a light curve was no source's any more do not count.
    rows = rows.filter(pa.array([name is not None for name in rows["obj_id"].to_pylist()], pa.bool_()))
    pairs = {name: split for name in rows.column_names if (split := algorithm_of(name)) is not None}
    stars = find_stars(rows, by="obj_id", radius_arcsec=0.0, where=str(PREDICTIONS))
    joined = consolidate(rows, stars, scores=list(pairs), how=how.over_light_curves)
    events = pa.array([event_of[name] for name in joined["obj_id"].to_pylist()], pa.string())
    joined = joined.append_column("event", events)
    scores = joined.drop_columns(list(pairs))
    for tag in dict.fromkeys(tag for tag, _ in pairs.values()):
        values = np.stack([joined[name].to_numpy() for name, (of, _) in pairs.items() if of == tag]).astype(np.float64)
        of_all = values.max(axis=0) if how.over_algorithms == "max" else values.mean(axis=0)
        scores = scores.append_column(pa.field(tag, pa.float32()), pa.array(of_all.astype(np.float32)))
    metadata = TableMetadata(
        kind="source_scores",
        config_digest=predictions.metadata.config_digest,
        inputs=(Input(name="predictions", digest=digest_file(PREDICTIONS), n_rows=predictions.metadata.n_rows),),
        facts={**asdict(how), "models": predictions.metadata.facts.get("models", {})},
    )
    write_table(joined, BY_ALGORITHM, metadata)
    write_table(scores, OUTPUT, metadata)
    sys.stderr.write(f"gcn scores: {joined.num_rows} sources of {rows.num_rows} light curves\n")


def algorithm_of(column: str) -> tuple[str, str] | None:
    """Return the tag and the algorithm of a column of scores, None of another column."""
    tag, _, algorithm = column.partition("_")
    return (tag, algorithm) if tag and algorithm in ALGORITHMS else None


if __name__ == "__main__":
    raise SystemExit(main())
