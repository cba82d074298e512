"""The address of the API: held before anybody listens, shared only by those who want to."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guildhall.cli.binding import CannotListen, bound_socket, listen, welcome
from guildhall.settings import Settings

HERE = "127.0.0.1"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """At a port that stays ours: who has it bound, lets others bind it, and does not listen hinders none of ours."""
    with socket.socket() as held:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind((HERE, 0))
        yield Settings(data_dir=tmp_path, bind=f"{HERE}:{held.getsockname()[1]}")


def answers(settings: Settings) -> bool:
    with socket.socket() as client:
        return client.connect_ex((settings.bind_host, settings.bind_port)) == 0


class TestBoundSocket:
    def test_lets_nobody_in_before_it_listens(self, settings: Settings) -> None:
        with closing(bound_socket(settings)) as bound:
            assert not answers(settings)
            listen(bound, settings)
            assert answers(settings)
            assert not bound.getblocking()

    def test_is_shared_with_those_who_share(self, settings: Settings) -> None:
        with closing(bound_socket(settings, shared=True)) as one, closing(bound_socket(settings, shared=True)) as other:
            listen(one, settings)
            listen(other, settings)
            with pytest.raises(CannotListen, match=r"\(GUILDHALL_BIND\): Address already in use\.$"):
                bound_socket(settings)

    @pytest.mark.parametrize(("host", "reason"), [
        ("192.0.2.1", "Cannot assign requested address"),  # of a network for documentation: no machine's
        ("nowhere.invalid", "[Nn]ame"),  # the system's resolver words it
    ])  # fmt: skip
    def test_refuses_what_is_not_this_machines(self, tmp_path: Path, host: str, reason: str) -> None:
        settings = Settings(data_dir=tmp_path, bind=f"{host}:8321")
        with pytest.raises(
            CannotListen, match=rf"^The API cannot listen at {host}:8321 \(GUILDHALL_BIND\): .*{reason}"
        ):
            bound_socket(settings)


class TestListen:
    def test_refuses_where_somebody_was_sooner(self, settings: Settings) -> None:
        with closing(bound_socket(settings)) as late, closing(bound_socket(settings)) as early:
            listen(early, settings)
            with pytest.raises(CannotListen, match=r"Address already in use\.$"):
                listen(late, settings)


class TestWelcome:
    def test_says_where_and_what(self, tmp_path: Path) -> None:
        address = "https://guildhall.example"
        told = {
            graphiql: welcome(Settings(data_dir=tmp_path, public_url=address, graphql_graphiql=graphiql))
            for graphiql in (False, True)
        }
        assert told == {
            False: f"Guildhall is at {address} (GraphQL at {address}/graphql).",
            True: f"Guildhall is at {address} (GraphiQL at {address}/graphql).",
        }
