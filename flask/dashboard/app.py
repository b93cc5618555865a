"""The application factory and what holds for every response."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from flask import Flask

from dashboard import api, pages
from dashboard.errors import register_errors
from dashboard.guards import register_guards
from dashboard.repository import CassandraRepository, Repository
from dashboard.service import Service
from dashboard.times import utc_now
from pipeline.settings import Settings, load_settings

MAX_BODY_BYTES = 16 * 1024
"""No route reads a body; a larger one is refused before it is received."""


def create_app(
    config: Settings | None = None,
    repository: Repository | None = None,
    now: Callable[[], dt.datetime] = utc_now,
) -> Flask:
    """Build the application; nothing connects before the first request.

    ``config`` defaults to config.yml and the environment, ``repository`` to Cassandra. Raises
    ``ConfigError`` for a wrong setting.
    """
    settings = config or load_settings()
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # an account id may hold slashes
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    service = Service(
        repository or CassandraRepository(settings.cassandra, settings.dashboard.query_timeout_s),
        settings,
        now,
    )
    # One thread stays free for /livez and the static files when Cassandra lets all others wait.
    slots = threading.BoundedSemaphore(settings.dashboard.threads - 1)
    register_guards(app, settings.dashboard.host, slots)
    register_errors(app)
    app.register_blueprint(api.blueprint(service))
    app.register_blueprint(pages.blueprint(service, settings.display.currency))
    return app
