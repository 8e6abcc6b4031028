"""Bytes and packets of RFC 6455, Engine.IO 4 and Socket.IO 5, without I/O."""
