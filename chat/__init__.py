"""webfarm's chat server. The map of the package:

- ``settings``, ``errors``, ``redis_url``: the leaves; everything may import them.
- ``realtime/``: the engine (workers, transport, log, recovery). It knows nothing of the chat;
  ``docs/engine.md`` is its map.
- ``gunicorn``, ``logs``: gunicorn's configuration and the log's lines, for the chat and for other apps on the engine.
- ``auth``, ``limits``, ``proxies``: who a client is, how much it may send, where it is.
- ``events``, ``views``: the chat's own handlers, and its pages. ``events`` is the file to edit; ``arguments``,
  ``private`` and ``namespaces`` are its parts.
- ``demo``: what the demo's page needs beside that.
- ``admin``, ``admin_auth``, ``admin_feed``, ``admin_views``, ``figures``: the Admin UI and ``/status``.
- ``outside``, ``api``, ``remote``: the way in from outside, over HTTP and by commands.
- ``app``: where the parts meet, as a WSGI application.
- ``cli``: the ``chat`` command. ``farm``, ``parts``, ``programs``, ``embedded_cluster``: ``webfarm run``; ``haproxy``,
  ``listing``, ``migrate`` and ``doctor/``: other commands.
- ``testing/``: a test kit for handlers, this project's and others'.

This module imports nothing: gunicorn's master reads ``webfarm.settings`` before gevent has patched the workers.
"""
