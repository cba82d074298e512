"""What a server says of its schema when it starts."""

from guildhall.graphql.compiler.coverage import coverage_of
from guildhall.graphql.compose import Composed
from guildhall.schema.root import composed_schema


class TestCoverage:
    def test_of_a_schema_with_fields_that_no_statement_writes(self, odd_composed: Composed) -> None:
        found = coverage_of(odd_composed.schema, odd_composed.catalogue)
        names = [name.split(" ")[0] for name in found.uncompiled]
        assert names == ["Uncompiled.number", "Uncompiled.texts", "Uncompiled.suit"]
        assert found.sentence().endswith("(an enum from Integer())")

    def test_every_field_of_ours_is_compiled(self) -> None:
        composed = composed_schema()
        found = coverage_of(composed.schema, composed.catalogue)
        assert found.uncompiled == ()
        assert found.sql > 30 * found.python
        assert found.sentence().endswith("0 by graphql-core")
