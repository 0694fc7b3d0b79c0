"""Whether a permissions file gives anybody more than another. For files that may have been cut off.

Errs on the side of "more": an entry that differs in any way counts.
"""

from typing import Any

from sanic_qserver.policy.access.permissions_file import PermissionsFile


def grants_more(new: PermissionsFile, old: PermissionsFile) -> str:
    """What is new apart from the scopes of roles; empty when there is nothing."""
    for part in ("users", "groups"):
        before = getattr(old, part)
        for name, grant in getattr(new, part).items():
            if grant is not None and grant != before.get(name):
                return f"{part}.{name} is not the same"
    if any(claim not in old.claims for claim in new.claims):
        return "claims are not the same"
    if _rest(new) != _rest(old):
        return "user groups, quotas or defaults are not the same"
    return ""


def _rest(file: PermissionsFile) -> list[Any]:
    """What must be the same: it may give more when it goes away, a quota for one."""
    roles = {name: (role.quota, role.user_group) for name, role in file.roles.items() if role}
    stated = {name: said for name, said in roles.items() if any(said)}
    return [file.default, file.user_group, file.time_zone, file.only_on_loopback, stated]
