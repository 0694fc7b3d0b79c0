"""Extra routes with state: a notebook of the shift, kept in a file.

`POST /api/notes` with `{"text": "…"}` appends, `GET /api/notes` reads. In `config.toml`:

    [extensions]
    modules = ["notes"]
    [extensions.options.notes]
    file = "notes.jsonl"
"""

import asyncio
import time
from pathlib import Path
from typing import Annotated, cast

import msgspec

from sanic_qserver.extension_api import Call, Endpoint, ExtensionHost, Params, Scope, json_bytes


class Options(msgspec.Struct, frozen=True):
    """Where the notes are kept."""

    file: str = "notes.jsonl"


class NoteAdd(Params, frozen=True, kw_only=True):
    """Add a note to the notebook of the shift."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class NotesGet(Params, frozen=True, kw_only=True):
    """Read the newest notes of the shift."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Note(msgspec.Struct):
    """One note: when (POSIX time), who, what."""

    time: float
    user: str
    text: str


class Notebook:
    """The notes in memory, and appended to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.notes: list[Note] = []

    def read(self) -> None:
        """Read the file, when there is one."""
        if self.file.exists():
            self.notes = [msgspec.json.decode(line, type=Note) for line in self.file.read_bytes().splitlines()]

    def _append(self, note: Note) -> None:
        with self.file.open("ab") as file:
            file.write(json_bytes(note) + b"\n")

    async def add(self, call: Call) -> bytes:
        """Serve `POST /notes`."""
        note = Note(time.time(), call.access.user, cast("NoteAdd", call.params).text)
        await asyncio.to_thread(self._append, note)  # A slow disk must not hold the server.
        self.notes.append(note)
        return json_bytes({"success": True, "msg": "", "note": note})

    async def get(self, call: Call) -> bytes:
        """Serve `GET /notes`."""
        return json_bytes({"success": True, "msg": "", "notes": self.notes[-cast("NotesGet", call.params).limit :]})


def register(host: ExtensionHost) -> None:
    """Add both routes; read the file when the server starts."""
    notebook = Notebook(Path(host.options_as(Options).file))
    host.on_start(notebook.read)
    host.add_endpoint(
        Endpoint(
            verb="POST",
            path="/notes",
            scope=Scope.WRITE_QUEUE_EDIT,
            method="",  # Not RE Manager's: answered here.
            params=NoteAdd,
            serve=notebook.add,
            changes=True,
        )
    )
    host.add_endpoint(
        Endpoint(
            verb="GET",
            path="/notes",
            scope=Scope.READ_QUEUE,
            method="",
            params=NotesGet,
            serve=notebook.get,
        )
    )
