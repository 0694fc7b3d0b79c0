"""Permissions of those who watch: looked at again and again, and a policy that fails ends one stream, not the looks."""

from types import SimpleNamespace

import pytest

from sanic_qserver.api.table import STREAMS
from sanic_qserver.errors import Forbidden
from sanic_qserver.http.stream.subscribers import Subscription, Subscriptions
from sanic_qserver.structs.identity import PUBLIC


class Policy:
    """A gate whose policy fails for one caller, and no longer admits another."""

    def still_admitted(self, access, row):
        assert row in STREAMS
        if access.name == "broken":
            raise KeyError("a site's own policy")
        return access.name != "dismissed"


@pytest.mark.parametrize("order", [("broken", "dismissed", "good"), ("dismissed", "broken", "good")])
async def test_a_policy_that_fails_for_one_watcher_does_not_save_another(order):
    ended = []
    watchers = Subscriptions(Policy())
    for name in order:

        async def end(why, name=name):
            ended.append((name, type(why)))

        watchers.add(Subscription(SimpleNamespace(name=name, principal=PUBLIC), STREAMS[0], end))
    watchers._check_all()
    await watchers.stop()
    assert {("broken", Forbidden), ("dismissed", Forbidden)} < set(ended)
    assert [name for name, why in ended if why is not Forbidden] == ["good"]
