"""The letter of a multiple choice: as an answer, and as prose states it."""

import re

from rewards.maths.tokens import clean_characters

_TEXT = re.compile(r"\\(?:text[a-z]{0,6}|mbox|mathrm|mathbf|boxed) ?\{([^{}]*)\}|[*$`\"“”]|\\[()\[\]]")
_LETTER = r"\(?([A-J])\)?(?![A-Za-z0-9_'’^=+<>/-])"
_WHOLE = re.compile(
    rf"^(?:(?:[Ss]o|[Tt]hus|[Tt]herefore|[Hh]ence),? )?(?:\(?(?:option|choice|answer|option is)\)?:? )?{_LETTER}"
    r"(?:(?:[.:)] ?| - | (?=[A-Z]))(?!.*(?:\b(?:or|and)\b|[,/&-]) ?\(?[A-Z]\)?(?![A-Za-z])).*)?$",
    re.DOTALL,
)
_LOWER = re.compile(r"^\(?([a-j])(?:\)|[.):] .*)?$", re.DOTALL)
_OPTIONS = re.compile(r"(?:^|\n|\s)\(?A[).:].*?(?:\n|\s)\(?B[).:]", re.DOTALL)
_SAID = re.compile(
    r"(?:\b(?:answer|option|choice|choose|select|pick|say|richtig|choisis|elijo|escolho|scelgo|wähle|antwort|antwoord|svar"
    r"|cevap|đáp án|उत्तर|الجواب|الإجابة|r[ée]ponse|respuesta|risposta|resposta"
    r"|opci[oó]n|opção|opzione|odpowiedź|ответ|go with)\b"
    r"|答案|答え|正解|选|選|정답|\b(?:is|it's)(?= ))"
    r"(?:[\s:：(]{0,3}(?:is|are|looks?|seems?|appears?|to|be|must|should|would|the|option|choice|letter|correct[ae]?o?"
    r"|correcto|corretta|correta|es|est|ist|lautet|là|هو|هي|है|è|é|die|la|le|a|richtige?|bonne"
    r"|definitely|clearly|surely|obviously|simply|therefore|thus|indeed|donc|also|daher|pues|quindi)(?![A-Za-zÀ-ÿ])"
    r"|[是为為应應该該择擇は项項은는이]){0,6}"
    rf"[\s:：=–-]{{0,3}}{_LETTER}",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(  # "so (B) is the correct option"; not "neither A nor B is right"
    r"(?<!\bor )(?<!\bnor )(?<!\band )(?<!\b[Ii]f )(?<!\b[Ww]hether )(?<!\b[Ww]hy )(?<![A-Za-z0-9'’-])"
    r"\(?([A-J])\)? (?:is|must be) (?:the |clearly |therefore |thus )*(?:correct|right|best|answer)\b"
)
_ARTICLE = re.compile(r"\s+(?!because|since|as\b|and\b|for\b|is\b)[a-z]")
_ALTERNATIVE = re.compile(r"\s*(?:or|and|/|&|,\s*(?:or|and)?)\s*\(?[A-J]\)?(?![A-Za-z])")
TAIL = 2000  # characters from the end in which a choice is looked for


def letter_of_gold(text: str) -> str | None:
    """The letter, if a reference is a choice: C, (C), \\text{(C)}, (D) Alina, C Cecile."""
    bare = _bare(text)
    found = re.fullmatch(r"\(?([A-J])\)?|\(([A-J])\) .*|([A-J]) [A-Z][a-z]+", bare)
    return next((letter for letter in found.groups() if letter), None) if found else None


def lists_options(question: str) -> bool:
    """Return whether a question lists its options as A), B) ..."""
    return _OPTIONS.search(question[-4000:]) is not None


def letter_of_answer(text: str, *, listed: bool) -> str | None:
    """The letter that an answer is as a whole: B, (B), B. two; b where the question lists options."""
    bare = _bare(text)[:400]
    found = _WHOLE.match(bare)
    if found:
        return found[1]
    lower = _LOWER.match(bare) if listed else None
    return lower[1].upper() if lower else None


def letter_said(text: str) -> str | None:
    """The last choice that prose states: "Answer: D", "the correct option is (B)", "la respuesta correcta es C"."""
    tail = _bare(text[-TAIL:])
    said, end = None, -1
    for match in _SAID.finditer(tail):
        letter = match[1]
        if not letter.isupper() or _ALTERNATIVE.match(tail, match.end()):
            continue
        if letter in "AI" and _ARTICLE.match(tail, match.end()):
            continue
        said, end = letter, match.end()
    for match in _IS_RIGHT.finditer(tail):
        if match.end() > end:
            said = match[1]
    return said


def _bare(text: str) -> str:
    """Without emphasis, formula delimiters and text commands."""
    return _TEXT.sub(r"\1", _TEXT.sub(r"\1", clean_characters(text))).strip().rstrip(".").strip()
