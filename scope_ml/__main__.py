"""``scope <door> ...`` and ``python -m scope_ml <door> ...``: the same doors under one name."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["DOORS", "main"]

#: Door -> what it is for.
DOORS = {
    "simulate": "make an embedded survey with all 52 classes",
    "check_quads": "which quadrants have sources, and the list for array jobs",
    "get_quad_ids": "the sources of quadrants or whole fields",
    "get_features": "features that the survey has measured already",
    "generate_features": "light curves to a feature table",
    "build_dataset": "features and labels to a split data set",
    "train": "train, evaluate, track and register classifiers",
    "tune": "search the best settings of an algorithm for one class",
    "register": "put trained bundles into the registry, choose champions",
    "registry": "list, compare, promote, roll back, export and import models",
    "import_models": "SCoPe's own model files as bundles",
    "infer": "score a feature table with registered models",
    "classify": "stars by coordinates: light curves, features, scores, a page",
    "select_sample": "stars worth labelling, chosen from scores",
    "report": "one HTML page about a run",
    "compare": "all classes and algorithms side by side, as a page and a table",
    "catalog": "light curves' scores to a catalogue: one row a star, by HEALPix, with a page",
    "release": "pack a data release, verify and unpack one",
    "slurm": "job arrays: show, submit, status, cancel, resubmit",
    "analyze_logs": "where the time of long runs went, from their logs",
    "fritz_gcn": "light curves of Fritz's sources in the localizations of events",
    "post_taxonomy": "our classes on Fritz: the tree, mappers, a field guide",
    "fritz_upload": "scores to Fritz as classifications, with light curves",
    "fritz_download": "classes, votes and periods from Fritz, a training set updated by votes",
    "fritz_annotate": "keys of annotations on Fritz: post, update, delete",
    "fritz_disagreements": "stars whose scores disagree: list, page, Fritz",
    "doctor": "what is installed, reachable and missing",
}


def main() -> int:
    """Open the door named by the first word."""
    words = sys.argv[1:]
    name = words[0].replace("-", "_") if words else ""
    if name in DOORS:
        sys.argv = [f"scope {words[0]}", *words[1:]]
        code: int = import_module(f"scope_ml.{name}").main()
        return code
    width = max(map(len, DOORS))
    listing = "\n".join(f"  {door.replace('_', '-'):<{width}}  {purpose}" for door, purpose in DOORS.items())
    asked_for_help = not words or words[0] in {"-h", "--help", "help"}
    text = f"usage: scope <door> [key=value ...]\n\n{listing}\n\nscope <door> --help shows its options.\n"
    if asked_for_help:
        sys.stdout.write(text)
        return 0
    sys.stderr.write(f"scope: error: no door '{words[0]}'\n\n{text}")
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
