// Questions and notices.
import { fill, h, newId } from "./dom.js";
import { T } from "./texts.js";

const notices = h("div", { class: "notices", role: "status", "aria-live": "polite" });
const alarms = h("div", { class: "notices", role: "alert" });
const said = h("div", { class: "away", role: "status", "aria-live": "polite" });

/** Put the places for notices on the page. @param {Element} page */
export function mountNotices(page) {
  page.append(h("div", { class: "notice-corner" }, alarms, notices), said);
}

/** Tell in passing. @param {string} text @param {"good"|"bad"} [kind] */
export function notify(text, kind = "good") {
  const close = h(
    "button",
    { type: "button", class: "plain", "aria-label": T.close, onclick: () => notice.remove() },
    "×",
  );
  const notice = h(
    "div",
    { class: `notice ${kind}` },
    h("span", { class: "mark", "aria-hidden": "true" }, kind === "bad" ? "!" : "✓"),
    h("span", { class: "notice-text" }, text),
    close,
  );
  (kind === "bad" ? alarms : notices).append(notice);
  setTimeout(() => notice.remove(), kind === "bad" ? 15_000 : 4_000);
}

/** Tell those who listen only. @param {string} text */
export function say(text) {
  fill(said, text);
}

/**
 * Ask with a dialog. Gives the values of its fields, or null when it was cancelled.
 * @param {{title: string, text?: string, verb: string, isDangerous?: boolean, fields?: any[], extra?: Node, wide?: boolean, noVerb?: boolean}} how
 *   each field: {name, label, type?, value?, required?, options?}
 * @returns {Promise<Record<string, any>|null>}
 */
export function question(how) {
  return new Promise((resolve) => {
    const title = newId("dialog");
    const inputs = (how.fields ?? []).map((field) => {
      const input =
        field.type === "textarea"
          ? h("textarea", { name: field.name, required: field.required, rows: 3, value: field.value ?? "" })
          : h("input", {
              name: field.name,
              type: field.type ?? "text",
              required: field.required,
              autocomplete: "off",
              value: field.value ?? "",
              checked: field.checked ?? false,
            });
      return { field, input };
    });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: title }, how.title),
      how.text ? h("p", { class: "ask" }, how.text) : null,
      how.extra ?? null,
      inputs.map(({ field, input }) =>
        h(
          "label",
          { class: field.type === "checkbox" ? "check" : "field" },
          field.type === "checkbox" ? [input, field.label] : [h("span", {}, field.label), input],
        ),
      ),
      h(
        "div",
        { class: "dialog-buttons" },
        h("button", { type: "button", onclick: () => dialog.close("") }, how.noVerb ? T.close : T.cancel),
        how.noVerb ? null : h("button", { type: "submit", class: how.isDangerous ? "danger" : "primary" }, how.verb),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": title, class: how.wide ? "wide" : "" }, form);
    form.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      dialog.close("done");
    });
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(
        inputs.map(({ field, input }) => [field.name, field.type === "checkbox" ? input.checked : input.value]),
      );
      dialog.remove();
      resolve(dialog.returnValue === "done" ? values : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Show something to read. @param {string} title @param {Node} extra */
export const show = (title, extra) => question({ title, extra, verb: "", noVerb: true, wide: true });
