"""What is said of a refusal: the sentence, and what to do next as the server or the command knows it."""

import pytest

from guildhall_client.command.exits import WHEN_UNREACHABLE, Exit, told
from guildhall_client.errors import (
    DownloadFailed,
    GuildhallClientError,
    MutationRefused,
    Problem,
    Refused,
    Unreachable,
    UploadFailed,
)


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
        (
            MutationRefused("m", [Problem("UNKNOWN_POOL", "job.pools[0]", "No pool.")]),
            "No pool (job.pools[0]).",
            Exit.NOT_FOUND,
        ),
        (UploadFailed("a has changed"), "a has changed.", Exit.FAILED),
        (UploadFailed("a: away", "UNREACHABLE"), f"a: away. {WHEN_UNREACHABLE}", Exit.UNREACHABLE),
        (UploadFailed("a: full", "ARTIFACT_STORE_UNAVAILABLE", "Wait."), "a: full. Wait.", Exit.UNREACHABLE),
        (UploadFailed("a: no", "UPLOAD_TICKET_REFUSED"), "a: no.", Exit.NOT_ALLOWED),
        (DownloadFailed("UNREACHABLE", "away"), f"away. {WHEN_UNREACHABLE}", Exit.UNREACHABLE),
        (Unreachable("away"), f"away. {WHEN_UNREACHABLE}", Exit.UNREACHABLE),
    ],
)
def test_told(error: GuildhallClientError, message: str, code: Exit) -> None:
    assert told(error) == (message, code)
