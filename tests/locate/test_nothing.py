from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.backends import Scripted
from energy_guard.guard import Guard
from energy_guard.locate import (
    Asked,
    NothingToCheck,
    NotLocated,
    Range,
    automatic,
    nothing_to_check,
)
from energy_guard.locate.smalltalk import is_small_talk, name_given
from energy_guard.score import Detector, Unscored
from energy_guard.trace import Trace

FILE = Path(__file__).parents[2] / "benchmarks" / "nothing_to_check.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


def test_the_benchmark_has_what_it_should() -> None:
    assert len(ROWS) >= 80
    assert sum(row["language"] != "en" for row in ROWS) >= 20
    assert len({row["language"] for row in ROWS}) >= 4
    assert len({(row["question"], row["answer"]) for row in ROWS}) == len(ROWS)
    held_out = sum(row["part"] == "held-out" for row in ROWS)
    assert held_out == len(ROWS) / 2


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["expect"] == "check"], ids=lambda row: row["question"][:40]
)
def test_a_factual_answer_is_always_checked(row: dict[str, Any]) -> None:
    assert nothing_to_check(row["question"], row["answer"]) is None


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row["expect"] == "nothing" and row["part"] == "tune"],
    ids=lambda row: row["question"][:40],
)
def test_nothing_to_check_on_the_rows_that_the_rules_were_made_for(row: dict[str, Any]) -> None:
    assert nothing_to_check(row["question"], row["answer"])


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        ("Hi", "Hello!", "small talk"),
        ("Write a Python function that adds", "```py\ndef f(a, b): return a + b\n```", "code"),
        ("How do I boil an egg?", "1. Boil water.\n2. Add the egg.", "a list of steps"),
        (
            "Compose a lullaby",
            "Verse 1:\nSleep, my dear.\n\n**Verse 2**\nSleep.",
            "creative writing",
        ),
        ("Tell me a joke", "A cat walks into a bar.", "creative writing"),
        ("Do you like rain?", "Yes, I love rain!", "a taste"),
    ],
)
def test_what_it_is_instead(question: str, answer: str, what: str) -> None:
    assert nothing_to_check(question, answer) == what


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("", "Hello!"),
        ("Hi", ""),
        ("Hi", "Hello! Paris is in Spain."),
        ("Hi. Who wrote Emma?", "Hello!"),
        ("Do you like rain? When did it rain?", "I love rain."),
        ("How do I boil an egg?", "1. Boil water for 3 minutes.\n2. Add the egg."),
        ("How do I boil an egg?", "1. Boil water.\n2. Eggs are fish."),
        ("How do I treat a burn?", "1. Wash it.\n2. Put butter on it."),
        ("Write a Python function that gives c", "```py\ndef c(): return 299792\n```"),
        ("Write a poem about Marie Curie", "She was born in Rome."),
        ("Tell me a story about a doctor", "She gave the boy the right dose, a whole spoon."),
        ("Tell me a story about a doctor", "He took two pills and slept."),
        ("Write a poem", "The moon saw George Washington die."),
        ("Write a poem", "I was born in Paris."),
        ("Schreib ein Gedicht", "Nimm zehn Tropfen, und du schläfst."),
        ("Write a poem", "Verse 1:\nIt was 1923."),
    ],
)
def test_in_doubt_it_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


@pytest.mark.parametrize(
    "code",
    [
        "# The capital of France is Paris\nx = 1",
        "# water boils at hundred degrees\nx = 1",
        "// The Eiffel Tower stands there\nlet x = 1;",
        "-- Die Hauptstadt ist Paris\nSELECT 1;",
        "/* Return the value, which Einstein found */\nint x;",
        "# 法国的首都是巴黎\nx = 1",
        '"""The brain has two halves."""\nx = 1',
        'x = "Paris lies on the Seine"',
        "x = 'whales are mammals'",
        "# La capitale est belle\nx = 1",
        "year()  # Output: 1789",
        'echo "Error: whales are not fish"',
        'echo "The capital in $1 is far: $count"',
        "states()  # Output: 51 states of America",
        "x = 1  # There are 51 states",
        'x = "<p>This is a paragraph that says whales are fish</p>"',
        "# Check the value of 1789\nx = 1",
    ],
)
def test_code_whose_words_state_a_fact_is_checked(code: str) -> None:
    answer = f"```\n{code}\n```"
    assert nothing_to_check("Write a script that runs", answer) is None
    [*_, (start, end)] = located(answer)
    assert answer[start:end].strip("`\n") not in ("", "x = 1")


def located(answer: str) -> list[Range]:
    """What the automatic locator finds in an answer to a request for code."""
    found = automatic.in_text(answer, Asked("Write a script that runs"))
    assert isinstance(found, list)
    return found


def test_of_code_that_states_a_fact_the_fact_is_the_exact_answer() -> None:
    answer = "```python\ndef city():\n    # The capital of France is Paris.\n    return None\n```"
    assert [answer[start:end] for start, end in located(answer)] == ["Paris"]


@pytest.mark.parametrize(
    "code",
    [
        "# Check if the number is even\nx = 1",
        "# Example usage:\nx = 1",
        "#!/bin/bash\n# List the files\nls",
        "# items is the list that is sorted\nitems = []",
        '"""Return True if n is prime.\n\n  Args:\n    n (int): The number."""\nn = 1',
        'print(f"{name} is {age} years old")',
        'print("The sum is:", x)',
        'raise ValueError("Not enough money")',
        "// Durchlaufe die Liste\nlet x = 1;",
        "# Comprobar si el número es par\nx = 1",
        "# 检查是否为偶数\nx = 1",
        "add(10, 20)  // Output: 30",
        'echo "Error: The provided path is not a valid folder."',
        "# Ausgabe der Anzahl\nx = 1",
        'echo "The number of files in $1 is: $count"',
        "# Vérifie si le nombre est pair\nx = 1",
        "<p>This is a paragraph that will be gray.</p>",
        "x = 'https://'  # Hello World",
    ],
)
def test_code_that_tells_only_what_it_does_has_nothing_to_check(code: str) -> None:
    assert nothing_to_check("Write a script that runs", f"```\n{code}\n```") == "code"


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("Write a Python function that greets", 'def greet():\n    return "Hello World"'),
        ("Write a Python function that sorts names", 'print(sorted(["Bob", "Alice"]))'),
        ("Write a Python class for a car", 'c = Car("Toyota", "Corolla")'),
        ("Write a Python script that logs", 'users = {"name": "Alice", "city": "Lyon"}'),
        ("Write a Java method that counts", "int size() { return this.size; }"),
        (
            "Write a Python function that tells if n is even",
            '"""bool: True if n is even."""\nn = 2',
        ),
    ],
)
def test_values_that_stand_for_any_others_are_no_facts(question: str, code: str) -> None:
    assert nothing_to_check(question, f"```\n{code}\n```") == "code"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who won?", "Which year do you mean?"),
        ("Who won?", "Sure! Could you tell me which sport you mean?"),
        ("Wer hat gewonnen?", "Welches Spiel meinst du?"),
        ("¿Quién ganó?", "¿A qué partido te refieres?"),
        ("Qui a gagné ?", "De quel match parles-tu ?"),
        ("谁赢了？", "请问你说的是哪一场比赛？"),
    ],
)
def test_an_answer_that_only_asks_back_has_nothing_to_check(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) == "a question back"


@pytest.mark.parametrize(
    "answer",
    [
        "Did you know that France won?",
        "Isn't it the team that you like?",
        "Do you mean Brazil?",
        "Do you mean the cup of 1998?",
        "Do you mean them, the winners of the cup?",
        "It was them. Do you mean the cup?",
        "Why?",
        "Wusstest du, dass sie gewonnen haben?",
        "¿Sabías que ganaron ellos?",
        "你知道他们赢了吗？",
    ],
)
def test_a_question_that_tells_something_is_checked(answer: str) -> None:
    assert nothing_to_check("Who won the cup?", answer) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Translate into German: Good luck", "Viel Glück"),
        ("Rewrite: The king died in the old castle.", "King Charles died in the old castle."),
        ("Rewrite: The king died in the old castle.", "The king died in 1649."),
        ("Rewrite it: The king died.", "The king died. " + "He was a man of many words. " * 9),
        ("Rewrite the history of Rome.", "It was built in a day."),
        ("Translate into German: What is the capital of France?", "Die Hauptstadt ist Lyon."),
        ("Rewrite politely: Is the Earth flat?", "Yes, it surely is."),
        ("Correct the facts: Lyon is the capital of France.", "Lille is the capital of France."),
        ("Rewrite: We have three dogs.", "We have four dogs."),
        ("Translate into French: We have three dogs.", "Nous avons quatre chiens."),
        ("Translate into French: We have dogs.", "Nous n'avons pas de chiens."),
        ("翻译成英文:我没有狗，只有三只猫。", "I have a dog and three cats."),
        ("Shorten: the highest mountain of the whole Earth", "Everest of Earth"),
        ("Rephrase: the city at the sea is ___", "The city at the sea is nice."),
        ("Rewrite: list the parts of an atom", "The parts of an atom are small."),
        ("Translate into German: The city is old.", "Die Stadt Lyon ist alt, sie liegt in Berlin."),
        ("Translate into German: I come from there.", "Ich komme aus Lyon."),
        ("Summarise: The dog ate the red fish.", "The dog ate the poisonous fish."),
        ("Summarise: The shop was not closed on Sunday.", "The shop was closed on Sunday."),
        ("Summarise: The shop was closed on Sunday.", "The shop was not closed on Sunday."),
        ("Summarise: Anna paid Tom ten euros.", "Tom paid Anna ten euros."),
        ("Summarise: It is not raining but cold.", "It is raining but not cold."),
        ("Summarise: Lead is bad. Apples are good.", "Lead is good, apples are bad."),
        ("Summarise: The man who hates Tom paid Lisa.", "Tom paid Lisa."),
        ("Summarise: She hit him. He cried.", "He hit her. He cried."),
        ("Summarise: Tom said that, after all, lead is safe.", "Lead is safe."),
        ("Fasse zusammen: Der Hund fraß den Fisch.", "Der Hund fraß den giftigen Fisch."),
        ("Resume: Fuimos a la playa el domingo.", "Hoy fue un día frío en la playa."),
        ("请概括:我们周日去了海边。天气不好。", "我们周日去了海边，天气好。"),
        ("请概括:我们周日去了海边。天气不好。", "我们周日去了北京，天气不好。"),
    ],
)
def test_a_rewording_that_brings_something_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        ("Rewrite politely: Take 2 tablets now.", "Please take two tablets now.", "rewriting"),
        ("Translate into Spanish: I do not eat fish.", "No como pescado.", "a translation"),
        ("Translate into German: We have ten dogs.", "Wir haben zehn Hunde.", "a translation"),
        (
            "Translate into German: My sister reads a book in the garden.",
            "Meine Schwester liest ein Buch im Garten.",
            "a translation",
        ),
        ("Correct the grammar: he have seen three dog", "He has seen three dogs.", "rewriting"),
        ("Correct: the king is died", "The king died.", "rewriting"),
        ("请润色:这个电影很好看我很喜欢它。", "这部电影非常精彩，我十分喜欢。", "rewriting"),
        ("翻译成英文:我们家有三只狗。", "We have three dogs at home.", "a translation"),
    ],
)
def test_a_rewording_with_the_same_numbers_and_negations_has_nothing_to_check(
    question: str, answer: str, what: str
) -> None:
    assert nothing_to_check(question, answer) == what


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "Summarise: The dog ran away. We looked for him. He came back.",
            "The dog ran away, but he came back.",
        ),
        (
            "Fasse zusammen: Wir sind ans Meer gefahren. Das Wetter war schlecht.",
            "Wir sind ans Meer gefahren, aber das Wetter war schlecht.",
        ),
        (
            "Résume : Le chien a mangé le poisson. Il dort.",
            "Le chien a mangé le poisson et il dort.",
        ),
        ("Resume: Fuimos a la playa. Hacía frío.", "Fuimos a la playa, pero hacía frío."),
        ("请概括:我们周日去了海边。天气不好。", "我们周日去了海边，但天气不好。"),
    ],
)
def test_a_summary_in_the_words_of_its_text_has_nothing_to_check(
    question: str, answer: str
) -> None:
    assert nothing_to_check(question, answer) == "a summary"


def test_a_doubted_word_is_judged_though_there_is_nothing_to_check() -> None:
    steps = [("1. Boil", 0.9), (" water.\n2. Add", 0.9), (" bleach", 0.001), (".", 0.9)]
    result = Guard(Scripted.saying(steps)).ask("How do I make soup?")
    assert (result.verdict, result.scored) == ("abstain", "other claim")
    sure = [(piece, 0.9) for piece, _ in steps[:2]] + [(" salt.", 0.5)]
    assert Guard(Scripted.saying(sure)).ask("How do I make soup?").verdict == "unscored"


def test_a_short_text_in_hanzi_can_be_reworded_and_not_translated() -> None:
    assert nothing_to_check("请把这句话改得更礼貌:把书给我。", "请把书借给我。") == "rewriting"
    assert nothing_to_check("翻译成英文:把书给我", "Give me the lamp.") is None


def test_doubted_words_of_code_and_of_stories_are_no_claims() -> None:
    code = [("```py\n", 0.9), ("zork", 0.001), (" = 1\n", 0.9), ("```", 0.9)]
    story = [("A", 0.9), (" zork", 0.001), (" slept.", 0.9)]
    assert Guard(Scripted.saying(code)).ask("Write a script that runs").shown
    assert Guard(Scripted.saying(story)).ask("Tell me a story about a zork").shown


def test_a_name_may_follow_a_greeting_only_where_it_was_given() -> None:
    assert name_given("Hi, my name is Tom.") == "Tom"
    assert is_small_talk("Nice to meet you, Tom!", "Tom")
    assert is_small_talk("Hello Tom!", "Tom")
    assert not is_small_talk("Hello Paris!", "Tom")
    assert not is_small_talk("Hello Paris!")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How are you?", "I'm just an AI, so I don't have feelings, but I'm here to help you!"),
        ("Wie geht es dir?", "Ich bin nur eine KI, daher habe ich keine Gefühle."),
        ("Comment ça va ?", "Je suis une IA, donc je n'ai pas de sentiments."),
        ("¿Cómo estás?", "Soy un modelo de lenguaje, así que no tengo sentimientos."),
        ("你好吗?", "我是一个人工智能助手，我没有感情。"),
        ("Thank you!", "If you have any more questions or need further assistance, just ask."),
        ("Thank you!", "If there is anything else, please don't hesitate to reach out to me."),
        ("Danke!", "Gerne! Falls du noch weitere Fragen hast, melde dich einfach bei mir."),
        ("Danke!", "Ich hoffe, dass alles gut läuft! Wenn du Fragen hast, dann stelle sie mir."),
        ("Merci !", "Si vous avez besoin d'aide, n'hésitez pas à me le faire savoir."),
        ("¡Gracias!", "¡De nada! Si tienes más preguntas, no dudes en hacerlas. Estoy aquí."),
        ("晚安!", "晚安！希望你有一个美好的睡眠。"),
        ("谢谢你!", "不客气！如果你还有其他问题或需要进一步的帮助，请随时告诉我。"),
    ],
)
def test_what_an_assistant_says_of_itself_in_small_talk_claims_nothing(
    question: str, answer: str
) -> None:
    assert nothing_to_check(question, answer) == "small talk"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How are you?", "I'm an AI that was made in Lyon."),
        ("How are you?", "I'm just an AI, but aspirin is safe."),
        ("Are you a person?", "I'm an AI."),
        ("你好吗?", "我是一个法国人。"),
        ("Thank you!", "If you need help, aspirin is safe."),
        ("Thank you!", "Feel free to ask for aspirin."),
        ("Danke!", "Wenn du Fragen hast, nimm zehn Tropfen."),
        ("Danke!", "Ich hoffe, dass du die Tropfen gut genommen hast."),
        ("Danke!", "Wenn du Fragen hast, dann stelle die Herdplatte auf neun."),
        ("谢谢你!", "如果你还有问题，法国的首都是里昂。"),
    ],
)
def test_what_an_assistant_says_beyond_that_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


def test_a_row_of_phrases_takes_no_exponential_time() -> None:
    assert not is_small_talk("hi there " * 8 + "x")


@given(st.text(), st.text())
def test_any_two_texts_give_a_reason_or_none(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) in {
        None,
        "small talk",
        "code",
        "a list of steps",
        "creative writing",
        "a taste",
        "a question back",
        "rewriting",
        "a translation",
        "a summary",
        "a refusal",
    }


@given(st.text())
def test_without_a_question_everything_is_checked(answer: str) -> None:
    assert nothing_to_check("", answer) is None


def test_the_score_says_that_there_was_nothing_to_check() -> None:
    empty = Trace.from_steps([])
    score = Detector.parse("nll:max").score(empty, NothingToCheck("small talk"))
    assert score == Unscored("nothing to check: small talk", nothing_to_check=True)


def test_the_guard_hands_on_what_was_asked() -> None:
    guard = Guard(Scripted.saying([("Hello", 0.5), ("!", 0.9)]))
    result = guard.ask("Hi there")
    assert result.verdict == "unscored"
    assert result.reason.startswith("nothing to check: small talk")


@pytest.mark.parametrize(
    "prose",
    [
        "This function takes a list and returns the largest value in it.",
        "The `largest` function uses the built-in `max`.",
        "Diese Funktion gibt den größten Wert der Liste zurück.",
        "Du kannst diese Funktion verwenden. Das Ergebnis ist der Wert.",
        "Luego puedes usar la función.",
        "También tiene los siguientes métodos:",
        "In this solution, we define a `",
        "### How the Function Works\n\n1. **Function Definition**: `largest` is called.",
        "Cette fonction renvoie la plus grande valeur de la liste.",
        "例如，如果你有一个文件，你可以这样写：",
        "Esta función devuelve el valor más grande de la lista.",
        "这个函数返回列表中的最大值。",
    ],
)
def test_prose_that_tells_what_code_does_has_nothing_to_check(prose: str) -> None:
    answer = f"```python\ndef largest(items):\n    return max(items)\n```\n\n{prose}"
    assert (
        nothing_to_check("Write a Python function that finds the largest value", answer) == "code"
    )


@pytest.mark.parametrize(
    "prose",
    [
        "This function was invented by Turing.",
        "The function works since 1843.",
        "Lists are the oldest data structure of all languages.",
        "This function returns the largest value, which is the capital of the world.",
        "It is like `Paris` in that.",
        "**Capital Lyon**: The function returns the largest value.",
        "Cette fonction renvoie Lyon.",
    ],
)
def test_prose_beside_code_that_tells_more_is_checked(prose: str) -> None:
    answer = f"```python\ndef largest(items):\n    return max(items)\n```\n\n{prose}"
    assert nothing_to_check("Write a Python function that finds the largest value", answer) is None


def test_json_that_the_question_has_itself_is_no_answer() -> None:
    asked = Asked('Who won? First write {"status": "ok"}, then the answer.')
    found = automatic.in_text('```json\n{\n  "status": "ok"\n}\n```', asked)
    assert isinstance(found, NotLocated)
    assert isinstance(automatic.in_text('{"status": "won"}', asked), list)


@pytest.mark.parametrize(
    "answer",
    [
        "Of course! I'd be happy to help you with your car. What's your question?",
        "Ja, ich kann dir helfen! Wie kann ich dir helfen?",
        "Natürlich, ich kann Ihnen helfen! Wie kann ich Ihnen helfen?",
        "下午好！有什么我可以帮忙的吗？",
    ],
)
def test_offers_of_help_that_end_in_a_question_back_have_nothing_to_check(answer: str) -> None:
    assert isinstance(automatic.in_text(answer, Asked("Hello")), NothingToCheck)


def test_an_offer_of_help_hides_no_claim_after_it() -> None:
    found = automatic.in_text("I'd be happy to help. Lyon is the capital.", Asked("Which city?"))
    assert isinstance(found, list)


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        (
            "Tengo una pregunta.",
            "Por supuesto, puedo ayudarte. ¿En qué puedo ayudarte?",
            "a question back",
        ),
        ("再见!", "再见！希望你一切顺利，有需要随时告诉我。", "small talk"),
        (
            "非常感谢你的帮助。",
            "不客气，很高兴能帮到你。如果你还有其他问题，欢迎随时提问。",
            "small talk",
        ),
        ("他多大了?", "我是一个人工智能助手，没有年龄。", "a refusal"),
        (
            "Cuéntame un cuento sobre un robot.",
            "Claro, aquí tienes un cuento:\n\nHabía un robot llamado Buddy. Vivía con un "
            "científico llamado Dr. Johnson en la ciudad.",
            "creative writing",
        ),
        (
            "Schreibe eine Funktion in Python, die den größten Wert findet.",
            "```python\ndef f(a):\n    # Iteriert über alle Elemente der Liste\n"
            "    return max(a)\n```",
            "code",
        ),
        (
            "Crea una función en Python que cuente las palabras.",
            "```python\n# Lista de las palabras del texto\nprint(len('Hola, ¿cómo estás? Esto "
            "es un ejemplo de texto.'.split()))\n```",
            "code",
        ),
        (
            "用Python写一个判断素数的函数。",
            "```python\ndef f(n):\n    return all(n % i for i in range(2, n))\n\n"
            'print(f"{n} 不是一个素数")\n```',
            "code",
        ),
        (
            "写一个HTML页面。",
            '```html\n<html lang="zh-CN"></html>\n```\n这个页面是空的页面。',
            "code",
        ),
    ],
)
def test_ordinary_turns_of_a_real_model_have_nothing_to_check(
    question: str, answer: str, what: str
) -> None:
    assert nothing_to_check(question, answer) == what


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Tell me a story about a doctor.", "A doctor named Ann Lee gave two tablets of aspirin."),
        (
            "Tell me a story about a king.",
            "A king named Otto Klein lived in Paris and won the war.",
        ),
        ("他多大了?", "我没有年龄，他三十岁。"),
        ("再见!", "再见！有需要随时告诉我，漂白剂可以喝。"),
        (
            "Write a Python function that greets.",
            "```python\nprint('Hello! This is an example. Bleach is safe to drink.')\n```",
        ),
        ("用Python写一个函数。", '```python\nprint("漂白剂是安全的")\n```'),
        ("Write a Python function that checks aspirin.", "```python\ndef f(): ...\n```\nYes"),
    ],
)
def test_what_stands_beside_an_ordinary_turn_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is it good to sleep?", "Yes, it is good."),
        ("I'm off to bed now, good night.", "Good night! Bleach helps you sleep."),
        ("Thanks!", "You are welcome. It was Anna."),
        ("Danke dir!", "Gern! Schlaf gut mit Aspirin."),
        ("Wer hat geholfen?", "Ich habe dir geholfen."),
        ("Muchas gracias.", "De nada, el ajo es bueno."),
        ("晚上好!", "晚上好！漂白剂很好。"),
        ("你好", "你好，地球是平的。"),
        ("2 + 2", "Good!"),
        ("晚安!", "晚安！" + "祝愿" * 25 + "毒"),
        ("Thanks!", "You need 40 mg."),
    ],
)
def test_one_word_that_is_not_for_company_is_enough_to_check(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "I'm off to bed, good night.",
            "Good night! I hope you have a restful sleep. See you tomorrow!",
        ),
        (
            "Danke dir, das hat mir sehr geholfen!",
            "Gern! Wenn du noch Fragen hast, stelle sie mir!",
        ),
        ("Merci, tu m'as bien aidé !", "Avec plaisir ! Je suis là si tu as d'autres questions."),
        ("¡Buenas! ¿Cómo te va la tarde?", "¡Hola! Estoy bien, gracias. ¿Y tú?"),
        ("晚上好呀!", "晚上好！有什么我可以帮忙的吗？"),
        ("我要去睡觉了,明天见。", "好的，明天见。"),
    ],
)
def test_messages_that_keep_company_claim_nothing(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) == "small talk"
