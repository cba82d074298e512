"""Searching models."""

from sqlalchemy import Float, cast

from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, connection, extend, json_list, object_type
from guildhall.graphql.sources import Scope
from registry.graphql.models import ModelFilter
from registry.models.lookup import DISCOVER
from registry.search.finding import (
    COUNT_MAX,
    SCORE_UNITS,
    highlight_query,
    highlights,
    matching_models,
    search_query,
)


def _search(_context: Context, *, text: str) -> Scope:
    rows = matching_models(search_query(text))
    return Scope(
        rows=rows,
        order_by=[rows.c.score.desc()],
        edge={
            "score": cast(rows.c.score, Float) / SCORE_UNITS,
            "highlights": highlights(highlight_query(text)),
        },
    )


@object_type("Highlight")
class HighlightType:
    """A text that matches, with « and » around the words; `field` is name, task, description, lesson, `card: …`."""

    field: str
    text: str


@object_type("ModelSearchHit")
class ModelSearchHit:
    """Why a model was found."""

    score: float = column("score", description="From 0 to 1; only the order means something.")
    highlights = json_list("Highlight", "highlights")


@extend("Query", permission=DISCOVER)
class SearchQueries:
    """Finding what one does not know the name of."""

    search_models = connection(
        "Model",
        name="ModelSearch",
        filter=ModelFilter,
        scope=_search,
        edge=ModelSearchHit,
        count_maximum=COUNT_MAX,
        description="""Models by what they do, best first: in their names, tasks, tags, descriptions, cards and lessons.
        All words must occur; English endings do not matter, beginnings of words are enough; “phrases” in quotes, `or`
        and `-without` are understood. Typing errors, synonyms and other languages' endings are not.""",
    )


TYPES = [HighlightType, ModelSearchHit, SearchQueries]
