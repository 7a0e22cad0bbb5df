"""The tablet's daily questionnaire: questions and advice as data, and a pure machine that walks them.

The data are devices/questionnaires/*.toml, one file a theme, in the order of their names. A file says for which
protocols it is asked; a patient is asked those of the own plan, each question once. A question may depend on the
answers before it (`when`: every named question was answered with one of these choices). A choice may set values of
the contract's kind `symptoms`, and may be `red`: the walk ends there, with advice of level `emergency`. Advice
applies when one of its alternatives holds; where it `asks`, the next sitting asks whether it was followed.

Nothing here knows a clock, a network or a patient. `publish` hands the result to the firmware client as any
device hands over a measurement.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from devices.catalogue import KINDS, Number, Spec, Truth, Word

if TYPE_CHECKING:
    from devices.firmware import Firmware

KIND: Final = "symptoms"
LANGUAGES: Final = ("fr", "en")
Level = Literal["emergency", "call", "advice"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""Of advice, the gravest first: call 15 or 112 now; call somebody today; something to do oneself."""
MUST_BE_RED: Final[Mapping[str, Any]] = {"chest_pain": True, "syncope": True, "dyspnoea": 3, "bleeding": True}
"""Values that end the walk at once (clinical reference 1.4 and 5): a file that sets one without `red` is refused."""
FOLLOWED: Final = "followed:"
"""What the key of a question about yesterday's advice begins with."""
ANSWERS_MAX: Final = 100
"""Answers of one sitting, far more than all files together ask: a bound for what a form may send."""


class QuestionnaireError(ValueError):
    """A file that cannot be used; the message names the file and the field."""


class AnswerError(ValueError):
    """An answer to a question that is not the next one, or that it does not have."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. `sets`: values of the kind `symptoms` that it stands for."""

    key: str
    text: Mapping[str, str]
    sets: Mapping[str, Any] = field(default_factory=dict)
    red: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `when`: earlier question → choices of which one must have been given, all of them."""

    key: str
    text: Mapping[str, str]
    choices: tuple[Choice, ...]
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    help: Mapping[str, str] = field(default_factory=dict)

    def choice(self, key: str) -> Choice:
        """Raises AnswerError for a choice that the question does not have."""
        for choice in self.choices:
            if choice.key == key:
                return choice
        raise AnswerError(f"question {self.key!r} has no choice {key!r}")


@dataclass(frozen=True, slots=True)
class Advice:
    """One message. `when`: alternatives, each as in Question; `asks`: the next day's question, empty for none."""

    key: str
    level: Level
    text: Mapping[str, str]
    when: tuple[Mapping[str, tuple[str, ...]], ...]
    asks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Questionnaire:
    """One file."""

    name: str
    version: str
    protocols: tuple[str, ...]
    questions: tuple[Question, ...]
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """A sitting: what is asked, and what was answered so far. Immutable: every step makes a new one."""

    questions: tuple[Question, ...]
    rules: tuple[Advice, ...]
    version: str
    answers: tuple[tuple[str, str], ...] = ()

    @property
    def said(self) -> dict[str, str]:
        """Question → choice."""
        return dict(self.answers)

    @property
    def red(self) -> bool:
        """Whether an answer was given that cannot wait."""
        return any(choice.red for _, choice in self.given())

    @property
    def question(self) -> Question | None:
        """The next question; None when the walk has ended."""
        if self.red:
            return None
        said = self.said
        for question in self.questions:
            if question.key not in said and applies(question.when, said):
                return question
        return None

    @property
    def finished(self) -> bool:
        return self.question is None

    def given(self) -> list[tuple[Question, Choice]]:
        """Questions with the choice that was made, in the order of the answers."""
        by_key = {question.key: question for question in self.questions}
        return [(by_key[key], by_key[key].choice(choice)) for key, choice in self.answers]

    def answer(self, question: str, choice: str) -> Walk:
        """The walk after this answer. Raises AnswerError unless `question` is the next one and has the choice."""
        expected = self.question
        if expected is None or expected.key != question:
            asked = "nothing more is asked" if expected is None else f"{expected.key!r} is asked"
            raise AnswerError(f"{question!r} was answered, but {asked}")
        expected.choice(choice)
        return replace(self, answers=(*self.answers, (question, choice)))

    def resumed(self, answers: Iterable[tuple[str, str]]) -> Walk:
        """The walk from its beginning with these answers, each checked. Raises AnswerError."""
        walk = replace(self, answers=())
        for place, (question, choice) in enumerate(answers):
            if place >= ANSWERS_MAX:
                raise AnswerError(f"more than {ANSWERS_MAX} answers")
            walk = walk.answer(question, choice)
        return walk

    def back(self) -> Walk:
        """The walk without the last answer."""
        return replace(self, answers=self.answers[:-1])

    def values(self) -> dict[str, Any]:
        """What was said as values of the kind `symptoms`."""
        return {name: value for _, choice in self.given() for name, value in choice.sets.items()}

    def advice(self) -> list[Advice]:
        """What to tell the patient, the gravest first."""
        said = self.said
        found = [one for one in self.rules if any(applies(when, said) for when in one.when)]
        return sorted(found, key=lambda one: LEVELS.index(one.level))

    def followed(self) -> dict[str, str]:
        """What was said about earlier advice: its key → `yes`, `partly` or `no`."""
        return {
            key.removeprefix(FOLLOWED): choice for key, choice in self.answers if key.startswith(FOLLOWED)
        }


def applies(when: Mapping[str, Collection[str]], said: Mapping[str, str]) -> bool:
    """Whether every question that the condition names was answered with one of its choices."""
    return all(said.get(question) in choices for question, choices in when.items())


_DID: Final = (
    Choice("yes", {"fr": "Oui", "en": "Yes"}),
    Choice("partly", {"fr": "En partie", "en": "Partly"}),
    Choice("no", {"fr": "Non", "en": "No"}),
)


def begin(
    protocols: Collection[str], advised: Iterable[str] = (), library: Sequence[Questionnaire] | None = None
) -> Walk:
    """The walk of a patient on these protocols; `advised`: keys of the advice of an earlier day.

    Without a questionnaire for any of the protocols nothing is asked. What was advised comes last: what cannot
    wait is asked first.
    """
    chosen = [one for one in (load() if library is None else library) if set(one.protocols) & set(protocols)]
    rules = tuple(advice for one in chosen for advice in one.advice)
    by_key = {advice.key: advice for advice in rules if advice.asks}
    asked = [
        Question(FOLLOWED + key, by_key[key].asks, _DID) for key in dict.fromkeys(advised) if key in by_key
    ]
    return Walk(
        (*(question for one in chosen for question in one.questions), *(asked if chosen else ())),
        rules,
        " ".join(f"{one.name}/{one.version}" for one in chosen),
    )


def publish(client: Firmware, walk: Walk, measured_at_ms: int, offset_min: int) -> int:
    """Give a finished walk to the device's client, which keeps it until the platform has it; returns its seq.

    Raises AnswerError for a walk that has not ended or says nothing, OutboxFullError as any measurement does.
    """
    values = walk.values()
    if not walk.finished or not values:
        raise AnswerError("the questionnaire has not been answered to its end")
    return client.measure(KIND, values, measured_at_ms, offset_min)


# ── the files ─────────────────────────────────────────────────────────────────────────────────────────────


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    fr: str
    en: str
    sets: dict[str, bool | int | str] = {}
    red: bool = False


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    fr: str
    en: str
    choice: list[_Choice]
    when: dict[str, list[str]] = {}
    help_fr: str = ""
    help_en: str = ""


class _Advice(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    level: Level
    fr: str
    en: str
    when: list[dict[str, list[str]]]
    asks_fr: str = ""
    asks_en: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    protocols: list[str]
    source: str
    question: list[_Question]
    advice: list[_Advice] = []


@cache
def load() -> tuple[Questionnaire, ...]:
    """The published questionnaires. Raises QuestionnaireError."""
    return read(files("devices").joinpath("questionnaires"))


def read(folder: Traversable) -> tuple[Questionnaire, ...]:
    """Every *.toml of the folder in the order of names, checked together. Raises QuestionnaireError."""
    found: list[Questionnaire] = []
    choices: dict[str, set[str]] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            found.append(_checked(file.name, file.read_bytes(), choices, found))
    return tuple(found)


def _checked(
    name: str, data: bytes, choices: dict[str, set[str]], before: Sequence[Questionnaire]
) -> Questionnaire:
    """One file; `choices` are those of all questions so far, to which the file's are added."""
    try:
        document = msgspec.convert(tomllib.loads(data.decode()), _File)
    except (
        ValueError,
        RecursionError,
        msgspec.ValidationError,
    ) as error:  # tomllib's own are no TOMLDecodeError only
        raise QuestionnaireError(f"{name}: {error}") from None
    for label, value in (("name", document.name), ("version", document.version), ("source", document.source)):
        _need(bool(value), name, label, "is empty")
    _need(bool(document.protocols), name, "protocols", "names no protocol")
    questions = tuple(
        _question(question, f"question[{place}]", name, choices)
        for place, question in enumerate(document.question)
    )
    taken = {one.key for file in before for one in file.advice}
    advice = []
    for place, one in enumerate(document.advice):
        advice.append(_advice(one, f"advice[{place}]", name, choices, taken))
    _red_is_answered(name, questions, advice)
    return Questionnaire(document.name, document.version, tuple(document.protocols), questions, tuple(advice))


def _need(true: bool, file: str, where: str, what: str) -> None:
    if not true:
        raise QuestionnaireError(f"{file}: {where} {what}")


def _both(file: str, where: str, fr: str, en: str, optional: bool = False) -> dict[str, str]:
    if optional and not fr and not en:
        return {}
    for language, text in (("fr", fr), ("en", en)):
        _need(bool(text.strip()), file, f"{where}.{language}", "has no text")
    return {"fr": fr, "en": en}


def _question(given: _Question, where: str, file: str, choices: dict[str, set[str]]) -> Question:
    where = f"{where} ({given.key})"
    _need(bool(given.key) and ":" not in given.key, file, f"{where}.key", "is empty or has a colon")
    _need(given.key not in choices, file, f"{where}.key", "is another question's already")
    _need(len(given.choice) >= 2, file, f"{where}.choice", "needs at least two choices")
    when = _when(given.when, f"{where}.when", file, choices)
    made: list[Choice] = []
    for choice in given.choice:
        at = f"{where}.choice ({choice.key})"
        _need(choice.key not in {one.key for one in made}, file, f"{at}.key", "is there twice")
        _need(bool(choice.key), file, f"{at}.key", "is empty")
        for value, set_to in choice.sets.items():
            _value(value, set_to, choice.red, f"{at}.sets.{value}", file)
        made.append(Choice(choice.key, _both(file, at, choice.fr, choice.en), dict(choice.sets), choice.red))
    choices[given.key] = {choice.key for choice in made}
    hint = _both(file, f"{where}.help", given.help_fr, given.help_en, optional=True)
    return Question(given.key, _both(file, where, given.fr, given.en), tuple(made), when, hint)


def _advice(
    given: _Advice, where: str, file: str, choices: Mapping[str, set[str]], taken: set[str]
) -> Advice:
    where = f"{where} ({given.key})"
    _need(bool(given.key), file, f"{where}.key", "is empty")
    _need(given.key not in taken, file, f"{where}.key", "is other advice's already")
    taken.add(given.key)
    _need(
        bool(given.when) and all(given.when),
        file,
        f"{where}.when",
        "says no condition: it would always be said",
    )
    when = tuple(_when(one, f"{where}.when[{place}]", file, choices) for place, one in enumerate(given.when))
    asks = _both(file, f"{where}.asks", given.asks_fr, given.asks_en, optional=True)
    if given.level == "emergency":
        for language, text in (("fr", given.fr), ("en", given.en)):
            _need("15" in text and "112" in text, file, f"{where}.{language}", "does not name 15 and 112")
    return Advice(given.key, given.level, _both(file, where, given.fr, given.en), when, asks)


def _when(
    given: Mapping[str, Sequence[str]], where: str, file: str, choices: Mapping[str, set[str]]
) -> dict[str, tuple[str, ...]]:
    for question, wanted in given.items():
        _need(question in choices, file, f"{where}.{question}", "is no question asked before")
        _need(bool(wanted), file, f"{where}.{question}", "names no choice")
        for choice in wanted:
            _need(
                choice in choices[question],
                file,
                f"{where}.{question}",
                f"names {choice!r}; the question has {', '.join(sorted(choices[question]))}",
            )
    return {question: tuple(wanted) for question, wanted in given.items()}


def _value(name: str, value: object, red: bool, where: str, file: str) -> None:
    spec = KINDS[KIND].values.get(name)
    if spec is None:
        raise QuestionnaireError(f"{file}: {where} is no value of the kind {KIND}")
    _need(_fits(spec, value), file, where, f"cannot be {value!r}")
    worst = name in MUST_BE_RED and MUST_BE_RED[name] == value
    _need(red or not worst, file, where, "cannot wait: the choice must be red")


def _fits(spec: Spec, value: object) -> bool:
    if isinstance(spec, Truth):
        return isinstance(value, bool)
    if isinstance(spec, Number):
        return isinstance(value, int) and not isinstance(value, bool) and spec.low <= value <= spec.high
    return isinstance(spec, Word) and value in spec.words


def _red_is_answered(file: str, questions: Sequence[Question], advice: Sequence[Advice]) -> None:
    """Every red choice says at once to call 15 or 112."""
    told = {
        (question, choice)
        for one in advice
        if one.level == "emergency"
        for when in one.when
        if len(when) == 1
        for question, wanted in when.items()
        for choice in wanted
    }
    for question in questions:
        for choice in question.choices:
            _need(
                not choice.red or (question.key, choice.key) in told,
                file,
                f"question ({question.key}).choice ({choice.key}).red",
                "has no advice of level emergency",
            )
