"""completion."""

import click
from click.shell_completion import get_completion_class

from guildhall_client.command.options import choice


@click.command
@click.argument("shell", type=choice("bash", "zsh", "fish"))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
        bash   eval "$(guildhall completion bash)"        in ~/.bashrc
        zsh    eval "$(guildhall completion zsh)"         in ~/.zshrc
        fish   guildhall completion fish | source         in ~/.config/fish/config.fish
    """  # noqa: D301 -- \b keeps click from wrapping the example
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "guildhall", "_GUILDHALL_COMPLETE").source())
