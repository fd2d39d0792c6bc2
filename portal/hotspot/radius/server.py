"""The FreeRADIUS program: found, configured for the database in use, and run as somebody who may do little."""

import os
import pwd
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import make_url

from portal.hotspot.radius import config
from portal.kernel.errors import Refused

INSTALL = "sudo apt-get install -y freeradius freeradius-postgresql"
_PLACES = "/usr/sbin:/usr/local/sbin"


def program() -> Path:
    """The server's program. Raises Refused, with the line that installs it."""
    path = os.pathsep.join((os.environ.get("PATH", ""), _PLACES))
    found = shutil.which("freeradius", path=path) or shutil.which("radiusd", path=path)
    if found is None:
        raise Refused(f"FreeRADIUS is not installed: {INSTALL}")
    return Path(found)


def arguments(directory: Path) -> list[str]:
    """How it runs in the foreground with the configuration of `directory`. Raises Refused."""
    return [str(program()), "-f", "-l", "stdout", "-d", str(directory), "-n", "radiusd"]


def configure(settings: config.Settings, directory: Path, *, secret_key: str) -> list[str]:
    """Write the configuration to `directory`; on PostgreSQL with a role of its own, made where we may.

    What is to be known about it, a sentence each: none where all is well. Raises Refused.
    """
    if make_url(settings.database_url).get_backend_name() == "sqlite":
        config.write(settings, directory)
        return []
    role = config.role_of(settings.database_url, secret_key)
    statements = config.role_sql(role, str(make_url(settings.database_url).database))
    by_role = replace(settings, database_url=role.of(settings.database_url))
    why_not = _make_role(settings.database_url, statements) or _try(by_role.database_url)
    script = directory / "role.sql"
    if why_not is None:
        config.write(by_role, directory)
        script.unlink(missing_ok=True)
        return []
    config.write(settings, directory)
    script.touch(mode=0o600)
    script.write_text("".join(f"{statement};\n" for statement in statements))
    return [
        f"The database role {role.name} cannot be used ({why_not}), so FreeRADIUS signs in as the product itself.",
        f"Have a superuser run {script} (psql -d {make_url(settings.database_url).database} -f ...), then repeat this.",
    ]


def _make_role(database_url: str, statements: list[str]) -> str | None:
    """Why it could not be made; None: it is there."""
    import psycopg

    url = make_url(database_url)
    try:
        with psycopg.connect(config.conninfo(url), connect_timeout=10) as connection:
            may = connection.execute(
                "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            if may and may[0]:
                for statement in statements:
                    connection.execute(statement.encode())
    except psycopg.Error as error:
        return str(error).partition("\n")[0]
    return None


def _try(database_url: str) -> str | None:
    """Why nobody can sign in there and read; None: it works."""
    import psycopg

    try:
        with psycopg.connect(config.conninfo(make_url(database_url)), connect_timeout=10) as connection:
            connection.execute("SELECT now FROM radius_clock")
            connection.execute("SELECT 1 FROM access_sessions WHERE false")
    except psycopg.Error as error:
        return str(error).partition("\n")[0]
    return None


def owner(data: Path, directory: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as when root starts it: who owns our data, and the configuration from now on.

    None: as who starts it. An SQLite file may be written by its owner alone, and no port here needs root.
    """
    uid = data.stat().st_uid
    if os.geteuid() != 0 or uid == 0:
        return None
    for path in (directory, *directory.iterdir()):
        os.chown(path, uid, -1)
    return pwd.getpwuid(uid)


def become(argv: list[str], who: pwd.struct_passwd | None, *, execute: Callable[..., object] = os.execve) -> None:
    """Turn this process into the server: signals reach it, and its end is ours."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TZ")}
    if who is not None:
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    execute(argv[0], argv, environment)
