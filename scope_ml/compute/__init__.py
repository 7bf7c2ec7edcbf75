"""Executors: threads of this machine in `local`. May import `core` and `errors`."""
