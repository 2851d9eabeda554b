// The page: what is asked, and what comes back.

import { TurnView, riskText } from "./answer.js";
import { byId, element, number } from "./elements.js";
import { Limits } from "./limits.js";
import { chunks, modelName, Refused, useKey } from "./server.js";
import { answerOf, storageOrNone, Turns } from "./turns.js";

const REDRAWN_AT = 0.8; // greedy decoding would choose the same token again
const ALTERNATIVES = 5;
const HINTS = {
  live: "Text is coloured by its risk while it is written, and taken back if it is withheld.",
  sentence: "A sentence appears if the answer would be shown had it ended there.",
  hold: "Nothing appears before the answer is judged.",
};

const turns = new Turns(storageOrNone());
const limits = new Limits();
let views = [];
let running = null;

// --- asking ---

async function ask(question) {
  const view = new TurnView(question);
  byId("conversation").append(view.element);
  byId("empty").hidden = true;
  const settings = { temperature: temperature(), energy_guard: { stream: byId("mode").value } };
  const answer = await answered(view, turns.messages(turns.list.length, question), settings);
  if (answer === null) {
    view.element.remove();
    byId("empty").hidden = turns.list.length > 0;
    byId("question").value ||= question;
    byId("question").focus();
    return;
  }
  turns.add(question, answer);
  views.push(view);
  settle();
  view.element.scrollIntoView({ block: "nearest" }); // it has grown above the question
}

/** Have the last answer end otherwise. redraw: the next token is not to be the likeliest again. */
async function goOn(beginning, redraw) {
  if (running) return;
  const last = turns.list.length - 1;
  const view = views[last];
  const drawn = redraw ? temperature() || REDRAWN_AT : temperature();
  const told = beginning.length ? { beginning, stream: "hold" } : { stream: byId("mode").value };
  const messages = turns.messages(last, turns.list[last].question);
  view.restart();
  view.element.focus();
  const answer = await answered(view, messages, { temperature: drawn, energy_guard: told });
  if (answer !== null) turns.change(last, answer);
  settle();
}

/** Ask, and show in the view what comes; null if there is no answer, which the user is told. */
async function answered(view, messages, settings) {
  running = new AbortController();
  busy(true);
  try {
    return await follow(view, {
      ...settings,
      messages,
      stream: true,
      logprobs: true,
      top_logprobs: ALTERNATIVES,
      energy_guard: { ...settings.energy_guard, signals: true },
    });
  } catch (error) {
    tell(error);
    return null;
  } finally {
    running = null;
    busy(false);
  }
}

async function follow(view, body) {
  let text = "";
  let refusal = null;
  let listed = [];
  for await (const chunk of chunks(body, running.signal)) {
    const [choice] = chunk.choices;
    const told = chunk.energy_guard;
    if (told?.event === "retracted") {
      text = "";
      view.restart();
      continue;
    }
    listed = listed.concat(choice.logprobs?.content ?? []);
    refusal = choice.delta.refusal ?? refusal;
    if (choice.delta.content && refusal === null) {
      text += choice.delta.content;
      view.write(choice.delta.content, told?.level ?? null);
    }
    if (choice.finish_reason) return answerOf({ energy_guard: told, listed }, text, refusal);
  }
  throw new Refused("the stream ended without a verdict");
}

function temperature() {
  const value = byId("temperature").valueAsNumber;
  return Number.isFinite(value) ? Math.min(2, Math.max(0, value)) : 0;
}

// --- what the user sees ---

function busy(is) {
  byId("send").disabled = is;
  byId("clear").disabled = is;
  byId("stop").hidden = !is;
  if (!is) byId("state").textContent = "";
  if (is) {
    byId("problem").textContent = "";
    say("The model writes…");
    byId("state").textContent = "The model writes…";
  }
}

function say(text) {
  byId("announce").textContent = text;
}

function tell(error) {
  if (error.name === "AbortError") {
    byId("problem").textContent = "Stopped: an answer that is not complete is not judged, and not shown.";
  } else if (error instanceof Refused && error.status === 401) {
    lock("The key is missing or wrong.");
  } else if (error instanceof Refused) {
    byId("problem").textContent = error.message;
  } else {
    byId("problem").textContent = "The page failed; its console has more.";
    console.error(error);
  }
}

/** Bring the screen in line with the turns. */
function settle() {
  const last = turns.list.length - 1;
  const newest = turns.list[last]?.answer;
  if (newest) limits.learn(newest.guard);
  // Only the last answer can go on: what follows an earlier one would be about another text.
  turns.list.slice(-2).forEach(({ answer }, i, shown) => {
    const at = turns.list.length - shown.length + i;
    views[at].show(answer, limits, at === last ? goOn : null);
  });
  judgeAll();
  historyHint();
  if (newest) say(`Answer: ${newest.guard.verdict}, ${riskText(newest.guard)}. ${newest.text}`);
}

function showAll() {
  views.forEach((view) => view.element.remove());
  views = turns.list.map((turn) => new TurnView(turn.question));
  byId("conversation").append(...views.map((view) => view.element));
  byId("empty").hidden = views.length > 0;
  turns.list.forEach(({ answer }, i) => {
    limits.learn(answer.guard);
    views[i].show(answer, limits, i === views.length - 1 ? goOn : null);
  });
  judgeAll();
  historyHint();
}

function judgeAll() {
  byId("limits").disabled = limits.basis === null;
  byId("limits-of").textContent =
    limits.basis === null ? "They are known with the first answer." : `On ${limits.basis}.`;
  for (const name of ["warn", "abstain"]) {
    const value = limits.set[name];
    Object.assign(byId(name), limits.range);
    byId(name).value = value ?? limits.range.max;
    byId(`${name}-at`).textContent = limits.basis === null ? "–" : value === null ? "none" : number(value, 2);
  }
  views.forEach((view) => view.judge(limits));
}

function historyHint() {
  byId("history-hint").textContent = turns.stored
    ? "Kept in this browser alone, until you clear it."
    : "This browser does not keep what is new here: it is gone when you leave.";
}

function download() {
  const address = URL.createObjectURL(new Blob([turns.exported()], { type: "application/json" }));
  const link = element("a", { href: address, download: "energy-guard.json" });
  link.click();
  URL.revokeObjectURL(address);
}

// --- the beginning ---

function lock(problem) {
  byId("desk").hidden = true;
  byId("key-form").hidden = false;
  byId("key-problem").textContent = problem;
  byId("model").textContent = "";
  byId("key").focus();
}

async function open() {
  try {
    byId("model").textContent = `model: ${await modelName()}`;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      lock(byId("key-form").hidden ? "" : "The key is wrong.");
      return;
    }
    byId("model").textContent = error.message;
    return;
  }
  byId("key-form").hidden = true;
  byId("desk").hidden = false;
  byId("question").focus();
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  open();
});
byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question || running) return;
  byId("question").value = "";
  ask(question);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask-form").requestSubmit();
});
byId("stop").addEventListener("click", () => running?.abort());
byId("mode").addEventListener("change", () => {
  byId("mode-hint").textContent = HINTS[byId("mode").value];
});
for (const name of ["warn", "abstain"]) {
  byId(name).addEventListener("input", () => {
    limits.move(name, byId(name).valueAsNumber);
    judgeAll();
  });
}
byId("limits-reset").addEventListener("click", () => {
  limits.reset();
  judgeAll();
});
byId("export").addEventListener("click", download);
byId("clear").addEventListener("click", () => {
  turns.clear();
  limits.forget();
  showAll();
  say("The history is cleared.");
});

byId("mode-hint").textContent = HINTS[byId("mode").value];
showAll();
open();
