// The region Admin: the audit trail, and who is known to the server.
import { attempt } from "./actions.js";
import { get } from "./api.js";
import { Panel, fill, h, moment } from "./dom.js";
import { may, on } from "./store.js";
import { T } from "./texts.js";

class AdminPanel extends Panel {
  label = T.admin;
  build() {
    const body = h("div", { class: "body" });
    this.append(body);
    let drawn = "";
    on("me", () => {
      const rights = [may("admin:audit"), may("admin:read:principals")].join();
      if (rights === drawn) return;
      drawn = rights;
      fill(body, may("admin:audit") ? audit() : null, may("admin:read:principals") ? people() : null);
    });
  }
}
customElements.define("qs-admin", AdminPanel);

function audit() {
  const user = h("input", { type: "search", placeholder: T.user, "aria-label": T.user });
  const outcome = h(
    "select",
    { "aria-label": T.outcome },
    ["", "done", "refused", "denied", "failed", "unknown"].map((name) =>
      h("option", { value: name }, name || T.anyStatus),
    ),
  );
  const rows = h("tbody");
  const more = h("button", { type: "button", class: "small", hidden: true, onclick: () => void load(next) }, T.more);
  let next = 0;
  /** @param {number} before */
  const load = async (before) => {
    const query = new URLSearchParams({ limit: "100" });
    if (user.value) query.set("user", user.value);
    if (outcome.value) query.set("outcome", outcome.value);
    if (before) query.set("before_id", String(before));
    const reply = await attempt(T.audit, () => get(`audit?${query}`), { quiet: true });
    if (!reply) return;
    if (!before) fill(rows);
    next = reply.next_before_id ?? 0;
    more.hidden = !next;
    rows.append(
      ...reply.entries.map((/** @type {any} */ one) =>
        h(
          "tr",
          { class: one.outcome === "done" ? "" : "bad" },
          [moment(one.at), one.user ?? "", one.endpoint, one.outcome, one.detail ?? "", one.address ?? ""].map((text) =>
            h("td", {}, text),
          ),
        ),
      ),
    );
  };
  return [
    h("h3", {}, T.audit),
    h("div", { class: "buttons" }, user, outcome, h("button", { type: "button", onclick: () => void load(0) }, T.load)),
    h("div", { class: "scroll" }, h("table", {}, rows)),
    more,
  ];
}

function people() {
  const rows = h("tbody");
  const load = async () => {
    const reply = await attempt(T.principals, () => get("auth/principal?limit=1000"), { quiet: true });
    if (!reply) return;
    fill(
      rows,
      reply.map((/** @type {any} */ one) =>
        h(
          "tr",
          {},
          h("td", {}, one.identities.map((/** @type {any} */ id) => `${id.provider}: ${id.id}`).join(", ")),
          h("td", {}, one.type),
          h("td", {}, (one.roles ?? []).join(", ")),
          h("td", {}, one.api_keys.map((/** @type {any} */ key) => key.first_eight).join(", ")),
          h("td", {}, `${one.sessions.length} ${T.sessions.toLowerCase()}`),
        ),
      ),
    );
  };
  return [
    h("h3", {}, T.principals),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => void load() }, `${T.load} `)),
    h("div", { class: "scroll" }, h("table", {}, rows)),
  ];
}
