"""`sanic-qserver new-extension`: a small package that works, with a test."""

import importlib.util
import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from sanic_qserver.cli.options import name_unwritable
from sanic_qserver.errors import ConfigError

MODULE = '''"""{name}: a custom module for sanic_qserver."""

from typing import cast

from sanic_qserver.extension_api import Call, Endpoint, ExtensionHost, Params, Scope, json_bytes


class Hello(Params, frozen=True, kw_only=True):
    """Greet the caller."""

    name: str = "world"


async def hello(call: Call) -> bytes:
    """Serve `GET /hello`."""
    return json_bytes({{"greeting": f"Hello, {{cast('Hello', call.params).name}}", "user": call.access.user}})


def register(host: ExtensionHost) -> None:
    """Add what this module offers. Called once, before the server listens."""
    host.add_endpoint(
        Endpoint(
            verb="GET",
            path="/hello",
            scope=Scope.READ_QUEUE,  # what a caller must hold
            method="",  # RE Manager's method for the params; none: `hello` answers by itself
            params=Hello,
            serve=hello,
        )
    )
'''

TEST = '''"""The module, in a server in front of a live RE Manager with simulated devices."""


def test_hello_greets_by_name(qserver):
    client = qserver("{name}")
    assert client.get("/api/hello", params={{"name": "Ada"}}).json()["greeting"] == "Hello, Ada"


def test_hello_needs_a_key(qserver):
    with qserver("{name}").without_key() as nobody:
        assert nobody.get("/api/hello").status_code == 401
'''

CONFTEST = '''"""The fixture `qserver` comes from here."""

pytest_plugins = ["sanic_qserver.testing"]
'''

PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{project}"
version = "0.1.0"
description = "A custom module for sanic_qserver."
requires-python = ">=3.11"
dependencies = ["sanic-qserver"]

[project.optional-dependencies]
test = ["sanic-qserver[demo]", "pytest"]

# Wherever this package is installed, the server loads it.
[project.entry-points."sanic_qserver.extensions"]
{name} = "{name}"

[tool.hatch.build.targets.wheel]
include = ["{name}.py"]
"""

CONFIG = """# Without installing: sanic-qserver serve --config config.toml --reload
[extensions]
modules = ["{name}"]

[extensions.options.{name}]
"""

README = """# {name}

A custom module for sanic_qserver.

    pytest                                              # tests it in front of a live RE Manager
    sanic-qserver serve --config config.toml --reload   # serves it, again after each change
    pip install .                                       # from now on every server here loads it
"""

FILES = {
    "{name}.py": MODULE,
    "tests/conftest.py": CONFTEST,
    "tests/test_{name}.py": TEST,
    "pyproject.toml": PYPROJECT,
    "config.toml": CONFIG,
    "README.md": README,
}


def new_extension(
    name: Annotated[str, typer.Argument(help="The name of the module and of its folder.")],
    folder: Annotated[Path, typer.Option("--in", help="Where the folder is made.")] = Path(),
) -> None:
    """Write a custom module, with a test, into a new folder."""
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", module) or keyword.iskeyword(module):
        raise ConfigError(f"'{name}' is no name of a module: use lower-case letters, digits and _")
    if importlib.util.find_spec(module) is not None:
        raise ConfigError(f"there is a module '{module}' already; choose another name")
    target = folder / name
    if target.exists():
        raise ConfigError(f"{target} is there already and is left as it is")
    with name_unwritable(target):
        for file, text in FILES.items():
            path = target / file.format(name=module)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(name=module, project=module.replace("_", "-")), "utf-8")
    print(f"Wrote {target}/. Now:\n  cd {target}\n  pytest\n  sanic-qserver serve --config config.toml --reload")


COMMANDS = (new_extension,)
