"""Whether support by passages tells right from wrong beside the default features.

    python -m benchmarks.passages ANSWERS.support.jsonl …

The files are those of `benchmarks.support`, of several models. Answers over passages are scored by
logistic regressions that have not seen their question: on the default features, and with those of
support. Each model has a level of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from energy_guard.calibrate.detector import FEATURES, scaled, scaling
from energy_guard.energy import Bools, Floats
from energy_guard.estimates.estimate import Estimate
from energy_guard.evaluate.folder import relocated
from energy_guard.evaluate.paired_auroc import aurocs, mean_auroc
from energy_guard.features import features
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.support_features import SUPPORT

NAMES: Final = (*FEATURES, *SUPPORT)


def main() -> None:
    """Print a row for each task, and how many unanswerable questions are shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", nargs="+", type=Path)
    rows: list[tuple[Answered, str, Floats]] = []
    for path in parser.parse_args().answers:
        made_with, answers = read_answers(path)
        for answered in relocated(answers, "automatic"):
            located = answered.located
            if not answered.context or answered.unsure or answered.declined:
                continue
            if isinstance(located, Span):
                values = features(answered.trace, located, NAMES, answered.asked)
                if np.isfinite(values).all():
                    rows.append((answered, made_with["model"]["fingerprint"], values))
    wrong = np.array([answered.wrong for answered, _, _ in rows])
    tasks = np.array([answered.task for answered, _, _ in rows])
    plain, with_support = (_unseen(rows, wrong, names) for names in (FEATURES, NAMES))
    sys.stdout.write("| answers | n | wrong | without support | with | gain, paired |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for task in ("all", *np.unique(tasks).tolist()):
        kept = (tasks == task) | (task == "all")
        if wrong[kept].any() and not wrong[kept].all():
            both = aurocs({"plain": plain[kept], "support": with_support[kept]}, wrong[kept])
            cells = [mean_auroc([both], name) for name in ("plain", "support")]
            cells.append(mean_auroc([both], "support", other="plain"))
            told = " | ".join(
                f"{c.value:.3f} ({c.low:.3f} to {c.high:.3f})" if isinstance(c, Estimate) else "–"
                for c in cells
            )
            sys.stdout.write(f"| {task} | {kept.sum()} | {wrong[kept].mean():.2f} | {told} |\n")
    answerable = np.array([answered.answerable for answered, _, _ in rows])
    for task in np.unique(tasks[~answerable]):
        own = tasks == task
        if (own & answerable).any():
            for name, p in (("without", plain), ("with", with_support)):
                shown = p[own & ~answerable] < np.median(p[own & answerable])
                said = f"{shown.mean():.0%} of {len(shown)} unanswerable ones"
                sys.stdout.write(f"{task}, half of the answerable shown, {name}: {said}\n")


def _unseen(
    rows: list[tuple[Answered, str, Floats]], wrong: Bools, names: tuple[str, ...]
) -> Floats:
    """Return P(wrong) of each answer by what was fitted on other questions, shape (n,)."""
    values = np.array([row[: len(names)] for _, _, row in rows])
    models = np.array([model for _, model, _ in rows])
    levels = (models[:, None] == np.unique(models)).astype(np.float64)
    questions = [answered.question for answered, _, _ in rows]
    p = np.zeros(len(rows))
    for seen, held in GroupKFold(5).split(values, wrong, questions):
        columns = np.hstack([scaled(values, *scaling(values[seen])), levels])
        fitted = LogisticRegression(C=0.05, max_iter=2000).fit(columns[seen], wrong[seen])
        p[held] = fitted.predict_proba(columns[held])[:, 1]
    return p


if __name__ == "__main__":
    main()
