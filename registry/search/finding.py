"""Full text search over models, with what PostgreSQL has in its core.

What is covered: English stems ("digit" finds "digits"), several words (all must occur), `"a phrase"`, `or`, `-without`,
and the beginning of words as they were written ("handw" finds "handwritten"). What is not: typing errors (that takes
trigrams, an extension), stems of other languages, synonyms, the middle of a word.

The document of a model (its column `search`) is kept true by triggers, see migration 0005: A name, B task and tags,
C description, D cards and lessons. A model's cards and lessons are visible where the model is, so one rule decides.
"""

import re
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY
from sqlalchemy.orm import InstrumentedAttribute

from guildhall.errors import Invalid
from registry.cards.tables import CardSection
from registry.lessons.tables import Lesson
from registry.models.tables import Model, ModelVersion, ModelVersionStatus

TEXT_CHARACTERS_MAX = 500
WORDS_MAX = 20
COUNT_MAX = 1_000
"""Counting stops here and says that it did."""
HIGHLIGHTS_MAX = 5
WHOLE_CHARACTERS_MAX = 200
"""A text of this length is shown whole, of a longer one the parts around the words."""
SCORE_UNITS = 1_000_000
"""Scores are ranked as whole millionths, so that a page ends at exactly the same place when it is read again."""

_ENGLISH: ColumnElement[Any] = literal_column("'english'::regconfig")
_SIMPLE: ColumnElement[Any] = literal_column("'simple'::regconfig")
_WEIGHTS: ColumnElement[Any] = literal_column("'{0.1, 0.25, 0.5, 1.0}'::float4[]")
_WORD = re.compile(r"\w+")
_OPERATOR = re.compile(r"\"|(?:^|\s)-\w|\bor\b", re.IGNORECASE)
_WHOLE = "StartSel=«, StopSel=», HighlightAll=true"
_FRAGMENTS = 'StartSel=«, StopSel=», MaxFragments=2, MaxWords=20, MinWords=6, FragmentDelimiter=" … "'


class SearchTextTooLong(Invalid):
    """More text than anybody looks for."""

    code = "SEARCH_TEXT_TOO_LONG"


def search_query(text: str) -> ColumnElement[Any]:
    """SQL: what the text asks for, as a `tsquery` that is read once; one without a word that counts finds nothing.

    The beginnings of words count only where the text uses none of the operators, whose meaning they would undo.
    """
    return select(_query(text, every=True)).scalar_subquery()


def highlight_query(text: str) -> ColumnElement[Any]:
    """SQL: as `search_query`, but one of several plain words is enough, since each may stand in another text."""
    return select(_query(text, every=False)).scalar_subquery()


def matching_models(query: ColumnElement[Any]) -> Subquery:
    """SQL: `id` and `score` (whole millionths of 0 to 1) of the models whose document matches, visible or not."""
    rank = func.ts_rank(_WEIGHTS, Model.search, query, 32, type_=Float)
    score = cast(func.round(rank * SCORE_UNITS), Integer)
    statement = select(Model.id.label("id"), score.label("score")).where(Model.search.op("@@")(query))
    return statement.subquery("matching")


def highlights(query: ColumnElement[Any]) -> ColumnElement[Any]:
    """SQL over a `models` row: [{field, text}] of its texts that match, the words found between « and ».

    `field` is name, task, description, lesson, or `card: <section>`. Built for the rows of a page only.
    """
    text = union_all(
        _own_text(1, "name", Model.name),
        _own_text(2, "task", Model.task + " " + func.array_to_string(Model.tags, " ")),
        _own_text(3, "description", Model.description),
        select(
            literal(4).label("place"),
            CardSection.id.label("newest"),
            (literal("card: ") + CardSection.name).label("field"),
            cast(CardSection.body, Text).label("content"),
        )
        .join(ModelVersion, ModelVersion.id == CardSection.model_version_id)
        .where(ModelVersion.model_id == Model.id, ModelVersion.status != ModelVersionStatus.ABANDONED)
        .correlate(Model),
        select(
            literal(5).label("place"),
            Lesson.id.label("newest"),
            literal("lesson").label("field"),
            func.btrim(func.concat_ws(" ", Lesson.summary, Lesson.body, Lesson.dont_use_when)).label("content"),
        )
        .where(Lesson.model_id == Model.id)
        .correlate(Model),
    ).subquery("texts")
    document = func.to_tsvector(_ENGLISH, text.c.content).op("||")(func.to_tsvector(_SIMPLE, text.c.content))
    found = (
        select(text.c.place, text.c.newest, text.c.field, text.c.content)
        .where(document.op("@@")(query))
        .order_by(text.c.place, text.c.newest.desc())
        .limit(HIGHLIGHTS_MAX)
        .subquery("found")
    )
    how = case((func.char_length(found.c.content) <= WHOLE_CHARACTERS_MAX, _WHOLE), else_=_FRAGMENTS)
    shown = func.ts_headline(_ENGLISH, found.c.content, query, how)
    one = func.jsonb_build_object("field", found.c.field, "text", shown)
    return func.coalesce(select(func.jsonb_agg(one)).scalar_subquery(), func.jsonb_build_array(), type_=JSONB)


def _query(text: str, *, every: bool) -> ColumnElement[Any]:
    if len(text) > TEXT_CHARACTERS_MAX:
        raise SearchTextTooLong(f"A search text has {TEXT_CHARACTERS_MAX} characters at most.", field="text")
    plain = text.replace("\0", " ")
    words = _WORD.findall(plain)[:WORDS_MAX]
    if not words or _OPERATOR.search(plain):
        return func.websearch_to_tsquery(_ENGLISH, plain, type_=TSQUERY)
    stems = func.websearch_to_tsquery(_ENGLISH, plain if every else " or ".join(words), type_=TSQUERY)
    # Word characters only, in quotes: nothing in them can be an operator of a tsquery.
    prefixes = (" & " if every else " | ").join(f"'{word}':*" for word in words)
    return stems.op("||", return_type=TSQUERY())(func.to_tsquery(_SIMPLE, prefixes, type_=TSQUERY))


def _own_text(
    place: int, field: str, content: ColumnElement[Any] | InstrumentedAttribute[str]
) -> Select[*tuple[Any, ...]]:
    return select(
        literal(place).label("place"),
        Model.id.label("newest"),
        literal(field).label("field"),
        cast(content, Text).label("content"),
    ).correlate(Model)
