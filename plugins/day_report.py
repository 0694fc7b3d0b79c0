"""A page of a site's own in the menu of the operator's page: who ran how many plans today, and how they ended.

In `config.toml`:

    [extensions]
    modules = ["day_report"]
"""

from pathlib import Path

from sanic_qserver.extension_api import ExtensionHost, Scope


def register(host: ExtensionHost) -> None:
    """Add the page, for those who may read the history."""
    host.add_page("Day report", "day-report", Scope.READ_HISTORY, Path(__file__).parent / "day_report_page")
