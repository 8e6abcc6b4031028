"""webfarm's chat server. The map of the package:

- ``settings``, ``errors``: the leaves; everything may import them.
- ``realtime/``: the engine (workers, transport, log, recovery). It knows nothing of the chat.
- ``gunicorn``: gunicorn's configuration, for the chat and for other apps on the engine.
- ``auth``, ``haproxy``: who a client is; what HAProxy is told.
- ``events``, ``views``: the chat's own handlers, and its pages. ``events`` is the file to edit; ``arguments`` and
  ``private`` are its parts.
- ``outside``, ``api``, ``remote``: the way in from outside, over HTTP and by commands.
- ``app``: where the parts meet, as a WSGI application.
- ``cli``, ``farm``: the ``chat`` command, and ``chat run``.
- ``testing/``: a test kit for handlers, this project's and others'.

This module imports nothing: gunicorn's master reads ``chat.settings`` before gevent has patched the workers.
"""
