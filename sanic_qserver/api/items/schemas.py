"""The row `/plans/allowed/schema`: JSON Schema of the plans that the caller's user group may run."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from sanic_qserver.api.call import Call
from sanic_qserver.api.items.plan_schema import build_schema
from sanic_qserver.errors import NotFound
from sanic_qserver.manager.bodies import Body
from sanic_qserver.manager.replies import decode_reply
from sanic_qserver.structs.requests import PlansAllowed, PlansAllowedSchema


async def plan_schemas(call: Call) -> bytes | Body:
    """Schemas of all allowed plans, or of those named; cached with RE Manager's list of allowed plans."""
    names = cast("PlansAllowedSchema", call.params).name
    group = PlansAllowed(user_group=call.access.user_group)
    body = await call.services.reads.read("plans_allowed", group, fairness_key=call.fairness_key)
    reply: Mapping[str, Any] = body.made("decoded plans", lambda: decode_reply(body.json))
    if not reply.get("success"):
        return body
    schemas: dict[str, msgspec.Raw] = body.made("schemas", lambda: _encode_schemas(reply["plans_allowed"]))
    if names is msgspec.UNSET:
        return body.made("all schemas", lambda: _reply(body, schemas, ""))
    if missing := [name for name in names if name not in schemas]:
        raise NotFound(
            f"name: '{missing[0]}' is not a plan that your user group may run",
            extra={"field": "name", "names": missing},
        )
    return _reply(body, {name: schemas[name] for name in names}, ",".join(names))


def _encode_schemas(plans: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(build_schema(plan))) for name, plan in plans.items()}


def _reply(plans: Body, schemas: Mapping[str, msgspec.Raw], names: str) -> Body:
    reply = {"success": True, "msg": "", "plans_allowed_uid": plans.uid, "plans": schemas}
    return Body(msgspec.json.encode(reply), plans.uid, (f"schemas {plans.tag}", names.encode()))
