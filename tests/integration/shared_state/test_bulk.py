"""Bulk streams of replicas: begun at one, continued at another, and nothing lost or done twice."""

import asyncio

import pytest
from bulk_lines import PATH, item, lines, numbers, read

from sanic_qserver.errors import NotFound, Overloaded
from sanic_qserver.shared_state.redis import SharedStateAway
from sanic_qserver.shared_state.renewal import LEASE_S


async def send(client, content, **params):
    return read((await client.post(PATH, content=content, params=params)).content)


@pytest.fixture
async def replicas(serve_replicas):
    one, other = await serve_replicas()
    await one.post("/api/queue/clear")
    return one, other


async def test_a_stream_goes_on_at_another_replica_with_the_results_that_the_first_had_given(replicas):
    one, other = replicas
    first = await send(one, lines(item(0), {"name": "no_such_plan"}, item(1)))
    token = first[0]["stream"]
    again = await send(other, lines(item(0), {"name": "no_such_plan"}, item(1), item(2)), resume=token)
    assert again[0] == {"stream": token, "next_line": 3}
    assert again[1:4] == first[1:4]
    assert again[-1] == {"done": True, "lines": 4, "added": 3, "refused": 1}
    assert await numbers(one) == [0, 1, 2]
    back = await send(one, lines(item(3)), resume=token, next=4)
    assert back[-1]["lines"] == 5


async def test_an_idempotency_key_finds_the_stream_at_any_replica(replicas):
    one, other = replicas
    headers = {"Idempotency-Key": "a stream"}
    content = lines(*map(item, range(5)))
    first = read((await one.post(PATH, content=content, headers=headers)).content)
    again = read((await other.post(PATH, content=content, headers=headers)).content)
    assert again[1:] == first[1:]
    assert await numbers(one) == [0, 1, 2, 3, 4]


async def test_a_connection_that_was_left_behind_sends_nothing_more(replicas):
    one, other = replicas
    goes_on = asyncio.Event()

    async def body():
        yield lines(item(0))
        await goes_on.wait()
        yield lines(item(1))

    sending = asyncio.ensure_future(one.post(PATH, content=body()))
    while await numbers(other) != [0]:
        await asyncio.sleep(0.01)
    (token,) = (key.decode() for key in await streams(one))
    resumed = await send(other, lines(item(2)), resume=token, next=1)
    assert resumed[-1]["done"]
    goes_on.set()
    told = read((await sending).content)
    assert (told[-1]["done"], told[-1]["code"]) == (False, "stream_taken")
    assert await numbers(one) == [0, 2]


async def streams(client):
    shared = client.app.ctx.services.bulks.shared
    return await shared.client.zrange(shared.key("bulk", "all"), 0, -1)


async def test_a_batch_under_way_is_waited_for_and_one_that_nobody_answers_for_is_unknown_and_never_sent(replicas):
    one, other = (client.app.ctx.services.bulks for client in replicas)
    bulk = await one.begin("ann")
    doubt = [(b"digest-0", b'{"success":null,"line":0}')]
    async with bulk.sending(lambda: doubt):
        resuming = asyncio.ensure_future(other.resume(bulk.token, "ann"))
        await asyncio.sleep(0.3)
        assert not resuming.done()
    bulk.decide(b"digest-0", b'{"success":true,"line":0}', is_added=True)
    await bulk.keep()
    taken = await resuming
    assert (taken.decided, taken.added, taken.result(0, b"digest-0")) == (1, 1, b'{"success":true,"line":0}')

    context = taken.sending(lambda: [(b"digest-1", b'{"success":null,"line":1}')])
    await context.__aenter__()
    taken._lease.stop()  # It is killed.
    async with asyncio.timeout(LEASE_S + 5):
        heir = await one.resume(bulk.token, "ann")
    assert (heir.decided, heir.added, heir.result(1, b"digest-1")) == (2, 1, b'{"success":null,"line":1}')
    taken.decide(b"digest-1", b'{"success":true,"line":1}', is_added=True)
    with pytest.raises(Exception, match="Another connection"):  # It was only stopped: too late.
        await taken.keep()
    assert (await one.resume(bulk.token, "ann")).decided == 2


async def test_what_was_not_sent_is_not_in_doubt(replicas):
    one, other = (client.app.ctx.services.bulks for client in replicas)
    bulk = await one.begin("ann")
    with pytest.raises(Overloaded):
        async with bulk.sending(lambda: [(b"digest-0", b"unknown")]):
            raise Overloaded("not now")
    assert (await other.resume(bulk.token, "ann")).decided == 0


async def test_a_stream_belongs_to_who_began_it_and_many_of_one_principal_displace_their_own(replicas):
    one, other = (client.app.ctx.services.bulks for client in replicas)
    kept = await one.begin("ann")
    mine = [await one.begin("bob") for _ in range(17)]
    with pytest.raises(NotFound):
        await other.resume(kept.token, "bob")
    with pytest.raises(NotFound):
        await other.resume(mine[0].token, "bob")
    assert (await other.resume(mine[1].token, "bob")).decided == 0
    assert (await other.resume(kept.token, "ann")).decided == 0


async def test_a_flood_of_streams_takes_no_token_of_others(replicas):
    one, other = (client.app.ctx.services.bulks for client in replicas)
    kept = await one.begin("ann")
    async with kept.sending(lambda: [(b"digest-0", b"unknown")]):
        pass
    kept.decide(b"digest-0", b"done", is_added=True)
    await kept.keep()
    for number in range(90):
        await one.begin(f"crowd {number % 10}")
    assert len(await streams(replicas[0])) == 64
    for _ in range(20):
        await one.begin("ann")
    assert (await other.resume(kept.token, "ann")).decided == 1  # An empty one of her own goes first.
    with pytest.raises(NotFound):
        await other.resume(kept.token, "crowd 1")


async def test_a_step_whose_answer_is_lost_is_done_once(replicas, monkeypatch):
    bulks = replicas[0].app.ctx.services.bulks
    bulk = await bulks.begin("ann")
    ask, lost = bulks.ask, []

    async def losing(answer):
        given = await ask(answer)
        if not lost:
            lost.append(given)
            raise SharedStateAway("lost")
        return given

    async with bulk.sending(lambda: [(b"digest-0", b"unknown")]):
        pass
    bulk.decide(b"digest-0", b"done", is_added=True)
    monkeypatch.setattr(bulks, "ask", losing)
    await bulk.keep()
    monkeypatch.undo()
    assert (await bulks.resume(bulk.token, "ann")).decided == 1
