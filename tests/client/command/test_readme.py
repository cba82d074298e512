"""The examples of client/README.md: each line gets as far as the network, so its words and options are right."""

import ast
import re
import shlex
from pathlib import Path

from guildhall_client.client import Client
from tests.client.command.conftest import Command
from tests.client.command.test_bad_input import NOWHERE, all_of

README = (Path(__file__).resolve().parents[3] / "client" / "README.md").read_text(encoding="utf-8")
SIGNS_IN = ("login", "--profile")
"""Would ask an issuer, or read a token; `test_signing` and `test_device` do that."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def calls() -> list[list[str]]:
    """The words after `guildhall` of each example; what a shell does with its output is no part of it."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.partition(" < ")[0], comments=True) for line in lines]
    return [each[1:] for each in words if each and each[0] == "guildhall" and each[1] not in SIGNS_IN]


def test_each_line_is_understood(stranger: Command) -> None:
    for name in ("CARD.md", "needs.yaml", "train.py"):
        (stranger.folder / name).write_text("# Limitations\nnone\n" if name == "CARD.md" else "rowsMin: 1\n")
    (stranger.folder / "out").mkdir()
    (stranger.folder / "out" / "weights.bin").write_bytes(b"w")
    examples = calls()
    assert len(examples) > 15
    for words, ended in zip(examples, all_of(stranger, examples, **NOWHERE), strict=True):
        assert (ended.code, ended.out) == (5, ""), f"{words}: {ended.err}"


def test_the_data_needs_are_what_the_command_reads(stranger: Command) -> None:
    (needs,) = blocks("yaml")
    (stranger.folder / "needs.yaml").write_text(needs)
    publish = [["model", "publish", "quality/press-gauge-reader", "--data-needs", "needs.yaml"]]
    (ended,) = all_of(stranger, publish, **NOWHERE)
    assert ended.code == 5


def test_python_calls_what_there_is() -> None:
    (example,) = blocks("python")
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "client"
    }
    assert called == {"execute", "upload_package", "wait_for_job"}
    assert all(callable(getattr(Client, name)) for name in called)
