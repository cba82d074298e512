"""Announced files: every path, size and digest that cannot be, refused with its field and its sentence."""

import pytest

from guildhall.errors import InvalidInput, Problem
from registry.artifacts.files import FILES_MAX, FileSpec, TooManyFiles, media_type_of, path_problem, require_files

DIGEST = "ab" * 32


def file(path: str = "a.csv", **given: object) -> FileSpec:
    values: dict[str, object] = {"size_bytes": 1, "sha256": DIGEST, **given}
    return FileSpec(path=path, **values)  # type: ignore[arg-type]


class TestPathProblem:
    @pytest.mark.parametrize(
        ("path", "want"),
        [
            ("a", None),
            ("folder/inner/images.npy", None),
            ("Größe ñ.csv", None),
            ("..hidden/a..b/...", None),
            ("x" * 255, None),
            ("/".join(["x" * 255] * 4), None),
            ("", "it is empty"),
            ("/etc/passwd", "it is absolute"),
            ("C:/windows", "it is absolute"),
            ("../a", 'it contains ".."'),
            ("a/../b", 'it contains ".."'),
            ("a/..", 'it contains ".."'),
            ("a//b", 'it contains an empty part or "."'),
            ("a/", 'it contains an empty part or "."'),
            ("./a", 'it contains an empty part or "."'),
            ("a/./b", 'it contains an empty part or "."'),
            ("a\\b", 'parts are separated by "/", not by "\\"'),
            ("a\0b", "it contains a control character"),
            ("a\nb", "it contains a control character"),
            ("a\x7fb", "it contains a control character"),
            ("gnp\u202evsc.exe", "it contains an invisible format character"),
            ("a\u200bb", "it contains an invisible format character"),
            (" ", "a part is only white space"),
            ("a/\u00a0/b", "a part is only white space"),
            ("a b/c d.csv", None),
            ("x" * 256, "a part is longer than 255 bytes"),
            ("ä" * 128, "a part is longer than 255 bytes"),
            ("/".join(["x" * 204] * 5) + "y", "it is longer than 1024 bytes"),
            ("a\u0308.csv", "it is not in Unicode's composed form (NFC)"),
            ("\ud800", "it is not valid Unicode"),
        ],
    )
    def test_table(self, path: str, want: str | None) -> None:
        assert path_problem(path) == want


class TestRequireFiles:
    def test_fills_in_what_was_left_out(self) -> None:
        files = [file("a/b.csv", sha256="AB" * 32), file("c", media_type="image/png", rows=3)]
        assert require_files(files) == [
            FileSpec(path="a/b.csv", size_bytes=1, sha256=DIGEST, media_type="text/csv", rows=None),
            FileSpec(path="c", size_bytes=1, sha256=DIGEST, media_type="image/png", rows=3),
        ]

    @pytest.mark.parametrize(
        ("wrong", "code", "field", "message"),
        [
            ({"path": "../x"}, "INVALID_PATH", "files[1].path", "'../x' cannot be a path: it contains \"..\"."),
            (
                {"size_bytes": -1},
                "INVALID_SIZE",
                "files[1].sizeBytes",
                "-1 cannot be a size in bytes: it must be from 0 to 5497558138880.",
            ),
            (
                {"size_bytes": 5 * 1024**4 + 1},
                "INVALID_SIZE",
                "files[1].sizeBytes",
                "5497558138881 cannot be a size in bytes: it must be from 0 to 5497558138880.",
            ),
            (
                {"sha256": "abc"},
                "INVALID_DIGEST",
                "files[1].sha256",
                "'abc' cannot be a SHA-256 digest: it must be 64 hexadecimal digits.",
            ),
            (
                {"sha256": DIGEST + "\n"},
                "INVALID_DIGEST",
                "files[1].sha256",
                f"'{DIGEST}\\n' cannot be a SHA-256 digest: it must be 64 hexadecimal digits.",
            ),
            (
                {"media_type": "text/html; charset=x"},
                "INVALID_MEDIA_TYPE",
                "files[1].mediaType",
                "'text/html; charset=x' cannot be a media type: it must look like text/csv.",
            ),
            ({"rows": -1}, "INVALID_ROWS", "files[1].rows", "-1 cannot be a number of rows."),
            ({"rows": 2**63}, "INVALID_ROWS", "files[1].rows", "9223372036854775808 cannot be a number of rows."),
        ],
    )
    def test_wrong_file(self, wrong: dict[str, object], code: str, field: str, message: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            require_files([file("right"), file(**{"path": "a", **wrong})])  # type: ignore[arg-type]
        assert caught.value.problems == (Problem(code, message, field),)

    def test_no_files(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            require_files([])
        assert caught.value.problems == (Problem("FILES_REQUIRED", "Name at least one file.", "files"),)

    def test_the_same_path_twice(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            require_files([file("a"), file("b"), file("a")])
        assert caught.value.problems == (Problem("DUPLICATE_PATH", "'a' is named twice.", "files[2].path"),)

    def test_a_file_where_another_needs_a_folder(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            require_files([file("a/b/c"), file("a/b")])
        want = Problem("PATH_CONFLICT", "'a/b/c' needs 'a/b' as a folder, but that is a file.", "files[0].path")
        assert caught.value.problems == (want,)

    def test_only_the_first_problems_are_told(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            require_files([file("")] * 60)
        assert len(caught.value.problems) == 50

    def test_more_files_than_one_version_may_have(self) -> None:
        with pytest.raises(TooManyFiles) as caught:
            require_files([file(str(number)) for number in range(FILES_MAX + 1)])
        assert caught.value.message == "10001 files are more than one version may have (10000)."


class TestMediaTypeOf:
    @pytest.mark.parametrize(
        ("path", "want"),
        [
            ("a.json", "application/json"),
            ("a", "application/octet-stream"),
            ("a.tar.gz", "application/octet-stream"),  # an archive in a compression is neither of the two
        ],
    )
    def test_table(self, path: str, want: str) -> None:
        assert media_type_of(path) == want
