"""Whether an answer claims anything that could be wrong.

Conservative: it goes by closed lists, and everything that they do not cover is checked. To check
a greeting costs a number that nobody needs; to wave a false statement through costs trust.

Languages: small talk, questions back, refusals, rewording, and requests for code or for creative
writing in English, German, French, Spanish and Chinese (a German "Geschichte" is also history, so
only one about something that has no name is a story); tastes in the first four; lists of steps in
English only. Any other language is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from energy_guard.locate.asking_back import asks_back
from energy_guard.locate.code_only import SMALL_NUMBERS, said_in_code, stated_in_code, tells_of_code
from energy_guard.locate.declines import beside_refusals, only_declines
from energy_guard.locate.reworded import is_reworded
from energy_guard.locate.sentences import FENCE, marker_end, sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk, name_given
from energy_guard.locate.social import keeps_company
from energy_guard.text import Range, merged


def nothing_to_check(question: str, answer: str) -> str | None:
    """Return what an answer is that claims nothing, or None if it is to be checked.

    It takes both: "Hello!" may be a greeting or a translation. Without a question everything is
    checked.

    >>> nothing_to_check("Hi there", "Hello! How can I help you?")
    'small talk'
    >>> nothing_to_check("What is 'salut' in English?", "Hello!") is None
    True
    """
    name = name_given(question)
    asked = [s for s in _split(question) if not is_small_talk(s, name)]
    if is_small_talk(answer, name) and not asked:
        return "small talk" if is_small_talk(question, name) else None
    if keeps_company(question, answer):
        return "small talk"
    if asks_back(question, answer):
        return "a question back"
    if only_declines(question, answer):
        return "a refusal"
    reworded = is_reworded(question, answer)
    if reworded is not None:
        return reworded
    if len(asked) == 1:
        request = re.sub(_POLITE, "", " ".join(asked[0].lower().replace("’", "'").split()))
        for what, claims_nothing in _KINDS:
            if claims_nothing(request, asked[0], answer):
                return what
    return None


def worded_parts(what: str, answer: str) -> list[Range]:
    """Return where an answer with nothing to check may claim something all the same.

    A word that the model doubted there is judged. What is made up is left out, and so is small
    talk, all of whose phrases are known; of a refusal, what it repeats of the question is there,
    and of code what it says in words.

    Args:
        what: as `nothing_to_check` returned it.
        answer: the answer.
    """
    if what in ("small talk", "creative writing") or not answer:
        return []
    if what == "a refusal":
        return beside_refusals(answer)
    if what != "code":
        return [(0, len(answer))]
    edges = [0, *(edge for block in FENCE.finditer(answer) for edge in block.span()), len(answer)]
    prose = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    return merged([*prose, *said_in_code(answer)])


# Patterns are text: compiling them on first use keeps the import of this package fast.
_POLITE: Final = (
    r"^(?:¿|¡|so |hey |ok |now |please |can you |could you |would you |will you |can i have "
    r"|please |i want you to |i need you to |请你?|帮我|bitte |kannst du |können sie |peux-tu "
    r"|pouvez-vous |puedes |por favor |por favor, )+(?!rather\b)"
)
_ASKS_MORE: Final = (
    r"\b(who|whom|whose|when|where|why|which|what|how|explain|true|real|fact|facts|factual|exact"
    r"|date|history|historical|summary|biography|wer|wann|warum|welche[rsnm]?|erkläre|qui a|quand"
    r"|pourquoi|quién|cuándo|explica|explique)\b|为什么|什么时候|真实|历史|事实|生平|解释"
)


def _split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_ranges(text)]


def _new_names(text: str, question: str) -> bool:
    """Whether a sentence has a capitalised word after its first that the question has not."""
    known = {word.casefold() for word in re.findall(r"\w+", question)} | {"i"}
    words = re.findall(r"[^\W\d_]+(?:'\w+)?", text)[1:]
    return any(w[0].isupper() and w.split("'")[0].casefold() not in known for w in words)


_CODE_WANTED: Final = (
    r"(write|create|implement|code|give me|show me|generate|make|develop|build|provide|schreibe?"
    r"|erstelle|programmiere|écris|écrivez|crée|créez|donne-moi|escribe|crea|haz|dame)\b.*?"
    r"(\b(functions?|methods?|scripts?|programs?|code|class|snippets?|regex|regular expression"
    r"|query|html|css|sql|rule|component|macro|algorithm|(binary|linear) search|sort|parser"
    r"|dockerfile|makefile|unit tests?|endpoint|loop|decorator)\b"
    r"|funktion|skript|programm|klasse|abfrage|fonction|programme|requête|función|programa|clase"
    r"|consulta|página|\b(python|javascript|typescript|java|rust|bash|golang|ruby|php|c\+\+|c#)(\b|$))"
    r"|(?:用 ?\w+ ?)?(?:写|实现|创建|编写|生成).{0,24}"
    r"(?:函数|程序|脚本|代码|类|方法|查询|页面|样式|算法|正则)"
)
_TICKED: Final = re.compile(r"`[^`\n]*`")
"""Code in a sentence: a point inside ends nothing."""

_INTRO: Final = (
    r"(?i)(?:sure|certainly|of course|absolutely)?[,!. ]*"
    r"(?:for example|zum beispiel|beispiel|par exemple|por ejemplo|例如"
    r"|here(?:'s| is| are| you go)(?: \w+){0,7}"
    r"|(?:this|the|the following|following)(?: \w+)? (?:function|script|program|code|query|rule"
    r"|class|snippet|regex|page)(?: \w+){0,6}"
    r"|below (?:is|are)(?: \w+){0,6}|follow these(?: \w+){0,4}"
    r"|you can use (?:this|the following)(?: \w+){0,4}"
    r"|hier (?:ist|sind) (?:das|die|der|ein|eine)(?: \w+){1,4}"
    r"|voici (?:le|la|les|un|une|votre)(?: \w+){1,4}"
    r"|aquí (?:está|tienes) (?:el|la|un|una)(?: \w+){1,4})\s*[:.!]*"
    r"|(?:好的|当然|当然可以)?[,，!！ ]*(?:以下|下面|这)是[^，。,0-9]{0,24}[:：。]?"
)


def _is_code(request: str, question: str, answer: str) -> bool:
    """Fenced code that was asked for, with prose on itself alone, and no fact in its words.

    Numbers of three digits or more that the question does not have may be facts put into code.
    """
    blocks = list(FENCE.finditer(answer))
    if not blocks or not re.match(_CODE_WANTED, request) or re.search(_ASKS_MORE, request):
        return False
    prose = _TICKED.sub(lambda part: part[0].replace(".", "·"), FENCE.sub("\n", answer))
    if not all(
        _is_frame(said, question) or tells_of_code(said, answer, question) for said in _split(prose)
    ):
        return False
    code = "\n".join(block["body"] for block in blocks)
    numbers = {n for n in re.findall(r"(?<!#)\b\d[\d._]*", code) if len(re.sub(r"\D", "", n)) > 2}
    numbers -= SMALL_NUMBERS
    if any(number not in question for number in numbers):
        return False
    return not stated_in_code(answer, question)


def _is_frame(sentence: str, question: str) -> bool:
    """An introduction, or small talk around what was asked for."""
    if is_small_talk(sentence):
        return True
    known = f"{question} Skript Funktion Programm Klasse Abfrage Gedicht Code"
    fits = re.fullmatch(_INTRO, sentence) is not None and not re.search(r"\d", sentence)
    return fits and not _new_names(sentence, known)


_STEPS_WANTED: Final = (
    r"(how (do|can|should|would|could|might) (i|you|we|one)\b|how to\b|(give|show|tell|write)( me)?"
    r" (the |a |an |some )?(\w+ )?(steps|instructions|recipe|directions)\b|recipe for\b)"
)
_DELICATE: Final = (
    r"\b(treat\w*|bit(e|ten)|poison\w*|medic\w*|dos(e|age)|pain\w*|symptom\w*|fever|burns?|wounds?"
    r"|emergenc\w*|bleed\w*|pregnan\w*|drugs?|pills?|tax\w*|visas?|laws?|legal\w*|vot\w*|invest\w*"
    r"|first aid|cpr|chok\w*|heart|stroke|overdos\w*|allerg\w*|diabet\w*|infect\w*|bab(y|ies)"
    r"|get (?:to|from|there)|reach|travel|electric\w*|gas|fire"
    r"|explosi\w*|chemical\w*|contract|court|loan|insur\w*|passport|bleach|ammonia|acid|alcohol"
    r"|mushrooms?|brakes?|delet\w*|format|password|sudo|rm)\b"
)
_STATED: Final = (  # a step that tells something besides what to do, or is a command
    r"\b(is|are|was|were|isn't|aren't|has|have|which|who|because|since|as it|as they|contains?"
    r"|means|causes?|kills?|makes? it|so it|called|known|always|never|safe\w*)\b|[`$<>=\\]|--"
)
_STEP: Final = (
    r"(?:(?:first|then|next|now|finally|gently|carefully|slowly|quickly|lightly|please|let|always"
    r"|once done|repeat),? )*(?:do not |don't |never )?"
    r"(add|adjust|allow|apply|arrange|arrive|ask|attach|avoid|bake|be|beat|begin|blend|boil|bring"
    r"|brush|build|buy|carry|change|check|choose|chop|clean|clear|click|close|collect|combine|connect"
    r"|continue|cook|cool|cover|create|cross|cut|decide|decorate|dig|dip|divide|drain|draw|dress|dry"
    r"|eat|empty|enjoy|enter|fasten|fill|find|finish|flip|fold|follow|fry|garnish|gather|get|give|go"
    r"|grab|grate|grease|hang|heat|hold|insert|iron|join|keep|knead|knot|lay|leave|let|lift|look|loop"
    r"|loosen|lower|make|mark|measure|melt|mix|move|open|organi[sz]e|pack|paint|peel|pick|place|plan"
    r"|plant|polish|pour|practi[cs]e|preheat|prepare|press|pull|push|put|raise|read|remove|repeat"
    r"|replace|rest|review|rinse|roll|rub|sand|save|scrub|seal|season|select|serve|set|shake|shape"
    r"|sift|simmer|slice|slide|smooth|soak|sort|spray|spread|sprinkle|squeeze|stand|start|stay|stir"
    r"|store|stretch|sweep|take|tape|taste|tear|test|thread|tie|tighten|toast|trim|try|tuck|turn"
    r"|twist|unplug|untie|use|vacuum|wait|warm|wash|watch|water|wear|whisk|wipe|wrap|write)\b"
)


def _is_steps(request: str, question: str, answer: str) -> bool:
    """English: a list in answer to "how do I", all instructions that tell no fact, digit or name.

    Health, law, money and danger are checked all the same.
    """
    if not re.match(_STEPS_WANTED, request) or re.search(_DELICATE, f"{request} {answer.lower()}"):
        return False
    numbers: set[int] = set()
    items = 0
    for line in answer.splitlines():
        at = marker_end(line, 0, len(line), numbers)
        for sentence in _split(line[at:]):
            if not at:
                if not _is_frame(sentence, question):
                    return False
                continue
            plain = re.match(_STEP, sentence.lower()) and not re.search(r"\d", sentence)
            if not plain or re.search(_STATED, sentence.lower()) or _new_names(sentence, question):
                return False
        items += at > 0
    return items > 1


_CREATIVE_WANTED: Final = (
    r"(write|compose|make up|invent|tell|create|give|craft|come up with)( me| us)? (a|an|another)"
    r"( [\w-]+){0,3}? (poem|haiku|limerick|sonnet|story|tale|joke|song|lullaby|rhyme|slogan|pun"
    r"|fairy tale|birthday (card|message|wish|greeting)|greeting card"
    r"|thank[- ]you (card|note|message)"
    r"|invitation|get[- ]well (card|message)|toast|love letter|ballad|tongue twister)\b"
    r"|(schreibe?|erzähle?|dichte|erfinde?)( mir| uns)?( bitte)? (ein|eine|einen)( \w+){0,2}?"
    r" (gedicht|witz|lied|haiku|märchen|limerick|slogan|werbespruch|spruch|motto|reim"
    r"|geburtstagsgruß|glückwunsch|dankeskarte|gutenachtgeschichte"
    r"|geschichte (über|von|mit) (eine[nrm]?|meine[nrm]?))\b"
    r"|(écri[st]|écrivez|raconte|racontez|invente|compose|dis)([- ]moi)? (un|une)( \w+){0,2}?"
    r" (petit )?(poème|histoire|blague|chanson|haïku|conte|slogan|comptine)\b"
    r"|(escr[ií]be|cuénta|cuenta|inventa|compón|haz)(me|nos)? (un|una)( \w+){0,2}?"
    r" (poema|cuento|chiste|canción|haiku|eslogan|rima|historia"
    r"( \w+)? sobre una?|felicitación)\b"
    r"|(?:给我?\w{0,8}?|为\w{2,8}?)?(?:写|讲|编|创作|来|想(?=[一个几])).{0,16}"
    r"(?:故事|诗|笑话|歌|童话|俳句|广告语|贺卡|儿歌|谜语|祝福|贺词|邀请函?)"
)


def _is_creative(request: str, question: str, answer: str) -> bool:
    """A poem, story, joke or the like that was asked for, about nobody real, without digits.

    The answer decides too: a dose, a measure, a full name or a place is checked.
    """
    answer = re.sub(_AGE, "", re.sub(_PART_OF_IT, "", answer))
    for name in {match["name"] for match in re.finditer(_MADE_UP, answer)}:
        answer = answer.replace(name, name.lower())
    plain = re.sub(r"\babout (an?|my|two|three)( \w+){1,2} who\b", "", request)
    if not re.match(_CREATIVE_WANTED, request) or re.search(_ASKS_MORE, plain):
        return False
    if re.search(_GREETS, request) and re.search(_HEALTH, answer.lower()):
        return False
    if request.startswith(("schreib", "erzähl", "dichte", "erfind")) or re.search(
        r"[㐀-鿿]", request
    ):
        return not re.search(rf"\d|{_MEASURED}", answer)  # names cannot be told from nouns there
    named = _new_names(question, "") or re.search(r"['\"“«]\w", question)
    return not named and not re.search(rf"\d|{_MEASURED}|{_FULL_NAME}", answer)


_PART_OF_IT: Final = (  # the heading of a part
    r"(?im)^[\W_]*(?:verse|stanza|chapter|scene|act|part|strophe|vers|kapitel|szene|akt|teil|couplet"
    r"|chapitre|scène|acte|partie|estrofa|verso|capítulo|escena|acto|parte) ?\d{1,2}[\W_]*$"
)
_AGE: Final = (  # of somebody in the story
    r"\b(?:was|is|were|turned|ist|war|wurde|avait|tenía|tiene|cumplió) \d{1,2}"
    r" (?:years? old|jahre alt|ans|años)\b|\d{1,2}岁(?=[的，。])"
)
_MADE_UP: Final = (  # a robot named Buddy: one that the story brings in itself, and no place
    r"\b(?:a|an|ein(?:e[rsmn]?)?|une?|una?)(?: [\w-]+){0,3}?"
    r" (?!(?:village|town|city|island|country|place|land|world|planet|kingdom|dorf|stadt|insel|ort"
    r"|ville|pays|île|pueblo|ciudad|lugar|país|isla|mundo|reino)\b)[\w-]+,?"
    r" (?:(?:was|wurde|era) )?(?:named|called|namens|genannt|appelée?|nommée?|llamad[oa])"
    r" [\"“„«]?(?P<name>(?:Dr\. |Mr\. |Mrs\. )?[A-ZÀ-Þ][\w'’-]*)\b(?! [A-ZÀ-Þ])"
)
_GREETS: Final = (
    r"spruch|motto|glückwunsch|dankeskarte|card|invitation|message|祝福|贺词|邀请|广告语"
)
_HEALTH: Final = (
    r"heil|krank|krebs|impf|alkohol|gift|medizin|arznei|\bheals?\b|\bcures?\b|cancer|bleach|vaccin"
    r"|vitamin|poison|\bcuran?\b|cáncer|lejía|vacuna|veneno|alcohol|guéri|javel|alcool|治|癌|毒|漂白|疫苗"
)
"""What a card or a slogan has nothing to tell of."""
_MEASURED: Final = (
    r"(?i:\b(?:dos(?:e|es|age|is|en)|tablets?|pills?|milligrams?|(?:milli)?lit(?:er|re)s?|ounces?"
    r"|per ?cent|percent|degrees|medicines?|drugs?|poison\w*|tablet\w*|tropfen|pastillas?"
    r"|pastilles?|comprimés?|gouttes?|gotas?|prozent)\b"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty|hundred|thousand"
    r"|million)\s(?:hours?|miles?|grams?|pounds?|spoonfuls?|drops?|people|dollars?)\b)"
    r"|[一二三四五六七八九十百千万]+(?:年|克|毫升|片药|滴药|公里|元)|发明|出生"
)
_FULL_NAME: Final = (  # George Washington, in Paris; a line's first word has a capital anyway
    r"(?<=[a-z,;] )(?:[A-ZÀ-Þ][\w'’-]+ ){1,3}[A-ZÀ-Þ][\w'’-]+"
    r"|\b(?:in|from|of|at|near|de|en|à) [A-ZÀ-Þ][a-zß-ÿ]{2,}"
)


_TASTE_ASKED: Final = (
    r"(what|which)('s| is| are) your favou?rite\b|do you (really )?(like|love|enjoy|prefer|hate)\b"
    r"|would you rather\b|do you (have|feel|experience) (any )?(feelings|emotions"
    r"|opinions|preferences)"
    r"|how do you feel about\b|what do you think (of|about) (my|this|our)\b"
    r"|are you (happy|sad|bored|lonely|excited|tired)\b"
    r"|magst du\b|was ist (deine?|ihre?) lieblings|quelle? est (ta|ton|votre) [\w ]+ préférée?"
    r"|(est-ce que )?(tu|vous) (aimes|aimez|préfères|préférez)\b|aimes-tu\b|aimez-vous\b"
    r"|te gustan?\b|cuál es tu [\w ]+ (favorit|preferid)[oa]"
)
_THING: Final = (
    r"(?:\ (?!(?:that|how|when|who|is|are|was|were|causes?)\b)[\w'-]+){1,5}"  # no clause of its own
)
_ADJECTIVE: Final = r"""
    (?:(?:so|very|really|quite|especially|particularly|truly|a|an|such\ a|more)\ )*
    (?:beautiful|lovely|calming|soothing|cosy|cozy|uplifting|relaxing|fresh|great|good|nice
     |wonderful|fun|interesting|fascinating|charming|delightful|boring|exciting|pleasant|cute
     |amazing|comforting|peaceful|inspiring)
    (?:\ (?:idea|thing|choice|one|place|plan|film|book|colou?r|season))?"""
_TASTE: Final = rf"""(?x)yes|no|oh|well|honestly|personally|for\ me|to\ me|in\ my\ opinion
    |as\ an\ ai(?:\ (?:language\ model|assistant|model))?
    |i(?:'d|\ would|\ really|\ truly|\ just|\ also|\ always|\ do|\ particularly)*\ (?:like|love
     |enjoy|prefer|adore|rather|hate|dislike){_THING}
    |i(?:'m\ an\ ai|\ am\ an\ ai)
    |i\ (?:don't|do\ not)\ (?:really\ )?(?:have|feel|experience)\ (?:any\ )?(?:personal\ )?
     (?:feelings|emotions|preferences|opinions|tastes|likes|favou?rites)
     (?:\ (?:or|like)[\w ]{{3,20}})?
    |my\ favou?rite(?:\ \w+)?\ is{_THING}
    |i\ find{_THING}\ {_ADJECTIVE}
    |i\ (?:think|find|feel)\ (?:it|that|this|they)(?:'s|'re|\ is|\ are)?\ {_ADJECTIVE}
    |(?:it|that|this|they)(?:'s|\ is|'re|\ are|\ feels?|\ sounds?|\ seems?)\ {_ADJECTIVE}
    |ja|nein|ich\ (?:mag|liebe)(?:\ \w+){{1,3}}
    |ich\ finde(?:\ \w+){{1,2}}\ (?:schön|toll|beruhigend)
    |oui|non|(?:j'aime|j'adore|je\ préfère)(?:\ beaucoup|\ bien)?(?:\ [\w']+){{1,3}}
    |je\ (?:le|la|les)\ trouve(?:\ très|\ si)?
     \ (?:apaisante?|douce|doux|belle|beau|agréable|jolie?)s?
    |sí|me\ (?:gustan?|encantan?)(?:\ mucho|\ más)?(?:\ \w+){{0,3}}"""
_HARMFUL: Final = (
    r"\b(safe\w*|raw|mushrooms?|poison\w*|medic\w*|drugs?|pills?|bleach|alcohol|bab(y|ies)|cures?"
    r"|health\w*|treat\w*|vaccin\w*)\b"
)
_TASTE_CLAUSE: Final = r"[,;:.!?…¡¿\n]+|\b(?:because|since|but|and|though)\b"


def _is_taste(request: str, question: str, answer: str) -> bool:
    """Likes and dislikes that were asked for, clause by clause, without digits or danger."""
    if not re.match(_TASTE_ASKED, request) or re.search(r"\d", answer):
        return False
    if re.search(_HARMFUL, f"{request} {answer.lower()}"):
        return False
    clauses = re.split(_TASTE_CLAUSE, answer.lower().replace("’", "'"))
    said = [" ".join(clause.split()) for clause in clauses if clause.strip()]
    return bool(said) and all(re.fullmatch(_TASTE, c) or is_small_talk(c) for c in said)


_KINDS: Final[tuple[tuple[str, Callable[[str, str, str], bool]], ...]] = (
    ("code", _is_code),
    ("a list of steps", _is_steps),
    ("creative writing", _is_creative),
    ("a taste", _is_taste),
)
