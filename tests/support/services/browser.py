"""A real Chromium for the tests, which talks to this machine only."""

from functools import cache
from pathlib import Path
from subprocess import run

from tests.support.services.programs import find_program

# The network flags keep it from looking up its maker's hosts at every start; the resolver rule makes sure
# that a page of ours that names another host is seen to fail.
CHROMIUM_FLAGS = [
    "--no-sandbox",  # its sandbox refuses root, which is what a container is
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # a container's /dev/shm is small
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
]
PAGE_TIMEOUT_MS = 5000


@cache
def chromium_path() -> Path | None:
    """The Chromium on this machine, or None. One that cannot start is none: Ubuntu has a stub."""
    found = find_program("chromium", "chromium-browser", "google-chrome")
    if found is None or run([str(found), "--version"], capture_output=True, check=False).returncode:
        return None
    return found
