// A form from a plan's JSON Schema, and the item that it says.
import { h, newId } from "./dom.js";
import { parseValue, splitList, typed } from "./items.js";
import { state } from "./store.js";
import { suggest } from "./suggest.js";
import { T } from "./texts.js";

/** What a schema allows. @param {any} schema */
function shapeOf(schema) {
  const parts = [schema, ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  const inner = parts.flatMap((part) => (part.items ? [part.items, ...(part.items.anyOf ?? [])] : []));
  const types = new Set(parts.flatMap((part) => part.type ?? []));
  const choices = parts.flatMap((part) =>
    part.enum && !(part.enum.length === 2 && part.enum.every((/** @type {any} */ one) => one === 0 || one === 1))
      ? part.enum
      : [],
  );
  return {
    types,
    isArray: types.has("array"),
    isText: types.has("string") && types.size === 1,
    isTruth: parts.some((part) => part.type === "boolean"),
    choices,
    innerChoices: inner.flatMap((part) => part.enum ?? []),
    device:
      parts.map((part) => part["x-qserver-type"]).find(Boolean) ??
      inner.map((part) => part["x-qserver-type"]).find(Boolean),
    limits: [...parts, ...inner].find((part) => part.minimum !== undefined || part.maximum !== undefined) ?? {},
    step: [...parts, ...inner].find((part) => part["x-qserver-step"] !== undefined)?.["x-qserver-step"],
  };
}

/** @param {Record<string, any>} devices @param {string} prefix @param {(device: any) => boolean} fits @param {number} depth @returns {any[]} */
function names(devices, prefix, fits, depth) {
  return Object.entries(devices).flatMap(([name, device]) => [
    ...(fits(device) ? [{ value: `${prefix}${name}`, hint: device.classname ?? "" }] : []),
    ...(depth > 0 && device.components ? names(device.components, `${prefix}${name}.`, fits, depth - 1) : []),
  ]);
}

/** What can stand for a kind of thing. @param {string} kind */
function candidatesOf(kind) {
  const plans = Object.keys(state.plans ?? {}).map((value) => ({ value, hint: T.plan.toLowerCase() }));
  if (kind === "plan") return plans;
  const fits = (/** @type {any} */ device) =>
    !["readable", "movable", "flyable"].includes(kind) || device[`is_${kind}`];
  const devices = state.devices ?? {};
  const all = [...names(devices, "", fits, 0), ...names(devices, "", fits, 2).filter((one) => one.value.includes("."))];
  return kind === "plan_or_device" ? [...plans, ...all] : all;
}

/**
 * One field. `read` gives undefined when nothing is said.
 * @param {string} name @param {any} schema @param {boolean} isRequired @param {() => void} changed
 */
function field(name, schema, isRequired, changed) {
  const shape = shapeOf(schema);
  const kind = schema["x-qserver-kind"] ?? "";
  const id = newId("field");
  const hint = newId("hint");
  const hasDefault = schema.default !== undefined && schema.default !== null;
  const standard = hasDefault ? T.defaultIs(typed(schema.default)) : "";
  const isChoice = shape.choices.length > 0 && !shape.isArray;
  const isTruth = shape.isTruth && !shape.types.has("number") && !shape.isArray && !shape.types.has("string");
  /** @type {any} */
  let input;
  /** @type {any[]} */
  let extra = [];
  if (isChoice || isTruth) {
    const values = isChoice ? shape.choices : [true, false];
    input = h(
      "select",
      { id, "aria-describedby": hint },
      h("option", { value: "" }, standard || (isRequired ? "" : T.optional)),
      values.map((/** @type {any} */ value) => h("option", { value: JSON.stringify(value) }, typed(value))),
    );
    input.addEventListener("change", changed);
  } else {
    input = h("input", {
      id,
      type: "text",
      "aria-describedby": hint,
      placeholder: standard || (isRequired ? "" : T.optional),
      "aria-required": isRequired ? "true" : false,
    });
    const choices = shape.innerChoices.length
      ? () => shape.innerChoices.map((/** @type {any} */ value) => ({ value: typed(value) }))
      : shape.device
        ? () => candidatesOf(shape.device)
        : null;
    if (choices) {
      const helper = suggest(input, { candidates: choices, pick: changed, isList: shape.isArray, label: name });
      extra = [helper.list, helper.told];
    }
    input.addEventListener("input", changed);
  }
  const { minimum, maximum } = shape.limits;
  const range = [
    minimum !== undefined ? `≥ ${minimum}` : "",
    maximum !== undefined ? `≤ ${maximum}` : "",
    shape.step !== undefined ? `step ${shape.step}` : "",
  ]
    .filter(Boolean)
    .join(", ");
  const about = String(schema.description ?? "")
    .split("\n\n")[0]
    .replace(/\s+/g, " ");
  const help = [range, about].filter(Boolean).join(" · ");
  const label = h(
    "label",
    { for: id },
    name,
    isRequired ? h("span", { class: "star", "aria-hidden": "true" }, " *") : null,
  );
  const box = h(
    "div",
    { class: "param" },
    input,
    extra,
    h("p", { class: "hint", id: hint, title: String(schema.description ?? "") }, help),
  );

  const read = () => {
    const text = input.value;
    if (text.trim() === "") return undefined;
    if (isChoice || isTruth) return JSON.parse(text);
    if (shape.isText || (shape.device && !shape.isArray))
      return /^".*"$/.test(text.trim()) ? parseValue(text) : text.trim();
    if (kind === "VAR_KEYWORD") return parseValue(text);
    const isLiteral = /^[[({]/.test(text.trim());
    const mayBeOne = shape.types.size > 1 && !shape.device && !text.includes(",");
    if ((shape.isArray || kind === "VAR_POSITIONAL") && !isLiteral && !mayBeOne) return splitList(text).map(parseValue);
    return parseValue(text);
  };
  /** @param {any} value */
  const write = (value) => {
    if (value === undefined) input.value = "";
    else if (isChoice || isTruth) input.value = JSON.stringify(value);
    else if (Array.isArray(value) && (value.length < 2 || value.some((part) => typeof part === "object")))
      input.value =
        value.length === 1 && typeof value[0] !== "object" && shape.isArray && (shape.device || shape.types.size === 1)
          ? typed(value)
          : JSON.stringify(value);
    else input.value = shape.isText && typeof value === "string" ? value : typed(value);
  };
  return { name, kind, isRequired, schema, label, box, input, read, write };
}

/** The form of a plan. @param {string} name @param {any} schema @param {() => void} changed */
export function planForm(name, schema, changed) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([one, inner]) =>
    field(one, inner, required.has(one), changed),
  );
  const missing = () => fields.filter((one) => one.isRequired && one.read() === undefined).map((one) => one.name);

  /** The item as it stands in the form. */
  const item = () => {
    /** @type {any[]} */
    const args = [];
    /** @type {Record<string, any>} */
    const kwargs = {};
    const lastPositional = fields.findLastIndex(
      (one) => (one.kind === "VAR_POSITIONAL" || one.kind === "POSITIONAL_ONLY") && one.read() !== undefined,
    );
    fields.forEach((one, at) => {
      const value = one.read();
      if (at <= lastPositional && one.kind === "VAR_POSITIONAL")
        args.push(...(Array.isArray(value) ? value : value === undefined ? [] : [value]));
      else if (at <= lastPositional && one.kind !== "KEYWORD_ONLY" && one.kind !== "VAR_KEYWORD")
        args.push(value === undefined ? one.schema.default : value);
      else if (value === undefined) return;
      else if (one.kind === "VAR_KEYWORD" && value && typeof value === "object") Object.assign(kwargs, value);
      else kwargs[one.name] = value;
    });
    return { item_type: "plan", name, args, kwargs };
  };

  /** Write an item into the form. False when the form cannot say all of it. @param {any} it */
  const write = (it) => {
    const args = [...(it.args ?? [])];
    const kwargs = { ...(it.kwargs ?? {}) };
    let isAll = true;
    for (const one of fields) {
      if (one.kind === "VAR_KEYWORD") {
        if (Object.keys(kwargs).length) one.write(kwargs);
        for (const key of Object.keys(kwargs)) delete kwargs[key];
      } else if (one.name in kwargs) {
        one.write(kwargs[one.name]);
        delete kwargs[one.name];
      } else if (one.kind === "VAR_POSITIONAL") one.write(args.length ? args.splice(0) : undefined);
      else one.write(args.length ? args.shift() : undefined);
    }
    if (args.length || Object.keys(kwargs).length) isAll = false;
    const again = item();
    const same = JSON.stringify(sorted(bound(again, fields))) === JSON.stringify(sorted(bound(it, fields)));
    return isAll && same;
  };
  const about = String(schema.description ?? "");
  const element = h(
    "div",
    {},
    about ? h("p", { class: "about", tabindex: "0", role: "note" }, about) : null,
    h(
      "div",
      { class: "params" },
      fields.map((one) => [one.label, one.box]),
    ),
  );
  return { element, item, write, missing, fields };
}

/** Arguments by name, to compare. @param {any} item @param {any[]} fields */
function bound(item, fields) {
  /** @type {Record<string, any>} */
  const all = { ...(item.kwargs ?? {}) };
  const args = [...(item.args ?? [])];
  for (const one of fields) {
    if (!args.length) break;
    if (one.name in all) continue;
    all[one.name] = one.kind === "VAR_POSITIONAL" ? args.splice(0) : args.shift();
  }
  return all;
}

/** @param {Record<string, any>} all */
const sorted = (all) =>
  Object.keys(all)
    .sort()
    .map((name) => [name, all[name]]);
