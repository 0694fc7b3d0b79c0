// The region "Add a plan": form, JSON, spreadsheet; checked by RE Manager while one types.
import { attempt, reasonedButton } from "./actions.js";
import { ApiError, post } from "./api.js";
import { notify } from "./dialogs.js";
import { Panel, fill, h, setText } from "./dom.js";
import { planForm } from "./fields.js";
import { plain, readable } from "./items.js";
import { selectedUids } from "./queue.js";
import { sheetForm } from "./sheet.js";
import { may, on, state } from "./store.js";
import { suggest } from "./suggest.js";
import { T } from "./texts.js";

const EDITORS = ["write:queue:edit", "write:queue:edit:own"];
const JUDGES = [...EDITORS, "write:proposals"];
const INSTRUCTIONS = { queue_stop: T.queueStop };

class AddPanel extends Panel {
  label = T.add;
  /** @type {any} */ form = null;
  /** @type {string} */ name = "";
  /** @type {any} */ edited = null;
  /** @type {any} */ original = null;
  /** @type {any} */ late = null;
  /** @type {Record<string, any>} */ pages = {};
  tab = "form";
  verdict = { kind: "", text: "" };
  checks = 0;

  build() {
    this.plan = h("input", { type: "text", "aria-label": T.plan, placeholder: T.planHelp });
    const helper = suggest(this.plan, {
      candidates: () => this.candidates(),
      pick: () => this.choose(this.plan.value),
      label: T.plans,
      count: T.matches,
      stays: true,
    });
    helper.list.classList.add("plan-list");
    this.plan.addEventListener("input", () => this.choose(this.plan.value));
    this.params = h("div", { class: "plan-form" });
    this.json = h("textarea", { rows: 12, "aria-label": T.itemJson, spellcheck: "false" });
    this.json.addEventListener("input", () => this.changed());
    this.verdictBox = h("div", {
      class: "verdict",
      role: "status",
      "aria-live": "polite",
      "aria-label": T.verdict,
      tabindex: "0",
      hidden: true,
    });
    this.editNote = h("p", { class: "hint", role: "status" });
    this.pages = {
      form: h(
        "div",
        { role: "tabpanel", "aria-label": T.form },
        h("div", { class: "search-line" }, h("span", { class: "soft", "aria-hidden": "true" }, T.plan), this.plan),
        helper.list,
        helper.told,
        this.params,
      ),
      json: h("div", { role: "tabpanel", "aria-label": T.json }, this.json),
      sheet: h("div", { role: "tabpanel", "aria-label": T.sheet }, sheetForm()),
    };
    this.tools.append(this.tabs());
    this.place = h(
      "select",
      { "aria-label": T.place },
      h("option", { value: "back" }, T.atBack),
      h("option", { value: "front" }, T.atFront),
      h("option", { value: "before" }, T.beforeSelected),
    );
    this.submit = h("div", { class: "submit" });
    this.append(h("div", { class: "body" }, this.editNote, Object.values(this.pages), this.verdictBox), this.submit);
    this.drawSubmit();
    this.showTab("form");
    on("plans", () => {
      if (state.plans && this.late && this.json.value === JSON.stringify(this.late, null, 2)) this.write(this.late);
      if (state.plans) this.late = null;
      const schema = state.plans?.[this.name];
      if (schema && this.form && JSON.stringify(schema) !== this.schemaText) this.rebuild();
      else if (!this.form && this.plan.value) this.choose(this.plan.value);
    });
  }

  tabs() {
    const names = { form: T.form, json: T.json, sheet: T.sheet };
    const list = h(
      "div",
      { class: "tabs", role: "tablist", "aria-label": T.add },
      Object.entries(names).map(([name, label]) =>
        h(
          "button",
          { type: "button", role: "tab", class: "small", "data-tab": name, onclick: () => this.showTab(name) },
          label,
        ),
      ),
    );
    list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const all = [...list.children];
      const next = /** @type {HTMLElement} */ (
        all[(all.findIndex((one) => one === document.activeElement) + step + all.length) % all.length]
      );
      next.focus();
      this.showTab(next.dataset.tab ?? "form");
    });
    this.tabList = list;
    return list;
  }

  /** @param {string} name */
  showTab(name) {
    if (name === "json" && this.tab === "form")
      this.json.value = JSON.stringify(
        this.current() ?? { item_type: "plan", name: "", args: [], kwargs: {} },
        null,
        2,
      );
    if (name === "form" && this.tab === "json") this.fromJson();
    this.tab = name;
    for (const button of this.tabList.children) {
      button.setAttribute("aria-selected", String(button.dataset.tab === name));
      button.tabIndex = button.dataset.tab === name ? 0 : -1;
    }
    for (const [one, page] of Object.entries(this.pages)) page.hidden = one !== name;
    this.submit.hidden = name === "sheet";
    this.changed();
  }

  fromJson() {
    let item;
    try {
      item = JSON.parse(this.json.value);
    } catch {
      return;
    }
    if (item?.name) this.write(item);
  }

  candidates() {
    const about = (/** @type {string} */ text) => text.split("\n")[0];
    return [
      ...Object.entries(state.plans ?? {}).map(([value, schema]) => ({
        value,
        hint: about(String(schema.description ?? "")),
      })),
      ...Object.keys(INSTRUCTIONS).map((value) => ({ value, hint: T.instruction })),
    ];
  }

  /** @param {string} typedName */
  choose(typedName) {
    const name = typedName.trim();
    if (name === this.name) return;
    const isInstruction = name in INSTRUCTIONS;
    const schema = state.plans?.[name];
    if (!schema && !isInstruction) {
      this.name = "";
      this.form = null;
      fill(this.params);
      return this.changed();
    }
    this.name = name;
    this.original = this.edited ? this.original : null;
    this.rebuild();
  }

  rebuild() {
    const schema = state.plans?.[this.name];
    if (!schema) {
      this.form = null;
      fill(this.params, h("p", { class: "about" }, T.queueStop));
    } else {
      const before = this.form?.name === this.name ? this.form.item() : null;
      this.schemaText = JSON.stringify(schema);
      this.form = { ...planForm(this.name, schema, () => this.changed()), name: this.name };
      if (before) this.form.write(before);
      fill(this.params, this.form.element);
    }
    this.changed();
  }

  /** The item as it stands, or null. */
  current() {
    if (this.tab === "json") {
      try {
        const item = JSON.parse(this.json.value);
        return item && typeof item === "object" && !Array.isArray(item) ? item : null;
      } catch {
        return null;
      }
    }
    if (this.name in INSTRUCTIONS) return { item_type: "instruction", name: this.name };
    if (!this.form) return null;
    const item = this.form.item();
    if (this.original?.meta && this.original.name === item.name) item.meta = this.original.meta;
    return item;
  }

  /** Why it cannot be sent yet, or "". */
  lacking() {
    if (this.tab === "json") return this.current() ? "" : `${T.badJson}${this.json.value.slice(0, 40)}`;
    if (!this.name) return T.planHelp;
    const missing = this.form?.missing() ?? [];
    return missing.length ? T.fillRequired + missing.join(", ") : "";
  }

  changed() {
    clearTimeout(this.timer);
    this.checks += 1;
    const check = this.checks;
    this.updateButtons?.();
    if (this.tab === "sheet" || (this.tab === "form" && !this.name)) return this.tell("", "");
    const lacking = this.lacking();
    if (lacking) return this.tell("wait", lacking);
    if (!may(...JUDGES)) return this.tell("", "");
    this.timer = setTimeout(async () => {
      if (this.verdict.kind !== "bad") this.tell("wait", T.checking);
      const item = this.current();
      let verdict;
      try {
        const reply = await post("queue/item/validate", { item: this.named(item) });
        verdict = reply.success
          ? { kind: reply.valid ? "good" : "bad", text: reply.valid ? T.isValid : readable(reply.msg) }
          : { kind: "wait", text: reply.msg };
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        verdict = {
          kind: "wait",
          text: `${T.noVerdict}. ${error.status === 404 || error.status === 405 ? "" : error.message}`,
        };
      }
      if (check === this.checks) this.tell(verdict.kind, verdict.text);
    }, 300);
  }

  /** @param {any} item */
  named(item) {
    return this.edited ? { ...plain(item) } : item;
  }

  /** @param {string} kind @param {string} text */
  tell(kind, text) {
    this.verdict = { kind, text };
    this.verdictBox.className = `verdict ${kind}`;
    this.verdictBox.hidden = !text;
    setText(this.verdictBox, text);
  }

  drawSubmit() {
    const mayNot = (/** @type {string[]} */ scopes) => (may(...scopes) ? "" : T.missing(scopes));
    const add = reasonedButton(
      T.addToQueue,
      () => mayNot(EDITORS) || this.lacking(),
      () => this.add(),
      { class: "primary" },
    );
    const propose = reasonedButton(
      T.propose,
      () => mayNot(["write:proposals"]) || this.lacking(),
      () => this.propose(),
    );
    const run = reasonedButton(
      T.executeNow,
      () =>
        mayNot(["write:execute"]) ||
        (state.status?.worker_environment_exists ? "" : T.envIsClosed) ||
        (state.status?.manager_state === "idle" ? "" : T.busy(state.status?.manager_state ?? "")) ||
        this.lacking(),
      () => this.execute(),
    );
    const save = reasonedButton(
      T.saveChanges,
      () => mayNot(EDITORS) || this.lacking(),
      () => this.save(),
      { class: "primary" },
    );
    const stop = h("button", { type: "button", onclick: () => this.stopEditing() }, T.cancel);
    this.submit.append(add.holder, save.holder, stop, this.place, run.holder, propose.holder);
    this.updateButtons = () => {
      const isEditing = Boolean(this.edited);
      save.holder.hidden = stop.hidden = !isEditing;
      add.holder.hidden = run.holder.hidden = this.place.hidden = isEditing;
      propose.holder.hidden = isEditing || (may(...EDITORS) && !may("write:proposals"));
      for (const one of [add, propose, run, save]) one.update();
    };
    on("me status", this.updateButtons);
  }

  where() {
    const [first] = selectedUids();
    if (this.place.value === "before" && first) return { before_uid: first };
    return this.place.value === "front" ? { pos: "front" } : {};
  }

  async add() {
    const item = this.current();
    const reply = await attempt(
      T.addToQueue,
      () => post("queue/item/add", { item: this.named(item), ...this.where() }),
      { quiet: true },
    );
    if (reply) notify(T.added(item.name));
  }

  async propose() {
    const item = this.current();
    await attempt(T.propose, () => post("proposals", { items: [item], title: item.name }));
  }

  async execute() {
    const item = this.current();
    await attempt(T.executeNow, () => post("queue/item/execute", { item }));
  }

  async save() {
    const item = { ...this.edited, ...this.current(), item_uid: this.edited.item_uid };
    const reply = await attempt(T.saveChanges, () => post("queue/item/update", { item }));
    if (reply) this.stopEditing();
  }

  stopEditing() {
    this.edited = null;
    setText(this.editNote, "");
    this.changed();
  }

  /** Change an item of the queue. @param {any} item */
  edit(item) {
    this.edited = item;
    this.write(plain(item));
    setText(this.editNote, T.editing(item.name));
    this.scrollIntoView({ block: "nearest" });
    (this.tab === "form" ? (this.form?.fields[0]?.input ?? this.plan) : this.json).focus();
  }

  /** @param {any} item */
  write(item) {
    this.original = item;
    this.plan.value = item.name;
    this.name = "";
    this.form = null;
    this.choose(item.name);
    const fits = item.item_type === "instruction" ? item.name in INSTRUCTIONS : this.form?.write(item);
    this.json.value = JSON.stringify(item, null, 2);
    this.late = state.plans ? null : item; // Its form cannot be known before the plans are.
    this.tab = fits ? "form" : "json";
    const to = this.tab;
    this.tab = "";
    this.showTab(to);
  }
}
customElements.define("qs-add", AddPanel);

/** @param {any} item */
export function editItem(item) {
  /** @type {any} */ (document.querySelector("qs-add"))?.edit(item);
}
