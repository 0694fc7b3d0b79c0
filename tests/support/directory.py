"""A real slapd in a folder of its own, with people, groups and TLS."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from certificates import make_certificate

BASE = "dc=lab,dc=example"
PEOPLE = f"ou=people,{BASE}"
STAFF = f"cn=staff,ou=groups,{BASE}"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "admin-password"

_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
TLSCACertificateFile {folder}/cert.pem
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{admin}" write by users read by anonymous none
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {folder}/data
"""

_ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Lab
dc: lab

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: uid=jdoe,{PEOPLE}
objectClass: inetOrgPerson
uid: jdoe
cn: Jane Doe
sn: Doe
mail: jane@lab.example
employeeNumber: 17
userPassword: jane-password

dn: uid=visitor,{PEOPLE}
objectClass: inetOrgPerson
uid: visitor
cn: Some Visitor
sn: Visitor
userPassword: visitor-password

dn: {STAFF}
objectClass: groupOfNames
cn: staff
member: uid=jdoe,{PEOPLE}
"""


class Directory:
    """Where it answers."""

    def __init__(self, folder: Path, port: int, tls_port: int) -> None:
        self.port, self.tls_port = port, tls_port
        self.certificate = str(folder / "cert.pem")


@contextlib.contextmanager
def running_directory(folder: Path, free_port: object) -> Iterator[Directory]:
    """slapd, until the block ends."""
    (folder / "data").mkdir()
    make_certificate(folder)
    conf = _CONF.format(folder=folder, base=BASE, admin=ADMIN, password=ADMIN_PASSWORD)
    (folder / "slapd.conf").write_text(conf)
    entries = folder / "entries.ldif"
    entries.write_text(_ENTRIES)
    slapd = shutil.which("slapd") or "/usr/sbin/slapd"
    subprocess.run(
        [slapd, "-Tadd", "-f", str(folder / "slapd.conf"), "-l", str(entries)], check=True, capture_output=True
    )
    directory = Directory(folder, free_port(), free_port())  # type: ignore[operator]
    urls = f"ldap://127.0.0.1:{directory.port} ldaps://127.0.0.1:{directory.tls_port}"
    process = subprocess.Popen(
        [slapd, "-d", "0", "-f", str(folder / "slapd.conf"), "-h", urls], stderr=subprocess.DEVNULL
    )
    try:
        for port in (directory.port, directory.tls_port):
            _wait_for(port)
        yield directory
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError("slapd does not answer")
