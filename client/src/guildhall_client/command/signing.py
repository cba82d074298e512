"""login, logout, whoami."""

import sys
from datetime import UTC, datetime

import click

from guildhall_client.client import Client
from guildhall_client.command import device
from guildhall_client.command.connection import connected, target
from guildhall_client.command.documents.people import REVOKE_TOKEN, WHO_AM_I
from guildhall_client.command.exits import WHEN_UNREACHABLE, CommandFailed, Exit, NotSignedIn, codes_of, told
from guildhall_client.command.options import json_option
from guildhall_client.command.printing import moment, note, print_facts, print_json, print_line
from guildhall_client.command.profiles import DEFAULT_PROFILE, Credentials, Profiles, Target, cleaned, plain_token
from guildhall_client.errors import SIGN_IN_CODES, GuildhallClientError


@click.command
@click.argument("url", required=False)
@click.option("--token-stdin", is_flag=True, help="Read a token from standard input, for scripts.")
@click.option("--token", "ask_for_token", is_flag=True, help="Ask for a token, also where the server has an issuer.")
def login(url: str | None, token_stdin: bool, ask_for_token: bool) -> None:
    """Sign in at a server, and remember it.

    Where the server has an issuer, you are shown an address and a code for your browser; else you are asked for a
    token. Tokens are never taken from the command line, where others could read them.

    \b
        guildhall login https://guildhall.example.org
        guildhall login https://guildhall.example.org --token-stdin < token.txt
        guildhall --profile trial login http://127.0.0.1:8321
    """  # noqa: D301 -- \b keeps click from wrapping the example
    name, address = _place(url)
    if address.startswith("http://") and address.split("/")[2].rsplit(":", 1)[0] not in {*device.LOOPBACK, "[::1]"}:
        note(f"Warning: {address} is not https, so your token can be read on the way.")
    settings = device.AuthSettings(None, None, ()) if token_stdin or ask_for_token else device.settings_of(address)
    if settings.issuer is not None:
        tokens = device.sign_in(settings, _show_code)
        credentials = Credentials(
            url=address,
            token=tokens.access,
            refresh_token=tokens.refresh,
            expires_at=tokens.expires_at,
            issuer=settings.issuer,
            client_id=settings.client_id,
        )
    else:
        credentials = Credentials(url=address, token=_given_token(token_stdin=token_stdin))
    with Client(address, credentials.token) as client:
        actor = client.execute(WHO_AM_I)["viewer"]["actor"]
    if actor is None:
        raise NotSignedIn("The server does not know whose token that is.")
    where = Profiles().sign_in(name, credentials)
    print_line(f"Signed in at {address} as {actor.get('name')}; the token is in {where}.")


@click.command
@click.option("--keep", is_flag=True, help="Only forget the token here, where it is used elsewhere as well.")
def logout(keep: bool) -> None:
    """End the token of the current profile, or of `--profile`, and forget it.

    What an issuer gave is ended there as well, if it offers that. The token is forgotten also where it cannot be ended
    because a server is away; you are told then how long it stays good, and the exit code is not 0.
    """
    profiles, found = Profiles(), target()
    # Forgotten first: what another terminal renewed meanwhile is what has to end.
    credentials = None if found.profile is None else profiles.sign_out(found.profile)
    if credentials is None:
        note(f"You were not signed in at {found.url}.")
        return
    try:
        if not keep:
            _end(credentials)
    except CommandFailed as error:
        # What renews a token is good for longer than the token, and does not say how long.
        ends_at = None if credentials.refresh_token else credentials.expires_at
        until = "it ends by itself" if ends_at is None else _moment(ends_at)
        why = str(error).replace(f" {WHEN_UNREACHABLE}", "")  # the same command again would know no token to end
        message = f"The token is forgotten here, but stays good until {until}, because it could not be ended: {why}"
        raise CommandFailed(message, error.exit_code) from error
    print_line(f"Signed out of {credentials.url}; the token {'stays good until it ends' if keep else 'has ended'}.")


@click.command
@json_option
def whoami(as_json: bool) -> None:
    """Show who you are at this server, and your roles."""
    with connected() as client:
        viewer = client.execute(WHO_AM_I)["viewer"]
        server = client.url.rstrip("/")
    if viewer["actor"] is None:
        raise NotSignedIn(f"You are not signed in at {server}.")
    if as_json:
        print_json({"server": server, **viewer})
        return
    actor = viewer["actor"]
    roles = [
        f"{', '.join(held['roles'])} in {held['team']['name']}"
        if held["team"]
        else f"{', '.join(held['roles'])} everywhere"
        for held in viewer["memberships"]
    ]
    print_facts(
        [
            ("server", server),
            ("name", actor.get("name")),
            ("email", actor.get("email")),
            ("team", (actor.get("team") or {}).get("name")),
            ("roles", "; ".join(roles) or "none"),
        ]
    )


def _end(credentials: Credentials) -> None:
    """End the token at the server and at the issuer that it is from, each whatever the other says.

    Raises `CommandFailed`.
    """
    refusals = []
    for end in (_end_at_server, _end_at_issuer):
        try:
            end(credentials)
        except CommandFailed as error:
            refusals.append(error)
    if refusals:
        raise CommandFailed(" ".join(map(str, refusals)), refusals[0].exit_code)


def _end_at_server(credentials: Credentials) -> None:
    try:
        with Client(credentials.url, credentials.token) as client:
            client.mutate(REVOKE_TOKEN, {})
    except GuildhallClientError as error:
        if not codes_of(error) & SIGN_IN_CODES:  # these say that it has ended already
            raise CommandFailed(*told(error)) from error


def _end_at_issuer(credentials: Credentials) -> None:
    if credentials.issuer is None or credentials.client_id is None:
        return
    ended = device.revoke(
        credentials.issuer, credentials.client_id, access=credentials.token, refresh=credentials.refresh_token
    )
    if not ended:
        note(f"{credentials.issuer} lets nobody end a session from here; sign out there in your browser as well.")


def _moment(seconds: float) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC).isoformat())


def _place(url: str | None) -> tuple[str, str]:
    """The profile to sign in to, and the address."""
    profiles = Profiles()
    named: str | None = click.get_current_context().find_root().obj
    if named is not None:
        address = url or profiles.address_of(named)
        if address is None:
            raise click.UsageError(f"Profile {named} is new: name its server, `guildhall --profile {named} login URL`.")
        return named, cleaned(address)
    present: Target = profiles.target(None)
    if url is None:
        return present.profile or DEFAULT_PROFILE, present.url
    return DEFAULT_PROFILE, cleaned(url)


def _given_token(*, token_stdin: bool) -> str:
    if token_stdin:
        token = sys.stdin.read(65_536).strip()
    elif sys.stdin.isatty():
        token = str(click.prompt("Token", hide_input=True, err=True)).strip()
    else:
        message = "There is no terminal to ask for a token: pipe it in with `guildhall login --token-stdin`."
        raise CommandFailed(message, Exit.USAGE)
    if not token:
        raise CommandFailed("The token is empty.", Exit.USAGE)
    return plain_token(token, "That")


def _show_code(address: str, code: str) -> None:
    note(f"Open {address} in a browser and confirm the code {code}.")
