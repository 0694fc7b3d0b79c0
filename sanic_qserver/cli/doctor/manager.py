"""RE Manager: whether it answers and publishes, its version, and the time there."""

import asyncio
import re
from typing import Any

import msgspec

from sanic_qserver.cli.doctor.finding import Clock, Finding, Findings, compare_clocks, failed, ok, warning
from sanic_qserver.config.settings import ManagerConfig
from sanic_qserver.errors import GatewayError
from sanic_qserver.manager.client.client import ManagerClient
from sanic_qserver.manager.publications import Publications

TESTED = (0, 0, 25)
HEAR_S = 4.0  # RE Manager publishes its status each second.


async def check_manager(manager: ManagerClient, publications: Publications, clock: Clock, hear_s: float) -> Findings:
    """Ask for the status, and listen for what is published meanwhile."""
    heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def hear(_: str, payload: bytes) -> None:
        if not heard.done():
            heard.set_result(_difference(payload, clock()))

    stop = publications.listen(hear)
    publications.open()
    manager.open()
    try:
        status = msgspec.json.decode(await manager.request("status"))
        await asyncio.wait((heard,), timeout=hear_s)
    except GatewayError as error:
        yield failed("RE Manager", error.detail, _advise(manager))
        return
    finally:
        await manager.close()
        stop()
        publications.close()
    yield _judge_version(status, manager.config)
    yield _judge_publishing(manager.config, is_heard=heard.done())
    if heard.done():  # The time in its status is that of the last change, and does not tell its zone.
        yield compare_clocks("RE Manager", (now := clock()) + heard.result(), now)


def _difference(payload: bytes, now: float) -> float:
    """How far RE Manager's clock is ahead, by the time of something that it has just published."""
    try:
        return float(msgspec.json.decode(payload)["time"]) - now
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return 0.0


def _judge_version(status: dict[str, Any], config: ManagerConfig) -> Finding:
    said = f"{status.get('msg', '')} answers at {config.control_address}"
    version = tuple(int(part) for part in re.findall(r"\d+", str(status.get("msg", "")))[:3])
    if version >= TESTED:
        return ok("RE Manager", said)
    tested = ".".join(map(str, TESTED))
    return warning("RE Manager", said, f"this server is tested with {tested}: pip install -U bluesky-queueserver there")


def _judge_publishing(config: ManagerConfig, *, is_heard: bool) -> Finding:
    what = "publications of RE Manager"
    if is_heard:
        return ok(what, f"come from {config.info_address}")
    return warning(
        what,
        f"nothing was heard at {config.info_address}: no console, and changes are seen by asking",
        "start RE Manager with --zmq-publish-console ON, and set [manager] info_address to its --zmq-info-addr",
    )


def _advise(manager: ManagerClient) -> str:
    if manager.last_failure:
        return "[manager] public_key must be the key that belongs to RE Manager's QSERVER_ZMQ_PRIVATE_KEY_FOR_SERVER"
    return (
        f"start RE Manager (start-re-manager --zmq-publish-console ON), or set [manager] control_address: "
        f"{manager.config.control_address} is what it is now"
    )
