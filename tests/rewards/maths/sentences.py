"""Sentences that hold the right number: those that state it, and those that say less or something else."""

from tests.rewards.maths.fresh_kinds import L
from tests.rewards.maths.kinds import B, T

# (reference, completion, who pays it: 1 both, 0 neither, L lenient).
# fmt: off
SENTENCES = {
    "free prose about the right number": [
        ("24", "It is not 24.", L), ("24", "It is anything but 24.", L), ("24", "We get 24 or more.", L),
        ("24", "We get at most 24.", L), ("24", "That is more than 24.", L),
        ("24", "It would have been 24 had he stayed.", L), ("24", "Tom thinks it is 24.", L),
        ("24", "It isn't 24.", L), ("24", "It can't be 24.", L), ("24", "There is no way that it is 24.", L),
        ("24", "It is half of 24.", L), ("24", "It lies between 20 and 24.", L), ("24", "Is it 24?", L),
        ("24", "24 is wrong.", L), ("24", "24 is too low.", L), ("24", "It is the 24th.", L),
        ("24", "We can rule out 24.", L), ("24", "x is a multiple of 24.", L),
        ("24", "24 apples unless it rains.", L), ("24", "So she has 24 left.", 1),
        ("24", "Each of them gets 24.", 1), ("24", "So 24.", 1), ("24", "He is not at home, so 24.", 1),
        ("24", "Half of 48 is 24.", 1), ("24", "It takes 24 more minutes.", 1),
        ("24", "More than 20 are left: 24.", 1), ("24", "About a third of 72 is 24.", 1),
        ("24", "It gives us 24 ways.", 1), ("24", "She earns 6 * 4 = 24 dollars.", 1),
        ("24", "Not all are red: 30 - 6 = 24.", 1),
    ],
    "statements": [
        ("24", T("They sold 24 tickets in total."), 1), ("24", T("Thus she spends $24."), 1),
        ("24", T("We obtain 24."), 1), ("24", T("They sold more than 24 tickets."), 0),
        ("24", T("She bought 24 fewer."), 0), ("24", T("Tom's guess of 24 came nearest."), 0),
        ("24", T("The question mentions 24 apples."), 0), ("24", T("24, if memory serves"), 0),
        ("24", T("24 as long as n is even"), 0), ("24", T("He doubts that it is 24."), 0),
        ("24", T("24 rounded down"), 0), ("24", T("the digits of 24"), 0),
        ("24", T("The 24 in the text is a trap."), 0), ("24", T("May 24, 2023"), 0),
        ("24", B(r"\overline{24}"), 0), ("24", B(r"24\pm 1"), 0), ("24", B(r"\text{Tom said }24"), 0),
    ],
}
# fmt: on
