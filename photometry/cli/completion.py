"""``photometry completion``: completion of verbs and options by the shell."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell):
    """Print what makes SHELL complete verbs and options; put it into the shell's start-up file.

    \b
    bash:  photometry completion bash >> ~/.bashrc
    zsh:   photometry completion zsh  >> ~/.zshrc
    fish:  photometry completion fish > ~/.config/fish/completions/photometry.fish
    """
    from click.shell_completion import get_completion_class

    from . import cli

    click.echo(get_completion_class(shell)(cli, {}, "photometry", "_PHOTOMETRY_COMPLETE").source())
