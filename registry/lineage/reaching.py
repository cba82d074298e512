"""All that a version inherits from and all that inherits from it, over any depth, as SQL for `WITH RECURSIVE`."""

from registry.lineage.contributions import INHERITING


def upstream(roots: str) -> str:
    """The common table expression `upstream (id)`: the roots, a SELECT of ids, and all that they were made from."""
    return _reached("upstream", roots, near="from_id", far="to_id")


def downstream(roots: str) -> str:
    """The common table expression `downstream (id)`: the roots, and all that was made from them."""
    return _reached("downstream", roots, near="to_id", far="from_id")


def _reached(name: str, roots: str, *, near: str, far: str) -> str:
    return f"""
    {name} (id) AS (
        {roots}
        UNION
        SELECT edge.{far} FROM lineage_edges AS edge JOIN {name} ON edge.{near} = {name}.id
        WHERE edge.kind IN {INHERITING}
    )"""  # noqa: S608 -- words of this module
