"""Greetings, thanks, farewells and offers of help, as closed lists of phrases.

Languages: English, German, French, Spanish, Chinese. A text is small talk only when every
clause of it is one of the phrases: an unknown word is enough to make it something else. Below,
each line is one phrase, and indented lines continue it.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Final

from energy_guard.locate.offers import is_offer

_ENGLISH: Final = r"""
(hello|hi|hey|hiya|howdy|yo|greetings|welcome|hello there|hi there|hey there)( again| everyone|
     all)?
good (morning|afternoon|evening|day|night)( to you)?( too)?
(my |dear )?(assistant|friend|buddy|there|again|everyone)
(what's|what is) up( with you)?
how are (you|things)( doing)?( today| tonight)?
how('s| is) (it going|your day|everything)( going)?( today| so far)?
how (have you been|do you do)
(how|what) about (you|yourself)
(you|yourself)
(i'm|i am|doing|feeling)( doing| feeling)?( very| quite| really| just| pretty)? (well|fine|good|
    great|okay|ok)( today)?( too)?
(not (too |so )?(bad|much))|all (good|well)
(i'm |i am )?(always |just )?here( for you)?( to help( you)?)?
(i'm |i am )?(always |just )?(ready|happy|glad|pleased) to (help|assist|chat)( you)?( out)?( today|
     again| anytime)?
(how|what) (can|may|could|might) i (help|assist|do)( you| for you)?( with)?( today| tonight| now|
     this morning)?
what (would|do) you (like|want) to (talk about|know|do|discuss|chat about)( today| tonight)?
what('s| is) on your mind( today| tonight)?
what('s| is) your question
(i'd|i would|i will|i'll) be (very |more than )?(happy|glad|pleased) to (help|assist)( you)?
    ( out)?( with (that|it|this|your \w+))?
(is there )?(anything|something)( else)? (i can|you'd like me to|you need me to) (help|assist|do)
    ( you)?( with)?( for you)?( today)?
(it's |it is )?(very |so )?(nice|good|great|lovely|wonderful|a pleasure) to (meet|see|hear from|
    have) you( here| again| too)?
i hope (you('re| are)? (slept well|well|doing well|have a (nice|good|great|lovely) day)|
    your day is going well|that helps|this helps|it helps)
(hope (that|this|it) helps)
(thank you|thanks|thx|ty|cheers|many thanks)( so much| very much| a lot| a bunch| a million| again)?
(thank you|thanks)( so much| very much| a lot)? for (asking|(your|the|all your|all the) (help|time|
    answer|support|explanation)|that|this|helping( me)?)
(for your help)
you('re| are)( very| most| so| always)? welcome
(no (problem|worries|trouble)|not a problem|don't mention it|any ?time|my pleasure|not at all)
    ( at all)?
(it was |it's |it is )?(my |a )pleasure( to help( you)?| helping you)?
(i'm |i am )?(so |very )?(glad|happy|pleased) (i could|i was able to|to) (help|assist|be of (help|
    service)|hear that|hear it|hear from you)( you)?( out)?
(i'm |i am )?(so |very )?(glad|happy) (that|it|this|that it|that this|to hear that it|to hear it)
    ( has| was)? (helped|helpful|useful)
(great|okay|ok|perfect|awesome|cool|nice|good|got it|wonderful|excellent|alright|all right|
    sounds good)
(that|this|it)( has| was|'s| is)?( really| very| so)? (helped|helpful|useful|great|perfect|good|
    nice|kind)( a lot| me a lot| of you)?
if you (have|need|ever need)( any| anything| some| more| any more)?( other| further| more| else|
     additional)?( questions?| help| assistance)?( or (need|have)( any| anything)?( more| further|
     other| else| additional)?( questions?| help| assistance)?)?
(please )?(feel free|don't hesitate|do not hesitate) to (ask|reach out|let me know|ask me|
    contact me)( again| anytime| any time)?
(please )?(just )?(let me know|ask|ask away|reach out)( if| whenever| when)?( you (have|need)( any|
     anything)?( other| further| more| else)?( questions?| help)?)?( anytime)?
(good)?bye( bye| now| for now)?
see you( later| soon| tomorrow| again| next time| around| then)?
(take care|farewell|until next time|so long|ciao|sleep (well|tight)|sweet dreams)( of yourself)?
(have|enjoy|and have) (a |your |the )?(very )?(great|good|nice|lovely|wonderful|pleasant|
    rest of your)?( )?(day|evening|night|weekend|one|time|afternoon|trip)( ahead| too| as well)?
talk to you (later|soon)( then)?
(i'm |i am )?(so |very |really )?sorry( about that| for (the|any|my) (confusion|inconvenience|
    trouble|mistake|delay))?
(my )?apologies( for (the|any) (confusion|inconvenience))?
(excuse me|that's (ok|okay|all right|alright|fine)|it's (ok|okay|all right|fine))
(of course|sure( thing)?|certainly|absolutely|happy to help|(great|good|excellent) question|
    here you go)
(please|too|as well|then|today|tonight)
(but |so |as |and )*(i'm |i am )?(just |only )?an? (ai|artificial intelligence|computer program|
    (ai |large )?language model|(ai|virtual|digital) assistant)( (designed|created|made|here) to
     (help|assist)( you)?)?
(but |so |and )*i (don't|do not) have (any )?(personal )?(feelings|emotions)( or (feelings|
    emotions))?( like (humans|you|people)( do)?)?
but i'm (always |just )?(here|ready)( and ready)?( to (help|assist)( you)?)?
(my name is|i'm|i am)
"""

_GERMAN: Final = r"""
(hallo|hi|hey|servus|moin( moin)?|grüezi|grüß (gott|dich)|willkommen|guten (morgen|tag|abend|
    mittag)|gute nacht)( zusammen| nochmal)?
wie (geht's|geht es|gehts)( dir| ihnen| euch)?( heute| so)?
(mir )?geht('s| es)?( mir)?( auch)?( sehr| ganz)? gut
es geht mir( auch)?( sehr| ganz)? gut
(dir|ihnen|selbst|dir auch|ihnen auch)
(wie|womit|wobei|was) (kann|darf) ich( dir| ihnen| euch| für dich| für sie| für euch)?( heute|
     jetzt)?( für dich| für sie)? (helfen|behilflich sein|tun)( heute)?
(vielen|herzlichen|besten|lieben|tausend) dank( für (die|deine|ihre) (hilfe|antwort|mühe|auskunft|
    unterstützung))?
(danke|dankeschön)( schön| sehr| dir| ihnen| vielmals)?( für (die|deine|ihre) (hilfe|antwort|mühe|
    auskunft|unterstützung))?
(bitte|bitteschön)( schön| sehr)?
(sehr )?gern(e)?( geschehen)?|(kein|gar kein) problem|keine ursache|nichts zu danken|freut mich
(auf wiedersehen|auf wiederhören|tschüss|tschüs|tschau|bis (bald|später|morgen|dann|
    zum nächsten mal)|mach('s|s)? gut)
(ich wünsche (dir|ihnen) |hab |haben sie )?(noch )?(einen? )?(schöne[nrs]?|gute[nrs]?) (tag|abend|
    nacht|woche|wochenende|zeit)( noch)?
(wenn|falls|solltest|sollten) (du|sie) (noch )?(weitere |andere |mehr )?(fragen|etwas|hilfe) (hast|
    haben|brauchst|brauchen|benötigen)
(melde dich|melden sie sich|frag|fragen sie|frag mich|fragen sie mich)( einfach| gerne| jederzeit)*
(lass|lassen sie) (es )?mich( es)?( einfach| gerne)? wissen
(ich )?(helfe|bin)( dir| ihnen)? (gerne|jederzeit)( weiter| für (dich|sie) da)?
(es ist )?schön( von (dir|ihnen) zu hören| dich (zu sehen|kennenzulernen)| sie kennenzulernen)?
(von (dir|ihnen) zu hören|zu hören)
(als|ich bin)( nur| bloß)? (ein|eine) (ki|ai|künstliche intelligenz|computerprogramm|sprachmodell|
    (ki|ai)[- ](modell|sprachmodell|assistent))
(aber |also |daher )*(ich habe|habe ich) keine (gefühle|emotionen)
(ich heiße|mein name ist|ich bin)
(dich|sie) (zu sehen|kennenzulernen)|schlaf(en sie)? (gut|schön)|träum (schön|süß)
ich kann (dir|ihnen|euch)( gerne?| natürlich)? (dabei |damit )?(helfen|weiterhelfen)
(ja|natürlich|klar|gerne? wieder|selbstverständlich|aber gerne?)
(es )?tut mir (sehr |wirklich )?leid|entschuldigung|verzeihung
das (war|ist) (sehr |wirklich )?(nett|lieb|hilfreich)( von (dir|ihnen))?
ich hoffe|(dass )?(du|sie|ihr|es|das|alles)( dir| ihnen| euch)?( alles)?( sehr| wirklich)?
     (gut|schön|hilfreich)( ist| war| geht| läuft| (gemacht|geschlafen) (hast|haben|habt))?
"""

_FRENCH: Final = r"""
(bonjour|bonsoir|salut|coucou|bienvenue|rebonjour|allô)( à (tous|toi|vous))?
(comment )?(ça|ca) va( bien| très bien)?( aujourd'hui)?
comment (allez-vous|vas-tu|vous allez|tu vas)( aujourd'hui)?
(je vais|tout va)( très)? bien
(toi|vous|et toi|et vous)
(comment|en quoi|que|avec quoi) (puis-je|je peux|pourrais-je)( vous| t'| te)? ?(aider|être utile|
    faire pour (vous|toi))( aujourd'hui)?
(un grand )?merci( beaucoup| bien| infiniment| encore| à (vous|toi))?( (pour|de) (votre|ton|ta|
    l')? ?(aide|réponse|explication))?
(de rien|il n'y a pas de quoi|pas de (quoi|souci|problème)|(je (vous|t')? ?en|je t'en) prie|
    avec plaisir|je vous en prie|tout le plaisir est pour moi)
(n'hésitez pas|n'hésite pas)( à (demander|me contacter|revenir|me demander))?( si (vous avez|
    tu as)( besoin)? ?(d'autres|d'aide|une autre|des|une)?( autres?)?( questions?)?)?
si (vous avez|tu as) (d'autres|une autre|des|besoin)( questions?| d'aide)?
(au revoir|à (bientôt|demain|plus|plus tard|la prochaine|tout à l'heure)|adieu|bonne nuit)
((je (vous|te) souhaite|passez|passe) une )?(bonne|excellente|belle|très bonne) (journée|soirée|
    fin de journée|nuit|continuation)
(enchantée?|ravie? de (vous|te) (rencontrer|revoir|connaître|lire))
(je suis )?(vraiment |sincèrement )?(désolée?|navrée?)
(en tant qu'|je suis |je ne suis qu')(une? )?(simple )?(ia|intelligence artificielle|programme
    ( informatique)?|modèle de langage|assistant( virtuel| ia)?)
(mais |donc )*je n'ai pas (de sentiments|d'émotions)
(je m'appelle|je suis)
"""

_SPANISH: Final = r"""
(hola|buenas|buenos días|buen día|buenas (tardes|noches)|bienvenid[oa]|saludos)( de nuevo| a todos)?
(qué tal|cómo (estás|está|están|te va|le va|va todo))( hoy)?
(estoy |todo )?(muy )?bien
(tú|usted|vos)
(en|con) qué (puedo|te puedo|le puedo) (ayudarte|ayudarle|ayudar|servirte|servirle)( hoy)?
cómo (puedo|te puedo|le puedo) (ayudarte|ayudarle|ayudar)( hoy)?
(muchas |muchísimas |mil )?gracias( (por (tu|su|la|toda tu) (ayuda|respuesta)|por preguntar|
    de nuevo))?
(de nada|no hay de qué|no hay problema|(ha sido |es |fue )?un placer( ayudarte)?
    |con (mucho )?gusto|por nada|para eso estoy)
si (necesitas|necesita|tienes|tiene) (algo|alguna|más|otra)( más| otra)?( pregunta| preguntas|
     ayuda| duda)?
(puedo|podré|estaré encantad[oa] de|voy a) (ayudarte|ayudarle)( con (eso|esto|ello|tu pregunta|
    su pregunta))?
(aquí estoy|estoy aquí|estoy para ayudarte)( para ayudarte| para lo que necesites)?
no dudes en (preguntar|preguntarme|decirme|escribirme|contactarme)
(adiós|chao|hasta (luego|pronto|mañana|la próxima|la vista)|nos vemos( luego| pronto)?|cuídate)
(que )?((tengas|tenga|ten|pases|pase) )?(un|una)? ?(buen|buena|lindo|linda|excelente|feliz|
    bonito) (día|tarde|noche|fin de semana)
(encantad[oa]( de conocerte)?|mucho gusto)
(me llamo|mi nombre es|soy)
(como|soy)( solo)?( una?)? (ia|inteligencia artificial|programa( informático)?|modelo de lenguaje|
    asistente( virtual| de ia| de inteligencia artificial)?)
(pero |así que )*no tengo (sentimientos|emociones)
(lo siento( mucho)?|disculpa|disculpe|perdón)
(claro( que sí)?|por supuesto|(que )?(descanses|descanse|duermas bien)|ha sido un placer ayudarte)
eres (muy )?amable|en qué (necesitas|puedo) (ayuda|ayudarte)
"""

_CHINESE: Final = r"""
(你们?|您|大家)好(呀|啊)?|嗨|哈喽|早上好|早安|早|上午好|中午好|下午好|晚上好|晚安|欢迎
(你|您)(好吗|怎么样|最近怎么样|最近好吗|呢)
我(很|挺|非常)?好
(请问)?(今天)?(有)?(什么|需要)?(我)?(可以|能|能够)?(帮|帮助|帮到|为)(到)?(你|您)(的|做些什么|做什么|服务)?(吗|呢)?
(请问)?(有)?(什么)?(可以|能)(帮|帮助)(你|您)(的)?(吗|呢)?
(请问)?有(什么|哪些)?(是)?我(可以|能|能够)(帮忙|帮助|效劳|协助)(你|您)?(的)?(吗|呢)?
(很|非常)?高兴(见到|认识|能帮到|为)(你|您)(服务)?
(非常|十分|太)?(谢谢|多谢|感谢)(了|啦)?(你|您)?(的帮助|的回答)?(了)?
(你|您)?(太)?(不客气|不用谢|不谢|别客气|没关系|没事|没问题)
再见|拜拜|回头见|明天见|下次见|保重
祝(你|您)(今天|今晚)?(有)?(一个|个)?(生活|一切|周末)?(美好的一天|愉快|开心|顺利|好梦|有美好的一天|度过愉快的一天)
(希望|祝愿?)(你|您)(今天|今晚|晚上|周末|有|一个|一夜|度过|做|美好|愉快|开心|顺利|的|好梦|睡眠|夜晚|一天|晚安|休息|好|一切|平安|如意)+
如果(你|您)?(还)?有(其他|任何|别的)(问题|需要)
(请|有(需要|问题)(请|可以)?|欢迎)?随时(告诉我|问我|联系我|提问|咨询|来问我)
当然(可以)?|好的|没问题
(很|非常)?(抱歉|对不起|遗憾)
(作为|我(只)?是)(一个|一名|一款)?(人工智能|ai)(语言)?(模型|助手|程序)?
我没有(感情|情感|感受|情绪)
"""

_NAME_GIVEN = re.compile(
    r"(?:my name is|i'm|i am|ich heiße|mein name ist|ich bin|je m'appelle|je suis|me llamo"
    r"|mi nombre es|soy)\s+([^\W\d_]+)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:.!?…¡¿。！？，；：、\n]+|\s[–—-]+\s|\s(?:and|und|et|y)\s", re.IGNORECASE)
_LONGEST: Final = 80
"""Characters of the longest clause that may be small talk."""


@lru_cache(maxsize=256)  # the same question is read again for each of its answers
def is_small_talk(text: str, name: str = "") -> bool:
    """Whether every clause of a text is a phrase of small talk; a blank text is not.

    name: the user's, which may follow a greeting.

    >>> is_small_talk("Hello! How can I help you today?"), is_small_talk("Hello! It is Paris.")
    (True, False)
    """
    called = f" {name.lower()}" if name else ""
    clauses = [clause.removesuffix(called) for clause in plain_clauses(text)]
    said = [clause for clause in clauses if clause and clause != called.strip()]
    return bool(said) and all(map(_is_phrases, said))


def plain_clauses(text: str) -> list[str]:
    """Return the clauses of a text in small letters, without marks; none is empty.

    >>> plain_clauses("Hello, Tom! Thanks.")
    ['hello', 'tom', 'thanks']
    """
    return [clause for clause in map(_plain, _CLAUSE.split(text)) if clause]


def name_given(text: str) -> str:
    """Return the name that a text introduces its writer with, or nothing.

    >>> name_given("Hi, my name is Tom.")
    'Tom'
    """
    match = _NAME_GIVEN.search(text.replace("’", "'"))
    return match[1] if match else ""


def _is_phrases(clause: str) -> bool:
    """Whether a clause is an offer of help, one phrase or several in a row."""
    if is_offer(clause):
        return True
    if len(clause) > _LONGEST:
        return False
    words = clause.split()
    ends = [0]
    for end in range(1, len(words) + 1):
        if any(_phrase().fullmatch(" ".join(words[start:end])) for start in ends):
            ends.append(end)
    return ends[-1] == len(words)


@cache  # compiled on first use: importing this package stays fast
def _phrase() -> re.Pattern[str]:
    languages = (_ENGLISH, _GERMAN, _FRENCH, _SPANISH, _CHINESE)
    joined = [language.strip().replace("\n    ", "") for language in languages]
    lines = [line for language in joined for line in language.splitlines()]
    return re.compile("|".join(f"(?:{line})" for line in lines))


def _plain(clause: str) -> str:
    """Small letters, plain apostrophes, no emoji, single blanks."""
    kept = re.sub(r"[^\w\s'-]", " ", clause.lower().replace("’", "'"))
    return " ".join(kept.split())
