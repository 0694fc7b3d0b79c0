// Items as people read and write them.

/** A value, short. @param {any} value @returns {string} */
export function brief(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.map(brief).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, part]) => `${name}: ${brief(part)}`)
      .join(", ")}}`;
  return value === null ? "None" : value === true ? "True" : value === false ? "False" : String(value);
}

/** The arguments of an item in one line. @param {any} item */
export function describe(item) {
  const kwargs = Object.entries(item?.kwargs ?? {}).map(([name, value]) => `${name}=${brief(value)}`);
  const text = [...(item?.args ?? []).map(brief), ...kwargs].join(", ");
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}

/** An item without what the server has written on it. @param {any} item */
export function plain(item) {
  /** @type {any} */
  const kept = {};
  for (const name of ["item_type", "name", "args", "kwargs", "meta"])
    if (item[name] !== undefined) kept[name] = item[name];
  return kept;
}

/** Parts between commas that stand outside brackets and quotes. @param {string} text @returns {string[]} */
export function splitList(text) {
  const parts = [""];
  let depth = 0;
  let quote = "";
  for (const letter of text) {
    if (quote) {
      if (letter === quote) quote = "";
    } else if (letter === '"' || letter === "'") quote = letter;
    else if ("[({".includes(letter)) depth += 1;
    else if ("])}".includes(letter)) depth -= 1;
    if (letter === "," && depth <= 0 && !quote) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim()).filter((part, at, all) => part || at < all.length - 1);
}

const WORDS = new Map([
  ["True", true],
  ["False", false],
  ["None", null],
]);

/** A value as it was typed: JSON, a word of Python, or else text. @param {string} text @returns {any} */
export function parseValue(text) {
  const trimmed = text.trim();
  if (WORDS.has(trimmed)) return WORDS.get(trimmed);
  if (/^'[^']*'$/.test(trimmed)) return trimmed.slice(1, -1);
  try {
    return JSON.parse(trimmed);
  } catch {
    if (/^[[(].*[\])]$/s.test(trimmed)) return splitList(trimmed.slice(1, -1)).map(parseValue);
    return trimmed;
  }
}

/** A value as one would type it. @param {any} value @returns {string} */
export function typed(value) {
  if (typeof value === "string")
    return parseValue(value) === value && !value.includes(",") && value !== "" ? value : JSON.stringify(value);
  if (Array.isArray(value) && value.length && value.every((part) => typeof part !== "object" || part === null))
    return value.map(typed).join(", ");
  return JSON.stringify(value);
}

/** Somebody's name, as shown: those without an account have names that programs are told. @param {string} user */
export function called(user) {
  if (user === "UNAUTHENTICATED_SINGLE_USER") return "single user";
  return user.startsWith("UNAUTHENTICATED") ? "anonymous" : user;
}

/** Whose an item is, as shown. @param {any} item @param {boolean} isOwn @param {string} yours */
export function owner(item, isOwn, yours) {
  const name = called(String(item?.user ?? ""));
  return isOwn ? `${name} (${yours})` : name;
}

/** RE Manager's refusal without the item that everybody sees. @param {string} msg */
export const readable = (msg) =>
  msg
    .replace(/\n\s*For further information visit \S+/g, "")
    .replace(/\nPlan: \{[\s\S]*$/, "")
    .replace(/^Failed to add (a plan|an item): /, "");
