"""Counters in a real Redis: exact under many clients and two workers; and when it is restarted, hung or gone."""

import asyncio
import contextlib
import signal
import time

import httpx
import pytest
from attempts import attempt, passes
from conftest import KEY, app_of, until_connected
from redis_server import Redis
from servers import ServerProcess

from sanic_qserver.errors import ConfigError, Overloaded, TooManyRequests
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.policy.rates.limiter import RateLimits, RateRules
from sanic_qserver.policy.rates.redis_counters import RedisCounters


@pytest.fixture
def redis(tmp_path):
    with Redis(tmp_path) as running:
        yield running


def limits(redis: Redis, text: str, warnings: list[str] | None = None) -> RateLimits:
    rules = RateRules(parse_document(text, "rate_limits.yaml"))
    return RateLimits(rules, RedisCounters(redis.url), warnings)


@contextlib.asynccontextmanager
async def closing(*policies: RateLimits):
    try:
        yield
    finally:
        for policy in policies:
            await policy.stop()


async def test_two_processes_together_let_no_more_than_the_limit_through(redis):
    text = "rates: [{name: a, limits: 50/hour}]"
    one, two = limits(redis, text), limits(redis, text)
    async with closing(one, two):
        counts = await asyncio.gather(*(passes(policy, attempt(), 10) for policy in (one, two) * 16))
        assert sum(counts) == 50


async def test_the_headers_are_those_of_memory(redis):
    policy = limits(redis, "rates: [{name: slow, limits: 2/minute}]")
    async with closing(policy):
        verdict = await policy.admit(attempt())
        assert verdict.headers["RateLimit-Policy"] == '"slow";q=2;w=60'
        assert verdict.headers["RateLimit"] in ('"slow";r=1;t=60', '"slow";r=1;t=59')
        await policy.admit(attempt())
        with pytest.raises(TooManyRequests, match="try again in") as refused:
            await policy.admit(attempt())
        assert 55 <= int(refused.value.headers["Retry-After"]) <= 62


async def test_while_redis_is_gone_each_worker_counts_and_nobody_logs_in(redis):
    warnings: list[str] = []
    policy = limits(redis, "rates: [{name: a, limits: 5/hour}]", warnings)
    async with closing(policy):
        assert await passes(policy, attempt(), 2) == 2
        redis.stop()
        assert await passes(policy, attempt(), 20) == 3
        assert policy.failure_count == 3
        assert len(warnings) == 1
        with pytest.raises(Overloaded):
            await policy.admit_login(attempt(""))
        redis.start()
        await asyncio.sleep(3.2)
        await policy.admit_login(attempt("", address="10.0.0.9"))
        assert await passes(policy, attempt(), 20) == 0
        assert await passes(policy, attempt("ann"), 20) == 5
        assert warnings == []


async def test_a_redis_that_restarted_empty_does_not_let_a_worker_pass_more(redis):
    policy = limits(redis, "rates: [{name: a, limits: 5/hour}]")
    async with closing(policy):
        assert await passes(policy, attempt(), 4) == 4
        redis.stop()
        redis.start()
        assert await passes(policy, attempt(), 20) == 1


async def test_a_redis_that_hangs_delays_requests_once_and_not_each(redis):
    policy = limits(redis, "rates: [{name: a, limits: 1000/hour}]")
    async with closing(policy):
        await policy.admit(attempt())
        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        assert await passes(policy, attempt(), 100) == 100
        assert time.monotonic() - started < 15
        redis.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("url", ["nonsense", "http://localhost:1", "redis://user:secret@host:port"])
def test_a_url_that_is_none_is_refused_without_telling_it(url):
    with pytest.raises(ConfigError, match=r"\[policy\] counters") as refused:
        RedisCounters(url)
    assert "secret" not in str(refused.value)


async def test_sixty_four_clients_get_no_more_than_the_limit_over_http(redis, sanic_client, make_config, tmp_path):
    file = tmp_path / "rate_limits.yaml"
    file.write_text("rates: [{name: slow, limits: 60/hour}]")
    config = make_config(policy={"rate_limits": str(file), "counters": redis.url})
    one, two = await sanic_client(app_of(config)), await sanic_client(app_of(config))
    for client in (one, two):
        client.headers["Authorization"] = f"ApiKey {KEY}"
        await until_connected(client)
    replies = await asyncio.gather(*(client.get("/api/status") for client in (one, two) * 64))
    assert sorted(reply.status_code for reply in replies) == [200] * 60 + [429] * 68


def _rules(limit: int) -> str:
    """A limit for the status; ping tells which file a worker has read, without touching the other's count."""
    seen = "{name: seen, endpoints: [/ping], limits: " + str(limit * 1000) + "/hour}"
    return "rates: [{name: slow, endpoints: [/status], limits: " + str(limit) + "/hour}, " + seen + "]"


@pytest.mark.slow
def test_two_workers_on_one_redis_hold_the_limit_and_reload_on_sighup(redis, instrument, tmp_path):
    (tmp_path / "rate_limits.yaml").write_text(_rules(40))
    (tmp_path / "config.toml").write_text(
        f'[server]\nworkers = 2\n[policy]\nrate_limits = "rate_limits.yaml"\n[replicas]\nredis = "{redis.url}"\n'
        f'[auth]\nsingle_user_api_key = "{KEY}"\n'
    )
    serve = ("serve", "--config", tmp_path / "config.toml")
    with ServerProcess(tmp_path, *serve, environment=instrument.environment) as server:

        def ask(path: str) -> httpx.Response:
            with httpx.Client(timeout=60) as client:  # A connection each: either worker may get it.
                return client.get(f"{server.url}/api{path}", headers={"Authorization": f"ApiKey {KEY}"})

        def statuses(count: int) -> list[int]:
            return sorted(ask("/status").status_code for _ in range(count))

        assert statuses(60) == [200] * 40 + [429] * 20
        (tmp_path / "rate_limits.yaml").write_text(_rules(45))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(lambda: all("q=45000" in ask("/ping").headers["RateLimit-Policy"] for _ in range(20)))
        assert statuses(20) == [200] * 5 + [429] * 15
