"""The product for another WSGI server than `portal web`'s: `gunicorn portal.wsgi:app`."""

import os

from portal.app import create_app
from portal.operations.bootstrap import adopt

app = create_app()
with app.app_context():
    adopt(os.environ)
