"""What several processes must be given to serve as one. What would weaken a promise silently is refused at start."""

import hashlib
import logging
from collections.abc import Mapping, Sequence

from sanic_qserver.config.settings import Config
from sanic_qserver.errors import ConfigError

log = logging.getLogger("sanic_qserver")


def refuse_unshared(config: Config) -> None:
    """Raise ConfigError, naming the setting, when processes of this configuration would not agree."""
    workers = config.server.workers
    if not config.replicas.redis:
        if workers > 1:
            raise ConfigError(
                f"[server] workers = {workers}: each would have quotas, an edit lock, rates and event ids of its own. "
                "Set [replicas] redis to the URL of a Redis that they share, or workers to 1"
            )
        return
    auth, url = config.auth, config.database.url
    has_accounts = bool(auth.providers or url)
    if not auth.providers and not auth.single_user_api_key:
        raise ConfigError("[auth] single_user_api_key: replicas must know the same. Give one (openssl rand -hex 24)")
    if has_accounts and not auth.secret_keys:
        raise ConfigError("[auth] secret_keys: replicas must sign with the same. Give one (openssl rand -hex 32)")
    if ":memory:" in url or url.rstrip("/") == "sqlite:":
        raise ConfigError("[database] url: replicas would not share a database in memory. Give one of PostgreSQL")


def warn_of_unshared(config: Config) -> None:
    """Say what replicas share on one machine only, or not at all."""
    if not config.replicas.redis:
        return
    files = {"[database] url (logins, proposals)": config.database.url, "[audit] database": config.audit.database}
    for setting, url in files.items():
        if url.startswith("sqlite") or (not url and setting.startswith("[database]")):
            log.warning("%s is a file: replicas on one machine share it. Those on others need PostgreSQL", setting)
    for name in ("access_class", "rate_class"):
        if getattr(config.policy, name):
            log.warning("[policy] %s: what it counts or keeps is each replica's own, unless the class shares it", name)


def take_fingerprints(config: Config) -> dict[str, Sequence[str]]:
    """What replicas must agree on, by setting, so that they can compare it without telling it.

    Of several values the first is used, and all are known.
    """
    auth, salt = config.auth, config.replicas.name.encode()
    secrets = {"[auth] secret_keys": auth.secret_keys}
    if not auth.providers:
        secrets["[auth] single_user_api_key"] = (auth.single_user_api_key,)
    return {
        setting: [hashlib.scrypt(value.encode(), salt=salt, n=2**12, r=8, p=1, dklen=12).hex() for value in values]
        for setting, values in secrets.items()
    }


def find_disagreement(ours: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]]) -> list[str]:
    """The settings of which one side uses what the other does not know."""
    return [
        setting
        for setting, mine in ours.items()
        if (other := theirs.get(setting)) and mine and (mine[0] not in other or other[0] not in mine)
    ]
