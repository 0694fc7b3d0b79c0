// Console text with the colours that a terminal would show.
import { h } from "./dom.js";

const SEQUENCE = /\u001b\[([0-9;]*)([A-Za-z])/g;

/** A line without its escape sequences. @param {string} line */
export const bare = (line) => (line.includes("\u001b") ? line.replace(SEQUENCE, "") : line);

/** A line as pieces with classes. @param {string} line @returns {(string|Node)[]} */
export function coloured(line) {
  if (!line.includes("\u001b")) return [line];
  const pieces = [];
  let at = 0;
  /** @type {Set<string>} */
  let classes = new Set();
  for (const match of line.matchAll(SEQUENCE)) {
    if (match.index > at) pieces.push(piece(line.slice(at, match.index), classes));
    at = match.index + match[0].length;
    if (match[2] === "m") classes = changed(classes, match[1]);
  }
  if (at < line.length) pieces.push(piece(line.slice(at), classes));
  return pieces;
}

/** @param {string} text @param {Set<string>} classes */
const piece = (text, classes) => (classes.size ? h("span", { class: [...classes].join(" ") }, text) : text);

/** @param {Set<string>} before @param {string} codes */
function changed(before, codes) {
  let classes = new Set(before);
  const numbers = codes.split(";").map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at];
    if (code === 38 || code === 48)
      at += numbers[at + 1] === 5 ? 2 : 4; // Palettes of 256 and more: plain.
    else if (code === 0) classes = new Set();
    else if (code === 1 || code === 3 || code === 4) classes.add(`a${code}`);
    else if (code === 39 || (code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      classes = new Set([...classes].filter((name) => !name.startsWith("f")));
      if (code !== 39) classes.add(`f${code % 10}`);
    }
  }
  return classes;
}
