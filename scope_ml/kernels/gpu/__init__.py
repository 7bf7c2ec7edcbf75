"""Period search on an NVIDIA GPU: CUDA C sources, compiled at run time by CuPy, and the driver that feeds them.

A method's room ``gpu`` packs a light curve for its kernel; everything else is here, once. `tasks` cuts the grids into
pieces, `device` is the one place that speaks to CuPy, `launch` runs kernels over a chunk of light curves, `peaks` takes
the best maxima and the moments on the device, `refine` moves them between grid points, `search` puts it together.
Sources lie in ``source/*.cu``; nothing there includes a header, so no CUDA toolkit is needed.

`networks.gpu` speaks to CuPy through `device` too. Importing `device` (and so any room ``gpu``) needs CuPy and a GPU. May
import what other kernels import.
"""
