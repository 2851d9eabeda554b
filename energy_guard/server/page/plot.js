// One signal along an answer, a bar a token. A token without a number has no bar.

import { drawn, element, number, visible } from "./elements.js";

const HEIGHT = 100;
const FEWEST = 24;
const NO_SIGNALS = new Set(["id", "index", "level", "exact", "others"]);

/** Names of the signals that tokens have. */
export function signalsOf(pieces) {
  return Object.keys(pieces[0]?.tokens[0] ?? {}).filter((name) => !NO_SIGNALS.has(name));
}

/** The token that counts, of several that share a character. */
function riskiest({ tokens }) {
  const risk = (token) => token.risk ?? -Infinity;
  return tokens.reduce((found, token) => (risk(token) > risk(found) ? token : found));
}

/** A name for people. */
export const spoken = (signal) => signal.replaceAll("_", " ");

/** A plot of an answer's pieces. choose: called with the number of the piece that is clicked. */
export class Plot {
  constructor(pieces, choose) {
    this.pieces = pieces;
    this.choose = choose;
    this.chosen = null;
    const names = signalsOf(pieces);
    const options = names.map((name) => element("option", { value: name }, spoken(name)));
    this.select = element("select", {}, ...options);
    this.select.value = names.includes("nll") ? "nll" : names[0];
    this.select.addEventListener("change", () => this.draw());
    this.extent = element("span");
    this.drawing = drawn("svg", { role: "img", preserveAspectRatio: "none" });
    const caption = element("figcaption", {}, element("label", {}, "Plot of ", this.select), this.extent);
    this.element = element("figure", { class: "plot" }, caption, this.drawing);
    this.draw();
  }

  draw() {
    const signal = this.select.value;
    const values = this.pieces.map((piece) => riskiest(piece)[signal] ?? null);
    const known = values.filter((value) => value !== null);
    const low = Math.min(0, ...known);
    const high = Math.max(0, ...known);
    const scale = HEIGHT / (high - low || 1);
    this.bars = values.map((value, i) => (value === null ? null : this.#bar(i, value, high, scale)));
    const width = Math.max(values.length, FEWEST); // the bars of a short answer are no walls
    const zero = { class: "zero", x1: 0, x2: width, y1: high * scale, y2: high * scale };
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.drawing.replaceChildren(...this.bars.filter(Boolean), drawn("line", zero));
    const least = number(known.length ? Math.min(...known) : null, 2);
    const most = number(known.length ? Math.max(...known) : null, 2);
    const missing = values.length - known.length;
    this.extent.textContent = `from ${least} to ${most}${missing ? `, ${missing} not known` : ""}`;
    this.drawing.setAttribute("aria-label", `${spoken(signal)} of each token, ${this.extent.textContent}`);
    this.mark(this.chosen);
  }

  #bar(i, value, high, scale) {
    const size = Math.max(Math.abs(value) * scale, 0.8); // one of 0 is still seen
    const y = value >= 0 ? high * scale - size : high * scale;
    const of = this.pieces[i];
    const title = drawn("title", {}, `${visible(of.text)} ${number(value)}`);
    const place = { x: i + 0.1, y: Math.max(0, y), width: 0.8, height: size };
    const bar = drawn("rect", { class: of.exact ? "bar exact" : "bar", ...place }, title);
    bar.addEventListener("click", () => this.choose(i));
    return bar;
  }

  /** Mark the bar of one piece. */
  mark(chosen) {
    this.bars[this.chosen]?.classList.remove("chosen");
    this.chosen = chosen;
    this.bars[chosen]?.classList.add("chosen");
  }
}
