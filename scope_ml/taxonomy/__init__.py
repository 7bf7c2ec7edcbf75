"""The classes of variable stars: `classes` reads one file a class, `graph` knows how classes imply one another."""

from __future__ import annotations

from scope_ml.taxonomy.classes import ClassDnn, ClassSpec, ClassXgb, load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ClassDnn", "ClassSpec", "ClassXgb", "Taxonomy", "load_classes", "packaged_conf_dir"]
