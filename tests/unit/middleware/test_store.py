"""Where Idempotency-Keys are kept: what cannot be written is known at the start, not at the first key."""

import pytest

from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError
from sanic_qserver.middleware.idempotency.store import warn_of_store


def test_a_named_file_that_cannot_be_written_is_refused_at_the_start(folder):
    store = {"store": f"sqlite:///{folder}/not-there/keys.sqlite"}
    with pytest.raises(ConfigError, match=r"\[idempotency\] store: .*not-there/keys.sqlite cannot be written"):
        list(warn_of_store(load(environment={}, overrides={"idempotency": store})))


def test_the_default_file_that_cannot_be_written_is_a_warning(folder):
    config = load(environment={}, overrides={"source": str(folder / "not-there" / "config.toml")})
    (said,) = warn_of_store(config)
    assert said.startswith("[idempotency] store: ")
    assert "refused (503)" in said


@pytest.mark.parametrize("store", ["sqlite", "memory", "redis://localhost/1"])
def test_what_can_be_written_or_is_elsewhere_is_no_news(folder, store):
    source = {"source": str(folder / "config.toml"), "idempotency": {"store": store}}
    assert list(warn_of_store(load(environment={}, overrides=source))) == []
