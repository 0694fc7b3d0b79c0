"""The surface that custom modules rely on does not change by accident."""

import inspect

from conftest import ROOT
from extension_surface import FILE, INTERNAL, fingerprint, surface

from sanic_qserver import extension_api

HINT = (
    "The surface of sanic_qserver.extension_api has changed. If that is meant: raise API_VERSION (major when something "
    "went or changed its meaning, minor when something came), run `python tests/support/extension_surface.py`, and "
    "say in CHANGELOG.md what changed, with the fingerprint that it prints."
)


def test_the_surface_is_the_one_that_was_agreed():
    assert surface() == FILE.read_text(), HINT


def test_a_change_of_the_surface_has_a_line_in_the_changelog():
    line = f"extension API {extension_api.API_VERSION} (surface {fingerprint(surface())})"
    assert line in (ROOT / "CHANGELOG.md").read_text("utf-8"), f"CHANGELOG.md lacks '{line}'. {HINT}"


def test_every_call_of_the_host_is_in_the_document():
    text = (ROOT / "docs" / "extending.md").read_text("utf-8")
    for name in vars(extension_api.ExtensionHost):
        if not name.startswith("_") and f"ExtensionHost.{name}" not in INTERNAL:
            assert f"`{name}" in text, name


def test_every_public_name_is_documented_where_it_is_made():
    for name in extension_api.__all__:
        value = getattr(extension_api, name)
        if isinstance(value, type) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name
