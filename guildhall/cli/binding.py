"""The address of the API: bound before anything is started, listened at when the application behind it has started."""

import os
import socket

from guildhall.errors import Unavailable
from guildhall.settings import Settings

BACKLOG = 1_024
"""How many connections may wait to be accepted."""


class CannotListen(Unavailable):
    """The API's address is taken, or is none of this machine's."""

    code = "CANNOT_LISTEN"


def bound_socket(settings: Settings, *, shared: bool = False) -> socket.socket:
    """A socket at GUILDHALL_BIND that does not listen yet, `shared` with others there or not; raises CannotListen.

    The kernel deals the connections out to those that listen. With one socket in several processes it would be a race,
    which one of them may win eight times in a row: Granian accepts all that it finds.
    """
    try:
        found = socket.getaddrinfo(settings.bind_host, settings.bind_port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot(settings, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setblocking(False)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _cannot(settings, error) from error
    return bound


def listen(bound: socket.socket, settings: Settings) -> None:
    """Let connections in; raises CannotListen."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # somebody else who had bound it as well was sooner
        raise _cannot(settings, error) from error


def welcome(settings: Settings) -> str:
    """Where the API is, for people and for programs that start us: told on stdout when somebody answers there."""
    what = "GraphiQL" if settings.graphql_graphiql else "GraphQL"
    return f"Guildhall is at {settings.public_url} ({what} at {settings.public_url}/graphql)."


def _cannot(settings: Settings, error: OSError) -> CannotListen:
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
    return CannotListen(f"The API cannot listen at {settings.bind} (GUILDHALL_BIND): {reason}.")
