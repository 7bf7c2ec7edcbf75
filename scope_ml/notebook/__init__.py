"""What people with a notebook call: one light curve's periodogram and its plot, a table of periods for many.

Reached as `scope_ml.periodogram` and `scope_ml.search_periods`. May import `compute`, `features`, `kernels`, `core` and
`errors`; nothing of ours imports it but the package itself.
"""
