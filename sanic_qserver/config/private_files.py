"""Files that hold what others must not read: SQLite databases. Made for their owner only."""

import contextlib
import os
from pathlib import Path

_OTHERS = 0o007


def make_private(file: str | Path) -> None:
    """Make the file for its owner only (0600), or shut an existing one to others. Raises OSError.

    What a group was given stays. SQLite gives its journals the mode of the database.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        mode = Path(file).stat().st_mode & 0o777
        if mode & _OTHERS:
            with contextlib.suppress(PermissionError):  # Somebody else's file: theirs to shut.
                Path(file).chmod(mode & ~_OTHERS)
