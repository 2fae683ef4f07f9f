"""The share of words in a language."""

import itertools
import json
import random
import re
import sys
import time

import pytest

import rewards
from rewards.form.language import language_share
from rewards.form.scripts import prose
from tests.timing import within

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog because it wants to reach the river before night.",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund, weil er vor der Nacht am Fluss sein will.",
    "fr": "Le renard brun saute par-dessus le chien paresseux parce qu'il veut atteindre la rivière avant la nuit.",
    "es": "El zorro marrón salta sobre el perro perezoso porque quiere llegar al río antes de la noche.",
    "ru": "Быстрая коричневая лиса прыгает через ленивую собаку, потому что хочет добраться до реки.",
    "zh": "敏捷的棕色狐狸跳过了那只懒狗，因为它想在天黑之前到达河边。",
    "ja": "素早い茶色の狐は、夜になる前に川に着きたいので、怠け者の犬を飛び越えます。",
    "ko": "빠른 갈색 여우는 밤이 되기 전에 강에 도착하고 싶어서 게으른 개를 뛰어넘는다.",
    "fa": "روباه قهوه‌ای سریع از روی سگ تنبل می‌پرد چون می‌خواهد پیش از شب به رودخانه برسد.",
    "ar": "يقفز الثعلب البني السريع فوق الكلب الكسول لأنه يريد الوصول إلى النهر قبل حلول الليل.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_in_its_language_and_in_no_other(language):
    shares = {target: language_share(SENTENCES[language], target) for target in SENTENCES}
    assert shares.pop(language) == 1.0
    assert max(shares.values()) < 0.1


@pytest.mark.parametrize(
    ("text", "target", "share"),
    [
        ("three plus 四 is seven", "en", 0.8),  # three, plus, is, seven / 5
        ("three plus 四 is seven", "zh", 0.2),
        ("四 加 three 等于 seven", "zh", 4 / 6),  # each of 四 加 等 于 is a word
        ("три плюс four равно", "ru", 3 / 4),
        ("三加四です", "ja", 1.0),
        ("I have a 四", "en", 3 / 4),  # I, have, a
        ("Let x be y", "en", 1.0),  # variables are no words: let, be
        ("設 x 為 y", "zh", 1.0),
        ("triangle ABC", "zh", 0.0),  # ABC names points: triangle is the only word
        ("vier plus drei ist sieben", "en", 0.0),  # number words tell a short sentence
        ("four plus three is seven", "de", 0.0),
        ("zh-TW 三", "zh-TW", 0.5),
    ],
)
def test_short_and_mixed_text_is_counted_exactly(text, target, share):
    assert language_share(text, target) == pytest.approx(share)


def test_words_between_two_prices_are_no_formula():
    # what, does, she, pay, for, both, if, one, costs, and, the, other, per, hour; all English
    assert language_share("What does she pay for both if one costs 30 $, the other costs 20 $ per hour?", "en") == 1.0
    assert prose("It costs 30 $, the other costs 20 $ now").split()[2:] == [
        "30",
        ",",
        "the",
        "other",
        "costs",
        "20",
        "now",
    ]


@pytest.mark.parametrize(
    ("text", "own", "other"),
    [
        ("گربه سفید روی دیوار می‌نشیند", "fa", "ar"),  # گ and ی are not Arabic letters
        ("قطة بيضاء تجلس على السور", "ar", "fa"),  # ة and ي are not Persian letters
        ("Быстрый конь пьёт воду", "ru", "uk"),  # ы and ё are not Ukrainian letters
        ("Швидкий кінь п'є воду із річки", "uk", "ru"),
    ],
)
def test_letters_tell_languages_of_one_script_apart(text, own, other):
    assert (language_share(text, own), language_share(text, other)) == (1.0, 0.0)


def test_sentences_of_two_languages_count_by_their_words():
    english, german = SENTENCES["en"], SENTENCES["de"]
    words = len(english.split()), len(german.split())
    assert language_share(f"{english} {german}", "en") == pytest.approx(words[0] / sum(words), abs=0.05)


@pytest.mark.parametrize(
    "text", ["", "12 + 34 = 46", "$x^2 + y^2$", "```python\nprint(1)\n```", "<think></think>", "x = y"]
)
def test_text_without_words_has_no_share(text):
    assert language_share(text, "en") is None


def test_code_formulas_tags_and_identifiers_are_left_out():
    text = "数 `len(items)` ```for item in items: pass``` $\\text{area} = r^2$ \\(sin x\\) foo_bar x1 <answer>"
    text += " https://a.org/page 完"
    assert language_share(text, "zh") == 1.0


def test_money_is_no_formula():
    assert prose("It costs $5 and then $7 more").split() == ["It", "costs", "5", "and", "then", "7", "more"]


def test_the_reasoning_counts_where_there_is_one():
    reward = rewards.get("language")
    completions = ["<think>three plus four</think><answer>七</answer>", "three 七", "three plus"]
    assert reward([""] * 3, completions, language=["en", "en", "zh"]) == [1.0, 0.5, 0.0]


def test_a_prompt_may_have_opened_the_reasoning():
    assert rewards.get("language")(["<think>"], ["three</think><answer>七</answer>"]) == [1.0]


def test_an_unknown_language_is_none_and_counted():
    result = rewards.get("language")([""] * 2, ["three", "three"], language=["xx", None])
    assert result == [None, 1.0]
    assert result.outcomes == {"language_unknown": 1}


def test_without_a_column_the_target_decides():
    assert rewards.get("language", target="zh")([""], ["三 plus"]) == [0.5]


@pytest.mark.parametrize(("options", "message"), [({"detector": "x"}, "detector"), ({"target": "english"}, "target")])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=f"language.{message}"):
        rewards.get("language", **options)


def test_the_script_detector_takes_every_word_of_the_script():
    assert language_share(SENTENCES["de"], "en", detector="script") == 1.0


def test_number_words_of_two_scripts_are_fast_and_need_no_lingua(monkeypatch):
    monkeypatch.setitem(sys.modules, "lingua", None)  # an import of it would raise
    completions = ["<think>" + "three plus 四 is seven and so 加 we have ten " * 6 + "</think>"] * 256
    reward = rewards.get("language")
    best = min(_seconds(reward, completions) for _ in range(3))
    assert best < 0.1  # 12 ms on an idle machine


def _seconds(reward, completions):
    started = time.perf_counter()
    reward([""] * len(completions), completions)
    return time.perf_counter() - started


@pytest.mark.parametrize("unit", ["a-", "a'", "A:", "é", "<a", "$a", "x1", "あ四", "a ", "```", "\\(", "- "])
def test_hostile_text_takes_no_time(unit):
    text = unit * (131072 // len(unit))
    language_share("warm up with a sentence that lingua is asked about", "en")
    with within(1.0):  # under 0.1 s on an idle machine
        language_share(text, "en")


def test_paragraphs_of_the_shared_data_are_told_apart(shared_data):
    rows = [json.loads(line) for line in (shared_data / "multilingual_text.jsonl").open(encoding="utf-8")]
    right = sum((language_share(row["text"], row["lang"]) or 0.0) > 0.5 for row in rows)
    assert right / len(rows) >= 0.99


def test_mixes_of_two_languages_have_their_true_share(shared_data):
    # 4 sentences of 2 languages of different scripts and of one; measured: 97% within 0.05, mean error 0.008
    rows = [json.loads(line) for line in (shared_data / "mgsm.jsonl").open(encoding="utf-8")]
    questions = {code: [row["question"] for row in rows if row["lang"] == code] for code in ("en", "de", "fr", "ru")}
    source, errors = random.Random(3), []
    for one, other in itertools.permutations(questions, 2):
        for _ in range(8):
            texts = [source.choice(questions[one]), source.choice(questions[other])]
            words = [len(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text)) for text in texts]
            share = language_share(" ".join(texts), one)
            assert share is not None
            errors.append(abs(share - words[0] / sum(words)))
    assert sum(error <= 0.05 for error in errors) / len(errors) >= 0.9
    assert sum(errors) / len(errors) <= 0.02
