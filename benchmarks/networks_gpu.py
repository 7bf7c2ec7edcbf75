"""How long a sweep of the algorithm `dnn` takes on a GPU: every class and seed at once, and one model after the other.

    python -m benchmarks.networks_gpu [--models 440] [--epochs 100] [--write]

Seeded inputs of the size of a labelled quadrant: 5,287 light curves, 178 features, dm-dt images; 44 classes, each with a
share of positives of its own, 10 seeds; a batch of 64 rows, early stopping after 20 epochs. By the clock, models
back on the host included. PyTorch, where it is installed, trains one such network after the other in the plain way.
``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.period_gpu import device_name
from benchmarks.period_sources import machine, versions
from benchmarks.periods import write
from scope_ml.errors import ScopeError
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.backends import Float32Array, open_backend
from scope_ml.networks.training import Settings, Task, Trained, train_many

N_ROWS, N_FEATURES, N_CLASSES = 5287, 178, 44
TRAINING, VALIDATION = 0.65, 0.15
SETTINGS = Settings(
    batch_size=64,
    max_steps_per_epoch=64,
    learning_rate=3e-4,
    epsilon=1e-7,
    amsgrad=False,
    epochs=100,
    early_stopping_patience=20,
    reduce_lr_patience=8,
    reduce_lr_factor=0.3,
    min_delta=1e-4,
)
#: Models and epochs of one another after the other; the rest follows from them.
N_ALONE, N_PEER_EPOCHS = 4, 3

HEADER = """\
| network | models | wall [s] | epochs in all | model epochs/s | one by one, same code | one by one, PyTorch |
|---|--:|--:|--:|--:|--:|--:|
"""


def inputs() -> tuple[Float32Array, Float32Array]:
    """Return features (5287, 178) and images (5287, 26, 26, 1)."""
    random = np.random.default_rng(1)
    x = random.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    images = random.gamma(0.3, 0.1, size=(N_ROWS, 26, 26, 1)).astype(np.float32)
    return x, images / np.sqrt((images**2).sum(axis=(1, 2, 3), keepdims=True))


def tasks_of(x: Float32Array, n_models: int, epochs: int) -> list[Task]:
    """Return the models of a sweep: seed after seed of each class."""
    tasks = []
    for number in range(n_models):
        of_class, seed = number % N_CLASSES, number // N_CLASSES
        random = np.random.default_rng([2, of_class])
        signal = x @ random.normal(size=N_FEATURES).astype(np.float32) + 6 * random.normal(size=N_ROWS)
        y = (signal > np.quantile(signal, 1 - 0.4 / (1 + of_class))).astype(np.float32)[:, None]
        order = random.permutation(N_ROWS)
        first, second = int(TRAINING * N_ROWS), int((TRAINING + VALIDATION) * N_ROWS)
        rows, held_out = np.sort(order[:first]), np.sort(order[first:second])
        tasks.append(
            Task(
                seed=seed,
                rows=rows,
                y=y[rows],
                weight=np.ones_like(y[rows]),
                validation_rows=held_out,
                validation_y=y[held_out],
                validation_weight=np.ones_like(y[held_out]),
                settings=replace(SETTINGS, epochs=epochs),
            )
        )
    return tasks


def clock(run: Callable[[], list[Trained]]) -> tuple[float, int]:
    """Return the seconds that `run` takes and how many epochs it trained."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, sum(one.n_epochs for one in found)


def peer(x: Float32Array, images: Float32Array | None, task: Task) -> float | None:
    """Return the seconds that PyTorch takes for an epoch of one model, or None without it."""
    try:
        import torch
    except ImportError:
        return None
    nn = torch.nn

    def separable(n_in: int, n_out: int) -> list[torch.nn.Module]:
        return [nn.Conv2d(n_in, n_in, 3, groups=n_in, bias=False), nn.Conv2d(n_in, n_out, 1), nn.ReLU()]

    dense = nn.Sequential(nn.Linear(N_FEATURES, 256), nn.ReLU(), nn.Dropout(0.25), nn.Linear(256, 32), nn.ReLU()).cuda()
    first = [*separable(1, 16), *separable(16, 16), nn.Dropout(0.25), nn.MaxPool2d(2)]
    second = [*separable(16, 32), *separable(32, 32), nn.Dropout(0.25), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    convolutions = nn.Sequential(*first, *second).cuda()
    head = nn.Sequential(
        nn.Dropout(0.4), nn.Linear(32 if images is None else 64, 16), nn.ReLU(), nn.Linear(16, 1)
    ).cuda()
    used = [dense, head] if images is None else [dense, convolutions, head]
    optimizer = torch.optim.Adam([value for part in used for value in part.parameters()], lr=3e-4)
    loss_of = nn.BCEWithLogitsLoss()
    features = torch.tensor(x[task.rows]).cuda()
    pictures = None if images is None else torch.tensor(images[task.rows]).permute(0, 3, 1, 2).contiguous().cuda()
    labels = torch.tensor(task.y).cuda()

    def epoch() -> None:
        for rows in torch.randperm(len(features), device="cuda").split(64):
            joined = dense(features[rows])
            if pictures is not None:
                joined = torch.cat((joined, convolutions(pictures[rows])), dim=1)
            loss = loss_of(head(joined), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.cuda.synchronize()

    epoch()
    start = time.perf_counter()
    for _ in range(N_PEER_EPOCHS):
        epoch()
    return (time.perf_counter() - start) / N_PEER_EPOCHS


def line(name: str, architecture: Architecture, n_models: int, epochs: int) -> str:
    """Return one line of the table."""
    x, images = inputs()
    given = images if architecture.dmdt_branch else None
    tasks, backend = tasks_of(x, n_models, epochs), open_backend("gpu")
    train_many(architecture, x, given, [replace(tasks[0], settings=replace(SETTINGS, epochs=1))], backend=backend)
    wall, n_epochs = clock(lambda: train_many(architecture, x, given, tasks, backend=backend))
    few = tasks[:N_ALONE]
    alone, n_alone = clock(
        lambda: [one for task in few for one in train_many(architecture, x, given, [task], backend=backend)]
    )
    own_rate = n_epochs / wall
    torch_epoch = peer(x, given, tasks[0])
    cells = [name, str(n_models), f"{wall:.1f}", f"{n_epochs:,}", f"{own_rate:,.0f}"]
    cells.append(f"{n_epochs * alone / n_alone:,.0f} s ({own_rate * alone / n_alone:.0f} times as long)")
    cells.append("" if torch_epoch is None else f"{n_epochs * torch_epoch:,.0f} s ({own_rate * torch_epoch:.0f})")
    return f"| {' | '.join(cells)} |\n"


def main(words: list[str] | None = None) -> int:
    """Print the table; return 2 where it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks_gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=440)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args(words)
    try:
        open_backend("gpu")
        text = f"{device_name()}; {machine()}; {versions()}.\n\n{HEADER}"
        for name, images in (("features", False), ("features and dm-dt images", True)):
            architecture = Architecture(n_features=N_FEATURES, dmdt_branch=images)
            text += line(name, architecture, asked.models, asked.epochs)
        print(text)
        if asked.write:
            write(text, "networks-gpu")
    except ScopeError as error:
        sys.stderr.write(f"networks_gpu: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
