"""From a trace to a verdict: locate → score → calibrate → decide → act, without an engine.

`Guard` judges what it hears; `energy-guard score --from-log` judges what was stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from energy_guard.arguments import Filled, checked
from energy_guard.asked_features import to_be_asked
from energy_guard.backends.base import Backend, ModelInfo
from energy_guard.backends.prompt import template_option
from energy_guard.claims import exact_answer, score_answer
from energy_guard.decide import Attempt, FinalMove, final_move
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.locate import Asked, Located, Locator, NotLocated, Span, sentences
from energy_guard.locate import locator as locator_named
from energy_guard.log import LogEntry, Scoring
from energy_guard.neuron_detector import NeuronDetector, scorer_named
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import DEFAULT_DETECTOR, Policy, check_damping
from energy_guard.private import KeptScore, score_again
from energy_guard.profile import Profile, Traffic
from energy_guard.profile.store import find
from energy_guard.request import Request
from energy_guard.result import PWrongFrom, Result, conclude, shows
from energy_guard.running import Window
from energy_guard.score import Score, Scorer, Unscored
from energy_guard.support_features import BY_ASKING, BY_READING, CONFIRMED, SUPPORT, support_of
from energy_guard.trace import INCOMPLETE, Trace


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A detector, a locator, a policy and perhaps a profile that fit together.

    found: the profile was not asked for, so that it can be done without. support: features of
    how far answers rest on their passages that somebody wants to know. neurons: of which probe
    they are to be watched while answers are written. notes: what whoever reads a result should
    know. unusable: says why nobody may act on an answer, and None of any other.

    >>> Judge.assemble(detector="entropy:mean").policy.warn is None
    True
    """

    detector: Scorer
    locator: str
    locate: Locator
    policy: Policy
    profile: Profile | None
    found: bool = False
    support: frozenset[str] = frozenset()
    neurons: NeuronProbe | None = None
    notes: tuple[str, ...] = ()
    unusable: Callable[[Trace], str | None] | None = None

    @classmethod
    @checked
    def assemble(
        cls,
        policy: Policy | None = None,
        *,
        detector: Filled | NeuronProbe | None = None,
        locator: Filled | None = None,
        profile: Profile | Literal["auto"] | None = None,
        info: ModelInfo | None = None,
        support: bool = False,
        neurons: NeuronProbe | None = None,
    ) -> Self:
        """Fill in what is not given, from the profile, the policy or the defaults.

        profile: auto takes the one that was made for the model `info`, if there is one, unless
        other rules are given. support: whether the support by passages is to be measured, also if
        the detector does without. neurons: a probe whose neurons are to be watched, likewise.
        Raises ConfigError for unknown names, MismatchError if the parts do not fit.
        """
        found = profile == "auto" and policy is None
        if profile == "auto":
            other_rules = detector or locator or (policy and policy.on == "score")
            profile = None if other_rules or info is None else find(info)
        if profile is not None and detector in (None, profile.detector):
            parsed = profile.scorer
        else:
            chosen = detector or (policy and policy.detector) or DEFAULT_DETECTOR
            parsed = (
                NeuronDetector(chosen) if isinstance(chosen, NeuronProbe) else scorer_named(chosen)
            )
        name = locator or (profile.locator if profile else "automatic")
        policy = policy or (profile.policy() if profile else Policy.default(parsed))
        if policy.on == "p_wrong" and profile is None:
            raise ConfigError("a policy on p_wrong needs a profile", "Give one (--profile FILE).")
        if policy.detector is not None and policy.detector != parsed.name:
            raise MismatchError(
                f"the policy's thresholds are for {policy.detector}, not {parsed.name}",
                "Use the policy's detector, or thresholds made for this one.",
            )
        if profile is not None:
            profile.check(detector=parsed.name, locator=name)
            profile.check_policy(policy)
            neurons = profile.neurons or neurons
        if isinstance(parsed, NeuronDetector):
            neurons = parsed.probe
        check_damping(policy, neurons)
        return cls(
            detector=parsed,
            locator=name,
            locate=locator_named(name),
            policy=policy,
            profile=profile,
            found=found,
            support=frozenset(SUPPORT if support else ()),
            neurons=neurons,
        )

    @property
    def measures_support(self) -> frozenset[str]:
        """The features of support that are measured of answers over passages."""
        return self.support | self.detector.needs_support

    @property
    def chosen(self) -> str | NeuronProbe:
        """The detector as `assemble` takes it."""
        detector = self.detector
        return detector.probe if isinstance(detector, NeuronDetector) else detector.name

    @property
    def p_wrong_from(self) -> PWrongFrom | None:
        """What P(wrong) comes from; None without a profile."""
        return self.profile.p_wrong_from if self.profile else None

    def check_model(self, info: ModelInfo) -> None:
        """Raise MismatchError if policy, profile or neurons belong to another model."""
        if self.policy.model is not None and self.policy.model != info.fingerprint:
            raise MismatchError(
                f"the policy belongs to the model {self.policy.model}, "
                f"and this is {info.fingerprint}",
                "Thresholds do not carry over between models: set them for this one.",
            )
        if self.profile is not None:
            self.profile.check(model=info.fingerprint, backend=info.backend)
        if self.neurons is not None:
            self.neurons.check(info)

    def check_backend(self, backend: Backend) -> None:
        """Check that a backend gives what is needed here.

        Args:
            backend: the model that is to be judged, by whatever engine.

        Raises:
            MismatchError: if policy or profile belong to another model.
            ConfigError: if the detector needs a signal that is not to be had, or support is to be
                measured by what reads no answer that exists already.
        """
        info, exact = backend.info, backend.exact_signals
        self.check_model(info)
        missing = sorted(self.detector.needs - exact)
        if missing:
            raise ConfigError(
                f"the detector {self.detector.name} needs {', '.join(missing)}, and {info.name} "
                f"({info.backend}) gives only {', '.join(sorted(exact))}",
                "Use a detector such as nll:max, with its policy or profile, or load the model "
                "here: a server shows no raw logits.",
            )
        if self.measures_support and not backend.replays:
            raise ConfigError(
                f"support by passages cannot be measured with {info.name} ({info.backend}), which "
                "reads no answer that exists already",
                "Leave support out, or load the model here.",
            )

    def for_asking(
        self,
        mode: Literal["chat", "raw"],
        *,
        scoring: Scoring = "token-by-token",
        alone: bool = False,
        unasked: bool = False,
    ) -> Judge:
        """Return the judge for this way of asking, which is mostly this one.

        If a profile that was found by itself is for another way, or needs to know what was asked
        and nobody does, it is left out, and a note says so.

        Args:
            mode: whether a chat template is applied.
            scoring: how answers are evaluated.
            alone: whether one answer is judged that exists already, and none is tried again.
            unasked: whether nobody says what was asked: token ids, or a log that does not tell.

        Raises:
            MismatchError: if the profile was asked for, and is for another way.
        """
        try:
            if self.profile is not None:
                self.profile.check(mode=mode, scoring=scoring)
                if alone:
                    self.profile.check(retries=0)
        except MismatchError as error:
            if not self.found:
                raise
            return self._by_hand(f"{error.message}: it is not used")
        fitted = self.profile.fitted if self.profile else None
        if unasked and self.found and fitted is not None and fitted.needs_asked:
            return self._by_hand(_UNASKED)
        return self

    def _by_hand(self, note: str) -> Judge:
        """The judge without the profile that was found, and a note that says why."""
        return replace(
            Judge.assemble(), support=self.support, notes=(note,), unusable=self.unusable
        )

    def notes_on(self, request: Request, info: ModelInfo) -> tuple[str, ...]:
        """What may shift P(wrong) for this request on this engine, a sentence each."""
        if self.profile is None:
            return self.notes
        if request.messages is None:
            return (*self.notes, *self.profile.warnings(engine=info.engine))
        engine = dict(info.engine)
        if request.template_variables:
            before = str(engine.get("template_variables", "{}"))
            engine["template_variables"] = template_option(request.template_variables, before)
        return (
            *self.notes,
            *self.profile.warnings(request.system_prompt, request.sampling, engine=engine),
        )

    def assess(
        self,
        trace: Trace,
        request: Request,
        *,
        ask: Callable[[str], str] | None = None,
        stopped: str | None = None,
    ) -> Attempt:
        """Locate, score and calibrate one attempt.

        ask: for a locator that asks the model itself. stopped: why a rule ended the attempt.
        """
        asked = Asked(request.question, request.choices, passages=request.context)
        located: Located = NotLocated(f"the answer is not complete ({trace.finish_reason})")
        if trace.finish_reason not in INCOMPLETE:
            located = self.locate(trace, replace(asked, ask=ask))
        saved = request.max_tokens - len(trace) if stopped else 0
        attempt = self._attempt(trace, located, asked, stopped, saved)
        return self._if_usable(attempt, self.unusable(trace) if self.unusable else None)

    def assess_stored(self, entry: LogEntry, relocate: bool) -> Attempt:
        """Score a stored trace again, with its answer found anew or where it was found then."""
        return self._if_usable(self._stored(entry, relocate), entry.unusable)

    def _stored(self, entry: LogEntry, relocate: bool) -> Attempt:
        found_by = self.locator if relocate else entry.locator
        self.check_single(mode=entry.mode, scoring=entry.scoring, locator=found_by)
        if entry.scores is not None and not relocate:
            return self._assess_kept(entry, entry.scores)
        stopped = entry.stopped or self._would_stop(entry.trace)
        if not relocate:
            if entry.texts or entry.claims is not None:
                known = entry.known
                return self._attempt(
                    entry.trace, entry.located, known, stopped, words=entry.doubted
                )
            return Attempt(entry.trace, entry.located, Unscored(stopped or _NO_TEXTS))
        if not entry.texts:
            raise ConfigError(
                "this log has no texts, so no locator can be tried on it",
                "Leave --locator out: the answer is taken where it was found then.",
            )
        located = self.locate(entry.trace, entry.asked)
        return self._attempt(entry.trace, located, entry.known, stopped)

    def _if_usable(self, attempt: Attempt, unusable: str | None) -> Attempt:
        """The attempt; without a score if it would be shown, and nobody may act on it."""
        if unusable is None:
            return attempt
        attempt = replace(attempt, unusable=unusable)
        if not shows(self.final([attempt])):
            return attempt
        none = Unscored(unusable, withheld=True)
        return replace(attempt, score=none, p_wrong=None, uncalibrated=None)

    def _assess_kept(self, entry: LogEntry, scores: Sequence[KeptScore]) -> Attempt:
        """Judge an answer of a private log by its score, as far as that was kept."""
        score = score_again(scores, self.detector, nothing_to_check=entry.nothing_to_check)
        if entry.stopped is not None:
            score = Unscored(entry.stopped)
        elif self.policy.early_stop is not None:
            score = Unscored(_NO_STEPS)
        located = NotLocated("a private log does not keep where the answer was found")
        return self._calibrated(Attempt(entry.trace, located, score, stopped=entry.stopped))

    def check_single(self, **actual: str | int) -> None:
        """Raise MismatchError if a profile does not fit one answer that is judged alone."""
        if self.profile is not None:
            self.profile.check(retries=0, **actual)

    def final(self, attempts: Sequence[Attempt]) -> FinalMove:
        """Decide when there is to be no further attempt."""
        return final_move(self.policy, attempts)

    def _would_stop(self, trace: Trace) -> str | None:
        """What the policy's rule would have said while the answer was written."""
        if self.policy.early_stop is None:
            return None
        window = Window(self.policy.early_stop, self.detector, reasoning=trace.reasoning_open)
        risks = trace.signal(self.detector.signal)[: len(trace) - 1]  # a rule ends no ended answer
        for piece, value in zip(trace.pieces, risks.tolist(), strict=False):
            window.push(piece, self.detector.risk(value) if math.isfinite(value) else None)
        return window.tripped

    def conclude(
        self,
        attempts: Sequence[Attempt],
        move: FinalMove,
        *,
        info: ModelInfo,
        earlier: Sequence[Attempt] = (),
        request: Request | None = None,
    ) -> Result:
        """Turn the final move into what the user gets."""
        result = conclude(
            self.policy,
            attempts,
            move,
            self.detector.name,
            info,
            earlier,
            p_wrong_from=self.p_wrong_from or "profile",
        )
        notes = self.notes if request is None else self.notes_on(request, info)
        if self.profile and self.profile.traffic and result.p_wrong_from == "traffic":
            notes = (*notes, _of_traffic(self.profile.traffic))
        if result.p_wrong_from == "other models":
            notes = (*notes, _OF_OTHERS)
        if (
            self.profile
            and self.profile.judged == "exact answer"
            and result.scored == "other claim"
        ):
            notes = (*notes, _EXACT_ALONE)
        promise = self.profile.promise(self.policy) if self.profile else None
        if self._lacks_a_reply(result.kept):  # no answer that a certificate was made with did
            notes, promise = (*notes, _NOT_ASKED), None
        return replace(result, notes=notes, promise=promise)

    def _lacks_a_reply(self, attempt: Attempt) -> bool:
        """Whether the score goes by what the model says of its passages, and it was not asked."""
        if self.detector.needs_support.isdisjoint(BY_ASKING) or not to_be_asked(attempt.asked):
            return False
        return isinstance(attempt.score, Score) and CONFIRMED not in attempt.trace.extras

    def _attempt(
        self,
        trace: Trace,
        located: Located,
        asked: Asked,
        stopped: str | None = None,
        saved: int = 0,
        words: Sequence[Span] | None = None,
    ) -> Attempt:
        located = exact_answer(trace, located)
        score = score_answer(self.detector, trace, located, words, asked=asked)
        if stopped is not None:
            score = Unscored(stopped)
        elif trace.finish_reason in INCOMPLETE:
            score = Unscored(f"the answer is not complete ({trace.finish_reason})")
        spans = sentences(trace) if isinstance(located, Span) else []
        each = tuple((span, self.detector.score(trace, span, asked)) for span in spans)
        support = None
        wanted = self.measures_support
        applies = not wanted.isdisjoint(BY_READING) or (wanted and to_be_asked(asked))
        if applies and isinstance(located, Span):
            support = support_of(trace, located, asked)
        return self._calibrated(
            Attempt(trace, located, score, None, each, stopped, saved, asked=asked, support=support)
        )

    def _calibrated(self, attempt: Attempt) -> Attempt:
        """The attempt with its P(wrong), or with why there is none."""
        if self.profile is None or not isinstance(attempt.score, Score):
            return attempt
        p_wrong = self.profile.p_wrong(attempt.score)
        if p_wrong is None:
            p_wrong = self._withholding(attempt.score)
        return replace(attempt, p_wrong=p_wrong, uncalibrated=self.profile.why_not(attempt.score))

    def _withholding(self, score: Score) -> float | None:
        """P(wrong) of an answer that is far on the risky side, if it is to be withheld for that.

        Below the limit it stays without: what is far from all that is known is not shown as safe.
        """
        limit = self.policy.abstain
        if self.profile is None or self.policy.on != "p_wrong" or limit is None:
            return None
        p_wrong = self.profile.far_risk(score)
        return p_wrong if p_wrong is not None and p_wrong >= limit else None


def _of_traffic(traffic: Traffic) -> str:
    """Say where a level comes from that was moved to where the answers are."""
    labelled = f"{traffic.labelled or 'none'} of them labelled"
    return f"the level of P(wrong) was estimated from {traffic.answers} answers, {labelled}"


_UNASKED: Final = "the profile needs to know what was asked, and nobody says that: it is not used"
_NOT_ASKED: Final = (
    "the model could not be asked whether its passages say so: its usual reply was taken, so "
    "P(wrong) is right on average only"
)
_NO_STEPS: Final = "an early stop goes by numbers of single tokens, and a private log has none"
_NO_TEXTS: Final = "the log has no texts and does not say which words beside the exact answer count"
_OF_OTHERS: Final = (
    "P(wrong) is what answers of other models say: energy-guard calibrate makes a profile of this "
    "one"
)
_EXACT_ALONE: Final = "the profile is of exact answers alone, and here another claim decides"
