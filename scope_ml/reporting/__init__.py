"""What a run looks like: plots of one model (for MLflow) and one self-contained page about a whole run.

Rooms: `view` (what the page shows, as plain records), `svg` (axes, ticks, paths), `charts` (PR curves, interval
strips, bars), `folded` (light curves), `sections` and `pages` (HTML), `theme` (style), `model_plots` (SVG of one model).
May import models and everything below; matplotlib is imported inside functions of `runtime_plots` only.
"""
