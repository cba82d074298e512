"""Addresses of object stores: a folder with its name as it is, a bucket, and what refused why."""

from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from guildhall.object_stores import bucket_of, folder_of, lacks_bucket, lost_upload, open_store, reason_of


class TestOpenStore:
    def test_a_folder_is_made_for_its_owner_alone(self, tmp_path: Path) -> None:
        url = (tmp_path / "a b" / "c").as_uri()
        assert isinstance(open_store(url), LocalStore)
        assert folder_of(url) == tmp_path / "a b" / "c"
        assert (tmp_path / "a b" / "c").stat().st_mode & 0o777 == 0o700
        assert bucket_of(url) is None

    def test_a_bucket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        assert isinstance(open_store("s3://house/artifacts"), S3Store)
        assert (bucket_of("s3://house/artifacts"), folder_of("s3://house/artifacts")) == ("house", None)

    def test_memory(self) -> None:
        assert isinstance(open_store("memory:///"), MemoryStore)
        assert (bucket_of("memory:///"), folder_of("memory:///")) == (None, None)


class TestReasons:
    @pytest.mark.parametrize(
        ("text", "lacks"),
        [
            ("404: <Error><Code>NoSuchBucket</Code></Error>", True),
            ("404: <Error><Code>ContainerNotFound</Code></Error>", True),
            ("404: The specified bucket does not exist.", True),
            ("404: <Error><Code>NoSuchKey</Code></Error>", False),
            ("404: <Error><Code>NoSuchUpload</Code></Error>", False),
        ],
    )
    def test_whether_it_is_the_bucket(self, text: str, lacks: bool) -> None:
        assert lacks_bucket(FileNotFoundError(text)) is lacks

    @pytest.mark.parametrize(("code", "lost"), [("NoSuchUpload", True), ("NoSuchKey", False)])
    def test_whether_it_is_the_upload(self, code: str, *, lost: bool) -> None:
        assert lost_upload(FileNotFoundError(f"404: <Error><Code>{code}</Code></Error>")) is lost

    @pytest.mark.parametrize(
        ("error", "line"),
        [
            (OSError("Away.\nand a long story"), "Away"),
            (TimeoutError(), "TimeoutError"),
            (OSError('403: <?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'), "403 (AccessDenied)"),
        ],
    )
    def test_in_a_line(self, error: Exception, line: str) -> None:
        assert reason_of(error) == line
