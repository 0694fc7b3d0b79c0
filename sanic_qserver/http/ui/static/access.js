// The region "My access": who I am to the server, my keys and sessions.
import { attempt, reasonedButton } from "./actions.js";
import { ask } from "./api.js";
import { question, show } from "./dialogs.js";
import { Panel, fill, h, moment } from "./dom.js";
import { learnMe, may, on, state } from "./store.js";
import { T } from "./texts.js";

/** @param {string|null|undefined} iso */
const day = (iso) => (iso ? moment(Date.parse(iso) / 1000) : "—");

/** Names of columns; the last may have none. @param {string[]} names */
export const columns = (...names) =>
  h(
    "thead",
    {},
    h(
      "tr",
      {},
      names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td"))),
    ),
  );

/** A table whose rows end with a button that revokes. @param {any} head @param {any[][]} rows the cells @param {(at: number) => any} revoke @param {() => string} whyNot */
function revocable(head, rows, revoke, whyNot) {
  const buttons = rows.map((_, at) =>
    reasonedButton(T.revoke, whyNot, () => void revoke(at), { class: "small danger" }),
  );
  for (const button of buttons) button.update();
  const table = rows.map((cells, at) =>
    h(
      "tr",
      {},
      cells.map((cell) => h("td", {}, cell)),
      h("td", {}, buttons[at].holder),
    ),
  );
  return rows.length ? h("table", {}, head, h("tbody", {}, table)) : h("p", { class: "soft" }, T.none);
}

/** Somebody's API keys. @param {any[]} keys @param {(key: any) => any} revoke @param {() => string} whyNot */
export function keyTable(keys, revoke, whyNot) {
  const cells = keys.map((key) => [
    h("span", { class: "mono" }, key.first_eight),
    key.note ?? "",
    (key.scopes ?? []).join(", "),
    day(key.expiration_time),
  ]);
  const head = columns(T.keyBegins, T.note, T.scopes, T.ends, "");
  return revocable(head, cells, (at) => revoke(keys[at]), whyNot);
}

/** Somebody's sessions. @param {any[]} sessions @param {string|null} own the one in use @param {(session: any) => any} revoke @param {() => string} whyNot */
export function sessionTable(sessions, own, revoke, whyNot) {
  const cells = sessions.map((one) => [
    h("span", { class: "mono" }, one.uuid.slice(0, 8)),
    one.uuid === own ? T.thisSession : "",
    day(one.created_at),
    day(one.expiration_time),
  ]);
  const head = columns(T.sessionBegins, "", T.began, T.ends, "");
  return revocable(head, cells, (at) => revoke(sessions[at]), whyNot);
}

/** Make a key and show it. Gives whether one was made. @param {string} path @param {string} [whose] */
export async function makeKey(path, whose) {
  const told = await question({
    title: whose ? `${T.makeKey}: ${whose}` : T.makeKey,
    verb: T.makeKey,
    fields: [
      { name: "note", label: T.note },
      { name: "days", label: T.days, type: "number", value: "30", required: true },
      { name: "scopes", label: `${T.scopes} (${T.optional})` },
    ],
  });
  if (!told) return false;
  const scopes = told.scopes.split(/[\s,]+/).filter(Boolean);
  const body = {
    expires_in: Number(told.days) * 86_400,
    note: told.note || null,
    scopes: scopes.length ? scopes : null,
  };
  const made = await attempt(T.makeKey, () => ask("POST", path, body));
  if (!made) return false;
  await show(T.secretOnce, h("pre", { tabindex: "0" }, made.secret));
  return true;
}

class AccessPanel extends Panel {
  label = T.access;
  build() {
    const body = h("div", { class: "body" });
    this.append(body);
    on("me", () => {
      const { me } = state;
      fill(
        body,
        h("p", {}, h("strong", {}, me.label)),
        h("h3", {}, T.roles),
        h("p", {}, me.roles.join(", ") || "—"),
        h("h3", {}, T.scopes),
        h(
          "div",
          { class: "chips" },
          [...me.scopes].sort().map((scope) => h("span", { class: "chip mono" }, scope)),
        ),
        me.info ? this.own(me.info) : h("p", { class: "soft" }, T.noAccount),
      );
    });
  }

  /** @param {any} info */
  own(info) {
    const change = async (/** @type {string} */ path) => {
      if (await attempt(T.revoke, () => ask("DELETE", path))) await learnMe();
    };
    const mayNot = () => (may("user:apikeys") ? "" : T.missing(["user:apikeys"]));
    const make = reasonedButton(T.makeKey, mayNot, async () => {
      if (await makeKey("auth/apikey")) await learnMe();
    });
    make.update();
    return [
      h("h3", {}, T.keys),
      keyTable(
        info.api_keys,
        (key) => change(`auth/apikey?first_eight=${encodeURIComponent(key.first_eight)}`),
        mayNot,
      ),
      h("div", { class: "buttons" }, make.holder),
      h("h3", {}, T.sessions),
      sessionTable(
        info.sessions,
        info.session,
        (one) => change(`auth/session/revoke/${encodeURIComponent(one.uuid)}`),
        () => "",
      ),
    ];
  }
}
customElements.define("qs-access", AccessPanel);
