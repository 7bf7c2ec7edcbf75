"""Analysis of variance of light curves taken in the same exposures: phases are folded once for all of them.

All stars of one quadrant of a camera share their exposures, so at a trial frequency the same exposures fall into the
same phase bin for all of them, and the sums of the bins become additions of whole rows, one star a lane, without a
scatter. It is exact, by two devices:

* Each light curve keeps its own grid. Light curves that share their first and last exposure have the same trial
  frequencies in cycles per baseline, ``f * T``, and the same epochs in baselines, ``(t - t_first) / T``; those are what
  is folded.
* Each light curve keeps its own times. The light travel time, and so the HJD of an exposure, differs by seconds over a
  quadrant. An exposure that may lie on both sides of the edge of a bin, for the spread of its times at this frequency,
  is added to both bins with a mask of the stars that belong there: their own times decide, in float64 but for their
  distance from the middle one (float32 of some seconds: 1e-12 d).

The spread must stay below a bin (10 s and 20 bins: up to 380 cycles/d); above that, and for light curves that
share their exposures with too few others, the usual kernel is called. F may differ from its own by 1e-6 (sums are in
float32).
"""
