"""The names of the rooms that the chat gives."""

COMMON_ROOM = "common"
EVERYBODY = "*"
