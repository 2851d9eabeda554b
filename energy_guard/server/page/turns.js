// Questions with their answers, kept by this browser alone. Of an answer that is withheld the
// server sends no word and no token, so there is none here.

const PLACE = "energy-guard.turn.";

/** The turns so far. `stored`: whether they outlast this page. */
export class Turns {
  constructor(storage) {
    this.storage = storage;
    this.list = [];
    this.stored = storage !== null;
    this.#load();
  }

  add(question, answer) {
    const id = crypto.getRandomValues(new Uint32Array(3)).join("-");
    this.list.push({ id, question, asked: new Date().toISOString(), answer });
    this.#keep(this.list.length - 1);
  }

  change(at, answer) {
    this.list[at] = { ...this.list[at], answer };
    this.#keep(at);
  }

  clear() {
    this.list = [];
    try {
      this.#places().forEach((place) => this.storage.removeItem(place));
    } catch {
      this.stored = false;
    }
  }

  #load() {
    try {
      this.list = this.#places().map((place) => read(this.storage.getItem(place))).filter(isTurn);
    } catch {
      this.stored = false;
    }
    this.list.sort((one, other) => (one.asked < other.asked ? -1 : 1));
  }

  /** Each turn has a place of its own: pages that are open at once overwrite nothing of others. */
  #keep(at) {
    if (!this.storage) return;
    try {
      this.storage.setItem(PLACE + this.list[at].id, JSON.stringify(this.list[at]));
      this.stored = true;
    } catch {
      this.stored = false; // full, or refused: memory still has them
    }
  }

  #places() {
    return Object.keys(this.storage ?? {}).filter((key) => key.startsWith(PLACE));
  }

  /** The messages of a chat that goes on with a question after the first `count` turns. */
  messages(count, question) {
    const shown = this.list.slice(0, count).filter((turn) => turn.answer.guard.shown);
    return [
      ...shown.flatMap((turn) => [
        { role: "user", content: turn.question },
        { role: "assistant", content: turn.answer.text },
      ]),
      { role: "user", content: question },
    ];
  }

  /** All turns as JSON text, for a file. */
  exported() {
    return JSON.stringify({ schema: 1, exported: new Date().toISOString(), turns: this.list }, null, 2);
  }
}

/** The browser's storage, or null if it keeps none for this page. */
export function storageOrNone() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // not ours, or cut off
  }
}

function isTurn(turn) {
  const answer = turn?.answer;
  return (
    typeof turn?.id === "string" &&
    typeof turn.asked === "string" &&
    typeof turn.question === "string" &&
    typeof answer?.text === "string" &&
    typeof answer.guard?.verdict === "string" &&
    typeof answer.guard.thresholds?.on === "string" &&
    Array.isArray(answer.guard.notes) &&
    Array.isArray(answer.pieces) &&
    answer.pieces.every((piece) => typeof piece?.text === "string" && areTokens(piece.tokens))
  );
}

function areTokens(tokens) {
  return tokens?.length > 0 && tokens.every((token) => Array.isArray(token?.others));
}

/**
 * Make the answer of a turn from the last chunk of a stream.
 * text: what was sent of it. refusal: what stands in its place if it is withheld.
 */
export function answerOf(chunk, text, refusal) {
  const guard = chunk.energy_guard;
  if (!guard.shown) return { guard, text: refusal ?? guard.text, pieces: [] };
  return { guard, text, pieces: piecesOf(chunk.listed, text) };
}

/** Tokens as pieces of text: of several tokens that share a character the riskiest counts. */
function piecesOf(listed, text) {
  const decoder = new TextDecoder();
  const pieces = [];
  let open = [];
  for (const entry of listed) {
    open.push(entry);
    const written = decoder.decode(new Uint8Array(entry.bytes), { stream: true });
    if (!written && entry.bytes.length) continue; // a character is not complete yet
    pieces.push(pieceOf(open, written));
    open = [];
  }
  if (open.length) pieces.push(pieceOf(open, decoder.decode()));
  if (pieces.length) pieces[0].text = pieces[0].text.trimStart();
  const joined = pieces.map((piece) => piece.text).join("");
  return joined.trim() === text.trim() ? pieces : []; // without its tokens rather than wrong
}

const LEVELS = ["high", "raised", "low"];

function pieceOf(entries, text) {
  const said = entries.map((entry) => entry.energy_guard);
  return {
    text,
    level: LEVELS.find((level) => said.some((each) => each.level === level)) ?? null,
    exact: said.some((each) => each.exact),
    tokens: entries.map((entry) => ({ ...entry.energy_guard, others: entry.top_logprobs.map(otherOf) })),
  };
}

function otherOf(entry) {
  return { id: entry.energy_guard.id, text: entry.token, logprob: entry.logprob };
}
