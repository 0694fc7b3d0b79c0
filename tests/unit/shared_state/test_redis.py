import pytest

from sanic_qserver.config.settings import ReplicasConfig
from sanic_qserver.errors import ConfigError
from sanic_qserver.shared_state.redis import SharedRedis, SharedStateAway
from tests.support.ports import free_port


async def test_a_redis_that_is_away_is_a_503_that_does_not_show_its_password():
    redis = SharedRedis(ReplicasConfig(redis=f"redis://:hidden@127.0.0.1:{free_port()}/0"))
    with pytest.raises(SharedStateAway) as caught:
        await redis.ask(redis.client.get(redis.key("a", "b")))
    await redis.close()
    assert caught.value.status == 503
    assert "hidden" not in str(caught.value)


def test_names_of_servers_that_use_the_same_redis_differ():
    names = [SharedRedis(ReplicasConfig(redis="redis://h", name=name)).key("lease") for name in ("a", "b")]
    assert names == ["a:lease", "b:lease"]


def test_what_is_not_the_url_of_a_redis_names_the_setting():
    with pytest.raises(ConfigError, match=r"\[replicas\] redis"):
        SharedRedis(ReplicasConfig(redis="redis://h:port/1"))
