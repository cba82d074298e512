"""Uploads that break off, lie about their bytes, or are another's: nothing is half-written, and what is cut goes on."""

import hashlib
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.faults.house import House
from tests.e2e.faults.processes import until

PART = 65_536
CONTENT = bytes(range(256)) * 600
"""Two whole parts and a rest."""


@dataclass(frozen=True)
class Upload:
    """A file of Works on its way into a version of a data set."""

    house: House
    owner_id: str
    url: str
    headers: dict[str, str]

    @property
    def key(self) -> str:
        """The artifact's id, as it stands in the address."""
        return self.url.rpartition("/")[2]

    def put(self, part: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        given = self.headers if headers is None else headers
        return self.house.http.put(f"{self.url}?part={part}", content=content, headers=given)

    def received(self) -> list[int]:
        """Numbers of the parts that the server has."""
        answer = self.house.http.get(self.url, headers=self.headers)
        assert answer.status_code == 200
        return [part["part"] for part in answer.json()["parts"]]

    def complete(self) -> dict[str, Any]:
        found: dict[str, Any] = self.house.change("ada", "CompleteUploads", ownerId=self.owner_id)
        return found

    def files_in_store(self) -> list[str]:
        """What the store keeps of the parts, drafts included."""
        folder = self.house.site.folder / "artifacts"
        return [path.name for path in folder.rglob("*") if path.is_file() and self.key.replace("-", "") in str(path)]

    def state(self) -> str:
        found = self.house.book.value(f"SELECT state AS value FROM artifacts WHERE id = '{self.key}'")
        return str(found)


@pytest.fixture
def upload(treasury: House) -> Upload:
    return announce(treasury, CONTENT)


def announce(house: House, content: bytes) -> Upload:
    files = [{"path": "big.bin", "sizeBytes": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}]
    made = house.change("ada", "CreateDatasetVersion", datasetId=house.ids["dataset"], files=files)
    (asked,) = made["uploads"]
    assert asked["partSizeBytes"] == PART
    headers = {header["name"]: header["value"] for header in asked["headers"]}
    return Upload(house, made["datasetVersion"]["id"], asked["url"], headers)


def parts(content: bytes) -> list[bytes]:
    return [content[start : start + PART] for start in range(0, len(content), PART)]


def code(answer: httpx.Response) -> str:
    assert answer.status_code < 500
    error = answer.json()["error"]
    assert error["message"].strip()
    return str(error["code"])


class TestTruncated:
    @pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
    def test_leaves_nothing_and_goes_on(self, upload: Upload, announced: bool) -> None:
        first, second, third = parts(CONTENT)
        assert upload.put("1", first).status_code == 200
        cut_off(upload, second[: PART // 2], announced=announced)
        # The connection is gone before the server can say anything; what it kept is what counts.
        until(lambda: len(upload.files_in_store()) == 1, "only the whole part is kept")
        assert upload.received() == [1]
        told = upload.complete()
        assert [missing["code"] for missing in told["missing"]] == ["SIZE_MISMATCH"]
        assert upload.state() == "PENDING"

        assert upload.put("2", second).status_code == 200
        assert upload.put("3", third).status_code == 200
        told = upload.complete()
        assert (told["missing"], upload.state()) == ([], "STORED")

    def test_fewer_bytes_than_announced(self, upload: Upload) -> None:
        assert upload.put("1", CONTENT[:100]).status_code == 200
        (missing,) = upload.complete()["missing"]
        assert missing == {
            "path": "big.bin",
            "code": "SIZE_MISMATCH",
            "message": f"{len(CONTENT)} bytes were announced, 100 came.",
        }
        assert upload.state() == "PENDING"


def cut_off(upload: Upload, content: bytes, *, announced: bool) -> None:
    """Send half of a part, and hang up."""
    address = urlsplit(upload.url)
    assert address.hostname is not None
    lines = [f"PUT {address.path}?part=2 HTTP/1.1", f"Host: {address.netloc}"]
    lines += [f"{name}: {value}" for name, value in upload.headers.items()]
    lines += [f"Content-Length: {2 * len(content)}" if announced else "Transfer-Encoding: chunked"]
    body = content if announced else f"{len(content):x}\r\n".encode() + content + b"\r\n"
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


class TestWrongBytes:
    def test_are_refused_and_dropped(self, upload: Upload) -> None:
        wrong = b"\0" * len(CONTENT)
        for number, part in enumerate(parts(wrong), start=1):
            assert upload.put(str(number), part).status_code == 200
        (missing,) = upload.complete()["missing"]
        assert missing["code"] == "DIGEST_MISMATCH"
        assert "Send the file again from the start" in missing["message"]
        assert (upload.received(), upload.state()) == ([], "PENDING")
        until(lambda: upload.files_in_store() == [], "the wrong bytes are deleted")
        digest = hashlib.sha256(wrong).hexdigest()
        assert not list((upload.house.site.folder / "artifacts").rglob(digest))

        for number, part in enumerate(parts(CONTENT), start=1):
            assert upload.put(str(number), part).status_code == 200
        assert (upload.complete()["missing"], upload.state()) == ([], "STORED")

    def test_more_than_a_part_may_have(self, upload: Upload) -> None:
        answer = upload.put("1", CONTENT[: PART + 1])
        assert (answer.status_code, code(answer)) == (413, "PART_TOO_LARGE")
        assert (upload.received(), upload.files_in_store()) == ([], [])

    def test_more_than_was_announced(self, treasury: House) -> None:
        upload = announce(treasury, b"ten bytes!")
        answer = upload.put("1", b"eleven bytes")
        assert (answer.status_code, code(answer)) == (400, "SIZE_MISMATCH")
        assert (upload.received(), upload.files_in_store()) == ([], [])

    def test_after_it_is_stored(self, treasury: House) -> None:
        upload = announce(treasury, b"ten bytes?")
        assert upload.put("1", b"ten bytes?").status_code == 200
        assert upload.complete()["missing"] == []
        answer = upload.put("1", b"ten others")
        assert (answer.status_code, code(answer)) == (409, "ALREADY_STORED")


class TestPartNumber:
    @pytest.mark.parametrize("number", ["0", "-1", "10001", "9" * 9, "9" * 30, "one", "", "1.5", "%00", "²"])
    def test_that_is_none(self, upload: Upload, number: str) -> None:
        answer = upload.put(number, b"x")
        assert (answer.status_code, code(answer)) == (400, "INVALID_PART")
        assert (upload.received(), upload.files_in_store()) == ([], [])


class TestSomebodyElses:
    def test_token(self, upload: Upload) -> None:
        answer = upload.put("1", b"x", {"Authorization": f"Bearer {upload.house.tokens['oli']}"})
        assert answer.status_code in {403, 404}
        assert code(answer) in {"PERMISSION_REFUSED", "NOT_FOUND"}
        assert (upload.received(), upload.files_in_store()) == ([], [])

    def test_no_token(self, upload: Upload) -> None:
        answer = upload.put("1", b"x", {})
        assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")

    def test_ticket_of_another_upload(self, upload: Upload) -> None:
        other = announce(upload.house, b"something else")
        answer = upload.put("1", b"x", other.headers)
        assert (answer.status_code, code(answer)) == (401, "UPLOAD_TICKET_REFUSED")
        assert (upload.received(), upload.files_in_store()) == ([], [])

    def test_ticket_that_was_changed(self, upload: Upload) -> None:
        ((name, ticket),) = upload.headers.items()
        for changed in (ticket[:-1], ticket + "x", "", "a.b.c.d", "é" * 10):
            answer = upload.put("1", b"x", {name: changed.encode()})  # type: ignore[dict-item]
            assert (answer.status_code, code(answer)) == (401, "UPLOAD_TICKET_REFUSED")
        assert upload.received() == []

    @pytest.mark.parametrize("key", ["01900000-0000-7000-8000-00000000dead", "nonsense", "../../secret.key", "%00"])
    def test_unknown_upload(self, upload: Upload, key: str) -> None:
        url = upload.url.replace(upload.key, key)
        answer = upload.house.http.put(f"{url}?part=1", content=b"x", headers=upload.headers)
        assert answer.status_code == 404

    @pytest.mark.parametrize("key", ["01900000-0000-7000-8000-00000000dead", "nonsense", "%00"])
    def test_unknown_download(self, treasury: House, key: str) -> None:
        headers = {"Authorization": f"Bearer {treasury.tokens['ada']}"}
        answer = treasury.http.get(f"{treasury.site.url}/artifacts/{key}", headers=headers)
        assert answer.status_code == 404
