"""Where the secrets of a profile are kept."""

import sys
import types

import pytest

from sanic_qserver.client.profiles import Profile, ProfileStore


class Keyring(types.ModuleType):
    """A keyring that works, or one that has nowhere to keep secrets."""

    def __init__(self, priority):
        super().__init__("keyring")
        self.kept = {}
        self.errors = types.SimpleNamespace(KeyringError=RuntimeError)
        self._priority = priority

    def get_keyring(self):
        return types.SimpleNamespace(priority=self._priority)

    def set_password(self, service, name, text):
        self.kept[service, name] = text

    def get_password(self, service, name):
        return self.kept.get((service, name))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("QSCTL_KEYRING", raising=False)
    return ProfileStore(tmp_path)


@pytest.mark.parametrize(("priority", "is_kept_there"), [(5, True), (0, False)])
def test_secrets_are_in_the_keyring_where_there_is_one_and_come_back(store, monkeypatch, priority, is_kept_there):
    monkeypatch.setitem(sys.modules, "keyring", Keyring(priority))
    store.save(Profile(name="lab", server="https://lab", api_key="a secret"))
    assert ("a secret" not in (store.folder / "profile-lab.json").read_text()) is is_kept_there
    assert store.load("lab").api_key == "a secret"
    monkeypatch.setenv("QSCTL_KEYRING", "0")
    store.save(Profile(name="lab", server="https://lab", api_key="a secret"))
    assert "a secret" in (store.folder / "profile-lab.json").read_text()


def test_an_old_file_with_members_that_are_not_known_is_read(store):
    store.save(Profile(name="lab", server="https://lab"))
    file = store.folder / "profile-lab.json"
    file.write_text(file.read_text().replace("{", '{"from_the_future": 1, ', 1))
    assert store.load("lab").server == "https://lab"
