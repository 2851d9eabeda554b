// Limits that judge the answers on the screen again, by the risk that the server gave.

/** The risk that an answer is judged by; null if there is none. */
export function riskOf(guard) {
  return guard.thresholds.on === "p_wrong" ? guard.p_wrong : guard.score;
}

function basisOf(guard) {
  return guard.thresholds.on === "p_wrong" ? "P(wrong)" : guard.detector;
}

/**
 * Whether P(wrong) may be that of the riskiest answers that the profile knows, as this one is beyond them.
 * Where P(wrong) comes from elsewhere only its size tells: it is given to withhold.
 */
function isBorrowed(guard) {
  if (guard.thresholds.on !== "p_wrong" || guard.calibrated) return false;
  return guard.p_wrong_from === "profile" || guard.p_wrong >= (guard.thresholds.abstain ?? 1);
}

export class Limits {
  constructor() {
    this.forget();
  }

  /** As if there had been no answer yet. */
  forget() {
    this.basis = null;
    this.moved = false;
    this.given = { warn: null, abstain: null };
    this.set = { warn: null, abstain: null };
    this.range = { min: 0, max: 1, step: 0.01 };
  }

  /** Learn the server's limits from an answer. Limits that were moved stay where they are. */
  learn(guard) {
    const { warn, abstain } = guard.thresholds;
    if (this.moved && basisOf(guard) !== this.basis) return;
    this.basis = basisOf(guard);
    this.given = { warn, abstain };
    if (!this.moved) this.set = { warn, abstain };
    if (guard.thresholds.on === "p_wrong") {
      this.range = { min: 0, max: 1, step: 0.01 };
      return;
    }
    const known = [this.range.max, 4, 2 * (warn ?? 0), 2 * (abstain ?? 0), guard.score ?? 0];
    const least = Math.min(this.range.min, warn ?? 0, guard.score ?? 0);
    this.range = { min: Math.floor(least), max: Math.ceil(Math.max(...known)), step: 0.05 };
  }

  /** Move one of the two; the other one gives way, as warnings come before abstentions. */
  move(name, value) {
    this.moved = true;
    this.set[name] = value;
    const { warn, abstain } = this.set;
    if (warn === null || abstain === null || warn <= abstain) return;
    this.set = { warn: value, abstain: value };
  }

  /** Back to what the server has. */
  reset() {
    this.moved = false;
    this.set = { ...this.given };
  }

  /**
   * The verdict by these limits; the server's own if there is nothing to judge it by.
   * A P(wrong) that the server gave an answer only to withhold it is no reason to show it.
   */
  verdict(guard) {
    const risk = riskOf(guard);
    const own = guard.verdict;
    if (!this.moved || risk === null || own === "unscored" || basisOf(guard) !== this.basis) return own;
    const { warn, abstain } = this.set;
    if (abstain !== null && risk >= abstain) return "abstain";
    if (isBorrowed(guard)) return "unscored";
    return warn === null || risk >= warn ? "warn" : "accept";
  }
}
