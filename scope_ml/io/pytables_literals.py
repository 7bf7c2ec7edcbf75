"""Plain values that PyTables wrote as a pickle, since HDF5 has no type for them: read as a list of opcodes, never run.

These are names of columns, shapes, and the attrs that SCoPe keeps with a frame. May import core and errors only.
"""

from __future__ import annotations

import pickletools
from typing import Any

import numpy as np

__all__ = ["literal", "literal_or_text"]

#: Opcodes that make plain values; anything else in a literal means that it is none.
ATOMS = frozenset(
    {
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "INT",
        "LONG",
        "LONG1",
        "LONG4",
        "BININT",
        "BININT1",
        "BININT2",
        "FLOAT",
        "BINFLOAT",
    }
)
NAMED_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def literal(raw: Any) -> Any:
    """Return the text, number, list, tuple or dict that an attribute of PyTables spells out; None if it is none.

    PyTables writes what HDF5 has no type for as a pickle. Its opcodes are only listed here, never run: of those that
    make plain values the value is put together, and any other ends the reading.
    """
    if not isinstance(raw, (bytes, np.bytes_)):
        return raw
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(bytes(raw)):
            name = opcode.name
            if name in ATOMS:
                stack.append(argument)
            elif name in NAMED_VALUES:
                stack.append(NAMED_VALUES[name])
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "STOP":
                return stack[-1] if len(stack) == 1 else None
            elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[int(str(argument))])
            elif not _gathered(name, stack, marks):
                return None
    except (ValueError, IndexError, KeyError, TypeError, UnicodeDecodeError):
        return None
    return None


def _gathered(name: str, stack: list[Any], marks: list[int]) -> bool:
    """Do what an opcode says that makes or fills a list, a tuple or a dict; return False for any other."""
    if name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
        stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_TUPLE": ()}[name])
    elif name in ("LIST", "TUPLE", "DICT", "APPENDS", "SETITEMS"):
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        if name in ("LIST", "TUPLE"):
            stack.append(items if name == "LIST" else tuple(items))
        elif name == "APPENDS":
            stack[-1].extend(items)
        else:
            pairs = dict(zip(items[::2], items[1::2], strict=True))
            stack.append(pairs) if name == "DICT" else stack[-1].update(pairs)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        n = int(name[-1])
        stack[-n:] = [tuple(stack[-n:])]
    elif name == "APPEND":
        value = stack.pop()
        stack[-1].append(value)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    else:
        return name in ("PROTO", "FRAME")
    return True


def literal_or_text(raw: Any) -> Any:
    """Return what an attribute spells out, or its text where it is plain text; None stays None."""
    if isinstance(raw, (bytes, np.bytes_)) and not bytes(raw).endswith(b"."):
        return raw.decode("utf-8", "replace")
    return literal(raw)
