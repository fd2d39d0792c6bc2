"""As the package's own guide sets it up: addresses checked, no Celery, one row a push, a log of callbacks."""

import os

SECRET_KEY = "of a measurement"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "bench.peer_django.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "django_mpesa",
    "bench.peer_django",
]
MIDDLEWARE = ["django_mpesa.middleware.MpesaCallbackIPAllowlistMiddleware"]
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{os.environ['PEER_ENGINE']}",
        "NAME": os.environ["PEER_DATABASE"],
        "HOST": os.environ.get("PEER_HOST", ""),
        "USER": os.environ.get("PEER_USER", ""),
        "CONN_MAX_AGE": 600,  # else it would pay for a connection with each callback
        # longer than Django's 5 s, to its advantage: on SQLite its callbacks wait for each other's lock
        "OPTIONS": {"timeout": 20} if os.environ["PEER_ENGINE"] == "sqlite3" else {},
    }
}
MPESA = {
    "ENV": "sandbox",
    "CONSUMER_KEY": "key",
    "CONSUMER_SECRET": "secret",
    "SHORTCODE": "600111",
    "PASSKEY": "passkey",
    "STK_CALLBACK_URL": "http://127.0.0.1:9/",
    "TRANSACTION_MODEL": "peer_django.MpesaTransaction",
    "CALLBACK_LOG_MODEL": "peer_django.MpesaCallbackLog",
    "CALLBACK_IP_ALLOWLIST": ["127.0.0.1"],
    "USE_CELERY": False,
}
LOGGING = {"version": 1, "disable_existing_loggers": True}
