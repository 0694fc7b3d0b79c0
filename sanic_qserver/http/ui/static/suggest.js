// Completes what is typed into a text field from a list.
import { fill, h, newId, setText } from "./dom.js";

const SHOWN = 10; // No more than fits without scrolling: further letters narrow it.

/** @typedef {{value: string, hint?: string}} Candidate */

/**
 * @param {HTMLInputElement} input
 * @param {{candidates: () => Candidate[], pick: (value: string) => void, isList?: boolean, stays?: boolean, label: string, count?: (n: number) => string}} how
 */
export function suggest(input, how) {
  const list = h("ul", {
    class: "suggestions",
    role: "listbox",
    id: newId("list"),
    "aria-label": how.label,
    hidden: true,
  });
  const told = h("span", { class: "away", role: "status" });
  input.setAttribute("autocomplete", "off");
  input.setAttribute("spellcheck", "false");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  let at = -1;
  /** @type {Candidate[]} */
  let found = [];
  const token = () => (how.isList ? input.value.slice(input.value.lastIndexOf(",") + 1) : input.value).trim();
  const hide = () => {
    list.hidden = true;
    at = -1;
    input.removeAttribute("aria-activedescendant");
  };
  /** @param {string} value */
  const pick = (value) => {
    input.value = how.isList
      ? `${input.value.slice(0, input.value.lastIndexOf(",") + 1)}${input.value.includes(",") ? " " : ""}${value}`
      : value;
    hide();
    how.pick(value);
  };
  const show = () => {
    const words = token().toLowerCase();
    const all = how.candidates();
    const begins = all.filter((one) => one.value.toLowerCase().startsWith(words));
    const holds = all.filter(
      (one) =>
        !one.value.toLowerCase().startsWith(words) &&
        (one.value.toLowerCase().includes(words) || (words.length > 2 && one.hint?.toLowerCase().includes(words))),
    );
    found = [...begins, ...holds].slice(0, SHOWN);
    if (!found.length || (!how.stays && words && all.some((one) => one.value.toLowerCase() === words))) return hide();
    at = -1;
    fill(
      list,
      found.map((one) =>
        h(
          "li",
          {
            role: "option",
            id: newId("option"),
            "aria-selected": "false",
            onmousedown: (/** @type {Event} */ event) => event.preventDefault(),
            onclick: () => pick(one.value),
          },
          h("span", { class: "nowrap" }, one.value),
          one.hint ? h("span", { class: "soft" }, one.hint) : null,
        ),
      ),
    );
    list.hidden = false;
    if (how.count) setText(told, how.count(begins.length + holds.length));
  };
  /** @param {number} step */
  const step = (step) => {
    if (list.hidden) show();
    if (list.hidden) return;
    list.children[at]?.setAttribute("aria-selected", "false");
    at = (at + step + found.length) % found.length;
    list.children[at].setAttribute("aria-selected", "true");
    list.children[at].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", list.children[at].id);
  };
  input.addEventListener("input", show);
  input.addEventListener("click", show);
  // A list that stands between the fields goes only after the click that made it go: nothing slips away under the mouse.
  input.addEventListener("blur", () =>
    how.stays ? setTimeout(() => input !== document.activeElement && hide(), 250) : hide(),
  );
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowUp") step(-1);
    else if (event.key === "Enter" && !list.hidden) pick(found[Math.max(at, 0)].value);
    else if (event.key === "Escape" && !list.hidden) hide();
    else return;
    event.preventDefault();
  });
  return { list, told, hide, show };
}
