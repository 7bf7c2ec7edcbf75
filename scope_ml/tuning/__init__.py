"""Studies: which settings of an algorithm are searched, and the search itself, which Optuna leads.

May import `core` and `errors`; `study` is the only room that imports Optuna.
"""
