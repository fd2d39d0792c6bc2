"""The `portal` command: one file a subject, each of which lists its COMMANDS.

Decided: a command imports what it needs when it runs, because `portal sms parse` needs no configuration, and whoever
asks for `--help` waits for no database driver.
"""

import os

import click

from portal.cli import database, gateways, keys, money, programs, radius, tenants, users


@click.group()
def main() -> None:
    """Mlango: the door that opens when M-Pesa pays."""
    os.umask(0o077)  # database, spool and keys are ours alone, in every program that this becomes


for _subject in (programs, database, tenants, users, keys, gateways, money, radius):
    for _command in _subject.COMMANDS:
        main.add_command(_command)
