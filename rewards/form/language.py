"""Language consistency: the share of words of the reasoning that are in the target language.

The reward of DeepSeek-R1's first RL stage (arXiv 2501.12948, section 2.3.2), which calls it the proportion of target
language words in the chain of thought. The script decides where it can: exact and cheap. Between languages of one
script, function words decide a sentence, and lingua the sentences they leave open; one too short to tell is credited.
"""

import functools
import re
import threading
from collections.abc import Sequence
from typing import Any

from rewards.base import Completion, Judged, completion_text, seen_prompts
from rewards.form.scripts import LATIN_LANGUAGES, SCRIPT_OF, latin_words, other_words, prose
from rewards.sections import first_turn, opened_by_prompt, split

ONE_LETTER = {
    "en": "a i", "fr": "a à y ô", "es": "a e o u y", "it": "a e è i o", "pt": "a à e é o", "ca": "a i o",
    "pl": "a i o u w z", "cs": "a i k o s u v z", "hu": "a s", "ro": "a e o", "sv": "i å", "da": "i", "vi": "à ạ ở",
}  # fmt: skip
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": """
            a i the of and is are to in that we so be it for this with then plus minus times equals which can has have
            not first next now need find since therefore if each all from one two three four five six seven eight nine
            ten eleven twelve zero hundred answer total number sum what he she they his her by on as at an but or was
            you let how many much more most do does did will would could were had been who what when where after before
            over their them its my our your him were there these those than so only also get got make made""",
        "de": """
            der die das und ist sind zu in dass wir also es für mit dann plus minus mal gleich nicht ein eine einen
            zuerst jetzt wenn jede alle aus eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf null
            hundert er sie auf von im den dem des sich auch wie antwort insgesamt hat haben wird als bei nach wie
            viel viele viele jeder jedes jeden ihr ihre ihrer ihren sein seine seiner wurde werden war waren kann aber
            oder nur noch mehr über um einem einer eines man so am zum zur vor""",
        "fr": """
            le la les de des du et est sont à dans que nous donc il elle pour avec alors plus moins fois égale ne pas
            un une deux trois quatre cinq six sept huit neuf dix onze douze zéro cent qui sur par en au aux ce cette
            il ils réponse total nombre si chaque tous ont être mais ou
            combien y son sa ses leur leurs fait faire comme quand où avait était cela se elles je tu vous lui cet tout
            toute toutes entre après avant aussi""",
        "es": """
            el la los las de del y es son en que nosotros entonces para con más menos por igual no un una uno dos tres
            cuatro cinco seis siete ocho nueve diez once doce cero cien se lo su al como si cada todos tiene respuesta
            total número pero este esta cuánto
            cuántos cuánta cuántas hay su sus está fue ser tienen qué quién cuando donde sobre entre después antes
            también muy le les sin desde hasta o""",
        "it": """
            il lo la gli le di del della e è sono in che noi quindi per con più meno non un una uno due tre quattro
            cinque sei sette otto nove dieci undici dodici zero cento si al come se ogni tutti ha risposta totale
            numero ma""",
        "pt": """
            o a os as de do da dos das e é são em que nós então para com mais menos por não um uma dois duas três
            quatro cinco seis sete oito nove dez onze doze zero cem se ao como cada todos tem resposta total número
            mas este na no""",
        "fa": """
            و در به از که این را با است برای آن یک تا می شود شد کرد هر نیز بود های پس اگر یا چند باید دارد اما هم او چه
            اند شده بر دو کند داد ها خود همه چون دیگر پیش روی بین""",
        "ar": """
            في من على إلى أن هذا هذه التي الذي كان كانت مع عن لا ما هو هي ثم كل بعد قبل لكن إذا قد كما أو بين عند ذلك
            حتى لم لن فإن أنه التى يوم منها فيها عدد كم""",
        "ur": """
            ہے کے کی کا میں اور سے کو پر نے یہ ہیں وہ کہ ایک بھی تھا تھی ہو گیا گئی لیے جو نہیں کر ہم تو اس ان""",
        "ru": """
            и а в не на что он она они с как это по к из у за от же так все но если то его её или для был была было быть
            сколько чтобы каждый каждая нас мы вы я при до уже ещё после""",
        "uk": """
            і а в не на що він вона вони з як це по до із у за від же так всі але якщо то його її або для був була було
            бути скільки щоб кожен нас ми ви я при вже ще після та є""",
        "bg": """
            и а в не на че той тя те с как това по към от за са се ще но ако то му или да беше са има колко всеки ни
            ние вие аз при до вече още след е""",
    }.items()
}
# Letters that only one of the languages of a script writes, and those it never does.
LETTERS: dict[str, tuple[str, str]] = {
    "fa": ("پچژگکی", "ةيىكٹڈڑںے"),
    "ar": ("ةيىكأإ", "پچژگکیٹڈڑںے"),
    "ur": ("ٹڈڑںے", "ةيىك"),
    "ru": ("ыэё", "іїєґўјљњћђџѓќ"),
    "uk": ("іїєґ", "ыэёъўјљњћђџ"),
    "bg": ("ъ", "ыэёіїєґўјљњћђџ"),
}
# lingua's languages by script; only those of the target's script are loaded.
RIVALS = {
    "latin": "ENGLISH GERMAN FRENCH SPANISH ITALIAN PORTUGUESE DUTCH SWEDISH DANISH BOKMAL FINNISH POLISH CZECH SLOVAK "
    "SLOVENE CROATIAN ROMANIAN HUNGARIAN TURKISH VIETNAMESE INDONESIAN CATALAN SWAHILI ESTONIAN LATVIAN LITHUANIAN",
    "cyrillic": "RUSSIAN UKRAINIAN BULGARIAN BELARUSIAN SERBIAN MACEDONIAN KAZAKH MONGOLIAN",
    "arabic": "ARABIC PERSIAN URDU",
    "devanagari": "HINDI MARATHI",
}
_SENTENCE_END = re.compile("[.!?;:\n。！？；：।؟۔]+")
_FEWEST_WORDS = 3  # of a sentence that is looked at
_ENOUGH_WORDS, _ENOUGH_LETTERS = 3, 12  # below, lingua guesses
_MOST_QUESTIONS = 300  # to lingua, a completion: about 50 ms
_lingua_lock = threading.Lock()


class LanguageReward:
    """`language`: share of words in the language of column `language` (ISO 639-1).

    Of the words in the think tags, if there are any.

    Args:
        target: the language where there is no column.
        detector: "lingua" tells languages of one script apart; "script" takes every word of the target's script as
        its.

    None where there is no word to count or the language is unknown.
    """

    def __init__(self, target: str = "en", detector: str = "lingua") -> None:
        if detector not in ("lingua", "script"):
            raise ValueError(f"language.detector must be 'lingua' or 'script', got {detector!r}")
        if not known(target):
            raise ValueError(f"language.target must be an ISO 639-1 code such as 'en' or 'zh', got {target!r}")
        self.target, self.detector = target, detector
        self.__name__ = "language"

    def __call__(
        self,
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        language: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        targets = [self.target] * len(completions) if language is None else [code or self.target for code in language]
        result = Judged()
        for seen, completion, code in zip(seen_prompts(prompts, columns), completions, targets, strict=True):
            if not known(code):
                result.count("language_unknown", f"column language holds {code!r}, not an ISO 639-1 code it knows")
                result.append(None)
                continue
            text = first_turn(completion_text(completion))
            sections = split(text, opened=opened_by_prompt(seen))
            reasoning = sections.reasoning if sections.reasoning is not None else text
            result.append(language_share(reasoning, code, detector=self.detector))
        return result


def known(code: Any) -> bool:
    """Return whether there is a script for this language code (zh-CN counts as zh)."""
    return isinstance(code, str) and (base_code(code) in SCRIPT_OF or base_code(code) in LATIN_LANGUAGES)


def base_code(code: str) -> str:
    """The language of a tag such as zh-CN or pt_BR."""
    return code.strip().lower().replace("_", "-").partition("-")[0]


def language_share(text: str, target: str, *, detector: str = "lingua") -> float | None:
    """Words of the target language / all words; None without any word."""
    target = base_code(target)
    text = prose(text)
    script = SCRIPT_OF.get(target, "latin")
    one_letter = frozenset(ONE_LETTER.get(target, "").split())
    others = other_words(text)
    latin = latin_words(text, one_letter)
    total = len(latin) + sum(len(words) for words in others.values())
    if not total:
        return None
    if script in ("han", "kana"):
        return _east_asian_words(text, target, others) / total
    own = latin if script == "latin" else others.get(script, [])
    foreign = 0
    if detector == "lingua" and script in RIVALS and own:
        foreign = _foreign_words(_sentences(text, script, one_letter, own), target, script)
    return max(0, len(own) - foreign) / total


def _sentences(text: str, script: str, one_letter: frozenset[str], own: list[str]) -> list[list[str]]:
    """The words of one script by sentence; sentences of fewer than three words tell nothing and are left out."""
    parts = _SENTENCE_END.split(text)
    if len(parts) == 1:
        return [own]
    split = (
        latin_words(part, one_letter) if script == "latin" else other_words(part).get(script, []) for part in parts
    )
    return [words for words in split if len(words) >= _FEWEST_WORDS]


def _east_asian_words(text: str, target: str, others: dict[str, list[str]]) -> int:
    """Chinese or Japanese characters: kana are Japanese and so are the Han characters of a sentence with kana.

    Han characters alone are Japanese only where a tenth of the text is kana and the sentence is short.
    """
    han, kana = len(others.get("han", ())), len(others.get("kana", ()))
    if not kana:
        return han if target == "zh" else (han if han < 8 else 0)
    japanese = 0
    for sentence in _SENTENCE_END.split(text):
        words = other_words(sentence)
        here = len(words.get("han", ()))
        if "kana" in words or (here < 8 and 10 * kana >= han + kana):
            japanese += here
    return han - japanese if target == "zh" else kana + japanese


def _foreign_words(sentences: list[list[str]], target: str, script: str) -> int:
    """Words in the target's script, in sentences that are in another language.

    lingua is asked about the first sentences only; what it finds there stands for the rest.
    """
    foreign, asked, asked_foreign, unasked = 0, 0, 0, 0
    questions = 0
    for words in sentences:
        verdict = _by_letters(words, target)
        if verdict is None:
            verdict = _by_function_words(words, target)
        if verdict is not None:
            foreign += 0 if verdict else len(words)
        elif len(words) >= _ENOUGH_WORDS and sum(map(len, words)) >= _ENOUGH_LETTERS:
            questions += 1
            if questions > _MOST_QUESTIONS:
                unasked += len(words)
                continue
            asked += len(words)
            asked_foreign += len(words) if _by_lingua(" ".join(words)[:600], target, script) is False else 0
    return foreign + asked_foreign + (unasked * asked_foreign // asked if asked else 0)


def _by_letters(words: list[str], target: str) -> bool | None:
    """The verdict of letters that the target alone writes or never does; None where both or neither are there."""
    own, never = LETTERS.get(target, ("", ""))
    ours = sum(any(letter in word for letter in own) for word in words[:400])
    theirs = sum(any(letter in word for letter in never) for word in words[:400])
    if ours and not theirs:
        return True
    return False if theirs >= 2 and not ours else None


def _by_function_words(words: list[str], target: str) -> bool | None:
    """Return whether a quarter of the words are function words of the target, or of another language (False).

    None where neither holds.
    """
    own = sum(map(FUNCTION_WORDS.get(target, frozenset()).__contains__, words))
    if 2 * own >= len(words):
        return True
    if len(words) > 5_000:  # no sentence
        return None
    best = max(sum(map(theirs.__contains__, words)) for other, theirs in FUNCTION_WORDS.items() if other != target)
    if 4 * own >= len(words) and own > best:
        return True
    if best >= 2 and 5 * best >= 2 * len(words) and best >= 2 * own + 1 and target in FUNCTION_WORDS:
        return False
    return None


@functools.lru_cache(maxsize=20_000)
def _by_lingua(sentence: str, target: str, script: str) -> bool | None:
    """Return whether lingua takes the sentence for the target's; None if it is not sure of another."""
    code = {"no": "nb"}.get(target, target).upper()
    values = _detector(script).compute_language_confidence_values(sentence)
    if not values:
        return None
    own = sum(value.value for value in values if value.language.iso_code_639_1.name == code)
    if values[0].language.iso_code_639_1.name == code:
        return True
    return False if values[0].value > 0.5 and own < 0.1 else None


@functools.lru_cache(maxsize=len(RIVALS))
def _detector(script: str) -> Any:
    """Return the detector of a script, one a process.

    In low accuracy mode: trigrams only, 40 MB and 0.2 s instead of 500 MB and 3 s.
    """
    with _lingua_lock:
        from lingua import Language, LanguageDetectorBuilder

        languages = [getattr(Language, name) for name in RIVALS[script].split()]
        return LanguageDetectorBuilder.from_languages(*languages).with_low_accuracy_mode().build()
