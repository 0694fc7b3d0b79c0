"""What would weaken a promise of replicas is refused at start, and the setting is named."""

import logging

import pytest

from sanic_qserver.config.replicas import find_disagreement, refuse_unshared, take_fingerprints, warn_of_unshared
from sanic_qserver.config.settings import load
from sanic_qserver.errors import ConfigError

REDIS = {"redis": "redis://localhost/1"}
KEY = {"single_user_api_key": "k"}
LOGINS = {"providers": [{"kind": "dictionary", "name": "toy", "users": {}}]}
POSTGRES = {"url": "postgresql://db/x"}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"server": {"workers": 2}}, r"\[replicas\] redis"),
        ({"replicas": REDIS}, r"\[auth\] single_user_api_key"),
        ({"replicas": REDIS, "auth": LOGINS, "database": POSTGRES}, r"\[auth\] secret_keys"),
        ({"replicas": REDIS, "auth": KEY, "database": POSTGRES}, r"\[auth\] secret_keys"),
        ({"replicas": REDIS, "auth": {**LOGINS, "secret_keys": ["12345678"]}, "database": {"url": "sqlite://"}},
         r"\[database\] url"),
        ({"replicas": REDIS, "auth": {**KEY, "secret_keys": ["12345678"]}, "database": {"url": "sqlite:///:memory:"}},
         r"\[database\] url"),
    ],
)  # fmt: skip
def test_what_replicas_would_not_share_is_refused(sections, named):
    with pytest.raises(ConfigError, match=named):
        refuse_unshared(load(environment={}, overrides=sections))


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"replicas": REDIS, "auth": KEY, "server": {"workers": 4}},
        {"replicas": REDIS, "auth": {**LOGINS, "secret_keys": ["12345678"]}, "database": POSTGRES},
    ],
)
def test_what_is_shared_is_not(sections):
    refuse_unshared(load(environment={}, overrides=sections))


def test_what_is_shared_on_one_machine_only_is_said(caplog):
    caplog.set_level(logging.WARNING)
    policy = {"rate_class": "a:B", "access_class": "a:C"}
    warn_of_unshared(load(environment={}, overrides={"replicas": REDIS, "auth": KEY, "policy": policy}))
    assert ["database" in caplog.text, "access_class" in caplog.text, "rate_class" in caplog.text] == [True] * 3
    caplog.clear()
    warn_of_unshared(load(environment={}, overrides={"policy": policy}))
    assert caplog.text == ""


def fingerprints(**auth):
    return take_fingerprints(load(environment={}, overrides={"replicas": REDIS, "auth": auth}))


def test_keys_are_compared_without_being_told_and_may_be_changed_one_replica_after_the_other():
    old = {"secret_keys": ["old-secret"], "single_user_api_key": "key"}
    both = {"secret_keys": ["old-secret", "new-secret"], "single_user_api_key": "key"}
    turned = {"secret_keys": ["new-secret", "old-secret"], "single_user_api_key": "key"}
    new = {"secret_keys": ["new-secret"], "single_user_api_key": "other"}
    assert find_disagreement(fingerprints(**both), fingerprints(**turned)) == []
    assert find_disagreement(fingerprints(**old), fingerprints(**turned)) == ["[auth] secret_keys"]
    every = ["[auth] secret_keys", "[auth] single_user_api_key"]
    assert find_disagreement(fingerprints(**old), fingerprints(**new)) == every
    assert not any(secret in str(fingerprints(**turned)) for secret in ("new-secret", "old-secret", "'key'"))
