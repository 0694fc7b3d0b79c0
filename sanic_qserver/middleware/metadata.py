"""What the server puts first into the `meta` of items: the metadata of the caller's policy, and who submitted what.

In RE Manager `meta` is a dictionary or a list of them, and in a list the first one that has a key wins
(bluesky-queueserver 0.0.25). So what stands first cannot be overwritten by who submits, and every run carries it.
Without metadata in the policy, and with `[items] stamp` off, items stay byte for byte as they were sent. A `meta` of
another kind is left for RE Manager to refuse.
"""

import functools
import time
from dataclasses import replace
from typing import Any

from msgspec import structs

from sanic_qserver.api.call import Call
from sanic_qserver.api.endpoint import Answer, Endpoint, Serve
from sanic_qserver.api.items.meta import STAMP, stamp_items
from sanic_qserver.manager.bodies import Body
from sanic_qserver.middleware.hooks import ITEM_FIELDS


def stamped(_: Endpoint, serve: Serve) -> Serve:
    """The layer STAMPED."""

    @functools.wraps(serve)
    async def stamped_serve(call: Call) -> bytes | Body | Answer:
        first = build_metadata(call)
        if not first:
            return await serve(call)
        name = ITEM_FIELDS[call.endpoint.method]
        sent: Any = getattr(call.params, name)
        is_list = isinstance(sent, list)
        items = stamp_items(sent if is_list else [sent], first)
        params = structs.replace(call.params, **{name: items if is_list else items[0]})
        return await serve(replace(call, params=params))

    return stamped_serve


def build_metadata(call: Call) -> list[dict[str, Any]]:
    """The dictionaries that go first into `meta` of what the caller submits now; none for most."""
    first = [dict(call.access.metadata)] if call.access.metadata else []
    if call.services.config.items.stamp:
        principal = call.access.principal
        first.append(
            {
                STAMP: {
                    "submission": call.headers.get("idempotency-key", "") or call.request_id,
                    "principal": principal.name,
                    "provider": principal.provider,
                    "submitted_at": round(time.time(), 3),
                }
            }
        )
    return first
