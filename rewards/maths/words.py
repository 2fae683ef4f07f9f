"""Words: units, numbers, fillers, those that change what a number says, and text against text."""

import functools
import re

from rewards.maths.tokens import Token, canonical, word_set


def _forms(text: str) -> dict[str, str]:
    """Every spelling of the units of a text, also in the plural, with the first as its name."""
    units = [unit.split() for unit in text.split(";")]
    return {form: unit[0] for unit in units for word in unit for form in (word, f"{word}s")}


_MEASURES = _forms(
    """meter metre; centimeter centimetre cm; millimeter millimetre mm; kilometer kilometre km; decimeter decimetre dm;
    nanometer nm; foot feet ft; inch inches; yard yd; mile mi; gram gm; kilogram kg; milligram mg; pound lb; ounce oz;
    ton tonne; liter litre; milliliter millilitre ml mL; gallon gal; quart qt; pint pt; second sec; minute min; hour hr;
    day; week; month; year yr; dollar usd USD buck; cent; euro eur EUR; yuan; rupee Rs; peso; yen; mph mi/hr;
    kmh kmph kph"""
)
_COUNTED = _forms(
    """degree deg; radian rad; pound_sterling gbp GBP; hertz Hz kHz; joule kJ; newton; watt kW; pascal Pa kPa; mole mol;
    percent percentage pct; square sq; cubic cu; unit; per; person people; student; time; way; side; value; number;
    point; piece; item; step; solution"""
)
_CHINESE = (
    "吨 千克 公斤 克 米 厘米 毫米 千米 公里 平方米 平方厘米 立方米 立方厘米 升 毫升 元 角 分 个 "
    "人 名 位 天 日 周 月 年 岁 小时 分钟 秒 只 头 本 颗 支 张 棵 块 件 条 辆 次 种 页 "
    "题 箱 袋 瓶 朵 枚 双 套 台 度 道 盒 根 粒 片 株 间 桶"
)
UNITS = _MEASURES | _COUNTED | {word: word for word in _CHINESE.split()}
LETTERS = {"m": "meter", "g": "gram", "s": "second", "h": "hour", "L": "liter", "l": "liter", "N": "newton",
           "J": "joule", "W": "watt", "V": "volt", "A": "ampere", "K": "kelvin", "C": "celsius",
           "F": "fahrenheit"}  # fmt: skip
PHYSICAL = frozenset(_MEASURES.values()) | frozenset(LETTERS.values())
TOUCHING = word_set("cm mm km kg mg ft mph mL ml lb lbs oz hr hrs min sec deg kHz Hz kPa pct percent USD")
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
SCALES |= {f"{word}s": value for word, value in SCALES.items()}
_IN_ORDER = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
NUMBERS = {word: value for value, word in enumerate(_IN_ORDER.split())}
FILLERS = word_set(
    "only exactly in total altogether overall all respectively the of a an each long tall wide deep left"
)
ARTICLES = frozenset({"a", "an", "the", "any", "every", "each", "all"})
DISTORTING = word_set(  # the subject of a statement that says something else than the number behind it
    """if unless wrong incorrect false doubt guess maybe perhaps might expect half twice double triple third
    quarter opposite reciprocal inverse square cube root negative complement predecessor successor previous next other
    except but apart nearly almost about approximately around roughly minus plus less fewer more than multiple tenth
    unlike instead somewhere everything anything something error mistake mistaken truth"""
)
NEGATION = frozenset({"not", "no", "never", "neither", "nor", "without", "cannot", "nobody", "none"})
# What a number beside one of them says changes.
CHANGING = NEGATION | DISTORTING - {"square"} | frozenset(SCALES)
CHANGING |= word_set(
    """or any possibly either unknown between least most up too short halves thirds quarters fourth fourths fifth
    fifths tenths hundredth hundredths thousandth thousandths squared cubed tens over under above below base mod modulo
    factorial choose power raised some several as to versus vs ratio think could would should probably wo ish larger
    smaller bigger older younger taller longer shorter greater further later earlier higher lower digits before after
    yesterday then when mille itself themselves"""
)
_SHORT = word_set(  # words of three letters or less, which are no product of variables
    """the is it we he she has was are all can his her our you yes its an at be by do for go in me my of on so us who
    why how may had did got get let now new old one two six ten day men man him use way out see say sum add odd red"""
)
ENGLISH = CHANGING | FILLERS | _SHORT
# Phrases that name a thing of mathematics: the kind and the name of its node.
MEANINGS = {
    "no solution": ("emptyset", ""), "no solutions": ("emptyset", ""), "empty set": ("emptyset", ""),
    "the empty set": ("emptyset", ""), "all real numbers": ("symbol", "reals"), "all reals": ("symbol", "reals"),
    "does not exist": ("text", "dne"), "d . n . e": ("text", "dne"),
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")
_PUNCTUATION = re.compile(r"[.,;:'\"]|(?<![a-z])s(?![a-z])")
_SAID = re.compile(r"(?:- )?[0-9]+(?:\.[0-9]+)?")
_MATHS = re.compile(r"[=<>^_+*/|\\]")
_SUBJECT = re.compile(r"\b(?:i|we|you|he|she|it|they|who|someone|somebody|everyone|everybody|people)\b", re.IGNORECASE)
_TURNED_AROUND = re.compile(r"n't|\?|\btimes [A-Za-z0-9]")
_HEDGE = re.compile(  # in front of a number: "anything but 3", "at least 3", "half of 3", "they claim it is 3"
    r"(?:\b(?:not|never|anything but|except|than|at (?:least|most)|nearly|almost|close to|near|beyond|under|over|"
    r"no way(?: that)? it is|between [0-9.]+ and|half(?: of)?|twice|double|triple|"
    r"(?:square|cube|root|multiple) of|rule out|(?:says?|said|claims?|thinks?|guess(?:es)?|doubts?)(?: that)?(?: it)?"
    r"(?: is| was| be)?|would(?: have)? be(?:en)?)|n't(?: be| have)?)(?: (?:a|an|the|just|exactly))? [$-]{0,2}$",
    re.IGNORECASE,
)
_HEDGED = re.compile(  # behind it: "3 or so", "3 is wrong", "3 unless it rains"
    r" (?:[a-z]+ )?(?:or (?:more|less|so|fewer|thereabouts)|unless|if|at (?:least|most)|"
    r"(?:is|looks|seems) (?:wrong|incorrect|false|not|too))\b|\?|(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)
_CONNECTIVE = re.compile(
    r"(?:so|thus|therefore|hence|then|and|now|finally|in (?:total|all)|altogether|overall|as a result)\b[ ,]*",
    re.IGNORECASE,
)


def is_english(run: str) -> bool:
    """Return whether a short run of letters is a word of English rather than a product of variables."""
    return run.lower() in ENGLISH and not run.isupper()


@functools.lru_cache(maxsize=4096)
def words_of(text: str) -> frozenset[str]:
    """The words of a question, lower case, and its units' names: what an answer may be counted in."""
    words = {word.lower() for word in _WORD.findall(text[:20_000]) if len(word) > 1} - CHANGING
    return frozenset(words | {UNITS[word] for word in words if word in UNITS})


def unit_name(words: list[str]) -> str:
    """One name for the words of a unit: known ones by their first spelling, in lower case."""
    known = [UNITS.get(word) or UNITS.get(word.lower()) or (LETTERS.get(word) if len(word) == 1 else None) or
             word.lower() for word in words]  # fmt: skip
    if len(known) == 2 and known[0] in ("square", "cubic"):
        return f"{known[1]}^{2 if known[0] == 'square' else 3}"
    name = " ".join(known)
    return {"mile per hour": "mph", "kilometer per hour": "kmh", "per cent": "percent"}.get(name, name)


def denies(text: str) -> bool:
    """Return whether a text denies, doubts or distorts what it says."""
    said = set(map(str.lower, _WORD.findall(text)))
    return bool(said & (NEGATION | DISTORTING)) or "n't" in text or "?" in text


def states(subject: str) -> bool:
    """Return whether the words before "is 3" state it: "So the sum", not "They claim it" nor "twice the sum"."""
    while found := _CONNECTIVE.match(subject):
        subject = subject[found.end() :]
    return not denies(subject) and all(match.start() == 0 for match in _SUBJECT.finditer(subject))


def changes(text: str) -> bool:
    """Return whether a text holds a word that changes or denies what a number beside it says."""
    return bool(CHANGING & set(map(str.lower, _WORD.findall(text)))) or _TURNED_AROUND.search(text) is not None


def hedged(before: str, behind: str) -> bool:
    """Return whether the words around a number deny it or say less than that it is the answer."""
    return _HEDGE.search(before) is not None or _HEDGED.match(behind) is not None


def phrase(tokens: tuple[Token, ...]) -> str:
    """A text in one spelling: canonical, without a final stop."""
    return canonical(tokens).rstrip(" .")


def plain(text: str) -> str:
    """A text without articles and punctuation, in lower case and the singular."""
    if text.startswith("( ") and text.endswith(" )") and text.count("(") == 1:
        text = text[2:-2]
    words = [word for word in _PUNCTUATION.sub(" ", text.casefold()).split() if word not in ARTICLES]
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") and word.isalpha() else word for word in words)


def same_text(gold: str, answer: str) -> bool:
    """Return whether two texts say the same: as a whole, or the answer is a gold sentence's gist or numbers."""
    gold, answer = gold.casefold(), answer.casefold()
    return plain(gold) == plain(answer) or _is_gist(gold, answer) or _says_numbers(gold, answer)


def _is_gist(gold: str, answer: str) -> bool:
    """Return whether one word says what a gold sentence says.

    It is the sentence's first word after an article, or its last; none is negated.
    """
    words, said = plain(gold).split(), plain(answer)
    if (
        not said.isalpha()
        or len(said) < 3
        or len(gold.split()) < 4 - gold.startswith("the ")
        or NEGATION & set(gold.split())
    ):
        return False
    return said in (words[0], words[-1])


def is_sentence(text: str) -> bool:
    """Return whether a text holds four words or more."""
    return len([word for word in text.split() if len(word) > 2 and word.isalpha()]) >= 4


def _says_numbers(gold: str, answer: str) -> bool:
    """Return whether the answer lists the numbers of a gold sentence, all of them, in order, and says little else."""
    if not is_sentence(gold) or NEGATION & set(gold.split()) or len(gold) > 400 or _MATHS.search(answer):
        return False
    said = _SAID.findall(gold)
    spoken = [word for word in answer.split() if len(word) > 2 and word.isalpha()]
    return bool(said) and said == _SAID.findall(answer) and len(spoken) <= 2 * len(said)
