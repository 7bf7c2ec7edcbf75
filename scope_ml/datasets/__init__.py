"""Training sets: `labels` are read, `join`ed to features, `split` by star; `assemble` does all three in memory."""
