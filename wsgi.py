"""The WSGI entry: `granian --interface wsgi wsgi:app`, or `portal web`."""

from portal.app import create_app

app = create_app()
