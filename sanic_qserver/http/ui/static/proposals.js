// The region Proposals: what others ask for, and the decision on the version that one sees.
import { attempt, reasonedButton } from "./actions.js";
import { ask, get } from "./api.js";
import { question, show } from "./dialogs.js";
import { Panel, fill, h, moment, setText } from "./dom.js";
import { describe } from "./items.js";
import { may, on, state } from "./store.js";
import { T } from "./texts.js";

const DECIDE = ["write:proposals:decide", "write:queue:edit"];

class ProposalsPanel extends Panel {
  label = T.proposals;
  isAll = false;

  build() {
    this.badge = h("span", { class: "badge", hidden: true });
    const all = h("input", {
      type: "checkbox",
      onchange: () => {
        this.isAll = all.checked;
        this.update();
      },
    });
    this.tools.append(
      this.badge,
      h("span", { class: "filler" }),
      h("label", { class: "check inline soft" }, all, T.showAll),
    );
    this.list = h("div", { class: "list" });
    this.append(this.list);
    on("proposals me", () => this.update());
  }

  update() {
    const open = state.proposals.filter((one) => one.state === "open" || one.state === "approving");
    this.badge.hidden = !open.length;
    setText(this.badge, T.waiting(open.length));
    const shown = this.isAll ? state.proposals : open;
    const mayNot = !may("write:proposals", ...DECIDE);
    fill(
      this.list,
      shown.length
        ? shown.map((one) => this.proposal(one))
        : h("p", { class: "empty" }, mayNot ? T.missing(["write:proposals"]) : T.noProposals),
    );
  }

  /** @param {any} one */
  proposal(one) {
    const isOpen = one.state === "open";
    const isOwn = state.me.names.has(String(one.proposer).toLowerCase());
    const small = { class: "small" };
    const mayNot = () => (may(...DECIDE) ? "" : T.missing(["write:proposals:decide"]));
    const buttons = [
      isOpen && reasonedButton(T.approve, mayNot, () => void this.approve(one), { class: "small primary" }),
      isOpen && reasonedButton(T.deny, mayNot, () => void this.deny(one), { class: "small danger" }),
      isOpen &&
        isOwn &&
        reasonedButton(
          T.withdraw,
          () => "",
          () => void attempt(T.withdraw, () => ask("POST", `proposals/${one.id}/withdraw`, {})),
          small,
        ),
      reasonedButton(
        T.comment,
        () => "",
        () => void this.comment(one),
        small,
      ),
      reasonedButton(
        T.details,
        () => "",
        () => void this.details(one),
        small,
      ),
    ].filter((button) => button !== false);
    for (const button of buttons) button.update();
    return h(
      "article",
      { class: "proposal", "aria-label": one.title || one.id },
      h(
        "div",
        { class: "line" },
        h("strong", {}, one.title || one.items[0]?.name || one.id),
        h(
          "span",
          { class: "soft" },
          `${one.proposer} · ${moment(one.created_at)} · version ${one.version} · ${one.state}`,
        ),
      ),
      one.note ? h("p", {}, one.note) : null,
      one.reason ? h("p", { class: "soft" }, `${T.reason}: ${one.reason}`) : null,
      h(
        "ol",
        {},
        one.items
          .slice(0, 5)
          .map((/** @type {any} */ item, /** @type {number} */ at) =>
            h(
              "li",
              {},
              h("span", { class: "name" }, item.name, " "),
              h("span", { class: "args" }, describe(item)),
              one.verdicts?.[at]?.valid === false ? h("div", { class: "verdict bad" }, one.verdicts[at].msg) : null,
            ),
          ),
      ),
      one.items.length > 5 ? h("p", { class: "soft" }, `… ${T.items(one.items.length)}`) : null,
      h(
        "div",
        { class: "buttons" },
        buttons.map((button) => button.holder),
      ),
    );
  }

  /** @param {any} one */
  approve(one) {
    return attempt(T.approve, () =>
      ask("POST", `proposals/${one.id}/approve`, {}, { headers: { "If-Match": `"${one.version}"` } }),
    );
  }

  /** @param {any} one */
  async deny(one) {
    const told = await question({
      title: `${T.deny}: ${one.title || one.id}`,
      verb: T.deny,
      isDangerous: true,
      fields: [{ name: "reason", label: T.reason, required: true }],
    });
    if (told)
      await attempt(T.deny, () =>
        ask(
          "POST",
          `proposals/${one.id}/deny`,
          { reason: told.reason },
          { headers: { "If-Match": `"${one.version}"` } },
        ),
      );
  }

  /** @param {any} one */
  async comment(one) {
    const told = await question({
      title: `${T.comment}: ${one.title || one.id}`,
      verb: T.comment,
      fields: [{ name: "text", label: T.comment, type: "textarea", required: true }],
    });
    if (told) await attempt(T.comment, () => ask("POST", `proposals/${one.id}/comment`, { text: told.text }));
  }

  /** @param {any} one */
  async details(one) {
    const reply = await attempt(T.details, () => get(`proposals/${one.id}`), { quiet: true });
    if (!reply) return;
    const { versions = [], comments = [], items } = reply.proposal;
    await show(
      one.title || one.id,
      h(
        "div",
        {},
        comments.map((/** @type {any} */ said) =>
          h("p", {}, h("strong", {}, said.by), ` ${moment(said.at)}: ${said.text}`),
        ),
        versions
          .filter((/** @type {any} */ old) => old.version < one.version)
          .map((/** @type {any} */ old) => [h("h3", {}, `${T.changes} ${old.version}`), difference(old.items, items)]),
        h("pre", { tabindex: "0" }, JSON.stringify(items, null, 2)),
      ),
    );
  }
}
customElements.define("qs-proposals", ProposalsPanel);

/** Lines that went and lines that came. @param {any[]} before @param {any[]} after */
export function difference(before, after) {
  const lines = (/** @type {any[]} */ items) => JSON.stringify(items, null, 1).split("\n").slice(0, 600);
  const [a, b] = [lines(before), lines(after)];
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const out = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push(h("div", {}, `  ${a[i]}`));
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1]))
      out.push(h("div", { class: "minus" }, `- ${a[i++]}`));
    else out.push(h("div", { class: "plus" }, `+ ${b[j++]}`));
  }
  return h("pre", { tabindex: "0" }, out);
}
