"""Servers on this machine that answer as the remote systems do, for tests and for trying things out."""
