"""Answers by kind: other instances of what public bug reports found wrong, in our own words."""

import pytest

import rewards

OPTIONS = "Which of these is right?\nA) one\nB) two\nC) three\nD) four"


def B(answer: str) -> str:
    """A completion with a box."""
    return rf"The answer is \boxed{{{answer}}}."


def T(answer: str) -> str:
    """A completion with an answer tag."""
    return f"<think>ok</think><answer>{answer}</answer>"


# (reference, completion, whether strict pays it), and the question where it matters; lenient pays what strict pays.
# fmt: off
KINDS = {
    "mixed numbers in prose": [
        ("7/2", "It takes 3 1/2 hours.", 1), ("1/2", "It takes 3 1/2 hours.", 0), ("-5/2", "The result is -2 1/2.", 1),
        ("17/4", "She needs 4 1/4 cups of flour.", 1), ("9/4", r"He walked $2\frac14$ miles.", 1),
        ("1/4", r"He walked $2\frac14$ miles.", 0), ("29/8", B(r"3\,\frac{5}{8}"), 1), ("29/8", B("3 5/8"), 1),
        ("11/3", B(r"3\frac23"), 1), ("2/3", B(r"3\frac23"), 0), ("11/3", B(r"3\;\tfrac{2}{3}"), 1),
    ],
    "several named values": [
        ("12, 5", B("12 cats and 5 dogs"), 1, "How many cats and dogs?"),
        ("12, 5", B(r"\text{12 cats, 5 dogs}"), 1, "How many cats and dogs?"),
        ("4 red and 6 blue", B("4 red, 6 blue"), 1), ("4 red and 6 blue", B("6 red and 4 blue"), 0),
        ("3, 8", B("apples: 3, pears: 8"), 1, "apples and pears?"), ("a=3, b=8", B("b = 8, a = 3"), 1),
        ("a=3, b=8", B("a=8, b=3"), 0), ("a=3, b=8", B("3, 8"), 1), ("Alice: 5, Bob: 7", B("Bob: 7, Alice: 5"), 1),
        ("Alice: 5, Bob: 7", B("Bob: 5, Alice: 7"), 0), ("x=2,y=3", B("(2,3)"), 1), ("x=2,y=3", B("(x,y)=(2,3)"), 1),
        ("(2,3)", B("x=2, y=3"), 1), ("(2,3)", B("x=3, y=2"), 0), ("(x,y)=(2,3)", B(r"x = 2 \text{ and } y = 3"), 1),
    ],
    "matrices": [
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", B(r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"), 1),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", B(r"\begin{bmatrix}1&3\\2&4\end{bmatrix}"), 0),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", B(r"\begin{pmatrix}1&2\end{pmatrix}"), 0),
        (
            r"\begin{pmatrix}1/2\\\sqrt2\end{pmatrix}",
            B(r"\left(\begin{array}{c}\frac{1}{2}\\\sqrt{2}\end{array}\right)"), 1),
        (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", B("-2"), 1),
        (r"\begin{pmatrix}-1\\3\end{pmatrix}", B(r"\langle -1, 3\rangle"), 1),
        (r"\begin{pmatrix}-1\\3\end{pmatrix}", B("[-1, 3]"), 1),
        (r"\begin{pmatrix}1&0\\0&1\end{pmatrix}", B("[[1,0],[0,1]]"), 1),
        (r"\begin{bmatrix} 2 \\ 5 \end{bmatrix}", B(r"\begin{matrix}2\\5\end{matrix}"), 1),
        (r"\begin{pmatrix}\cos t\\ \sin t\end{pmatrix}", B(r"\begin{pmatrix}\sin t\\ \cos t\end{pmatrix}"), 0),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", B(r"\begin{smallmatrix}1&2\\3&4\end{smallmatrix}"), 1),
    ],
    "roots": [
        ("3√2", B(r"3\sqrt{2}"), 1), (r"\sqrt{19}", B("√19"), 1), (r"\sqrt{19}", B("√1 9"), 0),
        (r"\sqrt[3]{4}", B("∛4"), 1), (r"\sqrt[3]{4}", B("4^(1/3)"), 1), (r"\sqrt[3]{4}", B("cbrt(4)"), 1),
        (r"\frac{\sqrt{6}}{2}", B("√6/2"), 1), (r"\frac{\sqrt{6}}{2}", B("√(6/2)"), 0),
        (r"\sqrt{12}", B(r"2\sqrt{3}"), 1), (r"\sqrt{3}", B(r"\sqrt 3"), 1), ("5√7", B("5√(7)"), 1), ("√7", B("7"), 0),
        (r"1+\sqrt{5}", B("√5+1"), 1), (r"\sqrt{x^2+1}", B("sqrt(x^2+1)"), 1), (r"\sqrt{x}+1", B(r"\sqrt{x+1}"), 0),
        ("2", B("√4"), 0), (r"\frac{1}{\sqrt 2}", B(r"\frac{\sqrt 2}{2}"), 1),
    ],
    "repeating decimals": [
        ("5/9", B(r"0.\overline{5}"), 1), ("5/9", B(r"0.\bar{5}"), 1), (r"0.\overline{12}", B(r"\frac{4}{33}"), 1),
        (r"0.\overline{12}", B("0.12"), 0), ("7/30", B(r"0.2\overline{3}"), 1),
        (r"0.\overline{3}", B(r"0.\overline{33}"), 1), ("1/3", B("0.(3)"), 1), ("1/3", B("0.333..."), 0),
        (r"\frac{5}{9}", B(r"0.5\dot{5}"), 1),
    ],
    "thousands": [
        ("1234567", B(r"1\,234\,567"), 1), ("1234567", B(r"1,\!234,\!567"), 1), ("1234567", B("1 234 567"), 1),
        (r"1,\! 234,\! 567", B("1234567"), 1), (r"12,\!345", B("12345"), 1), ("45{,}000", B("45000"), 1),
        ("10{,}080", B("10,080"), 1), (r"1\ 000", B("1000"), 1), ("2,000,000", B("2000000"), 1),
        ("2,000,000", B("2"), 0), ("1,000", B("1"), 0),
    ],
    "bases": [
        ("101_2", B("101_{2}"), 1), ("101_2", B(r"101_{\text{two}}"), 1), ("101_2", B("101_3"), 0),
        ("101_2", B("101"), 1), ("101_2", B("5"), 0), ("2A_{16}", B("2A_{16}"), 1), ("2A_{16}", B("2B_{16}"), 0),
        ("321_7", B(r"321_\text{seven}"), 1), ("321_7", B("321_{seven}"), 1), ("B2_{16}", B(r"\text{B2}_{16}"), 1),
    ],
    "boxes and styles": [
        ("7", r"\fbox{7}", 1), ("7", r"so $\fbox{$7$}$", 1), ("7", B(r"\underline{7}"), 1),
        ("7", B(r"\color{blue}{7}"), 1), ("7", B(r"\color{blue} 7"), 1), ("7", B(r"\textcolor{red}{7}"), 1),
        ("7", B(r"\mbox{7}"), 1), ("7", B(r"\mathbf{7}"), 1), ("7", B(r"\colorbox{yellow}{7}"), 1),
        ("7", r"\boxed 7", 1), ("7", r"$\boxed{\boxed{7}}$", 1), (r"\frac12", B(r"\mathrm{\frac12}"), 1),
        ("7", B(r"\underline{\underline{7}}"), 1), ("7", B(r"\textbf{7}"), 1), ("7", B(r"{\color{red}7}"), 1),
        ("7", B(r"\boldsymbol{7}"), 1), ("7", B(r"\hbox{7}"), 1), ("x+1", B(r"\mathbf{x+1}"), 1),
        ("7", r"**\boxed{7}**", 1), ("7", B(r"\mathit{7}"), 1), ("7", r"$$\boxed{7}\tag{1}$$", 1),
    ],
    "chains": [
        ("3", B("x = 1+2 = 3"), 1), ("3", B("x=3=4"), 0), ("3", B("1+2=3"), 1),
        (r"\frac12", B(r"P = \frac{3}{6} = \frac12"), 1), ("3.14", B(r"x = \pi \approx 3.14"), 1),
        (r"\pi", B(r"A = \pi \approx 3.14"), 1), (r"\sqrt2", B(r"\sqrt2 \approx 1.414"), 1),
        (r"\sqrt2", B(r"\sqrt2 \approx 3"), 0), ("2x+1", B("f(x)=2x+1"), 1), ("f(x)=2x+1", B("2x+1"), 1),
        ("f(x)=2x+1", B("f(x)=2x-1"), 0), ("10", B(r"\binom52 = 10"), 1), ("x=5", B("5 = x"), 1), ("5", B("5=x"), 1),
    ],
    "tuples with names": [
        ("(1,2)", B("(x, y) = (1, 2)"), 1), ("(1,2)", B("P = (1,2)"), 1), ("(1,2)", B("P(1,2)"), 1),
        ("P(1,2)", B("(1,2)"), 1), ("(1,2,3)", B("(a,b,c)=(1,2,3)"), 1), ("(1,2,3)", B("(a,b,c)=(1,3,2)"), 0),
        ("(1,2)", B(r"\left(1,\,2\right)"), 1), ("(a,b)=(1,2)", B("(1,2)"), 1), ("1,2", B("(x,y)=(1,2)"), 1),
    ],
    "inequalities": [
        ("[2,5]", B(r"2 \le x \le 5"), 1), ("(2,5)", B("2<x<5"), 1), ("[2,5)", B(r"2 \leq x < 5"), 1),
        ("[2,5)", B(r"2 < x \leq 5"), 0), ("x>3", B(r"(3,\infty)"), 1), ("x>3", B("x<3"), 0),
        (r"x \geq 3", B(r"[3,\infty)"), 1), (r"x \geq 3", B(r"3 \le x"), 1),
        (r"(-\infty,2)\cup(3,\infty)", B(r"x<2 \text{ or } x>3"), 1),
        (r"x<2 \text{ or } x>3", B(r"(-\infty,2)\cup(3,\infty)"), 1), (r"x\neq 5", B(r"x \ne 5"), 1),
        (r"x\neq 5", B("x=5"), 0), (r"x \neq 5", B(r"(-\infty,5)\cup(5,\infty)"), 1),
        (r"x\neq 5", B(r"\mathbb{R}\setminus\{5\}"), 1), ("5", B(r"x \neq 5"), 0), ("(-2,2)", B("|x|<2"), 1),
        ("|x|<2", B("-2<x<2"), 1), ("(0,1]", B(r"0 < x \le 1"), 1), (r"x \in (0,1]", B("(0,1]"), 1),
        (r"\{x : x > 2\}", B("x>2"), 1), (r"(2,\infty)", B(r"\{x \in \mathbb{R} : x > 2\}"), 1),
        ("2 < x < 5", B(r"x>2 \text{ and } x<5"), 1), ("[-1,1]", B(r"-1 \le x \le 1"), 1),
        (r"(-\infty, -3] \cup [3, \infty)", B(r"x \leq -3 \text{ or } x \geq 3"), 1),
        (r"(-\infty, 3]", B(r"x\le3"), 1), (r"(-\infty, 3)", B(r"x\le3"), 0),
    ],
    "ratios": [
        ("3:5", B("3 : 5"), 1), ("3:5", B(r"\frac{3}{5}"), 1), ("3:5", B("5:3"), 0), ("a:b=3:5", B("3:5"), 1),
        ("3:5", B("AB:CD = 3:5"), 1), ("1:2:3", B("1:2:3"), 1), ("1:2:3", B("1:3:2"), 0), ("m_1:m_2=1:4", B("1:4"), 1),
        ("1:4", B(r"\text{ratio} = 1:4"), 1), ("2:3", B(r"2\text{:}3"), 1),
    ],
    "times of day": [
        ("3:45 PM", B(r"3:45\text{ p.m.}"), 1), ("3:45 PM", B("15:45"), 1), ("3:45 PM", B("3:45 AM"), 0),
        ("7:05", B("7:05 a.m."), 1), (r"7:05 \text{ am}", B(r"7:05\text{ AM}"), 1), ("7:05", B("7:50"), 0),
        (r"12:15 \text{ PM}", B("12:15 p.m."), 1), (r"10\!:\!20", B("10:20"), 1), (r"5\text{:}30", B("5:30"), 1),
    ],
    "degrees in functions": [
        ("1/2", B(r"\cos 60^\circ"), 1), (r"\frac{\sqrt3}{2}", B(r"\sin 60^{\circ}"), 1),
        (r"\sin 20^\circ", B(r"\cos 70^\circ"), 1), (r"\sin 20^\circ", B(r"\sin 20"), 0), (r"45^\circ", B("45"), 1),
        (r"45^\circ", B("45 degrees"), 1), (r"45^\circ", B(r"\pi/4"), 1), ("45", B(r"45^{\circ}"), 1),
        (r"\tan 45^\circ", B("1"), 1),
    ],
    "factorials and binomials": [
        (r"\binom{10}{3}", B("120"), 1), (r"{10 \choose 3}", B("120"), 1), (r"\frac{10!}{3!7!}", B("120"), 1),
        ("5!", B("120"), 1), ("n!", B("n(n-1)!"), 1), (r"\binom{n}{2}", B(r"\frac{n(n-1)}{2}"), 1),
        ("(n+1)!", B("(n+1)n!"), 1), ("7!", B("7"), 0), (r"\dbinom{5}{2}", B(r"\binom{5}{3}"), 1),
    ],
    "products side by side and complex numbers": [
        ("2^3 3^2", B("72"), 1), (r"2^3 \cdot 3^2", B("2^3 3^2"), 1), (r"2^3 \cdot 3^2", B("2^{3}3^{2}"), 1),
        ("72", B("2^3 3^2"), 0), ("2^{10} 5^3", B(r"2^{10}\times5^3"), 1), ("2^3 3^2", B("2^2 3^3"), 0),
        (r"3^4 \cdot 7", B(r"7 \cdot 3^4"), 1), (r"e^{i\pi}", B("-1"), 1), ("-1", B(r"e^{i\pi}"), 0),
        ("-1", B(r"e^{i\pi} = -1"), 1), (r"e^{i\pi}+1", B("0"), 1),
        (r"e^{2\pi i/3}", B(r"-\frac12+\frac{\sqrt3}{2}i"), 1), (r"\cos\theta + i\sin\theta", B(r"e^{i\theta}"), 1),
        ("2i", B("2i"), 1), ("3-4i", B("3+4i"), 0), ("3-4i", B("-4i+3"), 1),
    ],
    "choices in prose": [
        ("C", "I believe the answer is C.", 1, OPTIONS), ("C", "The correct answer: **C**", 1, OPTIONS),
        ("C", "Therefore option C is correct.", 1, OPTIONS), ("C", "Die richtige Antwort ist C.", 1, OPTIONS),
        ("C", "La bonne réponse est C.", 1, OPTIONS), ("C", "La risposta corretta è C.", 1, OPTIONS),
        ("C", "A resposta correta é C.", 1, OPTIONS), ("C", "正确答案是C。", 1, OPTIONS), ("C", "答案选C", 1, OPTIONS),
        ("C", "答えはCです。", 1, OPTIONS), ("C", "Правильный ответ: C", 1, OPTIONS),
        ("C", "정답은 C입니다", 1, OPTIONS),
        ("C", "(C)", 1, OPTIONS), ("C", "C) three", 1, OPTIONS), ("C", "c) three", 1, OPTIONS),
        ("C", "Answer: (C) three", 1, OPTIONS), ("C", "So we choose C", 1, OPTIONS),
        ("C", "I'd go with C.", 1, OPTIONS), ("C", "the answer is (C).", 1, OPTIONS),
        ("C", "Final answer: C", 1, OPTIONS), ("C", '### Answer\n\nC', 1, OPTIONS),
        ("C", "It cannot be A or B, so it is C.", 1, OPTIONS), ("A", "I think that I can't do it.", 0, OPTIONS),
        ("I", "I think so.", 0), ("A", "A car drives.", 0, OPTIONS), ("A", "The answer is a car.", 0, OPTIONS),
        ("B", "The answer is not B.", 0, OPTIONS), ("B", "The answer is A, not B.", 0, OPTIONS),
        ("A", "The answer is A, not B.", 1, OPTIONS), ("B", "Answer: A or B", 0, OPTIONS),
        ("D", r"\boxed{\text{D}}", 1, OPTIONS), ("D", r"The result is \boxed{42}, so the answer is (D).", 1, OPTIONS),
        ("D", r"\boxed{D) four}", 1, OPTIONS), ("D", "<answer>D</answer>", 1, OPTIONS),
        ("D", "<answer>(D) four</answer>", 1, OPTIONS), ("D", "<answer>The answer is D.</answer>", 1, OPTIONS),
        ("D", "<think>maybe B</think>Answer: D", 1, OPTIONS),
        ("B", "<think>The answer is B</think>Answer: D", 0, OPTIONS), ("B", "<think>The answer is B", 0, OPTIONS),
        ("C", r"\boxed{\text{Option C}}", 1, OPTIONS), ("C", r"\boxed{\textbf{C}}", 1, OPTIONS),
        ("C", r"\boxed{C. three}", 1, OPTIONS), ("C", "Correct choice: C", 1, OPTIONS),
        ("C", "My answer is C since the rest fail.", 1, OPTIONS), ("C", "**Answer:** C", 1, OPTIONS),
        ("C", "Option (C)", 1, OPTIONS), ("C", "La opción correcta es la C.", 1, OPTIONS),
    ],
    "references that are sentences": [
        ("The answer is 12.", B("12"), 1), ("Answer: 12", B("12"), 1), (r"Answer: \frac{1}{2}", B("0.5"), 1),
        (r"The final answer is $\boxed{9}$.", B("9"), 1), ("answer: B", "B", 1, OPTIONS),
        ("The series diverges.", B(r"\text{diverges}"), 1), ("The series diverges.", B(r"\text{converges}"), 0),
        ("The triangle is isosceles.", B("isosceles"), 1), ("The triangle is not isosceles.", B("isosceles"), 0),
        ("#### 12", B("12"), 1), ("x = 12", B("12"), 1), ("Therefore, the total is 12 apples.", B("12"), 1),
        ("Final answer: 12", B("12"), 1), ("The value of x is 12", B("12"), 1), ("Solution: 12", B("12"), 1),
        ("12.", B("12"), 1), ("$12$", B("12"), 1),
    ],
    "end-of-turn tokens": [
        ("12", r"\boxed{12}<|im_end|>", 1), ("12", "12<|eot_id|>", 1), ("12", "The answer is 12.</s>", 1),
        ("12", "The answer is 12<end_of_turn>", 1), ("12", "#### 12<|endoftext|>", 1),
        ("12", "The answer is 12<｜end▁of▁sentence｜>", 1), ("B", "Answer: B<|im_end|>", 1, OPTIONS),
        ("12", "<answer>12</answer><|eot_id|>", 1), ("12", "The answer is 12 <|end|>", 1),
        ("12", "The answer is 12 <eos>", 1), ("12", "The answer is 12<|return|>", 1),
    ],
    "lists of boxes": [
        ("3 and 4", r"\boxed{3} and \boxed{4}", 1), ("3, 4", r"\boxed{3}, \boxed{4}", 1),
        (r"\boxed{3} and \boxed{4}", B("3,4"), 1), (r"\boxed{3} and \boxed{4}", B("4"), 0),
        (r"First \boxed{3}. So \boxed{4}.", B("4"), 1), (r"First \boxed{3}. So \boxed{4}.", B("3"), 0),
    ],
    "plain-text mathematics": [
        ("3*pi", B(r"3\pi"), 1), (r"3\pi", B("3*pi"), 1), ("exp(3)", B("e^3"), 1), (r"\ln 3", B("ln(3)"), 1),
        ("sin(x)cos(x)", B(r"\sin x\cos x"), 1), ("inf", B(r"\infty"), 1), (r"\infty", B("inf"), 1),
        ("-inf", B(r"\infty"), 0), ("theta/2", B(r"\frac{\theta}{2}"), 1), ("x^2*y", B("yx^2"), 1),
        ("2**3", B("8"), 1), ("(x+1)**2", B("x^2+2x+1"), 1), ("3×4", B("12"), 1),
        ("sqrt(2)/2", B(r"\frac{\sqrt2}{2}"), 1), ("2*x + 3", B("3+2x"), 1), ("a/b", B(r"\frac ab"), 1),
        ("1/(2x)", B(r"\frac{1}{2x}"), 1), ("1/(2x)", B(r"\frac{x}{2}"), 0), ("lambda", B(r"\lambda"), 1),
        ("arctan(1)", B(r"\frac{\pi}{4}"), 1), ("abs(x)", B("|x|"), 1), ("x_1 + x_2", B("x_2+x_1"), 1),
        ("10^-3", B("0.001"), 1), ("1e-3", B("0.001"), 1), ("6.02e23", B(r"6.02\times 10^{23}"), 1),
        ("6.02e23", B(r"6.02\times 10^{22}"), 0),
    ],
    "letters are no units": [
        ("3mn", B("3"), 0), ("3mn", B("3nm"), 1), ("7pq", B("7qp"), 1), ("7pq", B("7"), 0), ("4kl", B("4kl"), 1),
        ("4kl", B("4"), 0), ("8ab^2", B("8ab"), 0), ("-2xyz", B("-2"), 0), ("9rs", B("9sr"), 1), ("5st", B("5ts"), 1),
        ("12h", B("12"), 0), ("6m", B("6"), 0),
    ],
    "prose about the right number": [
        ("3", B("anything but 3"), 0), ("3", B("half of 3 apples"), 0), ("3", B("about 3 million"), 0),
        ("3", "<answer>It is surely anything except 3.</answer>", 0), ("3", "<answer>nearly 3</answer>", 0),
        ("3", "<answer>3 less than 10</answer>", 0), ("3", "<answer>one more than 3</answer>", 0),
        ("3", B("twice 3"), 0), ("3", B("the square of 3"), 0), ("3", B("3 out of 4"), 0), ("3", B("at least 3"), 0),
        ("3", B("3 to 5"), 0), ("3", B("between 2 and 3"), 0), ("3", B("not 3"), 0), ("3", B("3 or 4"), 0),
        ("3", B("3 squared"), 0), ("3", B("3rd"), 0), ("3", B("minus 3"), 0), ("3", B("3 tenths"), 0),
        ("3", B("3 percent"), 0), ("3", "<answer>She has 3 fewer than Tom has.</answer>", 0),
        ("3", "<answer>He has everything but 3.</answer>", 0),
        ("3", "<answer>There is no way that it is 3.</answer>", 0),
        ("3", "<answer>The answer is less than 3.</answer>", 0),
        ("3", "<answer>The answer is the cube root of 3.</answer>", 0),
        ("3", "<answer>The answer lies somewhere near 3.</answer>", 0),
        ("3", "<answer>All numbers other than 3 work.</answer>", 0),
        ("3", "<answer>The number 3 is too small.</answer>", 0), ("3", "<answer>It is a third of 3.</answer>", 0),
        ("3", "<answer>The sum is 3 times larger.</answer>", 0),
        ("3", "<answer>He is 3 years older than 12.</answer>", 0), ("3", B("more than 3 apples"), 0),
        ("3", B("3 hundred"), 0), ("3", B("3 dozen"), 0), ("3", B("3 pairs minus one"), 0),
        ("3", B("some number like 3"), 0), ("3", B("3 is a guess"), 0), ("3", B(r"\text{it could be } 3"), 0),
        ("3", B(r"\text{opposite of } 3"), 0), ("3", B("x_3"), 0), ("3", B("a_{3}"), 0), ("x", B("|x|"), 0),
        ("x", B(r"\sqrt{x^2}"), 0), ("3", "<answer>I refuse to say 3.</answer>", 0),
        ("3", "<answer>The total is double 3.</answer>", 0), ("3", "<answer>If x were 2, it would be 3.</answer>", 0),
        ("3", B("log 3"), 0), ("3", B("3/"), 0), ("3", B("3 +"), 0), ("3", B("3,"), 1), ("3", B("3 = 3"), 1),
        ("3", B("3 > 2"), 0), ("3", B(r"3 \neq 4"), 0), ("3", B(r"\frac{3}{}"), 0), ("3", B(r"\sqrt{}3"), 0),
        ("3", B(r"3 \text{ or so}"), 0), ("3", B(r"3\text{ish}"), 0), ("3", B(r"\lim 3"), 0), ("3", B(r"3\Delta"), 0),
    ],
    "prose in a tag": [
        ("3", T("The opposite is 3."), 0), ("3", T("The reciprocal of the result is 3."), 0),
        ("3", T("Its square is 3."), 0), ("3", T("The wrong answer is 3."), 0), ("3", T("You would expect 3."), 0),
        ("3", T("It's the negative of 3."), 0), ("3", T("one third of 3"), 0), ("3", T("3 minus something"), 0),
        ("3", T("everything apart from 3"), 0), ("3", T("the next integer after 3"), 0),
        ("3", T("The predecessor of 3."), 0), ("3", T("Unlike 3, it is even."), 0), ("3", T("a multiple of 3"), 0),
        ("3", T("any multiple of 3"), 0), ("3", T("the first 3 primes"), 0), ("3", T("x is a root of order 3"), 0),
        ("3", T("The answer has 3 digits."), 0), ("3", T("There are 3 cases to consider."), 0),
        ("3", T("at most 3 apples"), 0), ("3", T("3 or fewer"), 0), ("3", T("over 3"), 0), ("3", T("under 3"), 0),
        ("3", T("close to 3"), 0), ("3", T("approximately 3"), 0), ("3", T("3ish"), 0), ("3", T("maybe 3"), 0),
        ("3", T("3, I guess"), 0), ("3", T("3?"), 0), ("3", T("3 (wrong)"), 0), ("3", T("3 is incorrect"), 0),
        ("3", T("don't pick 3"), 0), ("3", T("neither 3 nor 4"), 0), ("3", T("3 and 4"), 0),
        ("3", T("from 1 to 3"), 0), ("3", T("3, 4, or 5"), 0), ("3", T("3 thousand"), 0), ("3", T("3 and a half"), 0),
        ("3", T("3 quarters"), 0), ("3", T("3 halves"), 0), ("3", T("minus 3"), 0), ("3", T("negative 3"), 0),
        ("3", T("3 below zero"), 0), ("3", T("10 to the 3"), 0), ("3", T("2 to the power of 3"), 0),
        ("3", T("3 factorial"), 0), ("3", T("3 modulo 2"), 0), ("3", T("3 choose 2"), 0),
        ("3", T("square root of 3"), 0), ("3", T("3 degrees Celsius below"), 0),
        ("3", T("option 3 is the only wrong one"), 0), ("3", T("It was 3 yesterday."), 0),
        ("3", T("3 people said 5"), 0), ("3", T("She has 3 times as many."), 0), ("3", T("It is 3 more."), 0),
        ("3", T("He had 3, then lost one."), 0), ("3", T("It takes 3 of them to make one."), 0),
        ("3", T("The cube of x is 3."), 0), ("3", T("Twice the answer is 3."), 0),
        ("3", T("Half the answer equals 3."), 0), ("3", T("The answer minus one is 3."), 0),
        ("3", T("The answer plus 0 is 3 or so."), 0),
    ],
    "words in a box": [
        ("3", B("~3"), 0), ("3", B("3 percent of it"), 0), ("3", B(r"\text{3x}"), 0), ("3", B("3 per mille"), 0),
        ("3", T("It is not the case that the answer is 3"), 0), ("3", T("The answer is 2, not 3"), 0),
        ("3", B(r"\text{The opposite is }3"), 0), ("3", B(r"\text{all but }3"), 0),
        ("3", B(r"\text{three less than }3"), 0), ("3", B(r"\text{about }3"), 0), ("3", B(r"3\text{ at least}"), 0),
        ("3", B(r"\text{twice }3"), 0), ("3", B(r"\text{not }3"), 0), ("3", B(r"3 \text{ to } 4"), 0),
        ("3", B(r"\text{Half: }3"), 0), ("3", B(r"\text{Wrong answer: }3"), 0), ("3", B(r"3\text{ fewer}"), 0),
        ("3", B(r"3\text{ too many}"), 0),
    ],
    "statements in a tag": [
        ("3", T("The answer is 3."), 1), ("3", T("It is 3."), 1), ("3", T("There are 3 apples."), 1),
        ("3", T("x = 3"), 1), ("3", T("Therefore x = 3."), 1), ("3", T("She has 3 apples left."), 1),
        ("3", T("So the total is 3."), 1), ("3", T("3 apples"), 1, "How many apples?"),
        ("3", T("Thus, the sum equals 3."), 1), ("3", T("The final answer is $3$."), 1),
        ("3", T("He needs exactly 3 coins."), 1), ("3", T("The area is 3 square meters."), 1),
        ("3", T("Answer: 3"), 1), ("3", T(r"The answer is \(3\)."), 1), ("3", T("**3**"), 1), ("3", T("3."), 1),
    ],
    "sets": [
        ("1,2", B(r"x \in \{1,2\}"), 1), (r"x=1 \text{ or } x=2", B(r"x \in \{1, 2\}"), 1),
        (r"\{1,2\}", B("x=1, x=2"), 1), (r"45^\circ", B(r"45 \text{ rad}"), 0), ("[1,2]", B(r"\{1,2\}"), 0),
        ("(1,2)", B("[1,2]"), 0), (r"\{1,2,3\}", B(r"\{3,2,1\}"), 1), (r"\{1,2,3\}", B(r"\{1,2\}"), 0),
        ("1,2,3", B("1,2,3,4"), 0),
    ],
    "fractions": [
        (r"\frac{3}{4}", B("0.75"), 1), (r"\frac{3}{4}", B("3/4"), 1), (r"\frac{3}{4}", B(r"\frac{6}{8}"), 0),
        (r"\frac{3}{4}", B(r"75\%"), 0), ("0.75", B(r"\frac34"), 1), ("12.50", B("12.5"), 1),
        ("12.5", B(r"12\frac12"), 1), ("2.5", B("5/2"), 1),
    ],
    "signs of fractions": [
        (r"-\frac{2}{3}", B(r"\frac{-2}{3}"), 1), (r"-\frac{2}{3}", B(r"\frac{2}{-3}"), 1),
        (r"-\frac{2}{3}", B(r"\frac{-2}{-3}"), 0), (r"-\frac23", B("-2/3"), 1),
    ],
    "algebra": [
        ("x^2-4", B("(x-2)(x+2)"), 1), ("x^2-4", B("(x-2)^2"), 0), ("2(x+3)", B("2x+6"), 1), ("2(x+3)", B("2x+3"), 0),
        (r"\frac{x}{y}", B("x/y"), 1), (r"\frac{x}{y}", B("y/x"), 0), ("x^{-1}", B(r"\frac1x"), 1),
        ("e^{x}", B(r"\exp(x)"), 1), ("e^{x}", B("ex"), 0), ("2^x", B("x^2"), 0), ("a^{m+n}", B("a^m a^n"), 1),
        (r"\log_2 x", B(r"\frac{\ln x}{\ln 2}"), 1), (r"\sin 2x", B(r"2\sin x\cos x"), 1),
        (r"\tan x", B(r"\frac{\sin x}{\cos x}"), 1), (r"\sin^2 x", B(r"1-\cos^2 x"), 1),
        (r"\sin^2 x", B(r"\sin x^2"), 0),
    ],
    "equations": [
        ("y=3x-2", B("y = 3x - 2"), 1), ("y=3x-2", B("3x - y - 2 = 0"), 1), ("y=3x-2", B("3x-2"), 1),
        ("y=3x-2", B("y=3x+2"), 0), ("x^2+y^2=25", B("x^2 + y^2 - 25 = 0"), 1),
        ("x^2+y^2=25", B("y^2 + x^2 = 5^2"), 1), ("x^2+y^2=25", B("x^2-y^2=25"), 0), ("3x+2y=6", B("6x+4y=12"), 1),
    ],
    "words": [
        (r"\text{Monday}", B("Monday"), 1), (r"\text{Monday}", B("Tuesday"), 0), ("Monday", B(r"\text{monday}"), 1),
        (r"\text{Yes}", B("yes"), 1), (r"\text{Yes}", B("no"), 0), (r"\text{odd}", B("odd"), 1),
        ("even", B(r"\text{odd}"), 0), (r"\text{Tom}", B("Tom"), 1), (r"\text{parabola}", B("a parabola"), 1),
        (r"\text{parabola}", B("ellipse"), 0), (r"\text{ellipse}", B(r"\text{an ellipse}"), 1),
        (r"\text{point}", B("point."), 1), (r"\text{June 20}", B("June 20"), 1), (r"\text{June 20}", B("June 21"), 0),
        (r"\text{June 20}", B("20"), 0),
    ],
    "units": [
        (r"34\text{ sq. units}", B("34"), 1), (r"\$32,\!348", B("32348"), 1), (r"\$32,\!348", B(r"\$32,348"), 1),
        (r"15\mbox{ cm}^2", B("15"), 1), (r"15\mbox{ cm}^2", B(r"15\text{ cm}^2"), 1),
        (r"15\mbox{ cm}^2", B(r"15\text{ cm}^3"), 0), (r"15\mbox{ cm}^2", B(r"15 \text{ square centimeters}"), 1),
        (r"5\text{ hours}", B("5 hours"), 1), (r"5\text{ hours}", B(r"5\text{ minutes}"), 0),
        (r"60\text{ miles per hour}", B("60 mph"), 1), (r"60\text{ mph}", B("60"), 1),
        (r"3\text{ and }4", B("3, 4"), 1), (r"\text{(C)}", B("C"), 1), (r"1000\text{ feet}", B("1,000 ft"), 1),
        (r"\frac{1}{2}\text{ mile}", B("0.5"), 1), (r"25\pi\text{ cm}^2", B(r"25\pi"), 1),
        (r"90^\circ", B(r"90^{\circ}"), 1), (r"80\%", B("80"), 1), (r"80\%", B("0.8"), 1), (r"80\%", B("8"), 0),
    ],
    "special numbers": [
        (r"\infty", B(r"+\infty"), 1), (r"-\infty", B(r"\infty"), 0), ("0", B("-0"), 1), ("0", B("0.0"), 1),
        ("0", B(r"\emptyset"), 0), ("1", B(r"\frac{2}{2}"), 1), ("1", B("1.0"), 1), ("3", B(r"\frac{6}{2}"), 1),
        ("100", B("10^2"), 1), ("0.001", B("10^{-3}"), 1),
    ],
    "complex numbers": [
        ("2+3i", B("3i+2"), 1), ("2+3i", B("(2,3)"), 0), ("i", B(r"\sqrt{-1}"), 1),
        (r"\frac{1+i}{2}", B("0.5+0.5i"), 1), ("-i", B("i"), 0), (r"2+\sqrt3 i", B(r"2+i\sqrt3"), 1),
    ],
    "names and functions": [
        ("f^{-1}(x) = x+1", B("x+1"), 1), ("f'(x)=2x", B("2x"), 1), ("a_n = 2n", B("2n"), 1),
        ("a_n=2n", B("a_n = n"), 0), ("S=5", B("5"), 1), (r"\angle ABC = 60^\circ", B(r"60^\circ"), 1),
        ("|z|=5", B("5"), 1), ("AB = 5", B("5"), 1), (r"\overline{AB}", B(r"\overline{AB}"), 1),
        (r"\overline{AB}", B(r"\overline{AC}"), 0), (r"\vec{v}", B(r"\vec{w}"), 0), ("A'", B("A"), 0),
        ("x_1", B("x_2"), 0),
    ],
    "intervals": [
        (r"(2,\infty)", B("(2, ∞)"), 1), (r"(0,1)\cup(2,3)", B(r"(2,3)\cup(0,1)"), 1),
        (r"(0,1)\cup(2,3)", B(r"(0,1)\cap(2,3)"), 0), (r"(0,1)\cup(2,3)", B("(0,1),(2,3)"), 0),
        (r"\mathbb{R}", B(r"(-\infty,\infty)"), 1), (r"\mathbb{R}", B(r"\mathbb{Z}"), 0),
        (r"\mathbb{Z}", B(r"\mathbb{Z}"), 1), (r"[0,\infty)", B(r"x \ge 0"), 1), (r"[0,\infty)", B(r"y \ge 0"), 1),
        (r"x \ge 0", B(r"y \ge 0"), 0), (r"x\ge0", B("x > 0"), 0),
    ],
}
# fmt: on
# What lenient pays on purpose: numbers that are not worked out or in lowest terms, percent, a set for a list.
LENIENT_TOO = {B("~3"), B("√4"), B("2^3 3^2"), B(r"e^{i\pi}"), B(r"\frac{6}{8}"), B(r"75\%"), B(r"\{1,2\}")}


@pytest.fixture(scope="module")
def profiles():
    made = rewards.get("accuracy"), rewards.get("accuracy_lenient")
    yield made
    made[0].close()


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_a_kind(profiles, kind):
    rows = [(*row, "What is it?")[:4] for row in KINDS[kind]]
    prompts, completions = [row[3] for row in rows], [row[1] for row in rows]
    strict, lenient = (profile(prompts, completions, answer=[row[0] for row in rows]) for profile in profiles)
    assert [row[:3] for row, value in zip(rows, strict, strict=True) if value != row[2]] == []
    wrong = [row[:3] for row, value in zip(rows, lenient, strict=True) if value != row[2]]
    assert [row for row in wrong if row[2] or row[1] not in LENIENT_TOO] == []
