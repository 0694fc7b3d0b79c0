"""One spelling for each login: what a person types must not decide who they are."""

import unicodedata


def folded(name: str) -> str:
    """A login without differences of case and width: NFKC, casefolded, as directories compare."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
