"""How uv is found or fetched: the choice of the wheel, the versions, and the hash that stands between."""

import hashlib
import io
import platform
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tools import get_uv

GOOD = "a" * 64
OTHER = "b" * 64
REQUIREMENTS = f"uv==0.13.8 \\\n    --hash=sha256:{GOOD}\n"
BASE = "https://index.example/simple/uv/"


def page(*wheels: tuple[str, str]) -> str:
    return "".join(f'<a href="../../files/{name}#sha256={digest}">{name}</a>' for name, digest in wheels)


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tools").mkdir()
    requirements = tmp_path / "tools" / "uv-requirements.txt"
    requirements.write_text(REQUIREMENTS)
    monkeypatch.setattr(get_uv, "ROOT", tmp_path)
    monkeypatch.setattr(get_uv, "REQUIREMENTS", requirements)
    return tmp_path


def program(folder: Path, answer: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "uv"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


class TestChooseWheel:
    @pytest.mark.usefixtures("linux")
    def test_takes_the_pinned_wheel_of_this_platform(self) -> None:
        wheels = page(
            ("uv-0.13.8-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", GOOD),
            ("uv-0.13.8-py3-none-musllinux_1_1_x86_64.whl", GOOD),
            ("uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", GOOD),
        )
        assert get_uv.choose_wheel(wheels, REQUIREMENTS, BASE) == (
            "https://index.example/files/uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            GOOD,
        )

    @pytest.mark.usefixtures("linux")
    def test_a_wheel_with_another_hash_is_not_taken(self) -> None:
        with pytest.raises(LookupError, match="no pinned wheel of uv fits"):
            get_uv.choose_wheel(page(("uv-0.13.8-py3-none-manylinux_2_17_x86_64.whl", OTHER)), REQUIREMENTS, BASE)


class TestInstallFromIndex:
    def serve(self, monkeypatch: pytest.MonkeyPatch, wheel: bytes, pinned: bytes) -> None:
        digest = hashlib.sha256(pinned).hexdigest()
        get_uv.REQUIREMENTS.write_text(f"uv==0.13.8 --hash=sha256:{digest}\n")
        listing = page(("uv-0.13.8-py3-none-manylinux_2_17_x86_64.whl", digest)).encode()

        class Answer(io.BytesIO):
            url = BASE

        def urlopen(url: str, **_options: object) -> Answer:
            return Answer(wheel if url.endswith(".whl") else listing)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)

    def wheel(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("uv-0.13.8.data/scripts/uv", "#!/bin/sh\necho uv 0.13.8\n")
        return packed.getvalue()

    @pytest.mark.usefixtures("linux")
    def test_unpacks_a_program_that_runs(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve(monkeypatch, self.wheel(), pinned=self.wheel())
        uv = root / ".uv" / "bin" / "uv"
        get_uv.install_from_index(uv)
        assert get_uv.version_of(uv) == (0, 13, 8)
        assert [path.name for path in (root / ".uv").iterdir()] == ["bin"]

    @pytest.mark.usefixtures("linux")
    def test_a_wheel_that_was_tampered_with_installs_nothing(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.serve(monkeypatch, self.wheel() + b"more", pinned=self.wheel())
        with pytest.raises(SystemExit, match="does not have the hash"):
            get_uv.install_from_index(root / ".uv" / "bin" / "uv")
        assert not (root / ".uv").exists()

    @pytest.mark.usefixtures("root")
    def test_no_network_is_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def urlopen(_url: str, **_options: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        with pytest.raises(SystemExit, match=r"no route to host.*apt install python3-venv"):
            get_uv.install_from_index(tmp_path / ".uv" / "bin" / "uv")


class TestMain:
    def test_takes_a_uv_from_the_path_that_is_new_enough(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        uv = program(root / "elsewhere", "echo uv 0.14.0")
        monkeypatch.setenv("PATH", str(uv.parent))
        get_uv.main()
        assert capsys.readouterr().out == f"{uv}\n"

    @pytest.mark.parametrize("answer", ["echo uv 0.13.7", "exit 127"])
    def test_fetches_where_the_one_on_the_path_is_too_old_or_broken(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
    ) -> None:
        ours = root / ".uv" / "bin" / "uv"

        def install() -> bool:
            program(ours.parent, "echo uv 0.13.8")
            return True

        monkeypatch.setenv("PATH", f"{program(root / 'elsewhere', answer).parent}:/bin:/usr/bin")
        monkeypatch.setattr(get_uv, "install_with_pip", install)
        get_uv.main()
        get_uv.main()
        output = capsys.readouterr()
        assert output.out == f"{ours}\n{ours}\n"
        assert output.err == "fetching uv into .uv/\n"

    def test_without_venv_and_pip_the_wheel_is_unpacked_here(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fetched: list[Path] = []
        monkeypatch.setenv("PATH", str(root))
        monkeypatch.setattr(sys, "executable", "/bin/false")
        monkeypatch.setattr(get_uv, "install_from_index", fetched.append)
        get_uv.main()
        assert fetched == [root / ".uv" / "bin" / "uv"]
        assert capsys.readouterr().out == f"{fetched[0]}\n"
