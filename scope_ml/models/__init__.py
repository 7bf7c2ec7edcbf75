"""Models: preparation of features, the algorithms, `ModelBundle`, metrics, training one class, scoring many.

May import `datasets`, `features`, `kernels`, `io`, `taxonomy`, `core` and `errors`; never mlflow, optuna or hydra.
xgboost is imported in `xgb` only, tensorflow and keras in `keras_runtime` only, both inside functions.
"""
