"""gunicorn's configuration for ``stock.py`` and the other stock servers: one process on one port."""

import os

wsgi_app = os.environ.get("APP", "benchmarks.servers.stock:app")
worker_class = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
workers = 1
bind = f"127.0.0.1:{os.environ['PORT']}"
worker_connections = 65_536
backlog = 4096
loglevel = "warning"
control_socket_disable = True
