"""How users and rooms may be called."""

_MAX_LENGTH = 128

#: The rule of ``is_name``, for messages: it follows "must be" or "a text of".
NAME_RULE = f"1 to {_MAX_LENGTH} characters, none of them a control character"


def is_name(value: object) -> bool:
    """Return whether ``value`` can name a user or a room (``NAME_RULE``)."""
    return isinstance(value, str) and 1 <= len(value) <= _MAX_LENGTH and not any(map(_is_control, value))


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
