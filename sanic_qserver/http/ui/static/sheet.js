// Plans from a spreadsheet: seen first, row by row, then added.
import { attempt, reasonedButton } from "./actions.js";
import { ApiError, ask, secrets } from "./api.js";
import { fill, h, newId } from "./dom.js";
import { describe, readable } from "./items.js";
import { may, on } from "./store.js";
import { T } from "./texts.js";

const EDITORS = ["write:queue:edit", "write:queue:edit:own"];

export function sheetForm() {
  /** @type {File|null} */
  let file = null;
  let isGood = false;
  const id = newId("sheet");
  const input = h("input", { type: "file", id, accept: ".xlsx,.xls,.ods,.csv,.tsv" });
  const drop = h("div", { class: "drop" }, h("label", { for: id }, T.dropHere), input);
  const preview = h("div", { class: "scroll", role: "status", "aria-label": T.sheet });
  const add = reasonedButton(
    T.addRows,
    () => (may(...EDITORS) ? (isGood ? "" : T.dropHere) : T.missing(EDITORS)),
    () => void send(),
    { class: "primary" },
  );

  /** @param {File} sheet @param {boolean} isDry */
  const upload = (sheet, isDry) => {
    const form = new FormData();
    form.append("spreadsheet", sheet);
    form.append("dry_run", String(isDry));
    if (secrets.lockKey) form.append("lock_key", secrets.lockKey);
    return ask("POST", "queue/upload/spreadsheet", form);
  };

  /** @param {File|undefined} sheet */
  const look = async (sheet) => {
    if (!sheet) return;
    file = sheet;
    isGood = false;
    fill(preview, T.checking);
    try {
      const reply = await upload(sheet, true);
      isGood = reply.success;
      draw(reply);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(preview, h("p", { class: "verdict bad" }, error.message || T.offline));
    }
    add.update();
  };

  /** @param {any} reply */
  const draw = (reply) => {
    const rows = reply.rows ?? [];
    fill(
      preview,
      h("p", { class: `verdict ${reply.success ? "good" : "bad"}` }, readable(reply.msg)),
      rows.length
        ? h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                [T.row, T.plan, T.arguments, T.verdict].map((name) => h("th", { scope: "col" }, name)),
              ),
            ),
            h(
              "tbody",
              {},
              rows
                .slice(0, 1000)
                .map((/** @type {any} */ row, /** @type {number} */ at) =>
                  h(
                    "tr",
                    { class: row.success ? "" : "bad" },
                    h("td", {}, row.row ?? row.number),
                    h("td", {}, reply.items?.[at]?.name ?? ""),
                    h("td", { class: "mono" }, describe(reply.items?.[at])),
                    h("td", {}, row.success ? T.ok : `✕ ${readable(row.msg)}`),
                  ),
                ),
            ),
          )
        : null,
    );
  };

  const send = async () => {
    if (!file) return;
    const sheet = file;
    const reply = await attempt(T.addRows, () => upload(sheet, false));
    if (!reply) return;
    isGood = false;
    file = null;
    input.value = "";
    draw(reply);
    add.update();
  };

  input.addEventListener("change", () => void look(input.files?.[0]));
  drop.addEventListener("dragover", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    drop.classList.remove("over");
    void look(event.dataTransfer?.files[0]);
  });
  on("me", add.update);
  return [drop, preview, h("div", { class: "buttons" }, add.holder)];
}
