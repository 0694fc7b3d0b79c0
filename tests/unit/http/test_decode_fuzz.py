"""Whatever a body, a query or a content type holds: params, or a 4xx that says why."""

import random

from fuzz import ROUNDS, SEED, changed

from sanic_qserver.api.table import ENDPOINTS
from sanic_qserver.errors import GatewayError
from sanic_qserver.http.decode import Decoder

ADD = next(row for row in ENDPOINTS if row.path == "/queue/item/add")
GOOD = b'{"item": {"name": "count", "item_type": "plan", "args": [["det1"]], "kwargs": {"num": 1}}, "pos": "front"}'
PIECES = [b"", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud800", b"\xff", b"\0", b"null", b"1e999", b"-", b",", b":",
          b'"pos"', b"[" * 300, b'{"a":' * 300, b"9" * 400, b"%ff", b"&", b"=", b"+", b"%"]  # fmt: skip
KINDS = ["", "application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x",
         "application/x-www-form-urlencoded; charset=utf-7", "application/json; charset=punycode", ";;;"]  # fmt: skip


def test_fuzzed_bodies_and_queries_are_decoded_or_refused():
    random_ = random.Random(SEED)
    decoder = Decoder(ADD.params, max_nesting=200, forward_unknown=False)
    outcomes = set()
    for _ in range(ROUNDS):
        query = changed(random_, b"pos=3&item={}", PIECES).decode("latin-1") if random_.random() < 0.3 else ""
        try:
            decoder.decode(changed(random_, GOOD, PIECES), query, random_.choice(KINDS))
        except GatewayError as error:
            outcomes.add(error.status)
        else:
            outcomes.add(200)
    assert outcomes == {200, 400, 415, 422}
