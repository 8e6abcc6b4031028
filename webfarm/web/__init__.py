"""What every app gets over HTTP: health, metrics, the HTTP API, the Admin UI, ``/status``, trusted proxies."""
