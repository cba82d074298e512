"""Many files in one request: each verified as it comes, the first that is wrong named, what was right kept."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from registry.artifacts import bundles
from registry.artifacts.bundles import BundleLimits
from registry.artifacts.completing import blob_key
from registry.artifacts.sweeping import sweep_uploads
from registry.artifacts.tables import Artifact, ArtifactPart, OwnerKind
from registry.artifacts.tickets import TICKET_HEADER
from registry.http import bundles as routes
from registry.http.desk import STATE_KEY
from registry.storage import ArtifactStoreUnavailable
from tests.registry.estate import digest, spec
from tests.registry.http.conftest import Site

LONG = "m/ä" + "n" * 150 + ".txt"
FILES = {"a.bin": b"a" * 700, "b/c.bin": b"", LONG: b"long", "z.bin": b"z" * 512}
URL = "/artifacts/uploads/bundle"

Entry = tuple[str, bytes]


@pytest.fixture
async def version_id(site: Site) -> UUID:
    return await announced(site)


async def announced(site: Site, files: dict[str, bytes] | None = None, name: str = "gauge-digits") -> UUID:
    specs = [spec(path, content) for path, content in (FILES if files is None else files).items()]
    return await site.estate.announce(await site.estate.dataset(name), specs)


def packed(entries: Iterable[Entry], form: int = tarfile.PAX_FORMAT, **given: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for path, content in entries:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            for name, value in given.items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def sized(path: str, size_bytes: int, **given: Any) -> bytes:
    """A header that says so, and a block after it."""
    member = tarfile.TarInfo(path)
    member.size = size_bytes
    for name, value in given.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(512)


def ticket(site: Site, version_id: UUID) -> dict[str, str]:
    issued = site.tickets.issue(OwnerKind.DATASET_VERSION, version_id, at=site.estate.clock.now())
    return {TICKET_HEADER: issued}


async def put(site: Site, version_id: UUID, content: Any) -> httpx.Response:
    async with site.client(**ticket(site, version_id)) as client:
        return await client.put(URL, content=content)


async def missing(site: Site, version_id: UUID) -> list[str]:
    async with site.client(**ticket(site, version_id)) as client:
        found: list[str] = (await client.get(URL)).json()["missing"]
    return found


async def arrived(site: Site) -> int:
    return len(await site.estate.rows(ArtifactPart))


class TestPut:
    @pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    async def test_all_files_and_then_they_are_complete(self, site: Site, version_id: UUID, form: int) -> None:
        answer = await put(site, version_id, packed(FILES.items(), form))
        assert (answer.status_code, answer.json()) == (200, {"arrived": 4})
        assert await missing(site, version_id) == []
        assert await site.estate.keys("uploads") == []
        assert (await site.estate.complete(version_id)).missing == ()
        assert await arrived(site) == 0
        stored = {each.path: each.state for each in await site.estate.rows(Artifact)}
        assert stored == dict.fromkeys(FILES, "STORED")
        assert await site.estate.store.get(blob_key(digest(FILES["a.bin"]))) == FILES["a.bin"]

    async def test_as_tar_packs_a_folder(self, site: Site, version_id: UUID) -> None:
        folder = packed([("./", b"")], type=tarfile.DIRTYPE)[:512]
        everybody = tarfile.TarInfo.create_pax_global_header({"comment": "ours"})
        files = packed((f"./{path}", content) for path, content in FILES.items())
        assert (await put(site, version_id, everybody + folder + files)).json() == {"arrived": 4}

    async def test_in_chunks_of_unknown_length(self, site: Site, version_id: UUID) -> None:
        whole = packed(FILES.items())

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(whole), 333):
                yield whole[start : start + 333]

        assert (await put(site, version_id, chunks())).json() == {"arrived": 4}

    async def test_without_blocks_of_nothing_at_its_end(self, site: Site, version_id: UUID) -> None:
        assert (await put(site, version_id, packed([("a.bin", FILES["a.bin"])])[: 512 + 1024])).json() == {"arrived": 1}

    async def test_equal_files_are_stored_once(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []
        original = site.estate.store.put

        async def watched(key: str, content: bytes) -> None:
            written.append(key)
            await original(key, content)

        monkeypatch.setattr(site.estate.store, "put", watched)
        same = {"one": b"same", "two": b"same"}
        version_id = await announced(site, same)
        assert (await put(site, version_id, packed(same.items()))).json() == {"arrived": 2}
        assert (await site.estate.complete(version_id)).missing == ()
        other_id = await announced(site, same, "others")
        assert (await put(site, other_id, packed(same.items()))).json() == {"arrived": 2}
        assert (await site.estate.complete(other_id)).missing == ()
        assert written == [blob_key(digest(b"same"))]

    async def test_bytes_that_somebody_removed_are_stored_anew(self, site: Site) -> None:
        first = await announced(site, {"one": b"same"})
        await put(site, first, packed([("one", b"same")]))
        await site.estate.complete(first)
        await site.estate.store.delete([blob_key(digest(b"same"))])
        second = await announced(site, {"one": b"same"}, "others")
        await put(site, second, packed([("one", b"same")]))
        assert await site.estate.store.get(blob_key(digest(b"same"))) == b"same"

    async def test_again_it_replaces_what_came_before(self, site: Site, version_id: UUID) -> None:
        await site.estate.send(version_id, "a.bin", b"half")
        content = packed(FILES.items())
        assert (await put(site, version_id, content)).json() == (await put(site, version_id, content)).json()
        assert await arrived(site) == 4
        assert await site.estate.keys("uploads") == []
        # A single part may replace it as well, and what is under the digest stays.
        await site.estate.send(version_id, "a.bin", FILES["a.bin"])
        assert (await site.estate.complete(version_id)).missing == ()

    async def test_what_came_is_swept_when_nobody_goes_on(self, site: Site, version_id: UUID) -> None:
        await put(site, version_id, packed(FILES.items()))
        swept = await sweep_uploads(
            site.estate.database, site.estate.store, at=site.estate.clock.now() + timedelta(days=8)
        )
        assert (swept.parts, await arrived(site)) == (4, 0)

    async def test_an_empty_part_more_changes_nothing(self, site: Site, version_id: UUID) -> None:
        await put(site, version_id, packed(FILES.items()))
        await site.estate.send(version_id, "a.bin", b"", part=2)
        assert await arrived(site) == 5
        assert (await site.estate.complete(version_id)).missing == ()
        assert await site.estate.store.get(blob_key(digest(FILES["a.bin"]))) == FILES["a.bin"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("entry", "status", "code", "message"),
        [
            (("../a.bin", b"x"), 400, "INVALID_PATH", "'../a.bin' cannot be a path: it contains \"..\"."),
            (("/a.bin", b"x"), 400, "INVALID_PATH", "'/a.bin' cannot be a path: it is absolute."),
            (("other", b"x"), 400, "NOT_ANNOUNCED", "other was not announced, or is in the bundle twice."),
            (("a.bin", FILES["a.bin"]), 400, "NOT_ANNOUNCED", "a.bin was not announced, or is in the bundle twice."),
            (("z.bin", b"z"), 400, "SIZE_MISMATCH", "z.bin was announced with 512 bytes, but 1 came."),
            (("z.bin", b"y" * 512), 400, "DIGEST_MISMATCH",
             f"z.bin: the digest {digest(FILES['z.bin'])} was announced, bytes with {digest(b'y' * 512)} came."),
        ],
    )  # fmt: skip
    async def test_name_the_file_and_keep_what_was_right_before(
        self, site: Site, version_id: UUID, entry: Entry, status: int, code: str, message: str
    ) -> None:
        answer = await put(site, version_id, packed([("a.bin", FILES["a.bin"]), entry, (LONG, b"long")]))
        want = {"error": {"code": code, "message": message, "path": entry[0]}}
        assert (answer.status_code, answer.json()) == (status, want)
        assert await missing(site, version_id) == ["b/c.bin", LONG, "z.bin"]
        assert [each.state for each in await site.estate.rows(Artifact)] == ["PENDING"] * 4
        assert await site.estate.store.size_bytes(blob_key(digest(b"y" * 512))) is None

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    async def test_what_is_no_plain_file(self, site: Site, version_id: UUID, kind: bytes) -> None:
        answer = await put(site, version_id, packed([("a.bin", b"")], type=kind, linkname="z.bin"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "NOT_A_PLAIN_FILE")
        assert await arrived(site) == 0

    async def test_what_is_stored_already(self, site: Site, version_id: UUID) -> None:
        await put(site, version_id, packed(FILES.items()))
        await site.estate.complete(version_id)
        answer = await put(site, version_id, packed([("a.bin", FILES["a.bin"])]))
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ALREADY_STORED")

    async def test_too_many_files_and_too_many_bytes(self, site: Site, version_id: UUID) -> None:
        desk = site.state[STATE_KEY]
        for limits in (BundleLimits(files_max=1, bytes_max=10_000), BundleLimits(files_max=9, bytes_max=700)):
            site.state[STATE_KEY] = replace(desk, bundle_limits=limits)
            answer = await put(site, version_id, packed([("a.bin", FILES["a.bin"]), ("z.bin", FILES["z.bin"])]))
            assert (answer.status_code, answer.json()["error"]) == (
                413,
                {
                    "code": "BUNDLE_TOO_LARGE",
                    "message": f"A bundle may have {limits.files_max} files and {limits.bytes_max} bytes at most.",
                    "path": "z.bin",
                },
            )
            assert await missing(site, version_id) == ["b/c.bin", LONG, "z.bin"]

    @pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.XGLTYPE])
    async def test_more_headers_than_its_files_can_need(self, site: Site, version_id: UUID, kind: bytes) -> None:
        desk = site.state[STATE_KEY]
        site.state[STATE_KEY] = replace(desk, bundle_limits=BundleLimits(files_max=4, bytes_max=10_000))
        block = packed([("a", b"")], type=kind)[:512]
        most = 4 * bundles.HEADERS_PER_FILE_MAX
        assert (await put(site, version_id, block * most)).json() == {"arrived": 0}
        answer = await put(site, version_id, block * (most + 1))
        assert (answer.status_code, answer.json()["error"]) == (
            413,
            {"code": "BUNDLE_TOO_LARGE", "message": f"A bundle of 4 files may have {most} headers at most."},
        )

    async def test_a_file_that_is_not_small(
        self, site: Site, version_id: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundles, "FILE_BYTES_MAX", 600)
        answer = await put(site, version_id, packed([("a.bin", FILES["a.bin"])]))
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            413,
            "a.bin has 700 bytes; in a bundle a file may have 600. Send it in parts.",
        )

    async def test_what_comes_behind_them_is_not_waited_for_without_end(self) -> None:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield bytes(1000)

        await routes._drain(endless(), 2500)
        assert taken == 3

    @pytest.mark.parametrize(
        "content",
        [
            b"no tar at all" + bytes(512),
            packed([("a.bin", FILES["a.bin"])])[:900],
            packed([("a.bin", FILES["a.bin"])])[:300],
            packed([(LONG, b"long")])[:700],
            packed([(LONG, b"long")]).replace(b"path=m", b"path=\xff"),
            packed([(LONG, b"long")]).replace(b"168 path", b"xxx path"),
            packed([(LONG, b"long")]).replace(b"168 path", b"999 path"),
            sized("a.bin", -(1 << 62)),
            sized("a.bin", -512, type=tarfile.XHDTYPE),
        ],
    )
    async def test_a_damaged_stream(self, site: Site, version_id: UUID, content: bytes) -> None:
        answer = await put(site, version_id, content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BUNDLE_DAMAGED")
        assert await arrived(site) == 0

    async def test_the_ticket_is_needed(self, site: Site, version_id: UUID) -> None:
        async with site.client("carl") as client:
            answer = await client.put(URL, content=packed(FILES.items()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UPLOAD_TICKET_REFUSED")
        late = ticket(site, version_id)
        site.estate.clock.advance(timedelta(days=2))
        async with site.client(**late) as client:
            assert (await client.put(URL, content=packed(FILES.items()))).status_code == 401
            assert (await client.get(URL)).status_code == 401
        assert await arrived(site) == 0


class TestWhatEndsInTheMiddle:
    async def test_a_connection_that_is_cut_keeps_what_was_whole(self, site: Site, version_id: UUID) -> None:
        content = packed(FILES.items())
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        header = f"{TICKET_HEADER}: {ticket(site, version_id)[TICKET_HEADER]}"
        head = f"PUT {URL} HTTP/1.1\r\nHost: t\r\n{header}\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content[:3000])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(60):
            while await arrived(site) < 2:
                await asyncio.sleep(0.02)
        assert await missing(site, version_id) == [LONG, "z.bin"]
        rest = packed((path, FILES[path]) for path in (LONG, "z.bin"))
        assert (await put(site, version_id, rest)).json() == {"arrived": 2}
        assert (await site.estate.complete(version_id)).missing == ()

    async def test_a_store_that_is_away(self, site: Site, version_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        original = site.estate.store.put

        async def failing(key: str, content: bytes) -> None:
            if content == b"long":
                raise ArtifactStoreUnavailable("The artifact store cannot be used at the moment.")
            await original(key, content)

        monkeypatch.setattr(site.estate.store, "put", failing)
        answer = await put(site, version_id, packed(FILES.items()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ARTIFACT_STORE_UNAVAILABLE")
        assert LONG in await missing(site, version_id)
        monkeypatch.setattr(site.estate.store, "put", original)
        assert (await put(site, version_id, packed(FILES.items()))).json() == {"arrived": 4}

    async def test_whatever_a_write_fails_with_the_request_fails_too(
        self, site: Site, version_id: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def failing(_key: str, _content: bytes) -> None:
            raise TypeError("not foreseen")

        monkeypatch.setattr(site.estate.store, "put", failing)
        assert (await put(site, version_id, packed(FILES.items()))).status_code == 500
        assert await arrived(site) == 0

    async def test_more_files_than_are_written_at_once(self, site: Site) -> None:
        files = {f"{number:03}": str(number).encode() for number in range(20)}
        version_id = await announced(site, files)
        assert (await put(site, version_id, packed(files.items()))).json() == {"arrived": 20}

    async def test_a_completion_that_was_first(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        version_id = await announced(site, {"a": b"a"})
        original = site.estate.store.put

        async def overtaken(key: str, content: bytes) -> None:
            await original(key, content)
            await site.estate.send(version_id, "a", b"a")
            assert (await site.estate.complete(version_id)).missing == ()

        monkeypatch.setattr(site.estate.store, "put", overtaken)
        assert (await put(site, version_id, packed([("a", b"a")]))).status_code == 200
        assert await arrived(site) == 0
