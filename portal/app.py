"""The application: extensions, then every door in one readable list."""

import threading
import time
from typing import Any

import redis
from flask import Flask
from flask_login import LoginManager
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

import portal.clinic.reception.models  # noqa: F401  their tables
from portal.gateways.client_factory import Connections
from portal.gateways.tokens import TokenStore
from portal.kernel import db as database
from portal.kernel import logs, queue, vault
from portal.kernel.config import Config
from portal.kernel.paths import ROOT
from portal.payments.inbox.spool import Spool
from portal.users.tokens import FRESH_FOR
from portal.web import assets, errors, filters, home, language, limits, security, signin
from portal.web.limits import storage_url

BODY_LIMIT_BYTES = 1024 * 1024


def create_app(config: Config | None = None) -> Flask:
    """The product as a WSGI application. Raises Misconfigured with every mistake in the settings."""
    config = config or Config.from_environment()
    logs.configure()
    vault.use(vault.KeyRing(config.data_keys))
    app = Flask("portal", root_path=str(ROOT), template_folder="templates", static_folder="static")
    app.config.update(
        PORTAL=config,
        SECRET_KEY=config.secret_key,
        SQLALCHEMY_DATABASE_URI=config.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=_engine_options(config),
        MAX_CONTENT_LENGTH=BODY_LIMIT_BYTES,
        SESSION_COOKIE_NAME="__Host-session" if config.public_url.startswith("https") else "session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=config.public_url.startswith("https"),
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a counter's page stays open all day
        WTF_CSRF_SSL_STRICT=False,  # Referrer-Policy says no-referrer
        RATELIMIT_STORAGE_URI=storage_url(config.redis_url),
        FRESH_FOR_S=FRESH_FOR.total_seconds(),
    )
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    config.data_dir.mkdir(parents=True, exist_ok=True)
    _add_extensions(app, config)
    for shared in (language, security, filters, assets, errors):
        shared.set_up(app)
    _register_routes(app)
    if config.simulator_url:
        _show_demo(app, config)
    return app


def _show_demo(app: Flask, config: Config) -> None:
    from portal.demo import data

    app.config["SIMULATOR_URL"] = config.simulator_url
    app.extensions["demo_front_page"] = data.front_page


def _engine_options(config: Config) -> dict[str, Any]:
    if config.is_sqlite:
        return {"connect_args": {"timeout": 30}, "pool_size": config.web_threads + 8, "hide_parameters": True}
    return {
        "hide_parameters": True,  # an error's text must not carry a person's values into the logs
        "pool_size": config.web_threads + 1,
        "max_overflow": 8,  # the push worker's threads
        "pool_timeout": 5,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": 3,
            # A server that vanished without a word is noticed by our own system too: within ten seconds.
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "tcp_user_timeout": 9_000,
            "options": "-c statement_timeout=15000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000",
        },
    }


def _add_extensions(app: Flask, config: Config) -> None:
    database.db.init_app(app)
    with app.app_context():
        database.prepare(database.db.engine)
    Migrate(app, database.db, directory=str(ROOT / "migrations"), render_as_batch=True)
    client = redis.Redis.from_url(config.redis_url, socket_timeout=5, socket_connect_timeout=2)
    app.extensions["redis"] = client
    app.extensions["daraja"] = Connections(TokenStore(client), config.development, time.sleep)
    app.extensions["spool"] = Spool(config.data_dir, limit_bytes=config.spool_limit_bytes)
    app.extensions["drain_enqueuer"] = queue.Enqueuer(app.app_context, queue.DRAIN)
    app.extensions["waiters"] = threading.BoundedSemaphore(max(1, config.web_threads // 2))
    login_manager: LoginManager = signin.login_manager
    login_manager.init_app(app)
    limits.set_up(app)


def _register_routes(app: Flask) -> None:
    from portal import api, staff
    from portal.callbacks import routers, routes, sms
    from portal.operations import health
    from portal.payer import account, booking, clinic, hotspot, patient_sign_in, pay, queue, receipts
    from portal.web import passwords

    app.add_url_rule("/", "home", home.show)
    app.add_url_rule("/brand/<slug>.css", "brand", home.brand)
    app.register_blueprint(health.bp)  # nobody signs in
    app.register_blueprint(routes.bp)  # tokens in the address
    app.register_blueprint(routers.bp)  # the same, of routers
    app.register_blueprint(sms.bp)  # the same, of the SMS provider
    app.register_blueprint(hotspot.bp)  # nobody signs in
    app.register_blueprint(pay.bp)  # the token is all there is
    app.register_blueprint(receipts.bp)  # whether a printed receipt is genuine
    app.register_blueprint(clinic.bp)  # nobody signs in
    app.register_blueprint(queue.bp)  # numbers, behind tokens
    app.register_blueprint(booking.bp)  # a code by SMS, then the visit's token
    app.register_blueprint(signin.bp)
    app.register_blueprint(passwords.bp)
    app.register_blueprint(patient_sign_in.bp)
    app.register_blueprint(account.bp)  # patients
    app.register_blueprint(staff.bp)  # a role in the tenant, checked before every request
    app.register_blueprint(api.bp)  # bearer token or API key, but for the portal's doors
    security.csrf.exempt(api.bp)
    for name in security.CSRF_EXEMPT:
        if (view := app.view_functions.get(name)) is not None:
            security.csrf.exempt(view)
