"""Lines of bulk streams: items that bear a number, and what became of them."""

import msgspec

PATH = "/api/queue/item/add/stream"


def item(number):
    return {"name": "count", "args": [["det1"]], "item_type": "plan", "meta": {"number": number}}


def lines(*items):
    return b"".join(msgspec.json.encode(one) + b"\n" for one in items)


def read(text):
    return [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]


async def numbers(client):
    """Of the items in the queue."""
    return [one["meta"]["number"] for one in (await client.get("/api/queue/get")).json()["items"]]
