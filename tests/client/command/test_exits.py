"""What is said of a refusal: the sentence, and what to do next as the server or the command knows it."""

import pytest

from guildhall_client.command.exits import Exit, told
from guildhall_client.errors import DownloadFailed, GuildhallClientError, MutationRefused, Problem, Refused


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (Refused("QUOTE_EXPIRED", "It was", "Ask."), "It was. Ask.", Exit.FAILED),
        (Refused("FORBIDDEN", "No.", None), "No.", Exit.NOT_ALLOWED),
        (Refused("TOKEN_REFUSED", "No.", "Hint."), "No. Sign in again with `guildhall login`.", Exit.NOT_ALLOWED),
        (DownloadFailed("ACCESS_REFUSED", "No.", "Ask."), "No. Ask.", Exit.NOT_ALLOWED),
        (
            MutationRefused("m", [Problem("A", "a", "One.", "Next."), Problem("B", None, "Two.", "Next.")]),
            "One (a). Two. Next.",
            Exit.FAILED,
        ),
        (MutationRefused("m", [Problem("A", None, "One.")]), "One.", Exit.FAILED),
    ],
)
def test_told(error: GuildhallClientError, message: str, code: Exit) -> None:
    assert told(error) == (message, code)
