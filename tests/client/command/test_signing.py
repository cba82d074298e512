"""login, logout, whoami: tokens from a pipe and from a terminal, where they are kept, and whose they are."""

import json
from pathlib import Path

import pytest

from guildhall_client.command.exits import WHEN_UNREACHABLE, CommandFailed, Exit
from guildhall_client.command.profiles import cleaned
from tests.client.command.conftest import Command, Guild

UNKNOWN_TOKEN = "ghu_" + "x" * 38


def config(command: Command, name: str) -> Path:
    return Path(command.environment["XDG_CONFIG_HOME"]) / "guildhall" / name


class TestLogin:
    def test_by_pipe(self, guild: Guild, stranger: Command) -> None:
        ended = stranger.ok("login", guild.url, "--token-stdin", stdin=f"{guild.tokens['mira']}\n")
        kept = config(stranger, "tokens.json")
        assert ended.out == f"Signed in at {guild.url} as Mira Mercer; the token is in {kept}.\n"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.parent.stat().st_mode & 0o777 == 0o700
        told = stranger.ok("whoami", "--json").json
        assert (told["server"], told["actor"]["name"]) == (guild.url, "Mira Mercer")
        assert told["memberships"] == [{"team": {"name": "maintenance"}, "roles": ["maintainer"]}]

    def test_at_a_terminal_the_token_is_not_shown(self, guild: Guild, stranger: Command) -> None:
        with stranger.terminal("login", guild.url) as terminal:
            terminal.until("Token: ")
            terminal.press(f"{guild.tokens['milan']}\r")
            assert terminal.end() == 0
        assert "Signed in at" in terminal.said
        assert guild.tokens["milan"] not in terminal.said

    def test_a_token_that_does_not_count_is_not_kept(self, guild: Guild, stranger: Command) -> None:
        ended = stranger("login", guild.url, "--token-stdin", stdin=UNKNOWN_TOKEN)
        assert (ended.code, ended.out) == (4, "")
        assert "Sign in again with `guildhall login`." in ended.err
        assert not config(stranger, "tokens.json").exists()

    def test_without_terminal_or_pipe_option(self, guild: Guild, stranger: Command) -> None:
        ended = stranger("login", guild.url)
        assert ended.code == 2
        assert "--token-stdin" in ended.err

    def test_an_empty_token(self, guild: Guild, stranger: Command) -> None:
        assert stranger("login", guild.url, "--token-stdin").err == "guildhall: The token is empty.\n"

    def test_a_token_of_several_words(self, guild: Guild, stranger: Command) -> None:
        ended = stranger("login", guild.url, "--token-stdin", stdin="two words")
        assert (ended.code, "one word" in ended.err) == (2, True)

    @pytest.mark.parametrize(
        "address",
        [
            "guildhall.example.org",
            "ftp://guildhall.example.org",
            "http://",
            "http://.",
            "http://[::1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:port",
            "http://two words",
            "http://two\nlines",
            f"http://{'a' * 64}.example.org",
        ],
    )
    def test_what_is_no_address(self, address: str) -> None:
        with pytest.raises(CommandFailed, match="write it as https://") as refused:
            cleaned(address)
        assert refused.value.exit_code == Exit.USAGE

    @pytest.mark.parametrize("address", ["http://[::1]:8321", "https://gilde.example/räume", "http://localhost."])
    def test_an_address(self, address: str) -> None:
        assert cleaned(f" {address}/") == address

    def test_no_address_is_told_before_anything_is_asked(self, stranger: Command) -> None:
        ended = stranger("login", "guildhall.example.org", "--token-stdin", stdin="x")
        sentence = "'guildhall.example.org' is no address of a server; write it as https://guildhall.example.org."
        assert (ended.code, ended.err) == (2, f"guildhall: {sentence}\n")

    @pytest.mark.parametrize("token", ["two words", "ghü_1", " "])
    def test_no_token_in_the_environment(self, stranger: Command, token: str) -> None:
        ended = stranger("whoami", GUILDHALL_TOKEN=token)
        sentence = "GUILDHALL_TOKEN is no token: a token is one word of plain letters, digits and marks."
        assert (ended.code, ended.out, ended.err) == (2, "", f"guildhall: {sentence}\n")

    def test_a_token_over_plain_http_is_warned_about(self, stranger: Command) -> None:
        ended = stranger("login", "http://guildhall.invalid", "--token-stdin", stdin="x")
        assert ended.code == 5
        assert "Warning: http://guildhall.invalid is not https" in ended.err


class TestProfiles:
    def test_several_servers(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("--profile", "one", "login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        stranger.ok("--profile", "two", "login", guild.url, "--token-stdin", stdin=guild.tokens["alma"])
        names = [
            stranger.ok(*profile, "whoami", "--json").json["actor"]["name"]
            for profile in ([], ["--profile", "one"], ["--profile", "two"])
        ]
        assert names == ["Alma Ames", "Mira Mercer", "Alma Ames"]
        assert stranger.ok("whoami", "--json", GUILDHALL_PROFILE="one").json["actor"]["name"] == "Mira Mercer"

    def test_signing_in_again_needs_no_address(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("--profile", "one", "login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        stranger.ok("--profile", "one", "login", "--token-stdin", stdin=guild.tokens["alma"])
        stranger.ok("login", "--token-stdin", stdin=guild.tokens["milan"])
        assert stranger.ok("--profile", "one", "whoami", "--json").json["actor"]["name"] == "Milan Messmer"

    def test_a_new_one_needs_an_address(self, stranger: Command) -> None:
        ended = stranger("--profile", "new", "login", "--token-stdin", stdin="x")
        assert ended.code == 2
        assert "guildhall --profile new login URL" in ended.err

    def test_an_unknown_one(self, stranger: Command) -> None:
        ended = stranger("--profile", "nobody", "whoami")
        assert ended.code == 2
        assert ended.err == (
            "guildhall: There is no profile nobody (there is: none yet); "
            "make it with `guildhall --profile nobody login`.\n"
        )

    def test_a_token_is_sent_to_no_other_server(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        ended = stranger("whoami", GUILDHALL_URL="http://127.0.0.1:1")
        assert ended.code == 4
        assert ended.err.startswith("guildhall: You are not signed in at http://127.0.0.1:1.")

    def test_the_environment_comes_first(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        told = stranger.ok("whoami", "--json", GUILDHALL_TOKEN=guild.tokens["alma"])
        assert told.json["actor"]["name"] == "Alma Ames"

    def test_damaged_files(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        kept = config(stranger, "tokens.json")
        kept.write_text(json.dumps({"default": {"nonsense": 1}}))
        ended = stranger("whoami")
        assert (ended.code, ended.err) == (
            1,
            "guildhall: What is kept of profile default is damaged; `guildhall login` makes it anew.\n",
        )
        for content in ("{", "[]"):
            kept.write_text(content)
            ended = stranger("whoami")
            assert (ended.code, ended.err) == (
                1,
                f"guildhall: {kept} is damaged: mend it, or delete it and sign in with `guildhall login`.\n",
            )


class TestLogout:
    def test_ends_the_token_everywhere(self, guild: Guild, stranger: Command) -> None:
        token = guild.another_token("mira")
        stranger.ok("login", guild.url, "--token-stdin", stdin=token)
        assert stranger.ok("logout").out == f"Signed out of {guild.url}; the token has ended.\n"
        assert token not in config(stranger, "tokens.json").read_text()
        assert stranger("whoami").code == 4
        elsewhere = stranger("whoami", GUILDHALL_URL=guild.url, GUILDHALL_TOKEN=token)
        assert (elsewhere.code, "was withdrawn" in elsewhere.err) == (4, True)
        assert stranger.ok("logout").err == f"You were not signed in at {guild.url}.\n"

    def test_keeps_one_that_is_used_elsewhere(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        ended = stranger.ok("logout", "--keep")
        assert ended.out == f"Signed out of {guild.url}; the token stays good until it ends.\n"
        assert stranger("whoami").code == 4
        stranger.ok("whoami", GUILDHALL_URL=guild.url, GUILDHALL_TOKEN=guild.tokens["mira"])

    def test_one_that_has_ended_already(self, guild: Guild, stranger: Command) -> None:
        token = guild.another_token("mira")
        for profile in ("one", "two"):
            stranger.ok("--profile", profile, "login", guild.url, "--token-stdin", stdin=token)
            stranger.ok("--profile", profile, "whoami")
        for profile in ("one", "two"):
            assert stranger.ok("--profile", profile, "logout").out.endswith("the token has ended.\n")

    def test_the_environment_s_token_is_not_the_profile_s(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.another_token("mira"))
        stranger.ok("logout", GUILDHALL_TOKEN=guild.tokens["alma"])
        stranger.ok("whoami", GUILDHALL_URL=guild.url, GUILDHALL_TOKEN=guild.tokens["alma"])

    def test_a_server_that_is_away(self, guild: Guild, stranger: Command) -> None:
        stranger.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        for name, path in (("profiles.json", ["profiles", "default"]), ("tokens.json", ["default", "url"])):
            kept = json.loads(config(stranger, name).read_text())
            kept[path[0]][path[1]] = "http://127.0.0.1:1"
            config(stranger, name).write_text(json.dumps(kept))
        ended = stranger("logout")
        assert (ended.code, ended.out) == (5, "")
        assert ended.err.startswith(
            "guildhall: The token is forgotten here, but stays good until it ends by itself, because it could not be "
            "ended: the server does not answer: "
        )
        assert WHEN_UNREACHABLE not in ended.err
        assert guild.tokens["mira"] not in config(stranger, "tokens.json").read_text()


class TestWhoami:
    def test_for_people(self, guild: Guild, mira: Command) -> None:
        assert mira.ok("whoami").out == (
            f"server  {guild.url}\n"
            "name    Mira Mercer\n"
            "email   mira@guildhall.example\n"
            "roles   maintainer in maintenance\n"
        )

    def test_a_role_everywhere(self, guild: Guild, mira: Command) -> None:
        told = mira.ok("whoami", GUILDHALL_TOKEN=guild.tokens["alma"])
        assert "roles   allocator everywhere\n" in told.out


KEYRING = """
import json, os, pathlib
FILE = pathlib.Path(os.environ["HOME"], "keyring.json")

class Backend:
    priority = float(os.environ.get("KEYRING_PRIORITY", "5"))

def get_keyring():
    return Backend()

def _kept():
    return json.loads(FILE.read_text()) if FILE.exists() else {}

def get_password(service, username):
    return _kept().get(f"{service}/{username}")

def set_password(service, username, password):
    FILE.write_text(json.dumps({**_kept(), f"{service}/{username}": password}))

def delete_password(service, username):
    kept = _kept()
    del kept[f"{service}/{username}"]
    FILE.write_text(json.dumps(kept))
"""


class TestKeyring:
    """With a module `keyring` of our own; the real one has no backend on a machine of tests."""

    def installed(self, stranger: Command, **environment: str) -> Command:
        modules = stranger.folder / "modules"
        modules.mkdir()
        (modules / "keyring.py").write_text(KEYRING)
        return Command({**stranger.environment, "PYTHONPATH": str(modules), **environment}, stranger.folder)

    def test_keeps_the_token(self, guild: Guild, stranger: Command) -> None:
        command = self.installed(stranger)
        ended = command.ok("login", guild.url, "--token-stdin", stdin=guild.another_token("mira"))
        assert ended.out == f"Signed in at {guild.url} as Mira Mercer; the token is in the keyring.\n"
        assert config(command, "tokens.json").read_text() == "{}"
        assert command.ok("whoami", "--json").json["actor"]["name"] == "Mira Mercer"
        command.ok("logout")
        assert json.loads((Path(command.environment["HOME"]) / "keyring.json").read_text()) == {}
        assert command("whoami").code == 4

    def test_one_that_keeps_nothing_safe_is_left_alone(self, guild: Guild, stranger: Command) -> None:
        command = self.installed(stranger, KEYRING_PRIORITY="0.5")
        ended = command.ok("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        assert ended.out.endswith("tokens.json.\n")

    def test_one_that_refuses(self, guild: Guild, stranger: Command) -> None:
        command = self.installed(stranger)
        package = command.folder / "modules" / "keyring"
        package.mkdir()
        (package / "errors.py").write_text("class KeyringLocked(Exception): ...")
        (package / "__init__.py").write_text(
            KEYRING + "from keyring.errors import KeyringLocked\n"
            "def get_password(*_): raise KeyringLocked('locked')\nset_password = get_password\n"
        )
        ended = command("login", guild.url, "--token-stdin", stdin=guild.tokens["mira"])
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("guildhall: The keyring refused (locked); unlock it")
