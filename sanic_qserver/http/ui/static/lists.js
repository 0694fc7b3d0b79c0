// The region "Devices and plans": what there is, and what it is good for.
import { Panel, fill, h, searchBox } from "./dom.js";
import { on, state } from "./store.js";
import { T } from "./texts.js";

class ListsPanel extends Panel {
  label = T.lists;
  build() {
    let words = "";
    const search = searchBox(T.search, T.lists, () => {
      words = search.value.trim().toLowerCase();
      update();
    });
    this.tools.append(h("span", { class: "filler" }), search);
    const plans = h("div");
    const devices = h("div");
    this.append(
      h(
        "div",
        { class: "body two" },
        h("div", {}, h("h3", {}, T.plans), plans),
        h("div", {}, h("h3", {}, T.devices), devices),
      ),
    );
    const fits = (/** @type {string} */ text) => !words || text.toLowerCase().includes(words);
    const update = () => {
      const allPlans = Object.entries(state.plans ?? {}).filter(([name, schema]) =>
        fits(`${name} ${schema.description ?? ""}`),
      );
      fill(
        plans,
        allPlans.map(([name, schema]) =>
          h(
            "details",
            {},
            h(
              "summary",
              {},
              h("span", { class: "name" }, name),
              h("span", { class: "soft" }, ` ${String(schema.description ?? "").split("\n")[0]}`),
            ),
            h("pre", {}, parameters(schema)),
          ),
        ),
        allPlans.length ? null : h("p", { class: "soft" }, T.noPlans),
      );
      const allDevices = Object.entries(state.devices ?? {}).filter(([name, device]) =>
        fits(`${name} ${device.classname}`),
      );
      fill(
        devices,
        allDevices.map(([name, device]) => deviceOf(name, device)),
      );
    };
    on("plans devices", update);
  }
}
customElements.define("qs-lists", ListsPanel);

/** @param {any} schema */
function parameters(schema) {
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties ?? {}).map(
    ([name, one]) =>
      `${name}${required.has(name) ? "" : ` = ${JSON.stringify(one.default ?? null)}`}\n    ${String(one.description ?? "").replaceAll("\n", "\n    ")}`,
  );
  return `${schema.description ?? ""}\n\n${lines.join("\n")}`;
}

/** @param {string} name @param {any} device @returns {any} */
function deviceOf(name, device) {
  const can = [device.is_readable && T.readable, device.is_movable && T.movable, device.is_flyable && T.flyable]
    .filter(Boolean)
    .join(", ");
  const line = [
    h("span", { class: "name" }, name),
    h("span", { class: "soft" }, ` ${device.classname ?? ""} · ${can}`),
  ];
  const parts = Object.entries(device.components ?? {});
  return parts.length
    ? h(
        "details",
        {},
        h("summary", {}, line),
        h(
          "div",
          { class: "inner" },
          parts.map(([part, inner]) => deviceOf(part, inner)),
        ),
      )
    : h("div", { class: "leaf" }, line);
}
