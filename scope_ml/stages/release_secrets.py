"""A last look before files leave the house: nothing in them may be a secret of whoever packs them.

Looked for are the values of environment variables that hold secrets by their names, in every byte, and addresses with a
password, private keys and tokens by their form, in texts and in the records of Parquet files. What is found is named by
its kind and file, never shown. May import core and errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scope_ml.errors import DataError

__all__ = ["known_secrets", "refuse_secret_files"]

#: Names of variables that hold secrets.
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE", re.IGNORECASE)

#: Values shorter than this are too common to be looked for.
SHORTEST = 8

#: What secrets look like in texts.
FORMS = {
    "an address with a password": re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,100}:[^\s/@\"'<>]{1,200}@"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"),
    "an authorization header": re.compile(
        rb"(?i)authorization[\"']?\s*[:=]\s*[\"']?(bearer|token|basic)\s+[\w.+/=-]{8,}"
    ),
    "a token": re.compile(
        rb"(?i)[\"']?(?<![a-z])(access_?token|api_?key|password|secret_?key)[\"']?\s*[:=]\s*[\"'][^\"'\s]{8,}[\"']"
    ),
}

#: Endings of texts; of Parquet files the footer is one.
TEXTS = frozenset({".json", ".jsonl", ".csv", ".html", ".md", ".txt", ".yaml", ".yml", ".properties", ""})

BLOCK_BYTES = 1 << 22

#: Longest secret that is found where it stands across two blocks.
OVERLAP = 1024


def known_secrets(environment: Mapping[str, str] = os.environ) -> dict[str, bytes]:
    """Return the values of variables that hold secrets, by the names of the variables."""
    return {
        name: value.encode()
        for name, value in environment.items()
        if SECRET_NAME.search(name) and SHORTEST <= len(value) <= OVERLAP
    }


def refuse_secret_files(paths: Sequence[Path], secrets: Mapping[str, bytes]) -> None:
    """Look through files.

    Raises
    ------
    DataError
        If one holds a secret; says which file and what kind of secret.
    """
    for path in paths:
        found = next(_kinds(path, secrets), None)
        if found is not None:
            raise DataError(
                f"{path} holds {found}; nothing was packed: make the file again without it, and change the secret if"
                " the file was ever passed on"
            )


def _kinds(path: Path, secrets: Mapping[str, bytes]) -> Iterator[str]:
    is_text = path.suffix.lower() in TEXTS
    if not secrets and not is_text and path.suffix != ".parquet":
        return
    if path.suffix == ".parquet":
        yield from _in_block(_footer(path), {}, is_text=True)
        if not secrets:
            return
    with path.open("rb") as stream:
        before = b""
        while block := stream.read(BLOCK_BYTES):
            yield from _in_block(before + block, secrets, is_text=is_text)
            before = block[-OVERLAP:]


def _in_block(block: bytes, secrets: Mapping[str, bytes], *, is_text: bool) -> Iterator[str]:
    for name, value in secrets.items():
        if value in block:
            yield f"the value of {name}"
    if is_text:
        for kind, form in FORMS.items():
            if form.search(block):
                yield kind


def _footer(path: Path) -> bytes:
    """Return the last part of a Parquet file, which holds its records as they are."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - 8, 0))
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(max(size - 8 - length, 0))
        return stream.read()
