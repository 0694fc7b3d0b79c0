"""Checks of SAML responses: their structure before verification, and their assertion after it.

pysaml2 verifies signatures and most conditions. What it lets pass (no audience, no end, SHA-1, several assertions,
the names of things in comments) is refused here, as the SAML 2.0 web browser SSO profile (section 4.1.4) asks.
"""

import base64
import binascii
import calendar
import re
import time
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError  # nosec B405  # types; defusedxml parses

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from sanic_qserver.config.logins import SamlAttributes
from sanic_qserver.structs.identity import Principal

ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_SIGNING = frozenset({f"{_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)})
_DIGESTS = frozenset({f"http://www.w3.org/2001/04/xmlenc#sha{bits}" for bits in (256, 512)} | {f"{_MORE}sha384"})
_ENCODING = re.compile(r"""^<\?xml[^>]*\bencoding\s*=\s*["'](?!utf-8["'])""", re.IGNORECASE)


class BadResponse(Exception):
    """A response that is not the provider's, not for us, or not for this login. The text says why, without it."""


def opened(encoded: str) -> str:
    """The XML of a response that may be verified. Raises BadResponse."""
    try:
        text = base64.b64decode(re.sub(r"\s", "", encoded), validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadResponse("it is not base64 of UTF-8") from None
    # No document type (entities), no comments (they split texts), no other encoding (parsers could differ).
    if "<!" in text or "\0" in text or _ENCODING.search(text.lstrip("\ufeff \t\r\n")):
        raise BadResponse("it holds a document type, a comment or another encoding")
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, RecursionError):
        raise BadResponse("it is not well-formed XML") from None
    _check_form(root)
    return text


def _check_form(root: Element) -> None:
    """One response with one assertion, directly in it. Whatever is wrapped (XSW) has two somewhere."""
    every = list(root.iter())
    assertions = [one for one in every if _local(one) in ("Assertion", "EncryptedAssertion")]
    if root.tag != f"{{{PROTOCOL}}}Response" or sum(_local(one) == "Response" for one in every) != 1:
        raise BadResponse("it is not one Response")
    if [one.tag for one in assertions] != [f"{{{ASSERTION}}}Assertion"] or assertions[0] not in list(root):
        raise BadResponse("it does not hold exactly one assertion, unencrypted")
    ids = [value for one in every for name, value in one.attrib.items() if name.rpartition("}")[2].lower() == "id"]
    if len(ids) != len(set(ids)):
        raise BadResponse("two elements have the same ID")
    for parent in every:
        is_signed = parent is root or parent is assertions[0]
        if not is_signed and any(_local(child) == "Signature" for child in parent):
            raise BadResponse("something else than the response or its assertion is signed")
    for one in every:
        allowed = {"SignatureMethod": _SIGNING, "DigestMethod": _DIGESTS}.get(_local(one))
        if allowed is not None and one.get("Algorithm") not in allowed:
            raise BadResponse("its signature is made with an algorithm that is not accepted")


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def check_assertion(assertion: Any, *, us: str, them: str, here: str, request_id: str, skew_s: float) -> None:
    """Whether a verified assertion of pysaml2's is theirs, for us, here, now, for this request. Raises BadResponse."""
    now = time.time()
    if _text(assertion.issuer) != them:
        raise BadResponse("the assertion has another issuer")
    conditions = assertion.conditions
    restrictions = list(conditions.audience_restriction) if conditions is not None else []
    if not restrictions or not all(us in map(_text, one.audience) for one in restrictions):
        raise BadResponse("it is for another audience")
    if not _is_now(conditions, now, skew_s):
        raise BadResponse("it has expired, or is not valid yet")
    confirmations = [one for one in assertion.subject.subject_confirmation if one.method == BEARER]
    data = [one.subject_confirmation_data for one in confirmations]
    if not any(
        one is not None
        and one.recipient == here
        and one.in_response_to == request_id
        and one.not_on_or_after
        and _is_now(one, now, skew_s)
        for one in data
    ):
        raise BadResponse("no confirmation of its subject is for this login, here and now")


def _is_now(limits: Any, now: float, skew_s: float) -> bool:
    starts, ends = limits.not_before, limits.not_on_or_after
    return (not starts or _seconds(starts) - skew_s <= now) and (not ends or now < _seconds(ends) + skew_s)


def _seconds(text: str) -> float:
    """Seconds since 1970 of a SAML time, which is in UTC. Raises BadResponse."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)?", text.strip())
    if match is None:
        raise BadResponse("it has a time that cannot be read")
    return float(calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S")))


def build_principal(assertion: Any, names: SamlAttributes, provider: str) -> Principal:
    """Whom a checked assertion is about. Raises BadResponse when it does not say."""
    claims: dict[str, list[str]] = {}
    for by, values in _attributes(assertion):
        claims.setdefault(by, []).extend(values)
    name = _only(claims, names.name) if names.name else _name_id(assertion)
    if not 0 < len(name) <= 255 or not name.isprintable():
        raise BadResponse(f"it does not say who that is: one value of '{names.name or 'NameID'}' is expected")
    return Principal(
        name=name,
        provider=provider,
        displayed_name=next(iter(claims.get(names.displayed_name, ())), ""),
        email=next(iter(claims.get(names.email, ())), ""),
        groups=tuple(dict.fromkeys(claims.get(names.groups, ()))),
        claims=dict(claims),
    )


def _attributes(assertion: Any) -> Iterator[tuple[str, list[str]]]:
    """Each attribute's values by its name, and by its friendly name where that is another."""
    for statement in assertion.attribute_statement:
        for attribute in statement.attribute:
            values = [_text(value) for value in attribute.attribute_value]
            for by in {attribute.name, attribute.friendly_name} - {None, ""}:
                yield str(by), [value for value in values if value]


def _only(claims: dict[str, list[str]], name: str) -> str:
    values = set(claims.get(name, ()))
    return values.pop() if len(values) == 1 else ""


def _name_id(assertion: Any) -> str:
    name_id = assertion.subject.name_id
    return "" if name_id is None or name_id.format == TRANSIENT else _text(name_id)


def _text(element: Any) -> str:
    return (getattr(element, "text", None) or "").strip()
