import pytest

from guildhall.errors import Invalid
from registry.lineage.environments import environment_digest, normalised_environment


class TestNormalisedEnvironment:
    def test_leaves_out_what_it_does_not_know(self) -> None:
        reported = {"python": "3.11", "packages": {"b": "2", "a": "1"}, "digest": "x", "secret": "y"}
        assert normalised_environment(reported) == {"python": "3.11", "platform": "", "packages": {"a": "1", "b": "2"}}

    @pytest.mark.parametrize(
        ("reported", "field"),
        [
            ({"python": 3}, "environment.python"),
            ({"packages": ["numpy"]}, "environment.packages"),
            ({"packages": {"numpy": None, "x": 3}}, "environment.packages"),
            ({"platform": "x" * 301}, "environment.platform"),
            ({"packages": {str(number): "1" for number in range(5_001)}}, "environment.packages"),
        ],
    )
    def test_refuses_other_shapes(self, reported: dict[str, object], field: str) -> None:
        with pytest.raises(Invalid) as refusal:
            normalised_environment(reported)
        assert refusal.value.field == field


class TestEnvironmentDigest:
    def test_is_of_the_canonical_text(self) -> None:
        one = {"python": "3", "platform": "é", "packages": {"b": "2", "a": "1"}}
        other = {"packages": {"a": "1", "b": "2"}, "platform": "é", "python": "3"}
        assert environment_digest(one) == environment_digest(other)
        assert environment_digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
