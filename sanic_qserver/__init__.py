"""The HTTP face of the Bluesky Queue Server's RE Manager."""

__version__ = "0.1.0"
