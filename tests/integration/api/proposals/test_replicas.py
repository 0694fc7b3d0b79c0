"""Proposals of one replica, as those who watch another one are told."""

import os

from following import Reader
from policy_people import as_

from .conftest import propose


async def test_proposers_hear_of_their_own_on_every_replica_and_of_nobody_elses(proposing, instrument):
    replicas = {"redis": f"redis://127.0.0.1:{instrument.redis_port}/3", "name": os.urandom(6).hex()}
    sections = {"replicas": replicas, "auth": {"secret_keys": ["s" * 32]}}
    one, other = await proposing(**sections), await proposing(**sections)
    watchers = {who: await Reader("proposals", as_(who)).come(other.port) for who in ("ann", "bob", "dora")}
    made = [await propose(one, who="ann"), await propose(one, who="bob")]
    told = {who: (await watcher.until_type("created"))["data"]["id"] for who, watcher in watchers.items()}
    assert told == {"ann": made[0]["id"], "bob": made[1]["id"], "dora": made[0]["id"]}
