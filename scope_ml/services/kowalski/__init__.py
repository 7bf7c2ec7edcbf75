"""Kowalski, the database of the ZTF collaboration."""
