"""Where extensions come from: settings, the environment, installed packages."""

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
    """One extension to load. `attribute`: the blueprint or function in the module; "" for the module itself."""

    module: str
    attribute: str = ""
    is_blueprint: bool = False

    @property
    def name(self) -> str:
        """Its name in settings, logs and errors."""
        return f"{self.module}.{self.attribute}" if self.is_blueprint else self.module


def sources(config: Config) -> Iterator[Source]:
    """All extensions to load, each once: configured modules, configured blueprints, then installed packages."""
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
        yield from (
            _read_entry_point(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
        )


def _read_entry_point(entry: EntryPoint) -> Source:
    return Source(entry.module, "" if entry.attr == "register" else entry.attr or "")


def make_importable(config: Config) -> None:
    """Append `[extensions] paths` to the search path, so that they cannot shadow an installed package."""
    for path in config.extensions.paths:
        folder = str((config.folder / path).resolve())
        if folder not in sys.path:
            sys.path.append(folder)


def import_module(name: str) -> ModuleType:
    """The module. Raises ConfigError naming module, file and line of the failure."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # third-party code
        told = f"Extension '{name}' cannot be imported: {describe(error)}{_hint(name, error)}"
        raise ConfigError(told) from error


def _hint(name: str, error: BaseException) -> str:
    """What to do when a module is not there: the extension's own, or one that it needs."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    if name == error.name or name.startswith(f"{error.name}."):
        return f"; name the folder that holds {error.name} in [extensions] paths, or install the package"
    return f"; install what has {error.name} where the server is installed"


def describe(error: BaseException) -> str:
    """An exception, with the file and line in the extension's code that raised it."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    here = str(Path(__file__).resolve().parent.parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", here)) and "importlib" not in Path(frame.filename).parts
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
