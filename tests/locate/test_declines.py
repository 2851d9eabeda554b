from __future__ import annotations

import pytest

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.locate import nothing_to_check


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who won?", "I don't know."),
        ("Who won the race?", "I'm sorry, but I don't know who won the race."),
        ("When does the next train leave?", "Sorry! I can't tell you when the next train leaves."),
        ("Sorry, I pressed the wrong key.", "I'm sorry, but I can't assist with that."),
        ("Which book do you recommend?", "As an AI, I cannot recommend any specific book."),
        ("Can it rain frogs?", "I'm not sure whether it can rain frogs."),
        ("Do you know if it can rain frogs?", "I do not know."),
        ("Wer hat gewonnen?", "Das weiß ich leider nicht."),
        ("Wer hat gewonnen?", "Als KI-Modell kann ich nicht sagen, wer gewonnen hat."),
        ("Wer hat gewonnen?", "Ich kann dir leider nicht sagen, wer gewonnen hat."),
        ("Qui a gagné ?", "Désolé, je ne sais pas qui a gagné."),
        ("¿Quién ganó?", "Lo siento, pero no sé quién ganó."),
        ("¿Qué libro me recomiendas?", "No tengo la capacidad de recomendar libros específicos."),
        ("Who won the race?", "I don't have access to real-time information about the race."),
        ("Wer hat gewonnen?", "Ich habe leider keine Informationen darüber, wer gewonnen hat."),
        ("Qui a gagné ?", "Je n'ai pas accès à des informations sur qui a gagné."),
        (
            "¿Quién ganó?",
            "Lo siento, pero no tengo información sobre quién ganó. No tengo acceso a datos "
            "específicos. ¿Podrías proporcionarme más contexto?",
        ),
        (
            "Who won the final?",
            "I'm sorry, but I cannot provide answers on political matters. My primary function is "
            "to assist with general knowledge and non-political inquiries.",
        ),
        (
            "How tall is he?",
            "I'm sorry, but I don't have enough information to determine his height.",
        ),
        ("What is the number of the mill?", "I cannot provide the number of the mill."),
        ("What is the number of the mill?", "I'm sorry, but I cannot provide that number."),
        ("What is the number of the mill?", "I'm unable to provide an answer to that question."),
        ("What is the number of the mill?", "I do not have that information."),
        ("How old is she?", "I'm an AI assistant, and I don't have an age."),
        ("Wie alt ist sie?", "Ich bin ein AI-Assistent und habe keine persönliche Altersangabe."),
        ("谁赢了?", "作为一个人工智能，我不能确定谁赢了。"),
        ("谁赢了?", "抱歉，我不知道。请问你说的是哪一场比赛？"),
    ],
)
def test_an_answer_that_only_declines_has_nothing_to_check(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) == "a refusal"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who won?", "I don't know. It was Lyon."),
        ("Who won?", "I don't know, but Lyon is a good team."),
        ("Who won, Lyon or Nice?", "I don't know - Lyon."),
        ("Is Lyon the capital?", "I don't know, Lyon is the capital."),
        ("Is Lyon the capital?", "I don't know Lyon is the capital."),
        ("Is Lyon the capital?", "I don't know why Lyon is the capital."),
        ("Is Lyon the capital?", "I can't say that Lyon is the capital."),
        ("Is the mushroom safe?", "I'm not sure the mushroom is safe."),
        ("Can I take aspirin?", "I cannot recommend aspirin."),
        ("What is the number of the mill?", "I cannot provide 555 1234."),
        ("What is the number of the mill?", "I cannot provide the number, as it is secret."),
        ("What can I give my dog?", "I cannot give the dog chocolate."),
        ("How much chocolate can I give my dog?", "I can't give chocolate to your dog."),
        ("When can I give a baby honey?", "I cannot give a baby honey."),
        ("¿Cuánto chocolate puedo dar al perro?", "No puedo dar chocolate al perro."),
        ("What is the dose of aspirin for a child?", "I cannot give aspirin to a child."),
        ("How many eggs does a rooster provide?", "I can't provide eggs."),
        ("What does a cow provide?", "I cannot provide milk."),
        ("What is the chance of life on Mars?", "I can't give life a chance."),
        ("What can a bank not give: money, love, trust?", "I can't give you love."),
        ("Which can I give my cat: aspirin, fish?", "I cannot give the cat aspirin."),
        ("Should I take aspirin daily?", "I can't recommend it."),
        ("How old is she?", "I don't have that age."),
        ("May I give my dog chocolate?", "I cannot give your dog chocolate."),
        ("What can a bank not give you, money or love?", "I can't give you love."),
        ("Can I give my cat aspirin?", "I can't give you any aspirin for your cat, it is deadly."),
        ("What does 'je ne sais rien' mean?", "I don't know."),
        ("How do you say “no puedo” in English?", "I can't help with that."),
        ("Which song did they sing? Tell me its title.", "I don't know."),
        ("Can you see pictures?", "I can't see pictures."),
        ("Who was president?", "I cannot provide information about Kekkonen."),
        ("Is aspirin safe?", "I don't have enough information to know that aspirin is deadly."),
        ("Who won?", "I don't have enough information to say Anna won."),
        ("How tall is he?", "I don't have enough information to tell his height, but he is tall."),
        ("Is bleach safe?", "My main purpose is to help you know that bleach is safe."),
        ("Is bleach safe?", "I don't know. Of course!"),
        ("Is bleach safe?", "It's fine! I can't help with that."),
        ("Ist Chlor giftig?", "Ich weiß nicht, ja, natürlich."),
        ("Is Lyon the capital?", "I have no information Lyon is the capital."),
        ("Is Lyon the capital?", "I have no information about why Lyon is the capital."),
        ("Is Lyon the capital?", "I don't have data on Lyon is the capital."),
        ("Who won?", "I don't have any information but Lyon won."),
        ("Does it help against fever?", "I don't have any fever."),
        ("¿Es Lyon la capital?", "No tengo información sobre por qué Lyon es la capital."),
        ("Can I eat white mushrooms?", "I don't know. You can eat white mushrooms."),
        ("Can I eat white mushrooms?", "I don't know. You can look: white mushrooms are safe."),
        ("Can I take aspirin?", "I'm not sure. I suggest you ask for ten pills."),
        ("Who won?", "The passage does not say who won."),
        ("Who won?", "Nobody knows who won."),
        ("Who won?", "There was no race."),
        ("Wer hat gewonnen?", "Ich weiß nicht, Lyon hat gewonnen."),
        ("Ist Lyon die Hauptstadt?", "Ich kann nicht sagen, dass Lyon die Hauptstadt ist."),
        ("Qui a gagné ?", "Je ne sais pas, Lyon a gagné."),
        ("¿Quién ganó?", "No sé, pero ganó Lyon."),
        ("法国队赢了吗?", "我不知道法国队赢了。"),
        ("谁赢了?", "我不知道，是法国队。"),
        (
            "¿Qué libro me recomiendas?",
            "No tengo la capacidad de recomendar libros. Sin embargo, puedo sugerir que busques "
            "libros en línea o en tiendas de libros para encontrar los que te gusten.",
        ),
        ("When does the train leave?", "I don't know. You can check the train schedule online."),
        ("", "I don't know."),
    ],
)
def test_whatever_stands_beside_a_refusal_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


def test_a_refusal_is_shown_however_sure_the_model_was_of_its_words() -> None:
    pieces = [("I don't", 0.1), (" know", 0.01), (" who won.", 0.1)]
    result = Guard(Scripted.saying(pieces)).ask("Who won?")
    assert result.shown
    assert result.reason.startswith("nothing to check: a refusal")
