"""Say what is installed, which device, which credentials are present (never their values), whether the registry answers."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="doctor",
    stage="scope_ml.stages.doctor:Doctor",
    doc=__doc__,
    example="""
python -m scope_ml.doctor
""",
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
