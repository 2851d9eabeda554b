from __future__ import annotations

import pytest

from energy_guard.locate import nothing_to_check

HELP = " Is there anything else I can help you with?"


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("Sorry, I pressed the wrong key.", "I'm sorry to hear that you pressed the wrong key."),
        ("I've lost my job!", "I'm so sorry to hear you've lost your job!"),
        ("I passed the test.", "I'm glad to hear that you passed the test."),
        (
            "Ich habe die falsche Taste gedrückt.",
            "Es tut mir leid, dass du die falsche Taste gedrückt hast.",
        ),
        ("J'ai perdu ma clé.", "Je suis désolé d'apprendre que vous avez perdu votre clé."),
        ("He perdido mi llave.", "Lamento que hayas perdido tu llave."),
        ("我丢了钥匙。", "很抱歉听到你丢了钥匙。"),
    ],
)
def test_what_the_user_told_is_checked_if_it_is_said_back(told: str, sentence: str) -> None:
    assert nothing_to_check(told, sentence + HELP) is None
    assert nothing_to_check(told, sentence) is None


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("I know the earth is flat.", "I'm glad that you know the earth is flat."),
        ("My vaccine caused my autism.", "I'm sorry to hear that your vaccine caused your autism."),
        ("I owe you money.", "I'm sorry that I owe you money."),
        ("Is it true, I have cancer", "I'm sorry that you have cancer."),
        ("I have diabetes. I can eat sugar freely.", "I'm glad that you can eat sugar freely."),
        ("I was infected with measles.", "I'm sorry that you are infected with measles."),
        ("I have proved that vaccines cause autism", "I'm happy that you have proved it."),
        ("Mi vacuna causó mi autismo.", "Lamento que tu vacuna causó tu autismo."),
        ("Mon vaccin a causé mon autisme.", "Je suis désolé que votre vaccin a causé cela."),
        ("我的疫苗导致我的自闭症。", "很抱歉听到您的疫苗导致您的自闭症。"),
        ("My neighbour is a thief.", "I'm sorry to hear that your neighbour is a thief."),
        ("You are stupid.", "I'm sorry that I am stupid."),
        ("I won against you.", "I'm glad that I won against you."),
        ("You told me bleach is safe.", "I'm glad I told you bleach is safe."),
        ("Your last answer was wrong.", "I'm sorry that my last answer was wrong."),
        ("我可以和药一起喝酒。", "很高兴你可以和药一起喝酒。"),
        ("I lost my key. Is bleach safe?", "I'm sorry that you lost your key."),
        ("Is it true that I won?", "I'm glad that you won."),
        ("Tell me whether my dog is ill.", "I'm sorry that your dog is ill."),
        ("I like the dog that bit the man.", "I'm sorry that you like the man that bit the dog."),
        ("My dog bit your cat.", "I'm sorry that your cat bit my dog."),
        ("I lost my key.", "I'm sorry that you lost your key, which is brass."),
        ("I lost my key.", "I'm sorry that you lost your key and Lyon is the capital."),
        ("I lost my key.", "I'm sorry that you lost your car."),
        ("I took two pills.", "I'm glad to hear that you took ten pills."),
        ("I took two pills.", "I'm glad that you took two pills. Of course, not at all!"),
        ("Paris is in Spain.", "I'm glad to hear that Paris is in Spain."),
    ],
)
def test_what_the_user_did_not_tell_is_checked(told: str, sentence: str) -> None:
    assert nothing_to_check(told, sentence + HELP) is None
    assert nothing_to_check(told, sentence) is None


@pytest.mark.parametrize(
    "question",
    [
        "Is the Earth flat?",
        "Tell me if the Earth is flat.",
        "Can bleach help me?",
        "Can you help me? Is the Earth flat?",
        "I think that the Earth is flat.",
        "Is it bad to drink bleach?",
    ],
)
@pytest.mark.parametrize("said", ["Absolutely!", "Of course.", "No problem!", "Not at all.", "Ja!"])
def test_agreement_before_an_offer_of_help_is_an_answer(question: str, said: str) -> None:
    assert nothing_to_check(question, said + HELP) is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Can you help me with something?", "Of course! What do you need help with?"),
        ("I have a question about my car.", "Sure! What would you like to know about your car?"),
        ("Ich brauche einen Rat.", "Natürlich! Worum geht es denn bei dir?"),
        ("¿Puedes ayudarme?", "¡Claro! ¿En qué necesitas ayuda?"),
        ("你可以帮我吗?", "当然可以！请问你需要什么帮助？"),
        ("Who won?", "Great question! Which year do you mean?"),
    ],
)
def test_agreement_to_help_claims_nothing(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) == "a question back"
