"""Draws docs/chain.svg, the README's picture of how a library grows: `python -m tools.picture`."""

from collections.abc import Sequence

from tools.house import HERE

PICTURE = HERE / "docs" / "chain.svg"
WIDTH, HEIGHT = 1000, 480
INK, GREY, LINE = "#1f2937", "#6b7280", "#9ca3af"
COLOURS = ("#4e79a7", "#59a14f", "#b07aa1", "#e15759", "#f28e2b", "#76b7b2")
"""One a global expert."""
RUNS = (("Make Wood Pickaxe", (0, 2, 3)), ("Collect Sapling", (4,)), ("Make Wood Sword", (0, 2, 5)))
"""Skills in training: the global experts of each run, the last of which learns."""


def text(x: float, y: float, words: str, size: int = 14, colour: str = INK, style: str = "") -> str:
    """Words centred on a point."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="middle" {style}>{words}</text>'


def box(x: float, y: float, width: float, height: float, title: str, lines: Sequence[str] = ()) -> str:
    """A rounded box with a bold title and smaller lines below it."""
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="#f3f4f6" stroke="{LINE}"/>']
    parts.append(text(x + width / 2, y + 24, title, 16, style='font-weight="bold"'))
    parts += [text(x + width / 2, y + 45 + 18 * i, line, 13, GREY) for i, line in enumerate(lines)]
    return "\n".join(parts)


def expert(x: float, y: float, number: int, colour: str, learns: bool = False) -> str:
    """A numbered square; the one that learns has a thick border."""
    border = f'stroke="{INK}" stroke-width="3"' if learns else 'stroke="none"'
    square = f'<rect x="{x}" y="{y}" width="24" height="24" rx="4" fill="{colour}" {border}/>'
    return square + text(x + 12, y + 17, str(number), 14, "#ffffff", 'font-weight="bold"')


def arrow(path: str) -> str:
    """A grey line along an SVG path with a head at its end."""
    return f'<path d="{path}" fill="none" stroke="{GREY}" stroke-width="2" marker-end="url(#head)"/>'


def run(x: float, y: float, skill: str, experts: Sequence[int]) -> str:
    """A training run: its experts under global numbers, and below them the local ones."""
    parts = [f'<rect x="{x}" y="{y}" width="230" height="104" rx="8" fill="#ffffff" stroke="{LINE}"/>']
    parts.append(text(x + 115, y + 19, skill, 13, style='font-weight="bold"'))
    parts += [text(x + 36, y + 45, "global", 12, GREY), text(x + 36, y + 89, "local", 12, GREY)]
    for local, number in enumerate(experts):
        left, learns = x + 75 + 48 * local, number == experts[-1]
        parts.append(expert(left, y + 28, number, COLOURS[number], learns))
        parts.append(arrow(f"M {left + 12} {y + 55} v 13"))
        parts.append(expert(left, y + 72, local, COLOURS[number], learns))
    return "\n".join(parts)


def picture() -> str:
    """The whole picture as SVG."""
    top, middle = 165, 220
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M 0 0 L 8 4 L 0 8 z" fill="{GREY}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>',
        box(20, top, 130, 110, "Propose", ["knowledge base", "or", "language model"]),
        box(185, top, 130, 110, "Verify", ["plan replayed,", "unknown code", "in a sandbox"]),
        box(350, 20, 262, 410, "Train in parallel"),
        *(run(366, 58 + 112 * i, skill, experts) for i, (skill, experts) in enumerate(RUNS)),
        text(481, 415, "black border: learns in this run", 13, GREY),
        box(647, top, 130, 110, "Measure", ["500 new worlds,", "95 % interval,", "learned or weak"]),
        box(812, 105, 168, 150, "Library", ["weights, code, numbers"]),
        *(expert(842 + 42 * (i % 3), 170 + 38 * (i // 3), i, colour) for i, colour in enumerate(COLOURS)),
        box(812, 305, 168, 75, "Plan", ["checked steps to a goal"]),
        *(arrow(f"M {x} {middle} H {x + 29}") for x in (152, 317, 614, 779)),
        arrow("M 896 101 V 50 H 618"),
        text(757, 42, "experts that a skill builds on", 13, GREY),
        arrow("M 896 257 V 301"),
        arrow(f"M 896 382 V 455 H 85 V {top + 116}"),
        text(215, 447, "what can be learned next", 13, GREY),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture())
