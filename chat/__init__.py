"""The chat of this repository, an app on webfarm's doors.

- ``events``: the handlers, and the file to edit. Its parts are ``event_arguments``, ``messages``, ``members`` and
  ``private_rooms``.
- ``pages``: the chat's own pages. ``demo``: the demo's page, and what it asks a worker.
- ``app``: where the parts meet, as a WSGI application.
"""
