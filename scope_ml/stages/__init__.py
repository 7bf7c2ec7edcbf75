"""The stages: one file each, a frozen configuration and `run`."""
