"""Put trained bundles into the registry, make the best seed champion, write the lock file."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="register",
    stage="scope_ml.stages.register:Register",
    doc=__doc__,
    example="""
python -m scope_ml.register models=results/models output=results/models.lock.json
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
