"""The network of algorithm `dnn`, many of them at once: what it is, what is random in it, how it is trained and scored.

Every room works on a leading model axis: the parameters of M networks are one (M, P) float32 matrix. `architecture` and
`draws` define, `reference` says what is computed, `cpu` and `gpu` compute it, `training` drives them, `scoring` scores,
`keras_file` reads and writes Keras's own file without Keras. May import core and errors; numba stays in `cpu`
and `scoring`, CuPy in `gpu`, which speaks to it through `kernels.gpu.device`. TensorFlow is not imported here.
"""
