"""THE list of what is served, and who may call it. Grep a path and you land on its row."""

from sanic_qserver.api.about import about
from sanic_qserver.api.around import AUDITED, HOOKED, IDEMPOTENT, OWNED, QUOTA, REVIEWED, STAMPED
from sanic_qserver.api.auth.table import AUTH_ENDPOINTS
from sanic_qserver.api.bulk.submission import add_lines
from sanic_qserver.api.console import (
    console_messages,
    console_output,
    console_output_uid,
    console_output_update,
)
from sanic_qserver.api.endpoint import ANY_BODY, Endpoint, LinesEndpoint, Stamp, Stream
from sanic_qserver.api.events import ANY_SCOPE, events, info_messages, narrowed, status_messages
from sanic_qserver.api.items.by_key import item_by_key
from sanic_qserver.api.items.lookup import item_state, items
from sanic_qserver.api.items.schemas import plan_schemas
from sanic_qserver.api.items.validate import validate_batch, validate_item
from sanic_qserver.api.lists import listed, queue_item
from sanic_qserver.api.operation import audit_get, metrics
from sanic_qserver.api.plans import plans
from sanic_qserver.api.proposals.table import PROPOSAL_ENDPOINTS
from sanic_qserver.api.queue import queue_mode_set, submit, submit_batch
from sanic_qserver.api.spreadsheets.upload import upload_spreadsheet
from sanic_qserver.api.status import re_runs_fixed, read, status, status_or_wait
from sanic_qserver.api.testing import server_sleep
from sanic_qserver.scopes import Scope
from sanic_qserver.structs import replies, requests
from sanic_qserver.structs.audit import AuditGet, AuditReply
from sanic_qserver.structs.auth_replies import AboutReply
from sanic_qserver.structs.auth_requests import About

CALLER = Stamp.CALLER
CHANGES = (AUDITED, IDEMPOTENT)
ADDS = (AUDITED, IDEMPOTENT, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)
SUBMITS = (AUDITED, IDEMPOTENT, HOOKED, OWNED, STAMPED)
UPDATES = (AUDITED, IDEMPOTENT, REVIEWED, HOOKED, OWNED, STAMPED)
EDITS = (AUDITED, IDEMPOTENT, OWNED)
OWN_ITEMS = (Scope.WRITE_QUEUE_EDIT_OWN,)

SUBMITTERS = (*OWN_ITEMS, Scope.WRITE_PROPOSALS)
"""Who may ask what would be accepted, beside those who may add."""

# fmt: off
ENDPOINTS: tuple[Endpoint, ...] = (
    # Status
    Endpoint("GET", "/", None, "status", About, serve=about, reply=AboutReply,
             at_root=False),  # At the root, `http/docs.py` answers browsers with a page, and others with ping.
    Endpoint("GET", "/ping", Scope.READ_STATUS, "status", requests.Ping, serve=status, reply=replies.StatusReply),
    Endpoint("GET", "/status", Scope.READ_STATUS, "status", requests.Status, serve=status_or_wait,
             reply=replies.StatusReply),
    Endpoint("GET", "/config/get", Scope.READ_CONFIG, "config_get", requests.ConfigGet, serve=read,
             reply=replies.ConfigReply),
    # Queue
    Endpoint("GET", "/queue/get", Scope.READ_QUEUE, "queue_get", requests.QueueGet, serve=listed,
             reply=replies.QueueReply),
    Endpoint("POST", "/queue/autostart", Scope.WRITE_QUEUE_CONTROL, "queue_autostart", requests.QueueAutostart,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/mode/set", Scope.WRITE_QUEUE_CONTROL, "queue_mode_set", requests.QueueModeSet,
             serve=queue_mode_set, around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/clear", Scope.WRITE_QUEUE_EDIT, "queue_clear", requests.QueueClear,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/start", Scope.WRITE_QUEUE_CONTROL, "queue_start", requests.QueueStart,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/stop", Scope.WRITE_QUEUE_CONTROL, "queue_stop", requests.QueueStop,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/stop/cancel", Scope.WRITE_QUEUE_CONTROL, "queue_stop_cancel", requests.QueueStopCancel,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/queue/item/add", Scope.WRITE_QUEUE_EDIT, "queue_item_add", requests.QueueItemAdd, CALLER,
             serve=submit, any_scope=OWN_ITEMS, around=ADDS, reply=replies.AddReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/item/add/batch", Scope.WRITE_QUEUE_EDIT, "queue_item_add_batch",
             requests.QueueItemAddBatch, CALLER, serve=submit_batch, any_scope=OWN_ITEMS, around=ADDS,
             reply=replies.BatchReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/item/validate", Scope.WRITE_QUEUE_EDIT, "", requests.QueueItemValidate,
             serve=validate_item, any_scope=SUBMITTERS, reply=replies.VerdictReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/item/validate/batch", Scope.WRITE_QUEUE_EDIT, "", requests.QueueItemValidateBatch,
             serve=validate_batch, any_scope=SUBMITTERS, reply=replies.VerdictsReply, max_body_bytes=ANY_BODY),
    LinesEndpoint("POST", "/queue/item/add/stream", Scope.WRITE_QUEUE_EDIT, "queue_item_add_batch",
                  requests.QueueItemAddStream, serve_lines=add_lines, any_scope=OWN_ITEMS, around=(IDEMPOTENT,),
                  # Every batch of lines is a call of the row above.
                  inside=(AUDITED, REVIEWED, HOOKED, QUOTA, OWNED, STAMPED)),
    Endpoint("POST", "/queue/item/execute", Scope.WRITE_EXECUTE, "queue_item_execute", requests.QueueItemExecute,
             CALLER, around=SUBMITS, reply=replies.ItemSizeReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/item/update", Scope.WRITE_QUEUE_EDIT, "queue_item_update", requests.QueueItemUpdate,
             CALLER, any_scope=OWN_ITEMS, around=UPDATES, reply=replies.ItemSizeReply, max_body_bytes=ANY_BODY),
    Endpoint("GET", "/queue/item/get", Scope.READ_QUEUE, "queue_item_get", requests.QueueItemGet,
             serve=read, aliases=(("POST", "/queue/item/get"),), reply=replies.ItemReply),
    Endpoint("GET", "/queue/item/<uid>", Scope.READ_QUEUE, "queue_get", requests.QueueItemRead, serve=queue_item,
             reply=replies.QueueItemReply),
    Endpoint("POST", "/queue/item/remove", Scope.WRITE_QUEUE_EDIT, "queue_item_remove", requests.QueueItemRemove,
             any_scope=OWN_ITEMS, around=EDITS, reply=replies.ItemSizeReply),
    Endpoint("POST", "/queue/item/remove/batch", Scope.WRITE_QUEUE_EDIT, "queue_item_remove_batch",
             requests.QueueItemRemoveBatch, any_scope=OWN_ITEMS, around=EDITS, reply=replies.ItemsSizeReply,
             max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/item/move", Scope.WRITE_QUEUE_EDIT, "queue_item_move", requests.QueueItemMove,
             any_scope=OWN_ITEMS, around=EDITS, reply=replies.ItemSizeReply),
    Endpoint("POST", "/queue/item/move/batch", Scope.WRITE_QUEUE_EDIT, "queue_item_move_batch",
             requests.QueueItemMoveBatch, any_scope=OWN_ITEMS, around=EDITS, reply=replies.ItemsSizeReply,
             max_body_bytes=ANY_BODY),
    Endpoint("POST", "/queue/upload/spreadsheet", Scope.WRITE_QUEUE_EDIT, "queue_item_add_batch",
             requests.QueueUploadSpreadsheet, serve=upload_spreadsheet, any_scope=OWN_ITEMS, reads_form=True,
             around=CHANGES, inside=(REVIEWED, HOOKED, QUOTA, OWNED, STAMPED), reply=replies.SpreadsheetReply,
             max_body_bytes=ANY_BODY),
    # History
    Endpoint("GET", "/history/get", Scope.READ_HISTORY, "history_get", requests.HistoryGet, serve=listed,
             reply=replies.HistoryReply),
    Endpoint("POST", "/history/clear", Scope.WRITE_HISTORY_EDIT, "history_clear", requests.HistoryClear,
             around=CHANGES, reply=replies.Reply),
    # Items, wherever they are
    Endpoint("GET", "/item/<uid>", Scope.READ_QUEUE, "", requests.ItemGet, serve=item_state,
             any_scope=(Scope.READ_HISTORY, Scope.WRITE_PROPOSALS), reply=replies.ItemStateReply),
    Endpoint("GET", "/item/by-key/<key>", Scope.READ_QUEUE, "", requests.ItemByKey, serve=item_by_key,
             any_scope=(Scope.READ_HISTORY, *SUBMITTERS), reply=replies.ItemByKeyReply),
    Endpoint("GET", "/items", Scope.READ_QUEUE, "", requests.ItemsGet, serve=items,
             any_scope=(Scope.READ_HISTORY, *SUBMITTERS), reply=replies.ItemStatesReply),
    # Environment
    Endpoint("POST", "/environment/open", Scope.WRITE_MANAGER_CONTROL, "environment_open", requests.EnvironmentOpen,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/environment/close", Scope.WRITE_MANAGER_CONTROL, "environment_close",
             requests.EnvironmentClose, around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/environment/destroy", Scope.WRITE_MANAGER_CONTROL, "environment_destroy",
             requests.EnvironmentDestroy, around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/environment/update", Scope.WRITE_QUEUE_CONTROL, "environment_update",
             requests.EnvironmentUpdate, around=CHANGES, reply=replies.TaskReply),
    # Run Engine
    Endpoint("POST", "/re/pause", Scope.WRITE_PLAN_CONTROL, "re_pause", requests.RePause,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/re/resume", Scope.WRITE_PLAN_CONTROL, "re_resume", requests.ReResume,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/re/stop", Scope.WRITE_PLAN_CONTROL, "re_stop", requests.ReStop,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/re/abort", Scope.WRITE_PLAN_CONTROL, "re_abort", requests.ReAbort,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/re/halt", Scope.WRITE_PLAN_CONTROL, "re_halt", requests.ReHalt,
             aliases=(("POST", "/re_halt"),), around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/re/runs", Scope.READ_MONITOR, "re_runs", requests.ReRuns, serve=read, reply=replies.RunsReply),
    Endpoint("GET", "/re/runs/active", Scope.READ_MONITOR, "re_runs", requests.ReRunsFixed, serve=re_runs_fixed,
             reply=replies.RunsReply),
    Endpoint("GET", "/re/runs/open", Scope.READ_MONITOR, "re_runs", requests.ReRunsFixed, serve=re_runs_fixed,
             reply=replies.RunsReply),
    Endpoint("GET", "/re/runs/closed", Scope.READ_MONITOR, "re_runs", requests.ReRunsFixed, serve=re_runs_fixed,
             reply=replies.RunsReply),
    Endpoint("GET", "/re/metadata", Scope.READ_MONITOR, "re_metadata", requests.ReMetadata,
             serve=read, reply=replies.MetadataReply),
    # Plans and devices
    Endpoint("GET", "/plans/allowed", Scope.READ_RESOURCES, "plans_allowed", requests.PlansAllowed, Stamp.USER_GROUP,
             serve=plans, aliases=(("POST", "/plans/allowed"),), reply=replies.PlansAllowedReply),
    Endpoint("GET", "/plans/allowed/schema", Scope.READ_RESOURCES, "", requests.PlansAllowedSchema,
             serve=plan_schemas, reply=replies.PlanSchemasReply),
    Endpoint("GET", "/devices/allowed", Scope.READ_RESOURCES, "devices_allowed", requests.DevicesAllowed,
             Stamp.USER_GROUP, serve=read, aliases=(("POST", "/devices/allowed"),),
             reply=replies.DevicesAllowedReply),
    Endpoint("GET", "/plans/existing", Scope.READ_RESOURCES, "plans_existing", requests.PlansExisting, serve=plans,
             reply=replies.PlansExistingReply),
    Endpoint("GET", "/devices/existing", Scope.READ_RESOURCES, "devices_existing", requests.DevicesExisting,
             serve=read, reply=replies.DevicesExistingReply),
    # Permissions
    Endpoint("POST", "/permissions/reload", Scope.WRITE_CONFIG, "permissions_reload", requests.PermissionsReload,
             aliases=(("GET", "/permissions/reload"),), around=CHANGES, reply=replies.Reply),
    Endpoint("GET", "/permissions/get", Scope.READ_CONFIG, "permissions_get", requests.PermissionsGet,
             serve=read, reply=replies.PermissionsReply),
    Endpoint("POST", "/permissions/set", Scope.WRITE_PERMISSIONS, "permissions_set", requests.PermissionsSet,
             around=CHANGES, reply=replies.Reply, max_body_bytes=ANY_BODY),
    # Functions, scripts, tasks
    Endpoint("POST", "/function/execute", Scope.WRITE_EXECUTE, "function_execute", requests.FunctionExecute, CALLER,
             around=SUBMITS, reply=replies.FunctionReply, max_body_bytes=ANY_BODY),
    Endpoint("POST", "/script/upload", Scope.WRITE_SCRIPTS, "script_upload", requests.ScriptUpload,
             around=CHANGES, reply=replies.TaskReply, max_body_bytes=ANY_BODY),
    Endpoint("GET", "/task/status", Scope.READ_MONITOR, "task_status", requests.TaskStatus,
             serve=read, reply=replies.TaskStatusReply),
    Endpoint("GET", "/task/result", Scope.READ_MONITOR, "task_result", requests.TaskResult,
             serve=read, reply=replies.TaskResultReply),
    Endpoint("POST", "/kernel/interrupt", Scope.WRITE_QUEUE_CONTROL, "kernel_interrupt", requests.KernelInterrupt,
             around=CHANGES, reply=replies.Reply),
    # Lock
    Endpoint("POST", "/lock", Scope.WRITE_LOCK, "lock", requests.Lock, Stamp.USER, around=CHANGES,
             reply=replies.LockReply),
    Endpoint("POST", "/unlock", Scope.WRITE_LOCK, "unlock", requests.Unlock, around=CHANGES, reply=replies.LockReply),
    Endpoint("GET", "/lock/info", Scope.READ_LOCK, "lock_info", requests.LockInfo, serve=read,
             reply=replies.LockReply),
    # Manager
    Endpoint("POST", "/manager/stop", Scope.WRITE_MANAGER_STOP, "manager_stop", requests.ManagerStop,
             around=CHANGES, reply=replies.Reply),
    Endpoint("POST", "/test/manager/kill", Scope.WRITE_TESTING, "manager_kill", requests.ManagerKill,
             around=CHANGES, reply=replies.Reply),
    Endpoint("GET", "/test/server/sleep", Scope.READ_TESTING, "", requests.ServerSleep, serve=server_sleep,
             reply=replies.Reply),
    # Operation
    Endpoint("GET", "/metrics", Scope.ADMIN_METRICS, "", requests.Metrics, serve=metrics),
    Endpoint("GET", "/audit", Scope.ADMIN_AUDIT, "", AuditGet, serve=audit_get, reply=AuditReply, at_root=False),
    # Console
    Endpoint("GET", "/console_output", Scope.READ_CONSOLE, "", requests.ConsoleOutput, serve=console_output,
             reply=replies.ConsoleReply),
    Endpoint("GET", "/console_output/uid", Scope.READ_CONSOLE, "", requests.ConsoleOutputUid,
             serve=console_output_uid, reply=replies.ConsoleUidReply),
    Endpoint("GET", "/console_output_update", Scope.READ_CONSOLE, "", requests.ConsoleOutputUpdate,
             serve=console_output_update, reply=replies.ConsoleUpdateReply),
    # Proposals: see proposals/table
    *PROPOSAL_ENDPOINTS,
    # Logins, sessions, API keys: see auth_table
    *AUTH_ENDPOINTS,
)
# fmt: on

STREAMS: tuple[Stream, ...] = (
    Stream("/stream_console_output", Scope.READ_CONSOLE, console_messages),
    Stream("/console_output/ws", Scope.READ_CONSOLE, console_messages, is_websocket=True),
    Stream("/status/ws", Scope.READ_MONITOR, status_messages, is_websocket=True),
    Stream("/info/ws", Scope.READ_MONITOR, info_messages, is_websocket=True),
    Stream(
        "/events",
        Scope.READ_STATUS,
        events,
        requests.EventsWatch,
        is_websocket=True,
        also_serves_http=True,
        any_scope=ANY_SCOPE,
        narrowed=narrowed,
    ),
)
