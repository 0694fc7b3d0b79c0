"""Guesses at passwords and codes: counted before they are looked at, by account and by address."""

import asyncio

import pytest
from logins import PASSWORDS, SECRET_KEY, dictionary

from sanic_qserver.auth.accounts import Accounts
from sanic_qserver.config.settings import load
from sanic_qserver.errors import Overloaded, TooManyRequests
from sanic_qserver.structs.canonical import find_network

TOKEN = "/api/auth/provider/toy/token"


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def accounts(folder, clock):
    overrides = {
        "auth": {"secret_keys": [SECRET_KEY], "providers": [dictionary()]},
        "database": {"url": f"sqlite:///{folder}/x.sqlite"},
    }
    accounts = Accounts(load(environment={}, overrides=overrides), clock)
    await accounts.open()
    yield accounts
    await accounts.close()


async def guess(accounts, name="bob", address="10.0.0.1", *, is_good=False):
    """Whether the guess was looked at."""
    try:
        async with accounts.attempts.reserve("toy", name, address) as attempt:
            await asyncio.sleep(0)
            attempt.is_good = is_good
    except (TooManyRequests, Overloaded):
        return False
    return True


async def test_of_32_guesses_at_once_only_the_free_ones_are_looked_at(serve_logins, monkeypatch):
    client = await serve_logins(attempts={"free": 5})
    way = client.app.ctx.services.logins.way("toy")
    looked_at = []
    login = way.login

    async def counted(username, password):
        looked_at.append(password)
        return await login(username, password)

    monkeypatch.setattr(way, "login", counted)
    replies = await asyncio.gather(
        *(client.post(TOKEN, data={"username": "bob", "password": f"guess-{n}"}) for n in range(32))
    )
    assert len(looked_at) == 5
    assert sorted({reply.status_code for reply in replies}) in ([401, 429], [401, 429, 503])
    assert (await client.post(TOKEN, data={"username": "bob", "password": PASSWORDS["bob"]})).status_code == 429


async def test_many_good_logins_at_once_are_all_let_in(accounts):
    assert await asyncio.gather(*(guess(accounts, is_good=True) for _ in range(12))) == [True] * 12


async def test_a_try_that_could_not_be_looked_at_does_not_count(accounts):
    for _ in range(30):
        with pytest.raises(ZeroDivisionError):
            async with accounts.attempts.reserve("toy", "bob", "10.0.0.1"):
                raise ZeroDivisionError
    assert await guess(accounts)


async def test_one_address_locks_nobody_out_elsewhere(accounts, clock):
    """However long it goes on, and from however many addresses of its own /64."""
    for n in range(400):
        clock.now += 300
        await guess(accounts, address=f"2001:db8:0:1::{n:x}")
    assert await guess(accounts, address="2001:db8:0:2::1", is_good=True)
    assert await guess(accounts, address="10.0.0.2", is_good=True)
    assert not await guess(accounts, address="2001:db8:0:1:ffff::9", is_good=True)


async def test_wrong_device_codes_lock_out_the_address_that_sent_them_only(accounts, clock):
    async def code(address):
        return await guess(accounts, None, address)

    assert sum([await code("10.0.0.1") for _ in range(150)]) == 20
    assert await code("10.0.0.2")


async def test_a_good_login_does_not_make_its_address_wait_longer(accounts, clock):
    for n in range(21):
        await guess(accounts, f"user{n}")
    clock.now += 2
    assert await guess(accounts, "bob", is_good=True)
    assert await guess(accounts, "bob", is_good=True)


async def test_three_spellings_share_one_account(accounts):
    looked_at = [await guess(accounts, name, "10.0.0.1") for name in ("bob", "BOB", "Bob", "ｂｏｂ", "bob ", "bOb")]
    assert looked_at == [True] * 5 + [False]


def test_an_ipv6_address_counts_with_its_64():
    assert find_network("2001:db8::1") == find_network("2001:db8::ffff:1") != find_network("2001:db8:0:1::1")
    assert find_network("::ffff:10.0.0.1") == find_network("10.0.0.1") == "10.0.0.1"
    assert find_network("fe80::1%eth0") == find_network("fe80::2")
    assert find_network("") == ""
    assert find_network("unix:") == "unix:"
