"""Every error that a user of scope_ml may meet, as one tree.

::

    ScopeError                     message = what happened, what was seen, what to do
    ├── ConfigError(ValueError)    a key or value of the configuration
    ├── SchemaError(ValueError)    the shape of a file or table
    │   ├── MissingColumnError
    │   ├── MetadataError          no metadata record, or one that does not fit
    │   └── FormatError            not a file of the format its name says
    ├── DataError(ValueError)      the content of a table
    │   ├── InsufficientDataError
    │   └── EmptySelectionError
    ├── OutputError(OSError)       a path that cannot be written
    ├── BackendUnavailableError    a device or an optional package that is not there
    ├── ModelError
    │   ├── ModelNotFoundError(LookupError)
    │   └── FeatureMismatchError(ValueError)
    ├── ServiceError               a remote system
    │   ├── CredentialError        who asks is not known to it
    │   ├── NotAllowedError        who asks is known, but may not do this
    │   ├── QueryRefusedError      it will never answer this question
    │   │   ├── NotFoundError      it has no such thing
    │   │   └── QueryTooLargeError
    │   ├── ReplyError             an answer that cannot be read
    │   ├── ServiceTimeoutError    no answer in time
    │   ├── ServiceUnavailableError
    │   └── UnsureError            a change that was or was not made
    └── JobError                   a shard, a worker or a scheduled job

A bad light curve is not an error but a status in a table (design: "one bad light curve is a
status, one bad shard a recorded failure, a bad config stops the run"). May import nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BackendUnavailableError",
    "ConfigError",
    "CredentialError",
    "DataError",
    "EmptySelectionError",
    "FeatureMismatchError",
    "FormatError",
    "InsufficientDataError",
    "JobError",
    "MetadataError",
    "MissingColumnError",
    "ModelError",
    "ModelNotFoundError",
    "NotAllowedError",
    "NotFoundError",
    "OutputError",
    "QueryRefusedError",
    "QueryTooLargeError",
    "ReplyError",
    "SchemaError",
    "ScopeError",
    "ServiceError",
    "ServiceTimeoutError",
    "ServiceUnavailableError",
    "UnsureError",
    "suggest",
]


def suggest(given: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `given`, or an empty string."""
    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


class ScopeError(Exception):
    """Base of all errors that a user can cause or mend; doors show them as one line, exit code 2."""


class ConfigError(ScopeError, ValueError):
    """A key or value of the configuration is not allowed."""

    def __init__(self, message: str, *, key: str = "", choices: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.choices = tuple(choices)


class SchemaError(ScopeError, ValueError):
    """A file or table does not have the shape that was asked for."""


class MissingColumnError(SchemaError):
    """A table lacks columns; the message names them and the closest existing ones."""

    def __init__(self, where: str, missing: Iterable[str], available: Iterable[str]) -> None:
        self.missing = tuple(missing)
        self.available = tuple(available)
        hints = "".join(suggest(name, self.available) for name in self.missing[:1])
        shown = ", ".join(self.available[:12]) + (", ..." if len(self.available) > 12 else "")
        super().__init__(f"{where} lacks the column(s) {', '.join(self.missing)}; it has: {shown or 'none'}{hints}")


class MetadataError(SchemaError):
    """A table has no metadata record, or one of another kind or version."""


class FormatError(SchemaError):
    """A file is missing, empty, or not of the format its name says."""


class DataError(ScopeError, ValueError):
    """The content of a table cannot be used."""


class InsufficientDataError(DataError):
    """Too few rows, epochs or positives for what was asked."""


class EmptySelectionError(DataError):
    """A selection or a join left nothing."""


class OutputError(ScopeError, OSError):
    """A path cannot be written."""


class BackendUnavailableError(ScopeError, RuntimeError):
    """A device or an optional package was asked for that is not there."""


class ModelError(ScopeError):
    """A model cannot be built, saved, loaded or used."""


class ModelNotFoundError(ModelError, LookupError):
    """The registry or a folder has no such model."""


class FeatureMismatchError(ModelError, ValueError):
    """A feature table was made with other features than the model's."""

    def __init__(self, message: str, *, missing: Iterable[str], extra: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.extra = tuple(extra)


class ServiceError(ScopeError, RuntimeError):
    """A remote system did not do what was asked."""


class CredentialError(ServiceError):
    """A remote system does not know who asks: no token, a wrong or an expired one; the message names the variable."""


class NotAllowedError(ServiceError):
    """A remote system knows who asks, but does not let them do this; the message names the right that is missing."""


class QueryRefusedError(ServiceError):
    """A remote system refuses a question as it is; asking again changes nothing."""


class NotFoundError(QueryRefusedError):
    """A remote system has no such thing."""


class QueryTooLargeError(QueryRefusedError):
    """A question is larger than the remote system takes; in parts it may be asked."""


class ReplyError(ServiceError):
    """An answer of a remote system is cut off or not of the form that was asked for."""


class ServiceTimeoutError(ServiceError):
    """A remote system gave no whole answer in time; a smaller question may be answered."""


class ServiceUnavailableError(ServiceError):
    """A remote system cannot be reached or does not work at the moment, however often it was asked."""


class UnsureError(ServiceError):
    """A change was asked for and no answer came: it may have been made; look before asking again."""


class JobError(ScopeError, RuntimeError):
    """A shard, a worker or a scheduled job failed."""
