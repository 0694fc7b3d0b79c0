"""The rows of proposals, for THE list (`api/table.py`)."""

from sanic_qserver.api.around import AUDITED, IDEMPOTENT
from sanic_qserver.api.endpoint import ANY_BODY, Endpoint
from sanic_qserver.api.proposals.rows import (
    approve_proposal,
    change_proposal,
    comment_proposal,
    create_proposal,
    deny_proposal,
    get_proposal,
    list_proposals,
    withdraw_proposal,
)
from sanic_qserver.scopes import Scope
from sanic_qserver.structs import proposals as structs
from sanic_qserver.structs.proposals import ProposalReply, ProposalsReply

COVERING = (Scope.WRITE_QUEUE_EDIT,)
EITHER = (Scope.WRITE_PROPOSALS_DECIDE, Scope.WRITE_QUEUE_EDIT)
# A review may have turned their adds into proposals: they see those, and take them back.
SUBMITTERS = (Scope.WRITE_QUEUE_EDIT_OWN,)
CHANGES = (AUDITED, IDEMPOTENT)

# fmt: off
PROPOSAL_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("POST", "/proposals", Scope.WRITE_PROPOSALS, "", structs.ProposalCreate, serve=create_proposal,
             any_scope=COVERING, around=CHANGES, changes=True, reads_form=True, reply=ProposalReply,
             max_body_bytes=ANY_BODY),
    Endpoint("GET", "/proposals", Scope.WRITE_PROPOSALS, "", structs.ProposalsList, serve=list_proposals,
             any_scope=EITHER + SUBMITTERS, reply=ProposalsReply),
    Endpoint("GET", "/proposals/<id>", Scope.WRITE_PROPOSALS, "", structs.ProposalGet, serve=get_proposal,
             any_scope=EITHER + SUBMITTERS, reply=ProposalReply),
    Endpoint("PATCH", "/proposals/<id>", Scope.WRITE_PROPOSALS, "", structs.ProposalChange, serve=change_proposal,
             any_scope=COVERING, around=(AUDITED,), changes=True, reply=ProposalReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/proposals/<id>/withdraw", Scope.WRITE_PROPOSALS, "", structs.ProposalWithdraw,
             serve=withdraw_proposal, any_scope=COVERING + SUBMITTERS, around=CHANGES, changes=True,
             reply=ProposalReply),
    Endpoint("POST", "/proposals/<id>/comment", Scope.WRITE_PROPOSALS, "", structs.ProposalComment,
             serve=comment_proposal, any_scope=EITHER, around=CHANGES, changes=True, reply=ProposalReply),
    Endpoint("POST", "/proposals/<id>/approve", Scope.WRITE_PROPOSALS_DECIDE, "", structs.ProposalApprove,
             serve=approve_proposal, any_scope=COVERING, around=CHANGES, changes=True, reply=ProposalReply),
    Endpoint("POST", "/proposals/<id>/deny", Scope.WRITE_PROPOSALS_DECIDE, "", structs.ProposalDeny,
             serve=deny_proposal, any_scope=COVERING, around=CHANGES, changes=True, reply=ProposalReply),
)
# fmt: on
