"""Answers that are code, and what they say in words: comments, docstrings and texts in quotes.

Code alone claims nothing about the world. A comment may, and so may a text that it prints; those
that do not merely tell what the code does are found here, so that they are judged.

Languages of comments: English, German, French, Spanish and Chinese, as closed lists of how comments
begin; what they do not cover counts as a statement.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import FENCE, sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk
from energy_guard.locate.words import stem
from energy_guard.text import Range

_WORDS_IN_CODE: Final = Pattern(
    r"""(?xs)(?P<q>\"{3}|'{3})(?P<doc>.*?)(?P=q)
      | /\*+(?P<block>.*?)\*/ | <!--(?P<html>.*?)-->
      | \"(?P<double>(?:[^\"\\\n]|\\.)*)\" | '(?P<single>(?:[^'\\\n]|\\.)*)'
      | `(?P<tick>[^`]*)`
      | (?:(?<![^\s;{}()])\#(?!!|(?:[\da-fA-F]{3,4}|[\da-fA-F]{6}|[\da-fA-F]{8})\s*[;,)\"'}])
        |(?<![:\w])//+|(?<!\S)--(?=\s))(?P<line>[^\n]*)
      | >(?P<text>[^<>{}\n]+)</"""
)
_QUOTES: Final = ("double", "single", "tick", "text")

_BEGINS: Final = Pattern(
    r"""(?xi)(?:(?:first|then|now|next|finally|otherwise|and|also|this\ (?:\w+\ )?|it\ |we\ |the\
      (?:function|method|class|script|program|code|loop)\ )[,\ ]*)*
      (?:add|allow|append|apply|assign|assert|break|build|calculat|call|chang|check|clean|clear|close
      |collect|combin|compar|comput|connect|construct|continu|convert|copy|count|creat|declar|decreas
      |defin|delet|deposit|display|divid|do|draw|ensur|exampl|execut|exit|extract|fetch|fill|filter
      |find|format|generat|get|given|go|grab|handl|if|implement|import|increas|increment|initiali[sz]
      |insert|inspect|instantiat|invert|iterat|join|keep|list|load|look|loop|main|make|mark|merg
      |modif|move|multipl|open|output|pars|pass|perform|pick|pop|prepar|print|process|prompt|push|put
      |rais|read|receiv|recurs|remov|renam|repeat|replac|represent|reset|return|revers|run|sav|search
      |select|send|set|show|skip|slic|sort|specif|split|start|stop|stor|subtract|sum|swap|take|test
      |throw|track|transform|travers|trim|try|unpack|updat|us|validat|verif|wait|walk|withdraw|writ)
      (?:e|es|s|ed|ing|y|ies|ting|ning|ping|ding)?\b
      | (?:args?|arguments?|parameters?|params?|returns?|raises|yields|examples?|usage|notes?
        |attributes|todo|input|output|@\w+|:\w+)\b
      | \w+\ *(?:\([^()\n]*\))?\ *:\s
      | (?:addier|berechn|durchlauf|erstell|erzeug|füg|gib|gibt|hol|initialisier|lies|lösch|öffn
        |prüf|rufe?|setz|speicher|sortier|such|test|überprüf|vergleich|wenn|falls|zähl|zeig|schreib|entfern
        |definier|ausgabe|berechnung|aufruf|string|konstruktor|methode|funktion|klasse|beispiel|führ|multiplizier|teil|ersetz|konvertier|wandl
        |iterier|aktualisier|durchläuf|start|beend|lädt|schließ|kopier|verwend|nutz|bestimm|ermittel
        |find|verarbeit|erhöh|verringer|summier|dividier|subtrahier|kehr|tausch|hinzufüg|verbind)\w*\b
      | (?:(?:abr|actualiz|agreg|borr|busc|calcul|camb|carg|cerr|compar|comprob|contar|convert|cre
        |defin|devolv|divid|elimin|encontr|escrib|filtr|guard|imprim|iniciali|inserta|invert|le[ey]|llam
        |mostr|multiplic|obten|orden|ped|prob|quit|recorr|reemplaz|retorn|sac|sum|us|verific
        |almacen|añad|asegur|asign|ejecut|extra|ingres|iter|solicit|valid)
        (?:[aei]r|iz[ao]r?|[aeio]|iendo|ando)|si|para|ejemplo|función|devuelve|calcula|imprime|comprueba
        |verifica|crea|recorre|suma|cuenta|elimina|define|inicializa|retorna|usa|busca|lee|lista|variable
        |bucle|salida|resultado|caso\ base)\b
      | (?:affich|ajout|appel|assign|boucl|calcul|charg|cherch|compar|compt|convert|cré[eé]|défini
        |divis|échang|écri|effac|enlèv|enlev|filtr|génèr|génér|implément|import|incrément|initialis
        |insèr|insér|itèr|itér|lire|lit|multipli|obt[ei]n|ouvr|parcour|retir|renvo[iy]|retourn
        |supprim|test|trie|utilis|vérifi|additionn)\w{0,5}\b
      | (?:si|pour|sinon|exemple|fonction|méthode|constructeur|classe|tant\ que)\b
      | (?:如果|检查|返回|打印|计算|遍历|初始化|创建|定义|按|输出|读取|判断|使用|示例|测试|循环|添加
        |删除|获取|设置|将|从|对|调用|统计|去除|排序|分割|反转|遇到|否则|函数|参数|处理|找)"""
)
_IS: Final = Pattern(
    r"(?i)(?<![\w'])(?P<is>is|are|was|were|has|have|ist|sind|war|waren|hat|es|son|fue|fueron|era"
    r"|est|sont)(?!\w)|(?P<zh>是(?!否))"
)
_UNDER: Final = Pattern(
    r"(?i)(?<!\w)(?:if|whether|until|while|when|where|that|which|unless|ob|wenn|falls|bis|solange"
    r"|dass|si|que|mientras|cuando|donde|quand|lorsque|où|qui|how many"
    r"|how much|what)(?!\w)|如果|是否|当|直到"
)
_SHORT: Final = 3
"""Words of a comment that can only be a label: "Base case", "Example usage"."""


def said_in_code(answer: str) -> list[Range]:
    """Return where comments, docstrings and texts in quotes stand in an answer's fenced code."""
    return [place for place, _ in _said(answer)]


def stated_in_code(answer: str, question: str) -> list[Range]:
    """Return those of them that do not merely tell what the code does.

    Args:
        answer: with its fences.
        question: what it says is no news.
    """
    said = _said(answer)
    code = answer
    for (start, end), _ in reversed(said):
        code = code[:start] + " " + code[end:]
    code = "".join(block["body"] for block in FENCE.finditer(code))
    named = {word.casefold() for word in _NAME_PART.findall(code)}
    known = named | {word.casefold() for word in _NAME_PART.findall(question)}
    lines = _facts(answer, question)
    for (start, end), is_quoted in said:
        for line in _LINE.finditer(answer, start, end):
            at, stop = line.span("said")
            if _states(answer[at:stop], named, known, is_quoted):
                lines.append((at, stop))
    return lines


def _facts(answer: str, question: str) -> list[Range]:
    """Values that nothing computes: given without input, paired with a name, or asked of a name."""
    known = {word.casefold() for word in _NAME_PART.findall(question)} | _GREETED
    kinds = [_CONSTANT, _PAIR]
    if any(name not in _PROGRAMMING for name in _names(question)) and not _GERMAN.search(question):
        kinds.append(_NAMED)
    found = []
    for block in FENCE.finditer(answer):
        for match in (m for kind in kinds for m in kind.finditer(answer, *block.span("body"))):
            words = {word.casefold() for word in _NAME_PART.findall(match["value"])}
            if match["value"] in _TRUTHS or not words <= known:
                found.append(match.span("value"))
    return found


_TRUTHS: Final = ("True", "False", "true", "false")
_CONSTANT: Final = Pattern(
    r"""(?x)(?:[\w=]\s*\(\s*\)|\blambda)\s*(?:(?:->|:)\s*[\w\[\]]+\s*)?(?:=>)?\s*[:{]?\s*
      (?:\#[^\n]*\s*|//[^\n]*\s*|\"{3}.*?\"{3}\s*|'{3}.*?'{3}\s*)*
      (?:return\b|(?<=(?:=>|lambda:)\s*))\s*\(?\s*(?P<value>\"[^\"\n]*\"|'[^'\n]*'|-?\d[\d._]+|True|False|true|false)"""
)
"""A function without parameters that returns one value: `def capital(): return "Rome"`."""
_PAIR: Final = Pattern(
    r"""[\"']\p{Lu}[^\"'\n]*[\"']\s*(?::|=>)\s*(?P<value>[\"']\p{Lu}[^\"'\n]*[\"'])"""
)
"""One name for another: `"Italy": "Rome"`."""
_NAMED: Final = Pattern(r"""(?P<value>\"\p{Lu}[^\"\n]*\"|'\p{Lu}[^'\n]*')""")
_PROGRAMMING: Final = frozenset(
    """Python JavaScript Java TypeScript Script C Rust Go Golang Ruby PHP Bash Kotlin Swift Scala
    Perl R SQL HTML CSS JSON YAML XML CSV Linux Unix Windows Docker Git React Django Flask Node Vue
    Pandas NumPy Excel Dockerfile Makefile URL API I""".split()
)
"""Names in requests for code that ask for no fact."""


def tells_of_code(sentence: str, answer: str, question: str) -> bool:
    """Return whether a sentence beside code only tells what the code does.

    Args:
        sentence: a sentence of the answer.
        answer: with its fences.
        question: what it says is no news.
    """
    code = "".join(block["body"] for block in FENCE.finditer(answer))
    named = {word.casefold() for word in _NAME_PART.findall(code)}
    known = named | {word.casefold() for word in _NAME_PART.findall(question)}
    quoted = [word for part in _TICKED.findall(sentence) for word in _NAME_PART.findall(part)]
    plain = re.sub(r"`[^`]*`", "", sentence)
    names = [*_names(plain), *(word for word in quoted if word[0].isupper())]
    if _GERMAN.search(plain):
        names = []  # its nouns all have capitals
    about = quoted and named.issuperset(word.casefold() for word in quoted)
    stems = {stem(word) for word in known if len(word) >= _TELLING}
    if _BEYOND.search(plain):
        return False
    if _is_cut_off(sentence, answer):
        return not names
    for part in _JOINED.split(sentence):
        shares = any(stem(word) in stems for word in re.findall(r"[^\W\d_]+", part))
        if _GOES_ON.match(part):
            shares = shares or any(pair in question for pair in _HAN_PAIRS.findall(part))
        if re.search(r"\w", part) and not (about or shares or _OF_CODE.search(part)):
            return False
    numbers = set(re.findall(r"\d+", plain)) - known - SMALL_NUMBERS
    parts = {part.casefold() for name in names for part in _NAME_PART.findall(name)}
    return not numbers and parts <= known | _GREETED | _HEADINGS


_HAN_PAIRS: Final = Pattern(r"(?=(\p{Han}{2}))")
_GOES_ON: Final = Pattern(r"\W*(?:这样|然后|最后|首先|接着|要|为了|[你您]可以|我们|如果)")


def _is_cut_off(sentence: str, answer: str) -> bool:
    """Whether a sentence is the first word of one that was to tell what the code does."""
    words = re.findall(r"[㐀-鿿]{1,3}|[^\W\d_㐀-鿿]+", sentence)
    ended = re.search(r"[.!?。！？:：]\W*\Z", sentence)
    begins = _BEGINS.match(sentence.strip()) and answer.rstrip().endswith(sentence.strip())
    return len(words) <= 1 and not ended and bool(begins)


_HEADINGS: Final = frozenset(
    """a and the of how it its works key points features notes note steps step explanation breakdown
    details usage example examples function method class script program code file definition
    declaration initialization initialisation constructor attributes methods parameters parameter
    arguments variables return returns statement loop iteration recursion base edge case cases
    condition check import imports input output error exception handling reading writing opening
    closing counting sorting printing time space complexity result call main list string array
    dictionary""".split()
)
"""Words of titles such as "**Function Definition**", which have capitals and name nobody."""

_TELLING: Final = 4
"""Letters of a word that shows what a sentence is about."""

_TICKED: Final = Pattern(r"`([^`]+)`")
_OF_CODE: Final = Pattern(
    r"""(?xi)\b(?:(?:function|method|class|script|program|code|rule|loop|implementation|example
      |explanation|output|solution|file|variable|parameter|argument|statement|clause|attribute
      |property|element|fonction|méthode|classe|programme|requête|boucle|exemple|résultat|fichier
      |attribut|paramètre|variable|método|clase|consulta|código|programa|regla|ejemplo|resultado
      |archivo|atributo|parámetro|elemento
      |command|comando|commande)(?:e?s)?|quer(?:y|ies)|usage|properties
      |verwendung|erklärung|ausgabe|uso|explicación|salida|utilisation|explication|sortie
      |funktion(?:en)?|methoden?|klassen?|skripte?|programme?|abfragen?|regeln?|klauseln?|attribute?
      |schleifen?|beispiele?|ergebnis(?:se)?|endresultat|lösung|dateien?|variablen?|parameter
      |befehle?|datenbank(?:en)?|bases?\ de\ datos
      |funci(?:ón|ones)|soluci(?:ón|ones))\b
      | 函数 | 代码 | 脚本 | 程序 | 类 | 方法 | 查询 | 参数 | 示例 | 结果
      | 输入(?:的|为|框|参数) | 返回 | 输出
      | 变量 | 循环 | 数组 | 字符串 | 列表 | 列名 | 数据表 | 表名 | 数据库 | 字段 | 命令
      | 样式 | 页面 | 元素 | 列表 | 文件"""
)
_BEYOND: Final = Pattern(
    r"(?i)\b(?:which (?:is|are|was|were|has)|because|known|discovered|invented|born|died|founded"
    r"|famous|capital|history|cures?|health\w*|drink\w*|poison\w*|medic\w*|bleach"
    r"|bekannt|erfunden|geboren|gegründet|conocid[oa]|inventad[oa]|nacid[oa])\b"
)
"""What a sentence about code does not need, and one about the world may."""

_JOINED: Final = Pattern(r";|,\s(?:and|but|und|aber|et|mais|y|pero)\s")
"""Where a sentence goes on with another."""

_LINE: Final = Pattern(r"[\s*]*(?P<said>\S[^\n]*)")
_NAME_PART: Final = Pattern(r"\p{Lu}?\p{Ll}+|\p{Lu}+|\p{L}+|\d+")


def _said(answer: str) -> list[tuple[Range, bool]]:
    """Where an answer's code has words, and whether they stand in plain quotes."""
    found = []
    for block in FENCE.finditer(answer):
        for match in _WORDS_IN_CODE.finditer(answer, *block.span("body")):
            group = str(match.lastgroup)
            group = "doc" if group == "q" else group
            if re.search(r"[^\W_]", match[group]):
                found.append((match.span(group), group in _QUOTES))
    return found


def _states(said: str, named: set[str], known: set[str], is_quoted: bool) -> bool:
    """Whether words in code state something.

    named: words that the code has; known: those, and words of the question.
    """
    numbers = set(re.findall(r"\d+", said)) - known - SMALL_NUMBERS
    if any(len(number) > 2 for number in numbers) or (numbers and not _OUTPUT.fullmatch(said)):
        return True
    if _LANGUAGE_TAG.fullmatch(said):
        return False
    words = re.findall(r"[^\W\d_]+", re.sub(r"\{[^{}]*\}", " ", said))
    news = [w for w in _names(said) if w.casefold() not in known | _GREETED]
    if news and not _GERMAN.search(said) and not said.isupper():
        return True
    complains = _COMPLAINT.fullmatch(said.strip()) or _OF_INPUT.fullmatch(said.strip())
    stands_for_others = complains or all(
        _PLACEHOLDER.fullmatch(part) or is_small_talk(part) for part in _split(said)
    )
    if _asserts(said, named) and not (is_quoted and stands_for_others):
        return True
    labelled = _LABELLED.fullmatch(said.strip())
    if labelled and not is_quoted and labelled["label"].casefold() not in named | _LABELS:
        return _states(labelled["rest"], named, known, is_quoted=False)
    if is_quoted or len(words) <= _SHORT or _BEGINS.match(said.strip()):
        return False
    does = _DOES.fullmatch(words[-1]) and not _MODAL.search(said)
    if does or _mostly_known(words, known):
        return False
    return words[0].casefold() not in named


def _split(said: str) -> list[str]:
    return [said[start:end] for start, end in sentence_ranges(said)]


def _mostly_known(words: list[str], known: set[str]) -> bool:
    """Whether all longer words of a comment but one are of the code or of the question."""
    stems = {stem(word) for word in known if len(word) >= _TELLING}
    longer = [word for word in words if len(word) >= _TELLING]
    unknown = sum(stem(word.casefold()) not in stems for word in longer)
    return unknown <= 1 and len(longer) > 1 and not _BEYOND.search(" ".join(words))


_DOES: Final = Pattern(
    r"(?i)\p{L}*(?:geben|zählen|prüfen|stellen|zeigen|rechnen|setzen|lesen|schreiben|suchen|fügen|ieren"
    r"|holen|laden|speichern|löschen|öffnen|schließen|vergleichen|führen|wandeln|teilen|entfernen)"
)
"""How a German comment ends that tells what the code does: "Anzahl der Zeilen ausgeben"."""
_MODAL: Final = Pattern(
    r"(?i)(?<!\w)(?:man|muss|müssen|soll|sollen|sollte|kann|können|darf|dürfen|will|wollen)(?!\w)"
)
_LANGUAGE_TAG: Final = Pattern(r"en-US|en-GB|zh-CN|zh-TW|de-DE|es-ES|fr-FR")
_LABELLED: Final = Pattern(r"(?P<label>\w+)\s*[:：]\s+(?P<rest>\S.*)")
_LABELS: Final = frozenset(
    """args arguments argument parameters parameter params param returns return raises yields
    example examples usage note notes attributes todo input output
    bool boolean int integer float number str string list dict dictionary tuple set object none
    any""".split()
)
"""What may stand before a colon in a docstring; a verb does not."""


_OUTPUT: Final = Pattern(
    r"(?i)\s*(?:(?:expected )?output|prints|returns|should (?:print|return)|(?:erwartete )?ausgabe"
    r"|gibt|affiche|sortie|renvoie|salida(?: esperada)?|imprime|devuelve|输出|打印|返回)"
    r"\s*[:：]?\s*[\d\s.,\-+/%()\[\]]*"
)
"""What a line of code comes to; of more than two digits it may be a fact all the same."""

_PLACEHOLDER: Final = Pattern(
    r"(?i:esto es (?:un|una)|das ist (?:ein|eine)|dies ist (?:ein|eine)|ceci est une?|c'est une?) "
    r"(?i:(?:ejemplo|texto|prueba|frase|cadena|beispiel|text|test|satz|exemple|texte|phrase)(?:text|satz)?)"
    r"(?: (?i:de texto|de prueba|de texte))?[.!]?"
    r"|这(?:是|里是)一?(?:个|段|句|行)?(?:简单的)?(?:示例|例子|测试|样例)(?:文本|字符串|句子|段落)?[。！.!]?"
    r"|(?i:this) is (?:an?|some|the|my) (?:\p{Ll}+ )?(?:paragraph|test|example|sample|text|string"
    r"|comment|heading|title|page|link|button|element|message|line|file)"
    r"(?: (?:that will be|with|in|for) \p{Ll}+(?: \p{Ll}+){0,2})?[.!]?"
)
"""A text that stands for others: "This is a paragraph." """

_COMPLAINT: Final = Pattern(
    r"(?i)(?:error|fehler|erreur|warning|warnung|advertencia)\s*[:：][^.:;]{0,40}"
    r"\b(?:is|are|was|were|ist|sind|est|es|son) (?:(?:not|nicht|kein\w*|pas|no) )?"
    r"(?:(?:an?|ein|eine|un|une|una) )?(?:(?:in)?valid|empty|required|missing|found|allowed"
    r"|gültig\w*|leer|erforderlich|vide|valide|requis|vacío|válid[oa]|obligatorio)"
    r"(?: (?:file|folder|directory|number|path|input|name|datei|zahl|fichier|archivo|número))?[.!]?"
)
"""What a program says of what it was given: "Error: The path is not a valid folder." """


_OF_INPUT: Final = Pattern(
    r"(?i)(?:the|das|der|die|el|la|le|les)\s(?:\p{Ll}+e[nrs]?\s|given\s|specified\s)?"
    r"(?:path|file|input|value|list|number|name|folder|directory|string|argument|format|index|key"
    r"|pfad|datei|eingabe|wert|liste|zahl|ordner(?:name)?|dateiname|verzeichnis|argument|format"
    r"|ruta|archivo|entrada|valor|lista|número|carpeta|cadena|chemin|fichier|entrée|valeur)\s"
    r"(?:(?:is|ist|es|est|está) (?:invalid|empty|not found|ungültig|leer|nicht gefunden|vacío"
    r"|vacía|inválid[oa]|invalide|vide)"
    r"|(?:does not|doesn't) exist|wurde nicht gefunden|existiert nicht|no existe|n'existe pas)[.!]?"
    r"|(?:输入|文件|路径|列表|参数|数值|目录|文件夹|数据)(?:无效|为空|不存在)[。！.!]?"
)
"""The same without a word before: "The given path does not exist." """


def _names(said: str) -> list[str]:
    """Words with a capital that does not come from their place: "n (int): The number to add"."""
    words = list(re.finditer(r"[^\W\d_]+", re.sub(r"\{[^{}]*\}", " ", said)))[1:]
    return [
        word[0]
        for word in words
        if word[0][0].isupper()
        and not (
            re.search(r"[.:!?]\s\Z", word.string[: word.start()])
            and re.match(r"\s[^\W\d_]", word.string[word.end() :])
            and word.string[word.end() + 1].islower()
        )
    ]


def _asserts(said: str, named: set[str]) -> bool:
    """Whether something is said to be, unconditionally, of what is no part of the code."""
    said = _SHELL_VARIABLE.sub(" ", said)
    for match in _IS.finditer(said):
        before = re.findall(r"[^\W\d_]+|\}", said[: match.start()])
        after = re.search(r"[^\W\d_{]", said[match.end() :])
        under = _UNDER.search(said[: match.start()])
        subject = before[-1].casefold() if before else ""
        is_zh = match["zh"] is not None
        of_value = _VALUE_ZH.search(said[: match.start()]) if is_zh else subject == "}"
        if before and after and not under and not of_value and subject not in named:
            return True
    return False


_VALUE_ZH: Final = Pattern(r"\}\s?(?:不|的\p{Han}{1,4})?\s?\Z")
_SHELL_VARIABLE: Final = Pattern(r"\$(?:\w+|\{[^{}]*\})")
SMALL_NUMBERS: Final = frozenset("0123456789") | {"10", "100", "1000"}
_GREETED: Final = frozenset(["hello", "world", "welcome", "true", "false", "none", "null", "error"])
_GERMAN: Final = Pattern(
    r"(?i)\b(?:der|die|das|ein|eine|einen|einer|den|dem|diese[rsnm]?|kannst|ist|sind|und|nicht)\b"
)
