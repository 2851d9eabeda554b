// One question with its answer on the screen.

import { element, number } from "./elements.js";
import { riskOf } from "./limits.js";
import { Tokens } from "./tokens.js";

const MARKS = { accept: "✓ accept", warn: "! warn", abstain: "✗ abstain", unscored: "? unscored" };

/** A turn on the screen. While its answer is written it has text, and no verdict. */
export class TurnView {
  constructor(question) {
    this.card = element("div", { class: "answer" });
    this.element = element("article", { class: "turn", tabindex: -1 }, element("h2", {}, question), this.card);
    this.restart();
  }

  /** Take back whatever stands there: nothing is written yet, and no verdict is known. */
  restart() {
    this.answer = null;
    this.said = element("p", { class: "said" });
    this.card.className = "answer writing";
    this.card.setAttribute("aria-busy", "true");
    this.card.replaceChildren(this.said);
  }

  /** Add a text that is being written. */
  write(text, level) {
    this.said.append(element("span", { class: level ? `token ${level}` : "token" }, text));
  }

  /** Show an answer with its verdict. goOn: see `Tokens`. */
  show(answer, limits, goOn) {
    this.answer = answer;
    this.card.removeAttribute("aria-busy");
    this.badge = element("span", { class: "badge" });
    this.risk = element("span", { class: "risk" });
    this.reason = element("span", { class: "reason" });
    const verdict = element("p", { class: "verdict" }, this.badge, this.risk, this.reason);
    const { guard, pieces } = answer;
    const tokens = pieces.length ? new Tokens(pieces, areAll(pieces) ? goOn : null) : null;
    const plain = element("p", { class: guard.shown ? "said" : "said refusal" }, answer.text);
    const notes = guard.notes.map((note) => element("li", {}, note));
    this.card.replaceChildren(
      ...[
        tokens ? tokens.text : plain,
        verdict,
        guard.warning ? element("p", {}, guard.warning) : null,
        notes.length ? element("ul", { class: "notes" }, ...notes) : null,
        tokens?.plot.element,
        tokens?.numbers,
      ].filter(Boolean),
    );
    this.judge(limits);
  }

  /** Judge the answer by the limits on the screen. */
  judge(limits) {
    if (!this.answer) return;
    const { guard } = this.answer;
    const verdict = limits.verdict(guard);
    const changed = verdict !== guard.verdict;
    const doubted = guard.shown && verdict === "abstain";
    this.card.className = `answer ${verdict}${doubted ? " doubted" : ""}`;
    this.badge.textContent = MARKS[verdict] ?? verdict;
    this.risk.textContent = riskText(guard);
    this.reason.textContent = changed ? byTheseLimits(guard, verdict) : guard.reason;
  }
}

/** The risk in words, without what is not known. */
export function riskText(guard) {
  if (guard.p_wrong !== null) return `P(wrong) ${number(guard.p_wrong, 2)}`;
  return riskOf(guard) === null ? "" : `${guard.detector} ${number(guard.score, 2)}`;
}

/** Whether these are all tokens from the first one: without the reasoning before them they would go on otherwise. */
function areAll(pieces) {
  return pieces.flatMap((piece) => piece.tokens).every((token, i) => token.index === i);
}

function byTheseLimits(guard, verdict) {
  const words =
    !guard.shown && verdict !== "abstain" ? " The server withheld it, and has sent none of its words." : "";
  return `by the limits on this screen; the server said ${guard.verdict}.${words}`;
}
