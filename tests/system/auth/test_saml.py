"""Logins of a SAML identity provider, which is a real one (pysaml2's), and what is tried against them."""

import base64
import datetime as dt
import re

import httpx
import pytest
from conftest import app_of, needs
from logins import settings
from saml import HERE, JANE, IdentityProvider, saml

from sanic_qserver.errors import ConfigError

POLICY = """
users:
  jane: {roles: user}
groups:
  operators: {roles: expert}
"""
WAY = "/api/auth/provider/campus"
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    needs("xmlsec1", "openssl")
    return IdentityProvider(tmp_path_factory.mktemp("idp"))


@pytest.fixture
def serve(sanic_client, make_config, folder, provider):
    async def serve(**more):
        return await sanic_client(app_of(make_config(**settings(folder, saml(provider, **more), policy=POLICY))))

    return serve


async def post(browser, xml, state):
    """What the provider's page does: a form from another site, so no cookies."""
    form = {"SAMLResponse": base64.b64encode(xml.encode()).decode(), "RelayState": state}
    async with httpx.AsyncClient(base_url=browser.base_url, timeout=60) as from_elsewhere:
        return await from_elsewhere.post(f"{WAY}/code", data=form, headers={"Origin": "https://idp.example"})


async def begin(browser, provider, query=""):
    start = await browser.get(f"{WAY}/authorize{query}")
    assert start.status_code == 302, start.text
    return provider.request(start.headers["location"])


def back(response):
    assert response.status_code == 303, response.text
    assert response.headers["location"].startswith(f"{HERE}?state=")
    return response.headers["location"].removeprefix("https://qs.example")


async def test_a_browser_logs_in_and_the_groups_give_a_role(serve, provider):
    browser = await serve()
    request_id, state = await begin(browser, provider)
    done = await browser.get(back(await post(browser, provider.answer(request_id), state)))
    assert done.status_code == 200, done.text
    tokens = (await browser.post("/api/auth/session/refresh", json={"refresh_token": done.json()})).json()
    browser.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    who = (await browser.get("/api/auth/whoami")).json()
    assert who["identities"][0] == {**who["identities"][0], "id": "jane", "provider": "campus"}
    assert who["roles"] == ["expert", "user"]


async def test_a_page_gets_its_cookies_and_goes_on(serve, provider):
    browser = await serve()
    request_id, state = await begin(browser, provider, "?next=/docs")
    done = await browser.get(back(await post(browser, provider.answer(request_id), state)))
    assert (done.status_code, done.headers["location"]) == (303, "/docs")
    assert (await browser.get("/api/auth/whoami")).json()["identities"][0]["id"] == "jane"


async def test_a_terminal_logs_in_with_a_device_code(serve, provider):
    terminal = await serve()
    begun = (await terminal.post(f"{WAY}/authorize")).json()
    waiting = await terminal.post(f"{WAY}/token", json={"device_code": begun["device_code"]})
    assert waiting.status_code == 400
    sent = await terminal.post(f"{WAY}/device_code", data={"user_code": begun["user_code"]})
    request_id, state = provider.request(sent.headers["location"])
    done = await terminal.get(back(await post(terminal, provider.answer(request_id), state)))
    assert "You are logged in" in done.text
    tokens = await terminal.post(f"{WAY}/token", json={"device_code": begun["device_code"]})
    assert tokens.json()["access_token"]


async def test_a_terminal_that_listens_is_brought_its_login(serve, provider):
    terminal = await serve()
    here = "http://127.0.0.1:54321/a-path"
    begun = (await terminal.post(f"{WAY}/authorize", json={"redirect_uri": here})).json()
    sent = await terminal.post(f"{WAY}/device_code", data={"user_code": begun["user_code"]})
    request_id, state = provider.request(sent.headers["location"])
    done = await terminal.get(back(await post(terminal, provider.answer(request_id), state)))
    address, _, code = done.headers["location"].partition("?code=")
    assert (done.status_code, address) == (303, here)
    tokens = await terminal.post(f"{WAY}/token", json={"device_code": begun["device_code"], "code": code})
    assert tokens.json()["access_token"]


async def test_a_login_ends_in_the_browser_that_began_it_and_once(serve, provider):
    browser = await serve()
    request_id, state = await begin(browser, provider)
    xml = provider.answer(request_id)
    place = back(await post(browser, xml, state))
    assert (await post(browser, xml, state)).status_code == 401, "replayed with its own state"
    async with httpx.AsyncClient(base_url=browser.base_url) as victim:
        assert (await victim.get(place)).status_code == 401, "somebody else's login cannot be pushed on a browser"
    request_id, state = await begin(browser, provider)
    assert (await post(browser, xml, state)).status_code == 401, "replayed for another login"
    request_id, state = await begin(browser, provider)
    place = back(await post(browser, provider.answer(request_id), state))
    assert (await browser.get(place)).status_code == 200
    assert (await browser.get(place)).status_code == 401


async def test_what_nobody_asked_for_is_refused(serve, provider):
    browser = await serve()
    for state in ("", "forged"):
        assert (await post(browser, provider.answer("_unasked"), state)).status_code == 401
    request_id, state = await begin(browser, provider)
    assert (await post(browser, provider.answer("_unasked"), state)).status_code == 401
    request_id, state = await begin(browser, provider)
    encoded = base64.b64encode(provider.answer(request_id).encode()).decode()
    for query in ({"SAMLResponse": encoded[:9000], "RelayState": state}, {"code": encoded[:8000], "state": state}):
        assert (await browser.get(f"{WAY}/code", params=query)).status_code == 401, "never from a URL"


def unasked(response, assertion):
    assertion.subject.subject_confirmation[0].subject_confirmation_data.in_response_to = "_other"


def audience(response, assertion):
    assertion.conditions.audience_restriction[0].audience[0].text = "https://other.example"


def no_audience(response, assertion):
    assertion.conditions.audience_restriction = []


def recipient(response, assertion):
    assertion.subject.subject_confirmation[0].subject_confirmation_data.recipient = "https://other.example/code"


def destination(response, assertion):
    response.destination = "https://other.example/code"


def issuer(response, assertion):
    assertion.issuer.text = "https://other.example"


def expired(response, assertion):
    ago = (dt.datetime.now(dt.UTC) - DAY / 24).strftime("%Y-%m-%dT%H:%M:%SZ")
    assertion.conditions.not_before = (dt.datetime.now(dt.UTC) - DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assertion.conditions.not_on_or_after = ago


def confirmed_too_long_ago(response, assertion):
    ago = (dt.datetime.now(dt.UTC) - DAY / 24).strftime("%Y-%m-%dT%H:%M:%SZ")
    assertion.subject.subject_confirmation[0].subject_confirmation_data.not_on_or_after = ago


def early(response, assertion):
    assertion.conditions.not_before = (dt.datetime.now(dt.UTC) + DAY / 24).strftime("%Y-%m-%dT%H:%M:%SZ")


def endless(response, assertion):
    assertion.subject.subject_confirmation[0].subject_confirmation_data.not_on_or_after = None


@pytest.mark.parametrize(
    "edit",
    [unasked, audience, no_audience, recipient, destination, issuer, expired, confirmed_too_long_ago, early, endless],
    ids=lambda edit: edit.__name__,
)
async def test_a_signed_assertion_that_is_not_for_this_login_is_refused(serve, provider, edit):
    browser = await serve()
    request_id, state = await begin(browser, provider)
    refused = await post(browser, provider.answer(request_id, edit=edit), state)
    assert refused.status_code == 401, refused.text
    assert refused.json()["detail"] == "Authentication failure: the provider's answer is not good"


def forged(xml):
    """An assertion that says somebody else, without a signature."""
    assertion = re.search(r"<(\w+:)?Assertion.*</(\w+:)?Assertion>", xml, re.DOTALL)[0]
    unsigned = re.sub(r"<(\w+:)?Signature .*</(\w+:)?Signature>", "", assertion, flags=re.DOTALL)
    return assertion, re.sub(r' ID="[^"]+"', ' ID="_evil"', unsigned, count=1).replace(">jane<", ">admin<")


def put_first(xml):
    assertion, evil = forged(xml)
    return xml.replace(assertion, evil + assertion)


def put_last(xml):
    assertion, evil = forged(xml)
    return xml.replace(assertion, assertion + evil)


def wrapped_in_it(xml):
    assertion, evil = forged(xml)
    end = evil.rindex("</")
    return xml.replace(assertion, evil[:end] + assertion + evil[end:])


def wrapped_in_an_extension(xml):
    assertion, evil = forged(xml)
    protocol = re.search(r"<(\w+:)?Status>", xml)
    extension = f"<{protocol[1] or ''}Extensions>{assertion}</{protocol[1] or ''}Extensions>"
    return xml.replace(assertion, evil).replace(protocol[0], extension + protocol[0])


def wrapped_in_the_signature(xml):
    assertion, evil = forged(xml)
    signature = re.search(r"<(\w+:)?Signature .*</(\w+:)?Signature>", assertion, re.DOTALL)[0]
    bare = assertion.replace(signature, "")
    end, inside = signature.rindex("</"), evil.index(">", evil.index("Issuer")) + 1
    inside = evil.index("Issuer>", inside) + len("Issuer>")
    prefix = re.match(r"<(\w+:)?", signature)[1] or ""
    held = f"{signature[:end]}<{prefix}Object>{bare}</{prefix}Object>{signature[end:]}"
    return xml.replace(assertion, evil[:inside] + held + evil[inside:])


def the_same_id(xml):
    return wrapped_in_it(xml).replace("_evil", re.search(r'URI="#([^"]+)"', xml)[1])


def other_name(xml):
    return xml.replace(">jane<", ">admin<")


def other_group(xml):
    return xml.replace(">operators<", ">admins<")


def comment(xml):
    return xml.replace(">jane<", ">ja<!---->ne<")


def entity(xml):
    head, mark, rest = xml.rpartition("?>")
    return head + mark + '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + rest.replace(">jane<", ">&e;<")


def bomb(xml):
    head, mark, rest = xml.rpartition("?>")
    return head + mark + '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + rest.replace(">jane<", ">&b;<")


def other_encoding(xml):
    return '<?xml version="1.0" encoding="UTF-7"?>' + xml.rpartition("?>")[2]


def not_xml(xml):
    return xml[: len(xml) // 2]


@pytest.mark.parametrize(
    "attack",
    [put_first, put_last, wrapped_in_it, wrapped_in_an_extension, wrapped_in_the_signature, the_same_id, other_name,
     other_group, comment, entity, bomb, other_encoding, not_xml],
    ids=lambda attack: attack.__name__,
)  # fmt: skip
async def test_what_was_changed_after_signing_is_refused(serve, provider, attack):
    browser = await serve()
    request_id, state = await begin(browser, provider)
    good = provider.answer(request_id)
    changed = attack(good)
    assert changed != good
    assert (await post(browser, changed, state)).status_code == 401


async def test_what_is_not_signed_well_is_refused(serve, provider, tmp_path):
    browser = await serve()
    stranger = IdentityProvider(tmp_path)
    for said, answer in {
        "not signed": lambda of: provider.answer(of, sign=""),
        "the response only": lambda of: provider.answer(of, sign="response"),
        "another's key": stranger.answer,
        "sha1": lambda of: provider.answer(of, algorithm="sha1"),
    }.items():
        request_id, state = await begin(browser, provider)
        assert (await post(browser, answer(request_id), state)).status_code == 401, said


async def test_the_response_may_be_signed_in_place_of_the_assertion_where_that_is_configured(serve, provider):
    browser = await serve(want_assertions_signed=False, want_response_signed=True)
    request_id, state = await begin(browser, provider)
    assert (
        await browser.get(back(await post(browser, provider.answer(request_id, sign="response"), state)))
    ).is_success
    for change, sign in ((other_name, "response"), (str, "assertion"), (str, "")):
        request_id, state = await begin(browser, provider)
        assert (await post(browser, change(provider.answer(request_id, sign=sign)), state)).status_code == 401


async def test_who_it_is_must_be_said_once_and_shortly(serve, provider):
    browser = await serve(max_bytes=50_000)
    for uid in ([], ["jane", "admin"], ["x" * 300], ["ja\nne"]):
        request_id, state = await begin(browser, provider)
        xml = provider.answer(request_id, identity={**JANE, "uid": uid})
        assert (await post(browser, xml, state)).status_code == 401, uid
    request_id, state = await begin(browser, provider)
    assert "too large" in (await post(browser, "x" * 50_000, state)).json()["detail"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"want_assertions_signed": False}, "must not both be false"),
        ({"metadata": "http://idp.example/metadata"}, "https://"),
        ({"metadata": "/nowhere.xml"}, "there is no file"),
        ({"xmlsec_binary": "/nowhere/xmlsec1"}, "xmlsec1 is not installed"),
    ],
)
def test_a_wrong_setting_is_refused_at_start(make_config, folder, provider, wrong, says):
    with pytest.raises(ConfigError, match=says):
        app_of(make_config(**settings(folder, saml(provider, **wrong))))


async def test_metadata_of_another_provider_is_a_503(serve, provider):
    browser = await serve(idp_entity_id="https://other.example")
    assert (await browser.get(f"{WAY}/authorize")).status_code == 503
