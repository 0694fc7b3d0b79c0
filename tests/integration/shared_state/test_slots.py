"""Concurrency slots of replicas: no more than there are in all, and those of a killed worker come back."""

import asyncio
import os

import pytest
from attempts import attempt

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.errors import TooManyRequests
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.policy.rates.limiter import RateLimits, RateRules
from sanic_qserver.policy.rates.shared_slots import LEASE_S, SharedSlots
from sanic_qserver.shared_state.redis import SharedRedis

RULES = "concurrency: [{name: few, most: 5, of: requests}, {name: all, most: 8, of: requests, by: everybody}]"


@pytest.fixture
async def limits(instrument):
    """Make the limits of workers that share a Redis."""
    config = ReplicasConfig(redis=f"redis://127.0.0.1:{instrument.redis_port}/5", name=f"test-{os.urandom(4).hex()}")
    made = []

    def make(text=RULES):
        shared = SharedRedis(config)
        made.append((RateLimits(RateRules(parse_document(text, "rates.yaml")), slots=SharedSlots(shared)), shared))
        return made[-1][0]

    yield make
    for policy, shared in made:
        await policy.stop()
        await shared.close()


async def enter(policy, who="ann"):
    try:
        return await policy.enter(attempt(who))
    except TooManyRequests as error:
        return error.extra["rule"]


async def test_all_replicas_together_let_in_no_more_than_there_are_slots(limits):
    one, other = limits(), limits()
    mine = await asyncio.gather(*(enter(policy) for policy in (one, other) * 10))
    assert sum(not isinstance(ticket, str) for ticket in mine) == 5
    assert {ticket for ticket in mine if isinstance(ticket, str)} == {"few"}
    theirs = [await enter(policy, "bob") for policy in (one, other) * 2]
    assert [isinstance(ticket, str) for ticket in theirs] == [False, False, False, True]
    assert theirs[-1] == "all"


async def test_a_slot_that_was_left_is_free_at_every_replica(limits):
    one, other = limits(), limits()
    tickets = [await enter(one) for _ in range(5)]
    assert await enter(other) == "few"
    for _ in range(2):
        one.leave(tickets[0])
    async with asyncio.timeout(5):
        while isinstance(await enter(other), str):
            await asyncio.sleep(0.01)
    assert await enter(other) == "few"


async def test_slots_that_are_held_are_renewed_and_those_of_a_killed_worker_are_free_in_seconds(limits):
    killed, living, other = limits(), limits(), limits()
    for policy in (killed, killed, living, living, living):
        await enter(policy)
    assert await enter(other) == "few"
    killed._slots._renewing.cancel()
    async with asyncio.timeout(2 * LEASE_S + 5):
        while isinstance(first := await enter(other), str):
            await asyncio.sleep(0.1)
    other.leave(first)
    await asyncio.sleep(0.5)
    tickets = [await enter(other) for _ in range(3)]
    assert [isinstance(ticket, str) for ticket in tickets] == [False, False, True]
