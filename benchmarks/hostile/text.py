"""Texts that are no skill file at all: other encodings, too deep, too long, not Python."""

from benchmarks.hostile.program import DONE, IMPORTS, REWARD, Program, ends, loaded, rewards

_GOOD = f"{IMPORTS}\n\n{DONE}\n\n{REWARD}"
_PARSE = "parse"

_TEXTS = {
    "empty": ("", "nothing"),
    "only white space": ("\n \t\n", "nothing"),
    "prose": ("Sure! Here is the code you asked for. I hope that it helps.\n", "an answer without code"),
    "fenced": (f"```python\n{_GOOD}```\n", "the fence of an answer"),
    "syntax error": (_GOOD.replace("n):", "n)"), "a colon is missing"),
    "indentation": (_GOOD.replace("    return", "  \treturn\n return"), "tabs and spaces mixed"),
    "old print": (loaded("print 'x'"), "Python 2"),
    "JavaScript": ("function reward(inventory) { return inventory.wood; }\n", "another language"),
    "null byte": (_GOOD.replace("# ", "") + "\0", "ends the text for C"),
    "null byte in a comment": (f"# \0\n{_GOOD}", "ends the text for C"),
    "byte order mark": ("\ufeff\ufeff" + _GOOD, "unseen at the start, twice: Python drops one"),
    "byte order mark within": (_GOOD.replace("return", "return\ufeff"), "unseen in the middle"),
    "zero width space": (_GOOD.replace("inventory.wood", "inventory\u200b.wood"), "unseen in a name"),
    "right to left override": (f"# \u202e\n{_GOOD}", "text that reads otherwise than it runs"),
    "form feed": (_GOOD.replace("return", "\freturn"), "sets the column back to zero"),
    "line separator": (f"# a\u2028import os\n{_GOOD}", "a line's end for some readers"),
    "lone surrogate": (f"# \ud800\n{_GOOD}", "a text that cannot be encoded"),
    "lone surrogate in a name": (_GOOD.replace("n):", "n, x\udc80):"), "a text that cannot be encoded"),
    "rot13 cookie": (f"# coding: rot13\nvzcbeg bf\n{_GOOD}", "code in another encoding"),
    "deep brackets": (loaded("X = " + "(" * 5_000 + "1" + ")" * 5_000), "the parser's stack"),
    "deep brackets, closed": (loaded("X = " + "[" * 90 + "]" * 90), "below the parser's own limit"),
    "many minus signs": (loaded("X = " + "-" * 900 + "1"), "deep without brackets"),
    "many minus signs, many lines": (loaded("X = (" + "-\n" * 9_000 + "1)"), "deep without brackets"),
    "long sum": (loaded("X = (1\n" + "+ 1\n" * 4_000 + ")"), "as deep as it is long"),
    "long chain of attributes": (loaded("X = (jnp\n" + ".a\n" * 4_000 + ")"), "as deep as it is long"),
    "long chain of calls": (loaded("X = (jnp\n" + "()\n" * 4_000 + ")"), "as deep as it is long"),
    "deep indentation": (loaded("\n".join(" " * i + "if 1:" for i in range(120))), "more than Python takes"),
    "five thousand digits": (loaded("X = " + "9" * 5_000), "more digits than Python reads"),
    "huge file": ("# " + "x" * 8_000_000 + "\n" + _GOOD, "eight megabytes of comment"),
    "huge text": (loaded("X = '" + "x" * 8_000_000 + "'"), "eight megabytes of text"),
    "many short lines": ("\n" * 2_000_000 + _GOOD, "two million lines"),
    "many helpers": (
        IMPORTS + "".join(f"\n\ndef h{i}(x):\n    return x\n" for i in range(20_000)) + _GOOD,
        "twenty thousand functions",
    ),
    "unterminated text": (loaded("X = '''abc"), "a text without an end"),
}

_OTHERS = (
    Program("only a comment", "# to do\n", "nothing", "functions"),
    Program("no function", loaded("X = 1").split("def")[0], "no function", "functions"),
    Program("carriage return in a comment", f"# a\rimport os\n{_GOOD}", "a line's end for Python", "allow-list"),
    Program(
        "utf-7 cookie",
        f"# -*- coding: utf-7 -*-\n+AGkAbQBwAG8AcgB0- os\n{_GOOD}",
        "another encoding",
        "allow-list",
    ),
    Program("huge integer", loaded("X = " + "9" * 900), "a number of many digits", "allow-list"),
    Program("huge integer in hex", loaded("X = 0x" + "f" * 900), "a number of many digits", "allow-list"),
    Program("warnings on the way", loaded("X = 1 is 1\nY = '\\d'"), "a parser that warns", "allow-list"),
    Program("long comparison", rewards("(n" + " < n" * 200 + ")"), "a long chain", "trace"),
    Program("no is_done", f"{IMPORTS}\n\n{REWARD}", "half a skill", "functions"),
    Program("no reward", f"{IMPORTS}\n\n{DONE}", "half a skill", "functions"),
    Program(
        "functions inside another",
        "def skill():\n    def is_done(n):\n        return n > 3\n",
        "not found",
        "allow-list",
    ),
    Program("misspelled function", _GOOD.replace("is_done", "is_Done"), "another name", "functions"),
    Program("unknown argument", ends("state.wood", "state"), "an input that there is not", "arguments"),
    Program(
        "misspelled argument", ends("inventry.wood >= n", "inventry, n"), "an input that there is not", "arguments"
    ),
    Program("star arguments", ends("args[0] > 3", "*args"), "arguments without names", "allow-list"),
    Program("keyword arguments", ends("kw['n'] > 3", "**kw"), "arguments without names", "allow-list"),
    Program("positional only", ends("n > 3", "n, /"), "arguments without names", "arguments"),
    Program("default for an input", ends("inventory.wood >= n", "n, inventory=None"), "an input left out", "arguments"),
    Program(
        "full game's input",
        ends("player_level > 0", "player_level"),
        "an input that this game does not have",
        "arguments",
    ),
)

TEXT = (*(Program(name, code, why, _PARSE) for name, (code, why) in _TEXTS.items()), *_OTHERS)
"""What must not get as far as a syntax tree, and trees that hold no skill."""
