"""From light curves to a table of features: what (`registry`), on which points (`cleaning`), how (`extract`).

May import `kernels`, `io`, `taxonomy`, `core` and `errors`.
"""
