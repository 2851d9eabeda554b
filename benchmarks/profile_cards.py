"""Makes the card of each shipped profile, and the page of all: what P(wrong) is worth where.

    python -m benchmarks.profile_cards --cards FOLDER --page FILE \
        NAME=PROFILE.json,QUIZ.jsonl,ANSWERS.jsonl…;COMMAND …

For each model its profile, its answers to the built-in quiz (`calibrate` writes them), answers to
other people's questions (`eval`'s answers.jsonl), and the command that made the profile. On the
quiz the profile is taken as it is: its curve was fitted to these very answers, which flatters it.
Other people's questions are judged by detectors that saw neither the model nor the task (see
`benchmarks.other_models`), with the curve that the model has in the quiz: what a profile of a new
model is worth. A card is JSON; the page is printed from all cards in the folder, so that a card
can be added alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.other_models import SINGLE, Row, left_out, rows_of
from energy_guard.calibrate.detector import FEATURES
from energy_guard.calibrate.split import split_of
from energy_guard.claims import score_answer
from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError
from energy_guard.estimates.calibration_quality import brier_skill
from energy_guard.estimates.estimate import proportion
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.figures import measured
from energy_guard.evaluate.folder import relocated
from energy_guard.files import write_whole
from energy_guard.locate import Span
from energy_guard.profile import Profile
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.score import Score

LIMITS: Final = (0.25, 0.5)
"""Below which P(wrong) an answer is shown: where shipped rules warn, and where they withhold."""


@dataclass(frozen=True)
class Given:
    """What the card of one model is made of."""

    name: str
    profile: Path
    quiz: Path
    elsewhere: tuple[Path, ...]
    command: str

    @classmethod
    def parse(cls, text: str) -> Given:
        """Read NAME=PROFILE,QUIZ,ANSWERS…;COMMAND."""
        name, _, rest = text.partition("=")
        files, _, command = rest.partition(";")
        profile, quiz, *elsewhere = map(Path, files.split(","))
        return cls(name, profile, quiz, tuple(elsewhere), command)


@dataclass(frozen=True)
class Group:
    """Answers of one kind or task. p: P(wrong), NaN without one; single: `nll:max`; all (n,)."""

    wrong: Bools
    p: Floats
    single: Floats

    def of(self, keep: Bools) -> Group:
        """Return some of the answers."""
        return Group(self.wrong[keep], self.p[keep], self.single[keep])

    def figures(self) -> dict[str, Any]:
        """Return what a card says of them."""
        known = np.isfinite(self.p)
        wrong, p = self.wrong[known], self.p[known]
        shown = {limit: self.p < limit for limit in LIMITS}  # NaN is never below
        return {
            "n": len(self.wrong),
            "without_p_wrong": int((~known).sum()),
            "wrong": measured(proportion(int(self.wrong.sum()), len(self.wrong))),
            "mean_p_wrong": float(p.mean()) if len(p) else None,
            "auroc": measured(auroc(p, wrong)),
            "auroc_nll_max": measured(auroc(self.single[known], wrong)),
            "brier_skill": measured(brier_skill(p, wrong)),
            "below": {
                str(limit): {
                    "coverage": measured(proportion(int(below.sum()), len(below))),
                    "wrong": measured(proportion(int(self.wrong[below].sum()), int(below.sum()))),
                }
                for limit, below in shown.items()
            },
        }


def on_quiz(answers: Iterable[Answered], profile: Profile) -> tuple[Group, list[str]]:
    """Judge answers to the quiz by the profile as it is; return them with their kinds."""
    found: list[tuple[bool, float, float]] = []
    kinds = []
    for answered in answers:
        if answered.unsure or answered.declined or not isinstance(answered.located, Span):
            continue
        score = answered.scored_by(profile.scorer).score
        single = score_answer(SINGLE, answered.trace, answered.located)
        if isinstance(score, Score) and isinstance(single, Score):
            p = profile.p_wrong(score)
            found.append((answered.wrong, np.nan if p is None else p, single.value))
            kinds.append(answered.task)
    if not found:
        raise InputError("no answer to the quiz can be judged", "Give the file that belongs to it.")
    wrong, p_wrong, singles = (np.array(each) for each in zip(*found, strict=True))
    return Group(wrong, p_wrong, singles), kinds


def by_name(group: Group, names: Sequence[str]) -> dict[str, Any]:
    """Return the figures of all, and of each kind or task."""
    kinds = np.array(names)
    return {"all": group.figures()} | {
        name: group.of(kinds == name).figures() for name in dict.fromkeys(names)
    }


def cards(given: Sequence[Given]) -> list[dict[str, Any]]:
    """Return the card of every model."""
    quizzes = {each.name: relocated(read_answers(each.quiz)[1], "automatic") for each in given}
    rows: list[Row] = []
    for each in given:
        if not each.elsewhere:  # the same model on another engine: one left out would be seen there
            continue
        asked = [a for a in quizzes[each.name] if split_of(a.question, a.context) != "certify"]
        rows += rows_of(each.name, asked, FEATURES, task="quiz")
        for path in each.elsewhere:
            rows += rows_of(each.name, relocated(read_answers(path)[1], "automatic"), FEATURES)
    judged = left_out(rows)
    made = []
    for each in given:
        profile = Profile.read(each.profile)
        kept = np.array([row.model == each.name for row in judged.rows])
        some = [row for row, keep in zip(judged.rows, kept, strict=True) if keep]
        elsewhere = Group(
            np.array([row.wrong for row in some]),
            judged.by_quiz[kept],
            np.array([row.single for row in some]),
        )
        model = read_answers(each.quiz)[0]["model"]
        card = {
            "schema": 1,
            "name": each.name,
            "model": {key: model[key] for key in ("name", "fingerprint", "backend")},
            "mode": profile.mode,
            "system_prompt": profile.system_prompt,
            "detector": profile.detector,
            "command": each.command,
            "quiz": by_name(*on_quiz(quizzes[each.name], profile)),
            "elsewhere": by_name(elsewhere, [row.task for row in some]) if some else {},
        }
        made.append(card)
    return made


def page(made: Iterable[Mapping[str, Any]]) -> str:
    """Return the page of all cards in Markdown, the model that is least often wrong first."""
    ordered = sorted(made, key=lambda card: (card["quiz"]["all"]["wrong"]["value"], card["name"]))
    out = [
        "# Profiles that are shipped",
        "",
        "A model with one of these files has a calibrated P(wrong) at once. Each has a card (JSON, "
        "beside the profile in `energy_guard/data/profiles`), from which this page is printed by "
        "`python -m benchmarks.profile_cards`.",
        "",
        "- **Quiz**: answers to the built-in quiz, by the profile as it is. Its curve was fitted "
        "to these very answers, and it is lifted to the level of other people's questions, which "
        "are harder: so mean P(wrong) lies above what is wrong.",
        "- **Elsewhere**: answers to tasks of other people, each judged by a detector that saw "
        "neither this model nor this task. This is what P(wrong) is worth on questions that "
        "nobody calibrated on.",
        "- 95 % intervals. Answers that are not located, declined or graded unsure are left out.",
        "",
        *_table(("model", "where"), _lines(ordered, whole=True)),
    ]
    for card in ordered:
        model = card["model"]
        how = "plain text with examples" if card["mode"] == "raw" else "chat"
        out += [
            f"\n## {card['name']}\n",
            f"{model['name']}, fingerprint `{model['fingerprint']}`, {model['backend']}, {how}. "
            f"Made by:\n\n    {card['command']}\n",
            *_table(("where", "kind or task"), _lines([card], whole=False)),
        ]
    return "\n".join(out) + "\n"


def _lines(
    made: Iterable[Mapping[str, Any]], *, whole: bool
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """All answers of each card, or each kind and task of them, with two names."""
    for card in made:
        for where in ("quiz", "elsewhere"):
            for kind, figures in card[where].items():
                if whole and kind == "all":
                    yield card["name"], where, figures
                if not whole and kind != "all":
                    yield where, kind, figures


def _table(
    headings: Sequence[str], rows: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> list[str]:
    columns = [
        *headings, "n", "wrong", "mean P", "AUROC", "of `nll:max`", "Brier skill",
        "P < 0.25", "of these wrong", "P < 0.5", "of these wrong",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for first, second, found in rows:
        below = [found["below"][str(limit)] for limit in LIMITS]
        mean = found["mean_p_wrong"]
        cells = [
            first,
            second,
            str(found["n"]),
            _number(found["wrong"]),
            "–" if mean is None else f"{mean:.2f}",
            _number(found["auroc"]),
            _number(found["auroc_nll_max"]),
            _number(found["brier_skill"]),
            *(_number(each[key]) for each in below for key in ("coverage", "wrong")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def main() -> None:
    """Write the cards and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=PROFILE,QUIZ,ANSWERS…;COMMAND")
    parser.add_argument("--cards", type=Path, required=True, help="the folder for the cards")
    parser.add_argument("--page", type=Path, required=True, help="the page in Markdown")
    args = parser.parse_args()
    made = cards([Given.parse(each) for each in args.models])
    for card in made:
        model = card["model"]
        path = args.cards / f"{model['fingerprint']}-{model['backend']}.card.json"
        write_whole(path, json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    stored = sorted(args.cards.glob("*.card.json"))
    write_whole(args.page, page(json.loads(path.read_text(encoding="utf-8")) for path in stored))


if __name__ == "__main__":
    main()
