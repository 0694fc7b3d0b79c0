"""How often: windows, rules, headers, places, and what happens when shared counters are away."""

import asyncio
import random

import pytest
from attempts import attempt, passes

from sanic_qserver.errors import ConfigError, Overloaded, TooManyRequests
from sanic_qserver.policy.files.documents import parse_document
from sanic_qserver.policy.rates.counters import Charge, CountersUnavailable, LimitExceeded, MemoryCounters
from sanic_qserver.policy.rates.limiter import RateLimits, RateRules
from sanic_qserver.scopes import Scope
from sanic_qserver.structs.identity import Principal


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rules(text: str) -> RateRules:
    return RateRules(parse_document(text, "rate_limits.yaml"))


# The window


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("limit", "window_s"), [(5, 1.0), (50, 60.0), (7, 3600.0)])
def test_no_stretch_of_a_windows_length_lets_more_than_the_limit_through(seed, limit, window_s):
    random_ = random.Random(seed)
    clock = Time()
    counters = MemoryCounters(clock)
    passed: list[float] = []
    for _ in range(3000):
        clock.now += random_.expovariate(3 * limit / window_s)
        if not isinstance(counters.charge_now([Charge(("rule", "me"), limit, window_s, 1)]), LimitExceeded):
            passed.append(clock.now)
    for first, last in zip(passed, passed[limit:], strict=False):
        assert last - first >= window_s
    elapsed = clock.now - 1000
    assert len(passed) >= 0.9 * limit * elapsed / (window_s * (1 + 2 / 64)) - limit


def test_a_refused_attempt_takes_nothing_under_other_limits():
    counters = MemoryCounters(Time())
    wide, narrow = Charge(("a", "me"), 10, 60.0, 1), Charge(("b", "me"), 1, 60.0, 1)
    assert not isinstance(counters.charge_now([wide, narrow]), LimitExceeded)
    for _ in range(5):
        assert isinstance(counters.charge_now([wide, narrow]), LimitExceeded)
    left = counters.charge_now([wide])
    assert not isinstance(left, LimitExceeded)
    assert left[0].remaining == 8


def test_the_time_to_wait_is_true():
    clock = Time()
    counters = MemoryCounters(clock)
    taking = Charge(("rule", "me"), 3, 10.0, 1)
    for _ in range(3):
        counters.charge_now([taking])
        clock.now += 1
    refused = counters.charge_now([taking])
    assert isinstance(refused, LimitExceeded)
    clock.now += refused.retry_s - 0.2
    assert isinstance(counters.charge_now([taking]), LimitExceeded)
    clock.now += 0.2001
    assert not isinstance(counters.charge_now([taking]), LimitExceeded)


def test_counters_of_those_who_left_are_forgotten():
    clock = Time()
    counters = MemoryCounters(clock)
    for number in range(10_000):
        counters.charge_now([Charge(("rule", f"user{number}"), 3, 1.0, 1)])
    clock.now += 5
    counters.charge_now([Charge(("rule", "me"), 3, 1.0, 1)])
    assert len(counters) == 1


async def test_setting_the_system_clock_changes_nothing(monkeypatch):
    import time

    limits = RateLimits(rules("rates: [{name: a, limits: 2/hour}]"))
    assert await passes(limits, attempt(), 5) == 2
    real = time.time()
    for jump in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda jump=jump: real + jump)
        assert await passes(limits, attempt(), 5) == 0


# Rules


@pytest.mark.parametrize(
    ("rule", "same", "other"),
    [
        ("by: principal", {"address": "10.0.0.2"}, {"name": "ann"}),
        ("by: address", {"name": "ann"}, {"address": "10.0.0.2"}),
        ("by: api_key", {"address": "10.0.0.2"}, {"key_id": "abcdef12"}),
    ],
)
async def test_a_rule_counts_by_what_it_says(rule, same, other):
    limits = RateLimits(rules(f"rates: [{{name: a, limits: 1/hour, {rule}}}]"))
    assert await passes(limits, attempt()) == 1
    assert await passes(limits, attempt(**same)) == 0
    assert await passes(limits, attempt(**other)) == 1


async def test_a_rule_for_everybody_has_one_counter():
    limits = RateLimits(rules("rates: [{name: a, limits: 3/hour, by: everybody}]"))
    assert sum([await passes(limits, attempt(name, address=name)) for name in "abcdef"]) == 3


async def test_the_anonymous_count_by_address():
    limits = RateLimits(rules("rates: [{name: a, limits: 1/hour}]"))
    assert await passes(limits, attempt(""), 2) == 1
    assert await passes(limits, attempt("", address="10.0.0.2"), 2) == 1


@pytest.mark.parametrize(
    ("rule", "met", "not_met"),
    [
        ("roles: [user, expert]", {}, {"role": "observer"}),
        ("users: jdoe", {}, {"name": "ann"}),
        ("scopes: ['write:*']", {}, {"scope": Scope.READ_QUEUE}),
        ("endpoints: ['/queue/item/*']", {}, {"path": "/queue/get"}),
        ("addresses: ['10.0.0.0/8']", {}, {"address": "192.168.1.1"}),
        ("addresses: ['10.0.0.0/8']", {}, {"address": ""}),
        ("anonymous: true", {"name": ""}, {}),
        ("anonymous: false", {}, {"name": ""}),
        ("except: {roles: [admin]}", {}, {"role": "admin"}),
        ("except: {users: [ann]}", {}, {"name": "ann"}),
        ("except: {addresses: ['10.0.0.2']}", {}, {"address": "10.0.0.2"}),
        ("except: {services: true}", {}, {"is_service": True}),
    ],
)
async def test_a_rule_matches_what_it_says(rule, met, not_met):
    limits = RateLimits(rules(f"rates: [{{name: a, limits: 1/hour, {rule}}}]"))
    assert await passes(limits, attempt(**met), 3) == 1
    assert await passes(limits, attempt(**not_met), 3) == 3


async def test_every_window_of_a_rule_must_have_room():
    limits = RateLimits(rules("rates: [{name: a, limits: '5/second; 8/hour'}]"))
    first = await passes(limits, attempt(), 10)
    assert first <= 8
    await asyncio.sleep(1.1)
    assert first + await passes(limits, attempt(), 10) == 8


async def test_burst_lets_more_through_at_once_at_the_same_rate():
    met = rules("rates: [{name: a, limits: 10/second, burst: 45}]").find_limits(attempt())
    assert met.policy == '"a";q=45;w=5'


async def test_a_batch_costs_its_items():
    limits = RateLimits(rules("rates: [{name: a, limits: 10/hour, cost: items}, {name: b, limits: 10/hour}]"))
    await limits.admit(attempt())
    await limits.admit_items(attempt(cost=7))
    with pytest.raises(TooManyRequests) as refused:
        await limits.admit_items(attempt(cost=3))
    assert refused.value.extra["rule"] == "a"
    assert await passes(limits, attempt(), 5) == 2
    with pytest.raises(TooManyRequests, match="more than that"):
        await limits.admit_items(attempt("ann", cost=11))


async def test_the_refusal_names_the_rule_and_when_to_come_back():
    limits = RateLimits(rules("rates: [{name: slow, limits: '1/minute; 9/hour'}]"))
    verdict = await limits.admit(attempt())
    assert verdict.headers["RateLimit-Policy"] == '"slow-60s";q=1;w=60, "slow-3600s";q=9;w=3600'
    assert verdict.headers["RateLimit"].startswith('"slow-60s";r=0;t=')
    with pytest.raises(TooManyRequests, match="Rule 'slow' allows 1 in 60 s; try again in 6") as refused:
        await limits.admit(attempt())
    assert 58 <= int(refused.value.headers["Retry-After"]) <= 62
    assert refused.value.extra == {"rule": "slow", "violated-policies": ["slow-60s"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rates: [{name: a, limits: often}]", "is not like '20/second; 600/minute'"),
        ("rates: [{name: a, limits: 0/second}]", "admits nothing"),
        ("rates:\n  - {name: a, limits: 1/second}\n  - {name: b}", "rate_limits.yaml:3: Object missing required field"),
        ("rates: [{name: a, limits: 1/second}, {name: a, limits: 2/second}]", "two rules are named 'a'"),
        ("rates: [{name: a, limits: 1/second, addresses: [everywhere]}]", "does not appear to be"),
        ("rates: [{name: 'a\"b', limits: 1/second}]", "Expected `str` matching regex"),
    ],
)
def test_a_mistake_is_refused_and_named(text, said):
    with pytest.raises(ConfigError) as refused:
        rules(text)
    assert said in str(refused.value)


# Places


async def test_no_more_places_are_taken_than_there_are():
    limits = RateLimits(rules("concurrency: [{name: a, most: 2, of: streams}]"))
    tickets = [await limits.enter(attempt(is_stream=True)) for _ in range(2)]
    with pytest.raises(TooManyRequests, match="'a' allows 2 streams at once"):
        await limits.enter(attempt(is_stream=True))
    await limits.enter(attempt())
    await limits.enter(attempt("ann", is_stream=True))
    limits.leave(tickets[0])
    limits.leave(tickets[0])
    await limits.enter(attempt(is_stream=True))
    with pytest.raises(TooManyRequests):
        await limits.enter(attempt(is_stream=True))


# Shared counters away


class Away:
    """Shared counters that cannot be reached."""

    async def take(self, asked):
        raise CountersUnavailable("TimeoutError")

    async def close(self):
        pass


async def test_without_shared_counters_requests_continue_under_the_workers_own_count():
    warnings: list[str] = []
    limits = RateLimits(rules("rates: [{name: a, limits: 3/hour}]"), Away(), warnings)
    assert await passes(limits, attempt(), 10) == 3
    assert limits.failure_count == 3
    assert len(warnings) == 1


async def test_without_shared_counters_nobody_logs_in():
    limits = RateLimits(rules("rates: [{name: a, limits: 3/hour}]"), Away())
    with pytest.raises(Overloaded, match="Login attempts cannot be counted"):
        await limits.admit_login(attempt(""))


# Size


def test_ten_thousand_people_and_a_thousand_rules_load_in_a_second_and_are_met_at_once():
    from time import perf_counter

    from sanic_qserver.policy.access.permissions import Permissions
    from sanic_qserver.policy.access.windows import Clock

    people = "".join(
        f"  user{n}: {{roles: [user], displayed_name: 'User {n}', email: 'u{n}@x.org'}}\n" for n in range(10_000)
    )
    many = "".join(
        f"  - {{name: r{n}, limits: 5/second, users: [user{n}], scopes: ['write:*']}}\n" for n in range(1000)
    )
    started = perf_counter()
    permissions = Permissions(parse_document("users:\n" + people, "p"))
    rated = rules("rates:\n" + many)
    loaded_s = perf_counter() - started
    print(f"loaded in {loaded_s:.2f} s")
    assert permissions.access_of(Principal(name="user9999", provider="ldap"), Clock()).roles == ("user",)
    assert rated.find_limits(attempt("user7")).policy == '"r7";q=5;w=1'
    started = perf_counter()
    for _ in range(1000):
        rated.find_limits(attempt("user7"))
    assert (perf_counter() - started) < 1
