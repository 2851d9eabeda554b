// The tokens of an answer, one of them chosen: by pointing, or with the arrow keys.

import { element, number, visible } from "./elements.js";
import { Plot, signalsOf, spoken } from "./plot.js";

const MOVES = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * The text of an answer as tokens, and below it the numbers of the chosen one.
 * goOn: called with ids that the answer is to begin with, and whether the next token is to be
 * drawn anew; null if this answer cannot be gone on with.
 */
export class Tokens {
  constructor(pieces, goOn) {
    this.pieces = pieces;
    this.goOn = goOn;
    this.chosen = null;
    this.spans = pieces.map((piece, i) => this.#span(piece, i));
    this.text = element(
      "p",
      { class: "said", role: "toolbar", "aria-label": "Tokens of the answer" },
      ...this.spans,
    );
    this.text.addEventListener("keydown", (event) => this.#key(event));
    this.numbers = element("div", { class: "numbers", hidden: true });
    this.plot = new Plot(pieces, (i) => this.spans[i].focus());
  }

  #span(piece, i) {
    const kinds = ["token", piece.level, piece.exact ? "exact" : null].filter(Boolean);
    const risk = piece.level ? `, ${piece.level} risk` : "";
    const exact = piece.exact ? ", exact answer" : "";
    const span = element(
      "span",
      {
        class: kinds.join(" "),
        role: "button",
        tabindex: i ? -1 : 0,
        "aria-label": `${visible(piece.text)}${risk}${exact}`,
      },
      piece.text,
    );
    span.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.choose(i));
    span.addEventListener("focus", () => this.choose(i));
    span.addEventListener("click", () => span.focus());
    return span;
  }

  #key(event) {
    const at = this.spans.indexOf(document.activeElement);
    if (at < 0) return;
    const last = this.spans.length - 1;
    const ends = { Home: 0, End: last };
    if (event.key === "Enter" || event.key === " ") {
      this.numbers.focus();
    } else if (event.key in MOVES || event.key in ends) {
      this.spans[Math.min(last, Math.max(0, ends[event.key] ?? at + MOVES[event.key]))].focus();
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Show the numbers of one piece. */
  choose(i) {
    if (i === this.chosen) return;
    const before = this.spans[this.chosen ?? 0];
    before.classList.remove("chosen");
    before.tabIndex = -1;
    this.chosen = i;
    this.spans[i].classList.add("chosen");
    this.spans[i].tabIndex = 0;
    this.plot.mark(i);
    this.#show(this.pieces[i], i);
  }

  #show(piece, i) {
    const [token] = piece.tokens;
    const name = visible(piece.text);
    const rows = signalsOf(this.pieces).map((signal) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, spoken(signal)),
        ...piece.tokens.map((each) => element("td", {}, number(each[signal]))),
      ),
    );
    const signals = element("table", {}, element("caption", {}, "Signals"), element("tbody", {}, ...rows));
    const before = this.pieces.slice(0, i).flatMap((each) => each.tokens.map((one) => one.id));
    const heading = element("h3", {}, "Token ", element("code", {}, name));
    this.numbers.setAttribute("aria-label", `Numbers of the token ${name}`);
    this.numbers.setAttribute("role", "group");
    this.numbers.tabIndex = -1;
    this.numbers.replaceChildren(
      heading,
      element("div", { class: "sides" }, signals, this.#others(token, before)),
      ...(this.goOn ? [this.#again(before)] : []),
    );
    this.numbers.hidden = false;
  }

  #others(token, before) {
    const rows = token.others.map((other) => {
      const percent = 100 * Math.exp(other.logprob);
      const share = element("td", {}, percent < 0.05 ? "< 0.1 %" : `${number(percent, 1)} %`);
      if (this.goOn && other.id !== token.id && other.text) { // the end has no text to go on from
        const label = `Go on with ${visible(other.text)}`;
        const take = element("button", { type: "button", "aria-label": label }, "go on");
        take.addEventListener("click", () => this.goOn([...before, other.id], false));
        share.append(take);
      }
      return element("tr", {}, element("th", { scope: "row" }, element("code", {}, visible(other.text))), share);
    });
    const caption = element("caption", {}, "Likeliest here");
    return element("table", { class: "others" }, caption, element("tbody", {}, ...rows));
  }

  #again(before) {
    const button = element("button", { type: "button", class: "again" }, "Regenerate from this token");
    button.addEventListener("click", () => this.goOn(before, true));
    return button;
  }
}
