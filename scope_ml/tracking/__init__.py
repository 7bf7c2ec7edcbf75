"""Tracking: MLflow runs, the registry of models and its lock file; the only package that speaks to MLflow.

`open_tracker` (runs), `Registry` (versions and aliases), `resolve_models` (which bundles to score with) and the lock
file are what stages use. Nothing here imports MLflow before it is needed, nothing with ``tracking=off``.
May import `models` and everything below; never `compute` or `reporting`.
"""
