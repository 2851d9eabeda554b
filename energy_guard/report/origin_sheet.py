"""Where a chat model's H-neurons come from, as tables."""

from __future__ import annotations

from typing import Final, TypedDict, final

from energy_guard.report.results import Number
from energy_guard.report.sheet import Sheet, number


@final
class OriginOfProbe(TypedDict):
    """One labelling.

    chat, base: AUROC of probes on the chat model, of answers that they have not seen, as either
    model reads them. more: of the base model above the chat model. chat_accuracy, base_accuracy: on
    the right side of 0. rank: the mean share of all neurons that changed less than an H-neuron.
    """

    chat: Number
    base: Number
    more: Number
    chat_accuracy: Number
    base_accuracy: Number
    h_neurons: int
    rank: Number


@final
class OriginFigures(TypedDict):
    """The object of origin.json. probes: by labelling. changed: the median and the largest change
    of a neuron's weights, as cosine distances.
    """

    schema: int
    model: dict[str, str]
    base: dict[str, str]
    n: int
    probes: dict[str, OriginOfProbe]
    changed: dict[str, float]


PAPER: Final = (
    "the chat model's probe keeps its AUROC on the base model, its threshold does not, and "
    "H-neurons changed less than others"
)


def origin_sheet(figures: OriginFigures) -> Sheet:
    """Return a line for each labelling."""
    rows = [
        (
            f"probe, {labelling}",
            *(number(each[of]) for of in ("chat", "base")),
            number(each["more"], signed=True),
            *(number(each[of]) for of in ("chat_accuracy", "base_accuracy", "rank")),
        )
        for labelling, each in figures["probes"].items()
    ]
    counts = ", ".join(f"{name} {of['h_neurons']}" for name, of in figures["probes"].items())
    changed = figures["changed"]
    return Sheet(
        "H-neurons in the base model",
        (
            "told by",
            "AUROC, chat model",
            "AUROC, base model",
            "more",
            "accuracy, chat model",
            "accuracy, base model",
            "rank of change",
        ),
        tuple(rows),
        f"{figures['n']} answers of {figures['model']['name']}, read by it and by "
        f"{figures['base']['name']} after the same tokens, told by probes on the first that have "
        "not seen them. Rank of change: the mean share of all neurons whose weights training "
        f"turned less than an H-neuron's ({counts}); 0.5 is by chance. A neuron's weights turned "
        f"by {changed['median']:.2g} in the middle and {changed['largest']:.2g} at most (cosine "
        f"distance). The paper: {PAPER}.",
    )
