"""The HTTP face of the Bluesky Queue Server's RE Manager."""

__version__ = "0.2.0"
