"""That the image which the tests make is the one that the recipe says."""

import re

from tests.cluster.server_image import FOLDER, SOURCES, USER
from tools.chart_checks import CHART

RECIPE = (CHART.parent / "image" / "Containerfile").read_text(encoding="utf-8")


class TestRecipe:
    def test_the_sources_are_those_of_the_tests_image(self) -> None:
        final = RECIPE.rpartition("\nFROM ")[2]
        assert tuple(re.findall(r"^COPY (\w+) \1$", final, re.MULTILINE)) == SOURCES
        assert f"WORKDIR /{FOLDER}\n" in final
        assert f"USER {USER}:{USER}\n" in final
        assert 'ENTRYPOINT ["python3", "-m", "guildhall"]\n' in final

    def test_the_base_is_an_argument_of_every_stage(self) -> None:
        assert re.findall(r"^FROM (\S+)", RECIPE, re.MULTILINE) == ["${BASE}", "${BASE}"]
        assert RECIPE.index("ARG BASE=") < RECIPE.index("FROM ")

    def test_it_is_made_as_root_whoever_the_base_is_and_ends_as_nobody(self) -> None:
        assert re.findall(r"^USER (\S+)", RECIPE, re.MULTILINE) == ["0:0", "0:0", f"{USER}:{USER}"]

    def test_what_is_copied_is_compiled(self) -> None:
        assert f"RUN python3 -m compileall -q -j 0 {' '.join(SOURCES)}\n" in RECIPE

    def test_what_is_ignored_lets_all_that_is_copied_through(self) -> None:
        ignored = (CHART.parent / "image" / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        copied = [
            name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", RECIPE, re.MULTILINE) for name in line.split()
        ]
        assert sorted(f"!{name}" for name in copied) == sorted(line for line in ignored if line.startswith("!"))
