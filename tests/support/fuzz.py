"""Fuzzing with a fixed seed, so that CI always tries the same. By hand, longer: FUZZ_SEED=7 FUZZ_ROUNDS=1000000."""

import os
import random

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "20251125"))


def changed(random_: random.Random, body: bytes, pieces: list[bytes]) -> bytes:
    """The body with a few bytes cut out, or replaced by pieces, among them one of the body itself."""
    mutated = bytearray(body)
    for _ in range(random_.randrange(1, 6)):
        at = random_.randrange(len(mutated) + 1)
        mutated[at : at + random_.randrange(8)] = random_.choice([*pieces, mutated[at : at + 40]])
    return bytes(mutated)
