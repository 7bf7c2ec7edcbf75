"""Phase bins of a block of trial frequencies: the first step of every statistic that folds and bins.

    bin = floor(n_bins * frac(frequency * (time - first time)))

Exact but for points within 2^-24 cycles of a bin edge, at any frequency and baseline: phases are integers that wrap by
themselves, restarted from float64 every few hundred frequencies. No float32 anywhere.
"""
