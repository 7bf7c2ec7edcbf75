"""Post our classes to Fritz as a taxonomy, list what is there, show our tree, write SCoPe's mapper files and a field guide."""

from __future__ import annotations

from scope_ml.doorway.door import Door

__all__ = ["DOOR", "main"]

DOOR = Door(
    name="post_taxonomy",
    stage="scope_ml.stages.post_taxonomy:PostTaxonomy",
    doc=__doc__,
    example="""
python -m scope_ml.post_taxonomy list
python -m scope_ml.post_taxonomy show taxonomy=all
python -m scope_ml.post_taxonomy post taxonomy=phenomenological groups=[1544] output=taxonomy
python -m scope_ml.post_taxonomy post taxonomy=phenomenological groups=[1544] output=taxonomy apply=true
python -m scope_ml.post_taxonomy mappers output=mappers
python -m scope_ml.post_taxonomy guide examples=results/survey output=field_guide.html
""",
    actions=("post", "list", "show", "mappers", "guide"),
)


def main() -> int:
    """Open the door with this process's command line."""
    return DOOR.open()


if __name__ == "__main__":
    raise SystemExit(main())
