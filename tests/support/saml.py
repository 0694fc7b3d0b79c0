"""A SAML identity provider for tests: a real one, pysaml2's, without the pages on which people log in."""

import subprocess
import urllib.parse

US, THEM = "https://qs.example/saml", "https://idp.example/metadata"
HERE = "https://qs.example/api/auth/provider/campus/code"
LOGIN_PAGE = "https://idp.example/sso"
JANE = {"uid": ["jane"], "displayName": ["Jane Doe"], "mail": ["jane@lab.example"]}


class IdentityProvider:
    """pysaml2's, with keys of its own, for a server that is sent answers `here`."""

    def __init__(self, folder, here=HERE):
        from saml2 import BINDING_HTTP_REDIRECT
        from saml2.config import IdPConfig
        from saml2.metadata import entity_descriptor
        from saml2.server import Server

        self.here = here
        self.key, certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=idp.example",
             "-keyout", self.key, "-out", certificate], check=True, capture_output=True,
        )  # fmt: skip
        sp = (
            f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{US}"><md:SPSSODescriptor'
            ' protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:AssertionConsumerService index="1"'
            f' Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{here}"/></md:SPSSODescriptor>'
            "</md:EntityDescriptor>"
        )
        sso = [(LOGIN_PAGE, BINDING_HTTP_REDIRECT)]
        config = IdPConfig().load(
            {
                "entityid": THEM,
                "key_file": str(self.key),
                "cert_file": str(certificate),
                "metadata": {"inline": [sp]},
                "service": {"idp": {"endpoints": {"single_sign_on_service": sso}}},
            }
        )
        self.server = Server(config=config)
        self.metadata = folder / "idp.xml"
        self.metadata.write_text(str(entity_descriptor(config)))

    def request(self, url):
        """The id of the request in a URL that a browser was sent to, and the state that comes with it."""
        from saml2 import BINDING_HTTP_REDIRECT

        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
        request = self.server.parse_authn_request(query["SAMLRequest"], BINDING_HTTP_REDIRECT).message
        assert request.assertion_consumer_service_url == self.here
        return request.id, query["RelayState"]

    def answer(self, request_id, *, edit=None, sign="assertion", identity=None, algorithm="sha256"):
        """The XML of a response; `edit` changes it before it is signed."""
        from saml2 import class_name
        from saml2.sigver import pre_signature_part, signed_instance_factory

        response = self.server.create_authn_response(
            identity or {**JANE, "isMemberOf": ["operators"]}, request_id, self.here, US, userid="jane",
            authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"},
            sign_response=False, sign_assertion=False,
        )  # fmt: skip
        assertion = response.assertion
        if edit is not None:
            edit(response, assertion)
        signed = {"assertion": assertion, "response": response, "": None}[sign]
        if signed is None:
            return str(response)
        kind = "" if algorithm == "sha1" else "-more"
        more, digests = f"http://www.w3.org/2001/04/xmldsig{kind}#rsa-{algorithm}", {
            "sha1": "http://www.w3.org/2000/09/xmldsig#sha1", "sha256": "http://www.w3.org/2001/04/xmlenc#sha256"
        }  # fmt: skip
        more = more if algorithm != "sha1" else "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
        signed.signature = pre_signature_part(
            signed.id, self.server.sec.my_cert, 1, sign_alg=more, digest_alg=digests[algorithm]
        )
        return str(signed_instance_factory(response, self.server.sec, [(class_name(signed), signed.id)]))


def saml(provider, **more):
    return {"kind": "saml", "name": "campus", "entity_id": US, "redirect_uri": provider.here, "idp_entity_id": THEM,
            "metadata": str(provider.metadata), "timeout_s": 60, **more}  # fmt: skip
