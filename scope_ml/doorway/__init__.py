"""The hinge of all doors: command line in, typed configuration, progress, one line out."""
