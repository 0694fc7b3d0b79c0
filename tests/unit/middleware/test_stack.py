"""What rows declare to be surrounded by."""

import pytest

from sanic_qserver.api.around import AUDITED, HOOKED, IDEMPOTENT, NEEDED, OWNED, QUOTA, REVIEWED, STAMPED
from sanic_qserver.api.endpoint import Endpoint, LinesEndpoint, Stamp
from sanic_qserver.api.table import ENDPOINTS
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.stack import check_around
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.requests import Params, QueueItemAdd


class Own(Params, frozen=True, kw_only=True):
    """Params without an item."""

    sample: str = ""
    user: str = ""
    user_group: str = ""


def row(method="queue_item_add", params=QueueItemAdd, stamp=Stamp.CALLER, path="/x", **more):
    return Endpoint("POST", path, Scope.WRITE_QUEUE_EDIT, method, params, stamp, **more)


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_every_row_declares_what_its_method_needs(row):
    check_around(row)
    assert set(NEEDED.get(row.method, ())) <= {*row.around, *row.inside}


def test_the_single_add_declares_all_layers_in_their_order():
    add = next(row for row in ENDPOINTS if row.path == "/queue/item/add")
    assert add.around == (AUDITED, IDEMPOTENT, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)


@pytest.mark.parametrize("method", NEEDED)
def test_a_row_that_takes_items_without_the_layers_of_its_method_does_not_start(method):
    params = next(row.params for row in ENDPOINTS if row.method == method and not row.reads_form)
    with pytest.raises(ConfigError, match=f"POST /x: a row with RE Manager's method '{method}' needs around"):
        check_around(row(method, params, around=(AUDITED, IDEMPOTENT)))


def test_a_row_that_declares_nothing_gets_what_its_method_needs():
    assert row().around == (AUDITED, IDEMPOTENT, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)
    assert row("queue_start", stamp=Stamp.NOTHING, changes=True).around == (AUDITED, IDEMPOTENT)
    assert Endpoint("GET", "/x", None, "status").around == ()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (row(around=(IDEMPOTENT, AUDITED, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)), "order"),
        (row(params=Own), "no 'item'"),
        (row(stamp=Stamp.NOTHING), "Stamp.CALLER"),
        (row(changes=True, method="", around=(IDEMPOTENT,)), "audited"),
        (row(method="", path="/auth/x", around=(AUDITED, IDEMPOTENT)), "secrets"),
        (row(method="status", params=Params), "does not have: user, user_group"),
    ],
)
def test_a_declaration_that_could_not_hold_is_refused_with_the_row(bad, text):
    with pytest.raises(ConfigError, match=text) as raised:
        check_around(bad)
    assert str(raised.value).startswith(f"POST {bad.path}: ")


def test_lines_cannot_be_surrounded_by_what_sees_items():
    async def serve(_, chunks):
        async for _ in chunks:
            yield b""

    layers = (AUDITED, IDEMPOTENT, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)
    lines = LinesEndpoint("POST", "/x", None, "queue_item_add_batch", serve_lines=serve, around=layers)
    with pytest.raises(ConfigError, match="inside"):
        check_around(lines)
