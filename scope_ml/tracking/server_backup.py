"""What can be kept of a registry on a server through its own interface: runs' records, versions, models with an alias.

Plots and other artifacts of runs, and versions without an alias, stay on the server: its administrator keeps the
database and the artifact store by their own means. May import `registry`, `connection`, `backup` and below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scope_ml.io.checksums import relative_files, sum_of
from scope_ml.io.folder_swap import new_folder
from scope_ml.tracking.backup import BackupRecord, write_backup_record
from scope_ml.tracking.connection import connect, mlflow_errors
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.registry_history import merged_history
from scope_ml.tracking.resolve import whole_bundle
from scope_ml.tracking.transfer import Parcel, write_parcel

__all__ = ["back_up_server"]

#: Runs asked for at a time.
PAGE_RUNS = 500


def back_up_server(uri: str, experiment: str, output: Path, advance: Callable[[int], None]) -> BackupRecord:
    """Write what a server tells of its registry and its runs into a new folder.

    Parameters
    ----------
    uri
        Checked address.
    experiment
        MLflow's experiment, for the runs.
    output
        New folder.
    advance
        Told each model and each page of runs.

    Raises
    ------
    OutputError
        If something is at `output`, or it cannot be written.
    ServiceError
        If the server does not answer.
    ModelError
        If a bundle is not the one that was registered.
    """
    connection = connect(uri, experiment, create=False)
    registry = Registry(connection)
    with new_folder(output) as temporary:
        versions = {name: registry.versions(name) for name in registry.names()}
        aliases = sorted({alias for found in versions.values() for version in found for alias in version.aliases})
        for alias in aliases:
            parcels = []
            for found in versions.values():
                history = merged_history(version.history for version in found)
                for version in found:
                    if alias in version.aliases:
                        bundle = whole_bundle(registry, version)
                        parcels.append(Parcel(version=version, record=bundle, history=history, alias=alias))
                        advance(1)
            write_parcel(temporary / "models" / alias, parcels)
        told = [{**asdict(version), "tags": registry.tags(version)} for found in versions.values() for version in found]
        (temporary / "versions.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        n_runs = 0
        with (temporary / "runs.jsonl").open("w", encoding="utf-8") as stream:
            for run in _runs(connection, advance):
                stream.write(json.dumps(run, sort_keys=True) + "\n")
                n_runs += 1
        n_kept = sum(bool(version.aliases) for found in versions.values() for version in found)
        n_versions = sum(map(len, versions.values()))
        counts = {"runs": n_runs, "models": len(versions), "versions": n_versions, "versions_with_files": n_kept}
        notes = (
            "of a server: plots and other artifacts of runs, and steps of metrics, are not in it; its administrator keeps"
            " the database and the artifact store",
            *(
                [f"the files of {n_versions - n_kept} version(s) without an alias are not in it"]
                * (n_versions > n_kept)
            ),
        )
        files = {name: sum_of(path) for name, path in relative_files(temporary).items()}
        record = BackupRecord(of="server", files=files, counts=counts, notes=notes)
        write_backup_record(temporary, record)
    return record


def _runs(connection: Any, advance: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    token = None
    while connection.experiment_id is not None:
        with mlflow_errors(connection.uri, "list the runs"):
            page = connection.client.search_runs(
                [connection.experiment_id], "", max_results=PAGE_RUNS, page_token=token
            )
        for run in page:
            yield {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "start_time": run.info.start_time,
                "end_time": run.info.end_time,
                "params": dict(run.data.params),
                "metrics": dict(run.data.metrics),
                "tags": dict(run.data.tags),
            }
        advance(1)
        token = page.token
        if not token:
            return
