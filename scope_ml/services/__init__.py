"""Remote systems: the survey's database, the public archive."""
