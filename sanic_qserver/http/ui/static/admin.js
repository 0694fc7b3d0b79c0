// The region Admin: the audit trail, and who is known to the server.
import { columns, keyTable, makeKey, sessionTable } from "./access.js";
import { attempt, reasonedButton } from "./actions.js";
import { ask, get } from "./api.js";
import { question } from "./dialogs.js";
import { Panel, fill, h, moment, setText } from "./dom.js";
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
    h(
      "div",
      { class: "buttons" },
      user,
      outcome,
      h("button", { type: "button", onclick: () => void load(0) }, T.loadAudit),
    ),
    h(
      "div",
      { class: "scroll" },
      h("table", {}, columns(T.time, T.user, T.call, T.outcome, T.details, T.address), rows),
    ),
    more,
  ];
}

const PEOPLE_PAGE = 200;

function people() {
  const list = h("div");
  const count = h("span", { class: "soft", role: "status" });
  const more = h(
    "button",
    { type: "button", class: "small", hidden: true, onclick: () => void load(all.length) },
    T.morePeople,
  );
  const words = h("input", {
    type: "search",
    placeholder: T.filter,
    "aria-label": `${T.filter} ${T.principals.toLowerCase()}`,
    oninput: () => draw(),
  });
  const mayNot = () => (may("admin:apikeys") ? "" : T.missing(["admin:apikeys"]));
  const add = reasonedButton(T.addProgram, mayNot, () => void addProgram());
  add.update();
  /** @type {any[]} */
  let all = [];

  /** @param {number} offset */
  const load = async (offset) => {
    const query = `auth/principal?offset=${offset}&limit=${PEOPLE_PAGE}`;
    const found = await attempt(T.principals, () => get(query), { quiet: true });
    if (!found) return;
    all = [...all.slice(0, offset), ...found];
    more.hidden = found.length < PEOPLE_PAGE;
    draw();
  };

  const draw = () => {
    const wanted = words.value.trim().toLowerCase();
    const shown = all.filter((one) => `${nameOf(one)} ${(one.roles ?? []).join(" ")}`.toLowerCase().includes(wanted));
    setText(count, `${shown.length} / ${all.length}`);
    fill(
      list,
      shown.map((one) => person(one, mayNot, () => void reload(one.uuid))),
    );
  };

  /** Somebody as they are now; the others stay as they were. @param {string} uuid */
  const reload = async (uuid) => {
    const now = await attempt(T.principals, () => get(`auth/principal/${encodeURIComponent(uuid)}`), { quiet: true });
    if (!now) return;
    all = all.map((one) => (one.uuid === uuid ? { ...now, isOpen: true } : one));
    draw();
  };

  const addProgram = async () => {
    const told = await question({
      title: T.addProgram,
      verb: T.addProgram,
      fields: [
        { name: "name", label: T.programName, required: true },
        { name: "note", label: T.note },
      ],
    });
    if (!told) return;
    const made = await attempt(T.addProgram, () => ask("POST", "auth/principal", { name: told.name, note: told.note }));
    if (!made) return;
    all = [made, ...all];
    await reload(made.uuid);
  };

  void load(0);
  return [
    h("h3", {}, T.principals),
    h(
      "div",
      { class: "buttons" },
      words,
      h("button", { type: "button", onclick: () => void load(0) }, T.loadPeople),
      add.holder,
      count,
    ),
    list,
    more,
  ];
}

/** @param {any} one */
const nameOf = (one) =>
  one.identities.map((/** @type {any} */ id) => `${id.provider}: ${id.id}`).join(", ") || one.uuid;

/** Somebody, with keys and sessions. @param {any} one @param {() => string} mayNot @param {() => void} changed */
function person(one, mayNot, changed) {
  const path = `auth/principal/${encodeURIComponent(one.uuid)}`;
  const name = nameOf(one);
  /** @param {string} what @param {string} inner */
  const revoke = async (what, inner) => {
    const told = await question({
      title: `${T.revoke}?`,
      text: T.askRevoke(what, name),
      verb: T.revoke,
      isDangerous: true,
    });
    if (told && (await attempt(T.revoke, () => ask("DELETE", `${path}/${inner}`)))) changed();
  };
  const make = reasonedButton(T.makeKey, mayNot, async () => {
    if (await makeKey(`${path}/apikey`, name)) changed();
  });
  make.update();
  const box = h(
    "details",
    { class: "person", open: Boolean(one.isOpen) },
    h(
      "summary",
      {},
      h("span", { class: "name" }, name),
      h(
        "span",
        { class: "soft" },
        ` ${one.type} · ${(one.roles ?? []).join(", ") || "—"} · ${T.holds(one.api_keys.length, one.sessions.length)}`,
      ),
    ),
    h(
      "div",
      { class: "inner" },
      h("h4", {}, T.keys),
      keyTable(
        one.api_keys,
        (key) => revoke(`${T.apiKey} ${key.first_eight}`, `apikey?first_eight=${encodeURIComponent(key.first_eight)}`),
        mayNot,
      ),
      h("div", { class: "buttons" }, make.holder),
      h("h4", {}, T.sessions),
      sessionTable(
        one.sessions,
        one.session,
        (it) => revoke(`${T.session} ${it.uuid.slice(0, 8)}`, `session/${encodeURIComponent(it.uuid)}`),
        mayNot,
      ),
    ),
  );
  box.addEventListener("toggle", () => {
    one.isOpen = box.open;
  });
  return box;
}
