"""The client of a C2SP tlog-witness: it signs a head only where that continues the one before."""

import base64
from collections.abc import Awaitable, Callable, Sequence

import httpx

from guildhall.audit.checkpoints import Verifier, read_head
from guildhall.errors import Conflict, Unavailable

SECONDS_MAX = 10.0
TRIES_MAX = 3
ANSWER_BYTES_MAX = 16_384

Prove = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Gives the consistency proof from one size to another."""


class WitnessUnavailable(Unavailable):
    """The witness could not be reached, or did not answer as one."""

    code = "WITNESS_UNAVAILABLE"


class WitnessRefused(Conflict):
    """The witness does not know this log or key, or has signed a head that this one does not continue."""

    code = "WITNESS_REFUSED"


class Witness:
    """One witness: its address, the key that its signatures must be of, and the size that it signed last."""

    def __init__(
        self, url: str, verifier: Verifier, *, signed: int = 0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._verifier = verifier
        self._signed = signed
        self._transport = transport

    async def cosign(self, note: str, prove: Prove) -> str:
        """The checkpoint with the witness's signature under it. Raises WitnessUnavailable or WitnessRefused."""
        head = read_head(note)
        self._require_not_beyond(str(self._signed), head.size)
        for _ in range(TRIES_MAX):
            proof = await prove(self._signed, head.size)
            answer = await self._ask(_body(self._signed, proof, note))
            if answer.status_code == httpx.codes.CONFLICT:
                self._signed = self._size_told(answer, head.size)
                continue
            if answer.status_code != httpx.codes.OK:
                raise WitnessRefused(
                    f"The witness {self._verifier.name} does not sign the head of {head.size} leaves: it answered "
                    f"{answer.status_code} to one that continues its own of {self._signed}."
                )
            cosigned = note + answer.text
            if not self._verifier.verifies(cosigned):
                raise WitnessRefused(f"The answer of the witness {self._verifier.name} is not signed with its key.")
            self._signed = head.size
            return cosigned
        raise WitnessUnavailable(f"The witness {self._verifier.name} names another size each time that it is asked.")

    async def _ask(self, body: str) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=SECONDS_MAX, transport=self._transport) as client:
                answer = await client.post(self._url, content=body.encode())
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
            raise WitnessUnavailable(f"The witness {self._verifier.name} cannot be reached: {told}.") from error
        if len(answer.content) > ANSWER_BYTES_MAX or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise WitnessUnavailable(f"The witness {self._verifier.name} answered {answer.status_code}.")
        return answer

    def _size_told(self, answer: httpx.Response, size: int) -> int:
        """The size that the witness signed last."""
        return self._require_not_beyond(answer.text.strip()[:20], size)

    def _require_not_beyond(self, told: str, size: int) -> int:
        if not (told.isascii() and told.isdigit() and int(told) <= size):
            raise WitnessRefused(
                f"The witness {self._verifier.name} has signed a head of {told!r} leaves and there are {size}: the "
                "record was cut or put back."
            )
        return int(told)


def _body(earlier: int, proof: Sequence[bytes], note: str) -> str:
    lines = "".join(base64.b64encode(node).decode() + "\n" for node in proof)
    return f"old {earlier}\n{lines}\n{note}"
