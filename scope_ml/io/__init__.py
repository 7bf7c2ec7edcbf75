"""Ground floor: files. Tables and light curves, atomic writes, resumable parts; imports core and errors only."""
