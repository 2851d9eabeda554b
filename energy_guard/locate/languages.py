"""What the exact answer's search knows of each language: one table per language.

A language that has no table is read by its form alone: capitals, digits, marks, and the words
that the question does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["who", "when", "where", "number", "which", "what", "yes or no", "open"]
"""What a question asks for; "open" is a definition, a reason or a way."""


@dataclass(frozen=True, slots=True)
class Language:
    """The closed words of a language.

    asks: for each kind the question words, a regular expression. copulas: verbs between what is
    asked and the answer. prepositions: words that end a noun phrase; places: those of them that
    stand before a place. light: other words that say nothing alone; function: all of these; empty:
    these, yes and no. yes, no: answers; no holds
    negations too. auxiliaries: verbs that a question begins with if its answer is yes or no.
    """

    asks: tuple[tuple[Kind, str], ...]
    copulas: frozenset[str]
    prepositions: frozenset[str]
    light: frozenset[str]
    yes: frozenset[str]
    no: frozenset[str]
    auxiliaries: frozenset[str]
    function: frozenset[str]
    empty: frozenset[str]


def _made(
    asks: str, copulas: str, prepositions: str, light: str, yes: str, no: str, first: str = ""
) -> Language:
    """Read a table; asks: a line "kind: pattern" each, the first that fits best counts."""
    read = [line.strip().split(": ", 1) for line in asks.strip().splitlines()]
    kinds: list[tuple[Kind, str]] = [(_KINDS[kind], pattern) for kind, pattern in read]
    sets = (frozenset(words.split()) for words in (copulas, prepositions, light, yes, no))
    says, stands, small, agrees, denies = sets
    begins = frozenset((first or copulas).split())
    function = says | stands | small
    return Language(
        asks=tuple(kinds),
        copulas=says,
        prepositions=stands,
        light=small,
        yes=agrees,
        no=denies,
        auxiliaries=begins,
        function=function,
        empty=function | agrees | denies,
    )


_KINDS: Final[dict[str, Kind]] = {
    "who": "who",
    "when": "when",
    "where": "where",
    "number": "number",
    "which": "which",
    "what": "what",
    "yes": "yes or no",
    "open": "open",
}

LANGUAGES: Final[dict[str, Language]] = {
    "en": _made(
        r"""
        number: how (?:many|much|far|long|tall|high|old|deep|big|large|fast|heavy|hot|cold|wide)
        number: (?:what|which) (?:share|percentage|percent|number of|amount|price|distance|age)
        when: when|(?:what|which) (?:year|date|day|month|century|decade|time|season|era)
        who: who|whom|whose|(?:what|which) (?:person|man|woman)
        where: where
        open: why|how|what (?:happens?|happened|does .* (?:do|mean)|did .* do|causes?)
        open: explain|describe|define|tell me about|what do you
        which: which|name one|name a|name the|list|name
        what: what""",
        """is are was were be been being isn't aren't wasn't weren't 's it's that's equals means
        remains remained became becomes called named""",
        """in at on by for from with near to into of during before after since until about around
        between under over through because as than that which who whom whose where when while and
        or but if so although though since within across along outside inside per via called
        named known located situated""",
        """a an the it its this that these those there here he she they them his her their theirs
        i i'm i'd i'll i've we we'll you you'll your our my me us him it's itself himself herself
        one's
        do does did doing done don't doesn't didn't has have had having hasn't can could will would
        may might must should shall
        also just only very really quite so too then thus therefore hence however indeed certainly
        probably possibly perhaps maybe likely definitely actually typically usually generally
        commonly mostly often originally currently officially originally obviously clearly surely
        approximately roughly nearly almost exactly around about well known considered said
        believed thought think believe guess answer question correct total result final course
        called named no not never yes some such any all each both either own most more much
        many doubt without sure
        according during around early earlier later similarly another several various strictly
        first second finally together specifically""",
        "yes yeah yep true correct right indeed absolutely definitely certainly",
        """no nope false incorrect wrong not never cannot can't isn't aren't wasn't weren't don't
        doesn't didn't won't wouldn't couldn't hasn't haven't hadn't neither nor none""",
        """is are was were am do does did can could will would has have had should shall may might
        must isn't aren't wasn't weren't don't doesn't didn't can't isn’t aren’t""",
    ),
    "de": _made(
        r"""
        number: wie ?(?:viele?|viel|hoch|lange?|weit|alt|groß|tief|schwer|schnell|heiß|warm|breit)
        when: wann|(?:in )?welche[mrsn]? (?:jahr|monat|jahrhundert|tag|datum|jahrzehnt)
        who: wer|wen|wem|wessen
        where: wo|wohin|woher
        open: warum|wieso|weshalb|wie|wozu|erkläre|beschreibe
        which: welche[mrsn]?|nenne
        what: was""",
        "ist sind war waren wird wurde wurden heißt heißen lautet beträgt bleibt nennt",
        """in im an am auf bei von vom für mit nach zu zum zur aus durch über unter vor seit bis
        während zwischen und oder aber dass weil als wie der-die welche welcher wenn um""",
        """der die das den dem des ein eine einen einem einer eines es er sie ich wir ihr man sich
        dies diese dieser dieses hat haben hatte kann können kostet liegt befindet gibt
        wohl wahrscheinlich vielleicht etwa ungefähr circa rund genau auch nur sehr sicher
        natürlich glaube denke antwort frage nicht kein keine ja nein damit da dort hier""",
        "ja doch genau richtig stimmt wahr tatsächlich",
        "nein nicht kein keine keinen keiner nie niemals falsch",
        """ist sind war waren hat haben hatte kann können konnte gibt wird wurde darf soll muss
        stimmt""",
    ),
    "fr": _made(
        r"""
        number: combien|quelle (?:hauteur|distance|taille|quantité)|quel âge
        when: quand|en quelle année|quelle (?:année|date)|quel (?:jour|mois|siècle)
        who: qui
        where: où
        yes: est-ce que|est-ce qu'|est-il|est-elle|sont-ils|peut-on|y a-t-il
        open: pourquoi|comment|expliquez?|décris
        which: quelle?s?|lequel|laquelle|citez?
        what: que|quoi|qu'est-ce""",
        "est sont était étaient fut furent sera s'appelle c'est s'appelait mesure compte coûte",
        """à au aux en dans de du des d' par pour avec sur sous vers chez entre depuis avant après
        pendant jusqu et ou mais que qui dont où parce car comme""",
        """le la les l' l un une il elle ils elles on ce cet cette ces se son sa ses leur je j'ai
        nous vous y a ont avait été environ probablement peut-être aussi très bien sûr pense crois
        réponse question ne n' pas non oui située situé trouve""",
        "oui si exact vrai effectivement",
        "non pas jamais aucun aucune faux",
    ),
    "es": _made(
        r"""
        number: cuánt[oa]s?|qué (?:altura|distancia|edad|porcentaje)|a cuánto
        when: cuándo|(?:en )?qué (?:año|fecha|día|mes|siglo|década)
        who: quién|quiénes
        where: dónde|adónde
        open: por qué|cómo|explica|describe
        which: cuál|cuáles|qué|nombra""",
        "es son era eran fue fueron será está están llama mide tiene cuesta queda",
        """a al en de del por para con sin sobre bajo hacia entre desde hasta antes después durante
        y e o pero que quien donde porque como""",
        """el la los las lo un una unos unas él ella ellos ellas se su sus yo creo ha han había hay
        no sí aproximadamente unos probablemente quizás también muy respuesta pregunta este esta
        esto ese esa encuentra""",
        "sí verdadero correcto cierto efectivamente",
        "no nunca jamás falso ningún ninguna",
        "es son era fue está están hay tiene puede pueden",
    ),
    "it": _made(
        r"""
        number: quant[oaie]|quanto è
        when: quando|(?:in )?(?:che|quale) (?:anno|data|giorno|mese|secolo)
        who: chi
        where: dove|dov'è
        open: perché|come|spiega
        which: quale?i?|qual
        what: che cosa|cosa|che|cos'è""",
        "è sono era erano fu furono sarà chiama misura ha si costa",
        """a al alla in nel nella nei di del della dei delle da dal dalla con su sul per tra fra e o
        ma che cui perché come dopo prima""",
        """il lo la i gli le l' un uno una esso essa egli lui lei loro si suo sua questo questa ho
        hanno aveva stato stata circa probabilmente forse anche molto risposta domanda non sì no
        trova credo penso""",
        "sì vero esatto corretto",
        "no non mai falso nessun nessuno",
        "è sono era fu ha hanno può possono",
    ),
    "pt": _made(
        r"""
        number: quant[oa]s?|qual (?:a altura|a distância|a idade)
        when: quando|em que ano|(?:em )?qual ano
        who: quem
        where: onde
        open: por que|como|explique
        which: qual|quais
        what: o que|que""",
        "é são era eram foi foram será está chama fica tem mede custa",
        """a ao à em no na nos nas de do da dos das por pelo pela para com sem sobre entre desde até
        e ou mas que quem onde porque como""",
        """o os as um uma ele ela eles elas se seu sua eu acho há não sim aproximadamente cerca
        provavelmente talvez também muito resposta pergunta este esta isso""",
        "sim verdadeiro correto",
        "não nunca jamais falso nenhum nenhuma",
        "é são era foi está tem há pode",
    ),
    "nl": _made(
        r"""
        number: hoe (?:veel|hoog|lang|ver|oud|groot|diep|zwaar|snel)
        when: wanneer|(?:in )?welk (?:jaar|maand|eeuw)
        who: wie|wiens
        where: waar
        open: waarom|hoe
        which: welke?
        what: wat""",
        "is zijn was waren wordt werd heet heten",
        "in op aan van voor met naar door bij over onder tussen sinds tot en of maar dat om uit",
        """de het een hij zij ze ik we men er deze dit dat heeft had hebben kan ongeveer
        waarschijnlijk misschien ook heel antwoord vraag niet geen ja nee ligt""",
        "ja klopt juist",
        "nee niet geen nooit onjuist",
        "is zijn was waren heeft kan kunnen wordt werd",
    ),
    "sv": _made(
        r"""
        number: hur (?:många|mycket|hög|högt|långt?|gammal|stor|djup)
        when: när|vilket år
        who: vem|vilka
        where: var
        open: varför|hur
        which: vilken|vilket
        what: vad""",
        "är var blev heter kallas blir",
        "i på av för med till från om under över mellan sedan och eller men att som",
        "en ett den det de han hon jag vi har hade kan cirka ungefär troligen också inte ja nej",
        "ja jo stämmer",
        "nej inte aldrig ingen",
        "är var har kan finns",
    ),
    "pl": _made(
        r"""
        number: ile|jak (?:wysok|daleko|dług|star)\w*
        when: kiedy|w którym (?:roku|wieku)
        who: kto|kim
        where: gdzie
        yes: czy
        open: dlaczego|jak
        which: któr[yae]|jak[iae]
        what: co""",
        "jest są był była było były to zostało został została",
        "w we na z ze do od po przez dla o przed i oraz lub ale że który która ku pod nad",
        "ten ta to on ona ono się nie tak około prawdopodobnie może też bardzo odpowiedź",
        "tak prawda owszem",
        "nie nigdy fałsz",
    ),
    "tr": _made(
        r"""
        number: kaç|ne kadar
        when: ne zaman|hangi (?:yıl|yılda|ay)
        who: kim|kimdir
        where: nerede|neresi
        yes: m[ıiuü](?:d[ıiuü]r)?
        open: neden|nasıl|niçin
        which: hangi|hangisi|hangisidir
        what: ne|nedir""",
        "dir dır dur dür olarak olan",
        "ve veya ama ile için gibi kadar göre",
        "bir bu şu o en çok da de yaklaşık tarafından değil evet hayır vardır var yazdı cevap",
        "evet doğru",
        "hayır değil yanlış yok",
    ),
    "vi": _made(
        r"""
        number: bao nhiêu|bao xa|mấy
        when: khi nào|năm nào|bao giờ
        who: ai
        where: ở đâu|đâu
        open: tại sao|vì sao|như thế nào
        which: nào
        what: gì""",
        "là",
        "ở tại của và hoặc nhưng với cho từ đến trong vào bởi",
        "một các những được có đã đang khoảng cũng rất không vâng câu trả lời",
        "có vâng đúng phải",
        "không sai chưa",
    ),
    "id": _made(
        r"""
        number: berapa
        when: kapan|tahun berapa
        who: siapa
        where: (?:di )?mana
        yes: apakah
        open: mengapa|kenapa|bagaimana
        which: yang mana
        what: apa""",
        "adalah ialah merupakan bernama disebut",
        "di ke dari pada untuk dengan oleh dan atau tetapi karena sejak",
        "yang ini itu ia dia mereka sekitar mungkin juga sangat tidak bukan ya jawaban",
        "ya benar betul",
        "tidak bukan salah",
    ),
    "ru": _made(
        r"""
        number: сколько|какова? (?:высота|длина|площадь)
        when: когда|в каком (?:году|веке)
        who: кто|кого|кем|кому
        where: где|куда
        open: почему|зачем|как
        which: как(?:ой|ая|ое|ие|ом|ую|ого)|котор\w+
        what: что|какова?""",
        "это является являются был была было были называется составляет",
        """в во на с со к ко у о об от до из за по под при для через между и или но а что который
        которая которое как перед после""",
        """он она оно они его её их я мы вы не да нет примерно около приблизительно вероятно
        возможно также очень ответ вопрос находится расположен написал написала думаю""",
        "да верно правда действительно",
        "нет не никогда неверно нельзя",
    ),
    "ar": _made(
        r"""
        number: كم
        when: متى
        who: من
        where: أين
        yes: هل
        open: لماذا|كيف
        which: أي
        what: ما|ماذا""",
        "هو هي كان كانت هم",
        "في من إلى على عن مع بين منذ حتى و أو لكن التي الذي أن",
        "هذا هذه ذلك تلك قد لا نعم حوالي تقريبا أيضا ليس تقع يقع",
        "نعم صحيح",
        "لا ليس ليست خطأ",
    ),
    "hi": _made(
        r"""
        number: कितन[ेीा]
        when: कब
        who: कौन|किसने
        where: कहाँ|कहां
        open: क्यों|कैसे
        which: कौन सा|कौन सी|किस
        what: क्या""",
        "है हैं था थी थे",
        "में से पर को का की के ने तक और या लेकिन द्वारा",
        "यह वह ये वे एक भी ही लगभग मिली मिला हुआ हुई नहीं हाँ गया गई लिखा",
        "हाँ जी सही",
        "नहीं न गलत",
    ),
    "ko": _made(
        r"""
        number: 몇|얼마
        when: 언제|몇 년
        who: 누가|누구\w*
        where: 어디\w*
        open: 왜|어떻게
        which: 어느|어떤
        what: 무엇\w*|뭐\w*""",
        "입니다 이다 이에요 예요",
        "및 또는 그리고 하지만",
        "그 이 저 약 또한 매우 네 예 아니요 있습니다 있다 했습니다 만들었습니다 답은 정답은",
        "네 예 맞습니다",
        "아니요 아니오 않습니다 아닙니다 없습니다",
    ),
}

NO_BLANKS: Final[dict[str, tuple[tuple[Kind, str], ...]]] = {
    "zh": (
        ("number", r"多少|几|多(?:高|长|远|大|深|重)"),
        ("when", r"什么时候|何时|哪一?年|几月|几号"),
        ("who", r"谁|哪位|何人"),
        ("where", r"哪里|哪儿|何处|在哪"),
        ("yes or no", r"[吗嗎]|是不是|是否"),
        ("open", r"为什么|怎么|如何"),
        ("which", r"哪"),
        ("what", r"什么|何"),
    ),
    "ja": (
        ("number", r"いくつ|いくら|何(?:人|個|本|メートル|キロ|歳|度)|どれ(?:くらい|だけ)"),
        ("when", r"いつ|何年|何月|何日"),
        ("who", r"誰|だれ|どなた"),
        ("where", r"どこ"),
        ("open", r"なぜ|どうして|どうやって"),
        ("which", r"どの|どちら|どれ"),
        ("what", r"何|なに"),
        ("yes or no", r"か[。？?]?$"),
    ),
    "th": (
        ("number", r"กี่|เท่าไร|เท่าไหร่"),
        ("when", r"เมื่อไร|เมื่อไหร่|เมื่อใด|ปีใด|ปีไหน"),
        ("who", r"ใคร"),
        ("where", r"ที่ไหน|ที่ใด"),
        ("yes or no", r"ไหม|หรือไม่|ใช่ไหม"),
        ("open", r"ทำไม|อย่างไร"),
        ("what", r"อะไร"),
    ),
}
"""Question words of languages without blanks between words."""
