// The region "My access": who I am to the server, my keys and sessions.
import { attempt } from "./actions.js";
import { ask } from "./api.js";
import { question, show } from "./dialogs.js";
import { Panel, fill, h, moment } from "./dom.js";
import { learnMe, may, on, state } from "./store.js";
import { T } from "./texts.js";

/** @param {string|null|undefined} iso */
const day = (iso) => (iso ? moment(Date.parse(iso) / 1000) : "—");

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
        me.info ? [this.keys(me.info), this.sessions(me.info)] : h("p", { class: "soft" }, T.noAccount),
      );
    });
  }

  /** @param {any} info */
  keys(info) {
    const rows = info.api_keys.map((/** @type {any} */ key) =>
      h(
        "tr",
        {},
        h("td", { class: "mono" }, key.first_eight),
        h("td", {}, key.note ?? ""),
        h("td", {}, (key.scopes ?? []).join(", ")),
        h("td", {}, day(key.expiration_time)),
        h(
          "td",
          {},
          h(
            "button",
            {
              type: "button",
              class: "small danger",
              onclick: () =>
                void this.change(T.revoke, () =>
                  ask("DELETE", `auth/apikey?first_eight=${encodeURIComponent(key.first_eight)}`),
                ),
            },
            T.revoke,
          ),
        ),
      ),
    );
    return [
      h("h3", {}, T.keys),
      rows.length ? h("table", {}, h("tbody", {}, rows)) : null,
      may("user:apikeys")
        ? h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => void this.makeKey() }, T.makeKey))
        : null,
    ];
  }

  /** @param {any} info */
  sessions(info) {
    if (!info.sessions.length) return null;
    return [
      h("h3", {}, T.sessions),
      h(
        "table",
        {},
        h(
          "tbody",
          {},
          info.sessions.map((/** @type {any} */ one) =>
            h(
              "tr",
              {},
              h("td", { class: "mono" }, one.uuid.slice(0, 8)),
              h("td", {}, day(one.created_at)),
              h("td", {}, day(one.expiration_time)),
              h(
                "td",
                {},
                h(
                  "button",
                  {
                    type: "button",
                    class: "small danger",
                    onclick: () =>
                      void this.change(T.revoke, () =>
                        ask("DELETE", `auth/session/revoke/${encodeURIComponent(one.uuid)}`),
                      ),
                  },
                  T.revoke,
                ),
              ),
            ),
          ),
        ),
      ),
    ];
  }

  /** @param {string} what @param {() => Promise<any>} run */
  async change(what, run) {
    if (await attempt(what, run)) await learnMe();
  }

  async makeKey() {
    const told = await question({
      title: T.makeKey,
      verb: T.makeKey,
      fields: [
        { name: "note", label: T.note },
        { name: "days", label: T.days, type: "number", value: "30", required: true },
        { name: "scopes", label: `${T.scopes} (${T.optional})` },
      ],
    });
    if (!told) return;
    const scopes = told.scopes.split(/[\s,]+/).filter(Boolean);
    const made = await attempt(T.makeKey, () =>
      ask("POST", "auth/apikey", {
        expires_in: Number(told.days) * 86_400,
        note: told.note || null,
        scopes: scopes.length ? scopes : null,
      }),
    );
    if (!made) return;
    await show(T.secretOnce, h("pre", { tabindex: "0" }, made.secret));
    await learnMe();
  }
}
customElements.define("qs-access", AccessPanel);
