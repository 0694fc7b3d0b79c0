"""Where custom modules come from: settings, environment, installed packages. A name becomes a module here."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError

GROUP = "sanic_qserver.extensions"


@dataclass(frozen=True)
class Source:
    """One thing to load. `attribute` is the blueprint (or function) in the module, "" for the module itself."""

    module: str
    attribute: str = ""
    is_blueprint: bool = False

    @property
    def name(self) -> str:
        """How it is called in settings, logs and errors."""
        return f"{self.module}.{self.attribute}" if self.is_blueprint else self.module


def sources(config: Config) -> Iterator[Source]:
    """Everything to load, in order and once: modules by name, blueprints by name, then installed packages."""
    seen: set[Source] = set()
    for source in _named(config):
        if source not in seen:
            seen.add(source)
            yield source


def _named(config: Config) -> Iterator[Source]:
    for name in config.extensions.modules:
        yield Source(name.strip().replace("-", "_"))
    for name in config.extensions.blueprints:
        module, _, attribute = name.strip().replace("-", "_").rpartition(".")
        yield Source(module or attribute, attribute, is_blueprint=True)
    if config.extensions.entry_points:
        yield from (_of(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


def _of(entry: EntryPoint) -> Source:
    return Source(entry.module, "" if entry.attr == "register" else entry.attr or "")


def make_importable(config: Config) -> None:
    """Let `[extensions] paths` be searched, after everything else: they cannot hide an installed package."""
    for path in config.extensions.paths:
        folder = str((config.folder / path).resolve())
        if folder not in sys.path:
            sys.path.append(folder)


def import_module(name: str) -> ModuleType:
    """The module. Raises ConfigError naming module, file and line of the failure."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the edge to code that is not ours
        raise ConfigError(f"Extension '{name}' cannot be imported: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An exception with the file and line of the module's own code that it came from."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    here = str(Path(__file__).resolve().parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", here)) and "importlib" not in Path(frame.filename).parts
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
