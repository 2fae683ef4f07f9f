"""The words an answer may hold: units, numbers, fillers, and those that change what a number says."""

import re

from rewards.maths.tokens import Token, canonical, word_set


def _forms(text: str) -> dict[str, str]:
    """Every spelling of a unit, with the first as its name."""
    lines = [line.split() for line in text.strip().splitlines()]
    return {form: line[0] if form.isascii() else form for line in lines for form in line}


UNITS = _forms(
    """
    meter meters metre metres
    centimeter cm centimeters centimetre centimetres
    millimeter mm millimeters millimetre millimetres
    kilometer km kilometers kilometre kilometres kms
    decimeter dm decimeters decimetre
    nanometer nm nanometers
    foot ft feet
    inch inches
    yard yd yards yds
    mile mi miles
    gram gm grams gms
    kilogram kg kilograms kgs
    milligram mg milligrams
    pound lb lbs pounds
    ounce oz ounces
    ton tons tonne tonnes
    liter liters litre litres
    milliliter ml mL milliliters millilitres
    gallon gal gallons
    quart qt quarts
    pint pt pints
    second sec seconds secs
    minute min minutes mins
    hour hr hrs hours
    day days
    week weeks
    month months
    year yr yrs years
    degree deg degrees
    radian rad radians
    dollar dollars usd USD bucks
    cent cents
    euro euros eur EUR
    pound_sterling gbp GBP
    yuan
    rupee rupees Rs
    peso pesos
    yen
    mph mi/hr
    kmh kmph kph
    hertz Hz kHz
    joule joules kJ
    newton newtons
    watt watts kW
    pascal Pa kPa
    mole mol moles
    percent percentage pct
    square sq
    cubic cu
    unit units
    per
    person people persons
    student students
    time times
    way ways
    side sides
    value values
    number numbers
    point points
    piece pieces
    item items
    step steps
    solution solutions
    吨 千克 公斤 克 米 厘米 毫米 千米 公里 平方米 平方厘米 立方米 立方厘米 升 毫升
    元 角 分 个 人 名 位 天 日 周 月 年 岁 小时 分钟 秒 只 头 本 颗 支 张 棵 块 件 条 辆 次 种 页 题
    箱 袋 瓶 朵 枚 双 套 台 度 道 盒 根 粒 片 株 间 桶
    """
)
LETTERS = {"m": "meter", "g": "gram", "s": "second", "h": "hour", "L": "liter", "l": "liter", "N": "newton",
           "J": "joule", "W": "watt", "V": "volt", "A": "ampere", "K": "kelvin", "C": "celsius",
           "F": "fahrenheit"}  # fmt: skip
TOUCHING = word_set("cm mm km kg mg ft mph mL ml lb lbs oz hr hrs min sec deg kHz Hz kPa pct percent USD")
_MEASURES = word_set(
    """cm mm km meter dm nm ft inch yd mi gm kg mg lb oz ton liter ml gal qt pt sec min hr day week month yr dollar
    cent euro yuan rupee peso yen mph kmh"""
)
PHYSICAL = frozenset(UNITS[form] for form in _MEASURES) | frozenset(LETTERS.values())
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
SCALES |= {f"{word}s": value for word, value in SCALES.items()}
_IN_ORDER = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
NUMBERS = {word: value for value, word in enumerate(_IN_ORDER.split())}
FILLERS = word_set(
    "only exactly in total altogether overall all respectively the of a an each long tall wide deep left"
)
CHANGING = word_set(  # a number beside one of these says something else
    """or any maybe perhaps possibly either not unless about approximately around roughly nearly almost anything
    everything none unknown no neither between more less than least most up fewer too short but except if half
    halves third thirds quarter quarters fourth fourths fifth fifths tenth tenths hundredth hundredths
    thousandth thousandths double twice triple squared cubed root dozen dozens tens nor never without wrong
    false incorrect plus minus over under above below negative base mod modulo factorial choose power raised
    some several as to versus vs ratio guess think might could would should probably wo ish larger smaller
    bigger older younger taller longer shorter greater further later earlier higher lower digits before after
    yesterday then when mille itself themselves"""
) | frozenset(SCALES)
_SHORT = word_set(  # words of three letters or less, which are no product of variables
    """the is it we he she has was are all any can his her our you yes its an as at be by do for go in me my of on so
    us who why how may had did got get let now new old one two six ten day men man him use way out see say sum add odd
    red"""
)
ENGLISH = CHANGING | FILLERS | _SHORT
ARTICLES = frozenset({"a", "an", "the", "any", "every", "each", "all"})
DISTORTING = word_set(  # the subject of a statement that says something else than the number behind it
    """if unless wrong incorrect false doubt guess maybe perhaps might expect half twice double triple third
    quarter opposite reciprocal inverse square cube root negative complement predecessor successor previous next other
    except but apart nearly almost about approximately around roughly minus plus less fewer more than multiple tenth
    unlike instead somewhere everything anything something"""
)
NEGATION = frozenset({"not", "no", "never", "neither", "nor", "without", "cannot", "nobody", "none"})
# Phrases that name a thing of mathematics: the kind and the name of its node.
MEANINGS = {
    "no solution": ("emptyset", ""), "no solutions": ("emptyset", ""), "empty set": ("emptyset", ""),
    "the empty set": ("emptyset", ""), "all real numbers": ("symbol", "reals"), "all reals": ("symbol", "reals"),
    "does not exist": ("text", "dne"), "d . n . e": ("text", "dne"),
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")
_SUBJECT = re.compile(r"\b(?:i|we|you|he|she|it|they|who|someone|somebody|everyone|everybody|people)\b", re.IGNORECASE)
_TURNED_AROUND = re.compile(r"n't|\?|\btimes [A-Za-z0-9]")
_CONNECTIVE = re.compile(
    r"(?:so|thus|therefore|hence|then|and|now|finally|in (?:total|all)|altogether|overall|as a result)\b[ ,]*",
    re.IGNORECASE,
)


def is_english(run: str) -> bool:
    """Return whether a short run of letters is a word of English rather than a product of variables."""
    return run.lower() in ENGLISH and not run.isupper()


def words_of(text: str) -> frozenset[str]:
    """The words of a question, lower case, and its units' names: what an answer may be counted in."""
    words = {word.lower() for word in _WORD.findall(text[:20_000]) if len(word) > 1} - CHANGING
    return frozenset(words | {UNITS[word] for word in words if word in UNITS})


def unit_name(words: list[str]) -> str:
    """One name for the words of a unit: known ones by their first spelling, in lower case."""
    known = [UNITS.get(word) or UNITS.get(word.lower()) or (LETTERS.get(word) if len(word) == 1 else None) or
             word.lower() for word in words]  # fmt: skip
    name = " ".join(known)
    return {"mile per hour": "mph", "kilometer per hour": "kmh", "per cent": "percent"}.get(name, name)


def denies(text: str) -> bool:
    """Return whether a text denies, doubts or distorts what it says."""
    words = [word.lower() for word in _WORD.findall(text)]
    return any(word in NEGATION or word in DISTORTING for word in words) or "n't" in text or "?" in text


def states(subject: str) -> bool:
    """Return whether the words before "is 3" state it: "So the sum", not "They claim it" nor "twice the sum"."""
    while found := _CONNECTIVE.match(subject):
        subject = subject[found.end() :]
    return not denies(subject) and all(match.start() == 0 for match in _SUBJECT.finditer(subject))


def changes(text: str) -> bool:
    """Return whether a text holds a word that changes or denies what a number beside it says."""
    words = [word.lower() for word in _WORD.findall(text)]
    return any(word in CHANGING or word in NEGATION for word in words) or _TURNED_AROUND.search(text) is not None


def phrase(tokens: tuple[Token, ...]) -> str:
    """A text in one spelling: canonical, without a final stop."""
    return canonical(tokens).rstrip(" .")
