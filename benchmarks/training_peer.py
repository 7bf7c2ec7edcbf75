"""One model in one process, as SCoPe's script of one command per class and seed trains them: the old way.

    python benchmarks/training_peer.py DATASET TAG ALGORITHM SEED OUTPUT [--dmdt]

Imports, reads the whole data set, prepares it, trains, writes the model and its plots, and ends. The network, its settings
and those of the trees are the ones that scope_ml trains with; the training is Keras's own `fit` with batches of the class's
size, or XGBoost's. Nothing of scope_ml is imported. Printed: seconds by step, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("tag")
    parser.add_argument("algorithm", choices=("xgb", "dnn"))
    parser.add_argument("seed", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("--settings", type=json.loads, required=True, help="features, balance and settings as JSON")
    parser.add_argument("--dmdt", action="store_true")
    return parser.parse_args()


def read(given: argparse.Namespace) -> dict[str, Any]:
    """Return features, images, labels and parts of the rows whose label is known."""
    import numpy as np
    import pandas as pd

    table = pd.read_parquet(given.dataset / "table.parquet")
    labels = pd.read_parquet(given.dataset / "labels.parquet", columns=[given.tag, "uncertain_tags"])
    part = pd.read_parquet(given.dataset / "split.parquet")["part"].to_numpy()
    known = ~labels["uncertain_tags"].str.split(",").map(lambda tags: given.tag in tags).to_numpy(dtype=bool)
    x = table[given.settings["features"]].to_numpy(dtype=float, na_value=np.nan)
    x[~np.isfinite(x)] = np.nan
    images = np.stack(table["dmdt"].to_numpy()).reshape(-1, 26, 26, 1).astype("f4") if given.dmdt else None
    return {"x": x, "images": images, "y": labels[given.tag].to_numpy(), "part": part, "known": known}


def rows_of(data: dict[str, Any], given: argparse.Namespace) -> list[Any]:
    """Return the rows of training, validation and test; the balance drops negatives in training."""
    import numpy as np

    names = {"train": 0, "val": 1, "test": 2}
    part = data["part"]
    codes = [names[name] for name in names] if part.dtype != object else list(names)
    training, validation, test = (np.flatnonzero(data["known"] & (part == code)) for code in codes)
    balance = given.settings["balance"]
    if balance is not None:
        positive = data["y"][training] == 1
        negatives = training[~positive]
        most = max(1, round(balance * int(positive.sum())))
        if negatives.size > most:
            drawn = np.random.default_rng(given.seed).choice(negatives, size=most, replace=False)
            training = np.sort(np.concatenate([training[positive], drawn]))
    return [training, validation, test]


def prepared(x: Any, training: Any) -> Any:
    """Return the features with the median of the training part where they are missing, scaled."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    empty = np.isnan(x[training]).all(axis=0)
    x[:, empty] = 0.0
    imputer, scaler = SimpleImputer(strategy="median"), StandardScaler()
    scaler.fit(imputer.fit_transform(x[training]))
    return scaler.transform(imputer.transform(x)).astype("f4")


def train_dnn(data: dict[str, Any], rows: list[Any], given: argparse.Namespace) -> tuple[Any, Any]:
    import keras

    keras.utils.set_random_seed(given.seed)
    settings = given.settings
    x = prepared(data["x"], rows[0])
    features = keras.Input((x.shape[1],))
    hidden = keras.layers.Dense(256, activation="relu")(features)
    hidden = keras.layers.Dropout(0.25)(hidden)
    joined, inputs = keras.layers.Dense(32, activation="relu")(hidden), [features]
    if given.dmdt:
        image = keras.Input((26, 26, 1))
        inputs.append(image)
        hidden = image
        for block, filters in enumerate((16, 32)):
            for _ in range(2):
                hidden = keras.layers.SeparableConv2D(filters, 3, activation="relu")(hidden)
            hidden = keras.layers.Dropout(0.25)(hidden)
            if block == 0:
                hidden = keras.layers.MaxPooling2D(2)(hidden)
        joined = keras.layers.Concatenate()([joined, keras.layers.GlobalAveragePooling2D()(hidden)])
    head = keras.layers.Dense(16, activation="relu")(keras.layers.Dropout(0.4)(joined))
    network = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(head))
    adam = keras.optimizers.Adam(learning_rate=settings["learning_rate"], epsilon=settings["epsilon"])
    network.compile(optimizer=adam, loss="binary_crossentropy", metrics=["accuracy"])

    def columns(which: Any) -> list[Any]:
        return [x[which]] + ([data["images"][which]] if given.dmdt else [])

    network.fit(
        columns(rows[0]),
        data["y"][rows[0]].astype("f4"),
        validation_data=(columns(rows[1]), data["y"][rows[1]].astype("f4")),
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(
                patience=settings["early_stopping_patience"],
                min_delta=settings["min_delta"],
                restore_best_weights=True,
            ),
            keras.callbacks.ReduceLROnPlateau(
                patience=settings["reduce_lr_patience"],
                factor=settings["reduce_lr_factor"],
                min_delta=settings["min_delta"],
            ),
        ],
    )
    network.save(given.output / "model.h5" if keras.__version__ < "3" else given.output / "model.keras")
    return network.predict(columns(rows[2]), verbose=0)[:, 0], network.predict(columns(rows[1]), verbose=0)[:, 0]


def train_xgb(data: dict[str, Any], rows: list[Any], given: argparse.Namespace) -> tuple[Any, Any]:
    import xgboost

    settings = given.settings
    matrices = [xgboost.DMatrix(data["x"][which], label=data["y"][which]) for which in rows]
    names = ("max_depth", "min_child_weight", "learning_rate", "subsample", "colsample_bytree", "reg_lambda", "gamma")
    booster = xgboost.train(
        {name: settings[name] for name in names}
        | {"objective": "binary:logistic", "eval_metric": settings["early_stopping_metric"], "seed": given.seed},
        matrices[0],
        num_boost_round=settings["n_rounds"],
        evals=[(matrices[0], "train"), (matrices[1], "val")],
        early_stopping_rounds=settings["early_stopping_rounds"],
        verbose_eval=False,
    )
    booster.save_model(given.output / "model.json")
    return booster.predict(matrices[2]), booster.predict(matrices[1])


def plots(y: Any, scores: Any, output: Path, title: str) -> dict[str, float]:
    """Draw the plots of ``--plot`` and write the statistics of ``--save``."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from sklearn.metrics import (
        average_precision_score,
        confusion_matrix,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    precision, recall, _ = precision_recall_curve(y, scores)
    fpr, tpr, _ = roc_curve(y, scores)
    for name, (a, b), names in (("pr", (recall, precision), "recall precision"), ("roc", (fpr, tpr), "fpr tpr")):
        figure, axes = plt.subplots(figsize=(6, 6))
        axes.plot(a, b)
        axes.set_xlabel(names.split()[0])
        axes.set_ylabel(names.split()[1])
        axes.set_title(title)
        figure.savefig(output / f"{name}.png", dpi=100)
        plt.close(figure)
    figure, axes = plt.subplots(figsize=(6, 6))
    axes.imshow(confusion_matrix(y, scores >= 0.7, normalize="true"), cmap="Blues")
    figure.savefig(output / "confusion.png", dpi=100)
    plt.close(figure)
    found = {"average_precision": average_precision_score(y, scores), "roc_auc": roc_auc_score(y, scores)}
    (output / "stats.json").write_text(json.dumps(found))
    return found


def main() -> None:
    given = arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    import matplotlib.pyplot
    import pandas
    import sklearn.metrics  # noqa: F401 - timed

    if given.algorithm == "dnn":
        import keras  # noqa: F401 - timed
    else:
        import xgboost  # noqa: F401 - timed
    del matplotlib, pandas
    seconds = {"import": time.perf_counter() - BEGAN}
    began = time.perf_counter()
    data = read(given)
    rows = rows_of(data, given)
    seconds["read"], began = time.perf_counter() - began, time.perf_counter()
    train = train_dnn if given.algorithm == "dnn" else train_xgb
    scores, _ = train(data, rows, given)
    seconds["train"], began = time.perf_counter() - began, time.perf_counter()
    found = plots(data["y"][rows[2]], scores, given.output, f"{given.tag} {given.algorithm} {given.seed}")
    seconds["plot"] = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, **found}))


if __name__ == "__main__":
    main()
