"""Trigonometric sums ``S(f) = sum_i s_i exp(2 pi i f t_i)`` over evenly spaced frequencies, in float64.

What Lomb-Scargle and its relatives are made of. The sums of a light curve of length T are band-limited functions of
frequency, and a periodogram samples them ten times more densely than they can vary. So they are summed over the points
on a lattice of frequencies that is as coarse as it can be, and interpolated to the trial frequencies with a short
Kaiser-Bessel kernel, whose transform the strengths are divided by beforehand (the second half of a non-uniform FFT:
Dutt & Rokhlin 1993, SIAM J. Sci. Comput. 14, 1368; Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41,
C479). The cost per trial frequency hardly depends on the number of points then. The error is at most 3e-9 of the sum
of the absolute strengths, and a tenth of that for light curves of few points, whose lattice is finer.

`reference` is the definition. `phasor` has phases that stay exact at any frequency. `direct` and `nufft` sum on the
lattice, by a matrix product for few points and by FFT for many; `lattice` keeps what was summed; `interpolation` goes
to the trial frequencies; `cpu` puts them together for the harmonics ``j * f``; `points` makes strengths of a light
curve. Rooms above take `cpu.HarmonicSums`, `cpu.fill_sums` and `points`.
"""
