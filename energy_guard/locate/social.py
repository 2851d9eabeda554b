"""Messages that only keep company, word by word: greetings, thanks, farewells, good wishes.

Phrases of small talk are known as wholes (`smalltalk`). Here every word is one of a closed list, in
whatever order: for people, help, feelings and the time of day, and what joins them. Words alone are
not enough ("Just go to sleep"), so that the message has to greet, thank or take leave and want no
more, and each sentence of the answer has to begin as a wish, a thank-you or an offer does, without
denying, agreeing or advising.

Languages: English, German, French, Spanish, Chinese.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from energy_guard.locate.patterns import Pattern

_WORDS: Final = MappingProxyType(
    {
        "en": """
a an other others i me my you your yours we us our it its it's this that there here i'm i'll i'd
i've you're you'll you've we're we'll that's there's what's how's let's of to for with in on at
from by so as and or but if when whenever while am are is was were be been being have has had do
does did don't didn't can could will would may might must shall should let no not please just only
really very quite too also again now then today tonight tomorrow soon later still always any
anytime time times day days night nights morning evening afternoon weekend week bed sleep sleeping
slept dream dreams rest relax good great nice lovely wonderful fine well better happy glad pleased
excited sorry welcome thank thanks thankful appreciate appreciated grateful hello hi hey bye
goodbye greetings care take taking enjoy enjoying hope hoping wish wishing feel feeling free know
knowing ask asking question questions help helping helped helpful assist assisting assistance
support need needs needed want like love talk talking chat chatting say saying see seeing meet
meeting hear hearing anything something everything else more some all about ready work working
start starting going go off out back make way what how reach course sure certainly absolutely okay
ok alright pleasure kind kindness thoughtful sweet fun wait long busy tired first before after
together world pleasant peaceful restful rested energized refreshed hesitate exactly quick forward
looking whatever mind message rather cheers saved thx ty cool awesome amazing perfect brilliant
super wow yay haha friend friends buddy dear folks everyone everybody family mate guys hug hugs
smile laugh luck lucky success break holidays holiday vacation congratulations congrats celebrate
celebrating party proud worry worries calm cozy cosy peace quiet ai language model assistant
virtual computer program conversation task tasks further stay keep catch up till until moment bit
little lot lots much many bunch million sincerely truly deeply delighted honor honored same
likewise both myself yourself however today's chance spend spent personal feelings emotions""",
        "de": """
ich mich mir mein meine du dich dir dein deine deinen deinem sie ihnen ihr ihre wir uns unser es
das dies hier da zu für mit in im an am auf bei von vom aus als so und oder aber wenn falls ob dass
bin bist ist sind war waren sein habe hast hat haben hatte kann kannst können könnte könnten werde
wirst wird werden würde muss musst müssen möchte möchtest darf nicht noch nur sehr ganz auch wieder
jetzt dann heute morgen später bald gleich immer jederzeit zeit tag nacht abend morgens woche
wochenende gut gute guten guter gutes schön schöne schönen schöner schönes toll super prima freut
freue freuen froh glücklich leid danke dank vielen vielmals herzlich herzlichen gerne gern bitte
hallo hi hey na tschüss tschüs wiedersehen mach machs machst machen gemacht pass genieße genieß
viel spaß erfolg hoffe hoffentlich wünsche fühle fühlst weiß wissen sag sagen frag frage fragen
stell stelle stellen hilfe helfen geholfen hilft helfe weiterhelfen brauchst brauche brauchen
benötigst benötigen weitere weiteren andere anderen anderes etwas alles mehr los gehen gehst geht
schlaf schlafen schläfst schlafe träum träume arbeit arbeiten verstehe verstehen zurück bis wie was
klar natürlich okay ok selbstverständlich freundlich nett lieb einfach melde melden zögere zögern
anliegen dabei damit darüber um zum zur ein eine einen einem besuch freund ruhe ruhig erhol erholen
informationen information gesprochen gesagt gemeinsam unterstützen unterstützung bereit nächsten
mal schreib schreiben schreibe feierabend urlaub glückwunsch glückwünsche liebe lieber liebes
lieben fröhlich fröhliche perfekt klasse cool wunderbar wunderbaren angenehm angenehmen entspannt
entspannten ruhigen ruhige familie freunde freundin zusammen vergnügen freude ehre vorbei kommen
komm komme kommst gekommen stehe stehen verfügung weiterhin ki ai sprachmodell modell assistent
aufgaben aufgabe unterhalten unterhaltung reden rede plaudern bisschen wohl lass lassen tun tut
getan verbringen verbringe geschehen persönliche gefühle keine kein keinen jedoch""",
        "fr": """
je j me m moi mon ma mes tu te t toi ton ta tes vous votre vos nous notre on il c ce ça cela ici là
à de du des d pour par avec dans en et ou mais si s quand que qu comment suis es est êtes sommes
était être ai as a avez avoir peux peut pouvez pouvoir puis veux voulez besoin dois vais vas va
allez aller ne n pas plus très bien mieux aussi toujours maintenant aujourd hui demain bientôt tard
tout toute jour journée soir soirée nuit matin semaine week-end bon bonne bons bonnes belle beau
content contente heureux heureuse ravi ravie désolé désolée plaisir merci beaucoup rien bonjour
salut bonsoir coucou revoir bienvenue plaît sûr accord ok espère souhaite profite profitez reposez
repose repos dormir dors rêves aide aider aidé question questions demander dire savoir sais hésitez
hésite autre autres chose choses moment prêt prête disposition le la les l un une quelque grand
doux douce parfait super génial excellent merveilleux merveilleuse ami amie amis famille chance
succès fêtes fête vacances félicitations prends prenez soin profites passe passez passes ia
intelligence artificielle modèle langage assistant virtuel tâche tâches discuter parler parle
parlez parlons conversation sentiments émotions cependant aidée pu""",
        "es": """
yo me mi tú te ti tu tus usted le su nosotros nos lo la los las el un una unos eso esto aquí ahí a
al de del para por con en y o pero si cuando que qué cómo soy eres es estoy estás está están fue
era ser estar he has ha haber tengo tienes tiene tengas tenga puedo puedes puede pueda poder quiero
quieres necesito necesitas necesita necesites debo voy vas va ir no más muy bien mejor también solo
sólo siempre ahora luego después hoy mañana pronto tarde noche día días tardes noches semana fin
buen buena buenas buenos bueno lindo linda feliz contento contenta encantado encantada gusto placer
gracias mil muchas muchísimas mucho nada hola adiós hasta chao saludos bienvenido bienvenida favor
claro supuesto vale ok espero deseo disfruta disfrutar descansa descansar descanses dormir duerme
duermas sueños dulces cuídate ayuda ayudar ayudarte ayudarle ayudado pregunta preguntas preguntar
preguntarme hacer hacerlas hacerla duda dudes dudas decir decirme saber sé siento sientas siente
hablar hablamos charlar algo todo otra otro otras otros alguna algún cualquier momento vez
dispuesto lista listo amable alegro alegra haya servido cuidate cuídese vemos vernos verte perfecto
perfecta genial estupendo excelente maravilloso maravillosa amigo amiga amigos familia abrazo besos
beso suerte éxito felices felicidades fiesta fiestas vacaciones todos todas tan así igual
igualmente mismo misma contigo conmigo nueva ia inteligencia artificial modelo lenguaje asistente
virtual tarea tareas conversar conversación charla sido estado pasado pasa pasar pases pase paso
vuelve vuelvas volver cosa cosas fuerza ánimo alegría hagas hacerme hazlas sentimientos emociones
sin embargo""",
    }
)
_OF: Final = {name: frozenset(words.split()) for name, words in _WORDS.items()}

_CHINESE: Final = Pattern(
    r"(?:好梦|一切|我们?|[你您]们?|大家|自己|的|了|吗|呢|吧|啊|呀|哦|嗯|是|在|有|会|能够?|可以|要|想|需要|请|随时|都|也"
    r"|还|很|非常|真|太|最|更|好|晚上|早上|上午|中午|下午|今天|明天|今晚|现在|再见|拜拜|见|晚安|早安|早|睡觉?"
    r"|休息|做个?|美梦|美好|愉快|开心|高兴|快乐|顺利|希望|祝愿?|谢谢|感谢|多谢|不客气|不用谢|没关系"
    r"|没问题|没事|帮助?|大忙|什么|怎么样|问题|其他|任何|别的|如果|告诉|问|提问|咨询|联系|聊|说|知道|听到|到"
    r"|为|服务|给|一个?|天|时间|时候|工作|去|来|忙|累|照顾|保重|欢迎|当然|嗨|哈喽|乐意|荣幸|这|那|就|和|对|让"
    r"|先|又|再次|朋友|家人|如意|万事|幸福|美满|加油|努力|周末|假期|轻松|放松|过|得|精力|充满|充沛"
    r"|活力|人工智能|ai|语言|模型|助手|虽然|但|没有|任务|陪伴?|哈哈|拥抱|亲爱|愿|永远|每|心情|温暖|期待|以后|之后"
    r"|完成|事情|感情|情感|作为|多|应该|客气|继续|交流|回头|下次|平安|度过|夜晚|注意)++"
)
"""Words that others begin with stand after those: what was taken is not given back. Otherwise a
text of ambiguous words would be divided in exponentially many ways."""
_HAN: Final = Pattern(r"\p{Han}")
_MARKS: Final = Pattern(r"[^\w]+")
_WORD: Final = Pattern(r"[\p{L}\d]+(?:['’-][\p{L}]+)*")
_ENDS: Final = re.compile(r"(?<=[.!?…。！？])[\"”'’)]*\s*|\n+")
_COURTEOUS: Final = Pattern(
    r"""(?xi)(?<![\p{L}'])(?:hello|hi|hey|greetings|good\ (?:morning|afternoon|evening|night|day)
      |evening|morning|bye|goodbye|see\ you|thanks?|thx|cheers|have\ a|take\ care|nice\ to
      |good\ to\ be\ back
      |hallo|moin|servus|na|guten|gute\ nacht|tschüss?|bis|wiedersehen|danke|dank|feierabend
      |machs?|schön\ wieder
      |bonjour|bonsoir|salut|coucou|bonne|revoir|à\ (?:bientôt|demain|plus)|merci
      |hola|buen[oa]s|adiós|chao|hasta|nos\ vemos|gracias|cuídate|encantad[oa]|gusto)(?![\p{L}])
      | [你您]好 | [早晚下中]上?午?好 | 早安 | 晚安 | 嗨 | 哈喽 | 拜拜 | 见
      | 回头聊 | 谢谢 | 感谢 | 多谢"""
)
"""What a message has that greets, thanks or takes leave."""

_WANTS: Final = Pattern(
    r"""(?xi)(?<!\p{L})(?:(?:i|we)\ (?:need|want|don't|do\ not)|know|help\ me|hilfe|weißt|wissen
      |sag|aide|savoir|veux|ayuda|saber|quiero|necesito)(?!\p{L})
      | 帮我 | 告诉 | 知道 | 想 | [什怎]么 | 吗"""
)
"""What a message has that wants more than company."""

_HOW: Final = Pattern(
    r"""(?xi)\W*(?:how\ (?:are|have)\ you\W.*|how\ was\ your\ \w+|what's\ up
      |wie\ geht(?:\ e?s|'s)?\ (?:dir|ihnen|euch)|wie\ war\ dein\w*\ \w+
      |alles\ klar(?:\ bei\ (?:dir|euch))?
      |comment\ (?:ça\ va|vas-tu|allez-vous|tu\ vas)|(?:ça|tout)\ va(?:\ bien)?
      |qué\ tal(?:\ \w+){0,3}|cómo\ (?:te|le)\ va(?:\ \w+){0,2}|cómo\ estás?
      |[你您]好吗|[你您]?(?:今天|最近)?(?:过得)?怎么样)\W*"""
)
"""How somebody is, to which no answer is a claim about anything else."""

_KIND: Final = Pattern(
    r"""(?xi)\W*(?:
      (?:so|and|but|as\ always|oh|well|okay|ok|sure|of\ course|great|haha)[,!]?\s)?(?:
      i\ (?:hope|wish|look\ forward|appreciate|can\ help)
      |i'm\ (?:here|glad|happy|always|just|doing|fine|good|well|so|very|ready|sorry|delighted)
      |i\ am\ (?:here|glad|happy|always|ready|fine|well|doing)|i'll\ be|i'd\ be|hope|wish\w*|good
      |great|nice|lovely|wonderful|thanks?|you're\ welcome|you\ are\ welcome|welcome|hello|hi|hey
      |bye|goodbye|see\ you|take\ care|have\ a|enjoy|sleep\ well|rest\ well|sweet|if\ you
      |feel\ free|let\ me|please|anytime|any\ time|glad|happy|my\ pleasure
      |it's\ (?:a\ pleasure|good\ to|nice\ to|great\ to)|it\ was\ (?:a\ pleasure|nice|great)
      |how\ (?:can|may|are|about)|what\ (?:can|would)|and\ you|until|cheers|sure|of\ course|okay
      |ok|alright|no\ problem|no\ worries|don't\ hesitate|same\ to\ you|likewise|looking\ forward
      |congrat\w*|as\ an\ ai\ \w
      |ich\ (?:hoffe|wünsche|freue|helfe|stehe|bin\ (?:hier|da|für|froh|immer|gerne?))|gerne?
      |gute[ns]?|gut|schöne?[ns]?|schlaf|träum|bis|danke|vielen|bitte|hallo|hi|hey|na|machs?
      |pass\ auf|viel|wenn\ du|wenn\ sie|falls|lass|melde|freut|kein\ problem|keine\ ursache
      |wie\ (?:kann|geht|war)|was\ kann|womit|und\ dir|tschüss?|auf\ wiedersehen
      |es\ (?:ist|war)\ (?:mir\ )?(?:schön|eine\ freude)|es\ freut|mir\ geht|natürlich|klar|super
      |toll|dann\ bis|alles\ (?:gute|liebe|klar)|erhol|genieß|jederzeit|zögere|nichts\ zu
      |j'espère|je\ (?:vous|te)\ souhaite|je\ suis\ (?:là|ravie?|content|heureu|toujours)|merci
      |bonjour|bonsoir|salut|bonne|bon|avec\ plaisir|de\ rien|au\ revoir
      |à\ (?:bientôt|demain|plus|votre|ton)|n'hésite|si\ (?:tu|vous)|prends|prenez|dors|passe
      |profite|comment|et\ (?:toi|vous)|ravie?|enchantée?|je\ (?:vais|t'en|vous\ en)|espero|deseo
      |gracias|muchas|de\ nada|hola|buen[oa]?s?|adiós|hasta|nos\ vemos
      |que\ (?:tengas?|descanses?|duermas?|pases?)|si\ (?:necesitas?|tienes?|quieres)|no\ dudes?
      |estoy\ (?:aquí|bien|para|muy)|me\ alegr\w*|encantad\w|con\ (?:mucho\ )?gusto
      |(?:es|fue|ha\ sido)\ un\ (?:gusto|placer)|un\ placer|cu[ií]date|descansa|disfruta|dulces
      |feliz|felices|claro|por\ supuesto|perfecto|genial|aquí\ estoy|en\ qué
      |cómo\ (?:estás|puedo|te)|qué\ tal|y\ tú|igualmente|todo\ bien|muy\ bien|bien
      |puedo\ ayudar\w*)(?!\p{L})
    | \W*(?:[你您]好|嗨|早|晚|好的?|再见|拜拜|明天见|回头|谢谢|感谢|不客气|不用谢|没(?:关系|问题|事)
      |希望|祝|很高兴
      |非常高兴|如果|有什么|有(?:需要|问题)|请|随时|当然|欢迎|愿|保重|照顾|做个|我(?:很好|也很|随时|一直|在)|期待|哈哈)"""
)
"""How a sentence begins that greets, thanks, wishes well, offers help or asks how somebody is."""

_HARSH: Final = Pattern(
    r"""(?xi)(?<!\p{L})(?:(?:you|i)\ (?:should|must|need\ to|don't|do\ not|will|won't)|not|no
      |never|nicht|kein\w*|nie|musst|sollst|pas|jamais|dois|devez|nunca|debes?|deberías?|sí|yes|ja
      |oui|si,)(?!\p{L})|[不没应]"""
)
"""What denies, agrees or advises."""

_HARMLESS: Final = Pattern(
    r"(?i)don't hesitate|no problem|no worries|kein problem|keine ursache|zögere nicht"
    r"|n'hésite[sz]? pas|pas de (?:souci|quoi|problème)|no dudes?|不客气|不用谢|没(?:关系|问题|事)"
)

_MOST: Final = 60
"""Words of such a message; signs, in Chinese."""


def is_social(text: str) -> bool:
    """Whether every word of a text is one of one language's for keeping company; no blank text is.

    >>> is_social("I hope you had a good sleep!"), is_social("I hope you had a good coffee!")
    (True, False)
    """
    if _HAN.search(text):
        plain = _MARKS.sub("", text.casefold())
        return 0 < len(plain) <= _MOST and _CHINESE.fullmatch(plain) is not None
    words = {word.casefold() for word in _WORD.findall(text.replace("’", "'"))}
    elided = {part for word in words for part in word.split("'")}
    return 0 < len(words) <= _MOST and any(
        (elided if language == "fr" else words) <= known for language, known in _OF.items()
    )


def keeps_company(question: str, answer: str) -> bool:
    """Whether a greeting, a thank-you or a farewell is answered by good wishes and the like.

    >>> keeps_company("I'm off to bed now, good night.", "Good night! I hope you sleep well.")
    True
    >>> keeps_company("Good morning! Is it good to sleep?", "Good morning! It is good.")
    False
    """
    asked = question.replace("’", "'")
    for part in filter(str.strip, _ENDS.split(asked)):
        if re.search(r"[?？]", part) and not _HOW.fullmatch(re.split(r"[,，]", part)[-1]):
            return False
    plain = _HOW.sub("", asked) if re.search(r"[?？]", asked) else asked
    if not _COURTEOUS.search(asked) or _WANTS.search(plain) or _HARSH.search(plain):
        return False
    if not is_social(asked) or not is_social(answer):
        return False
    said = answer.replace("’", "'")
    parts = [part for part in _ENDS.split(said) if re.search(r"\w", part)]
    return all(map(_KIND.match, parts)) and not _HARSH.search(_HARMLESS.sub("", said))
