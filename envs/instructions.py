"""What a labeller is told about each task, in words for somebody who only sees the clips."""

from typing import Any


def _task(question: str, *look_for: str, good: str, bad: str) -> dict[str, Any]:
    """`clip`: the name of a file that shows the example; none is chosen yet."""
    examples = {"good": {"text": good, "clip": None}, "bad": {"text": bad, "clip": None}}
    return {"question": question, "look_for": [*look_for], **examples}


INSTRUCTIONS = {
    "HalfCheetah": _task(
        "Which one runs forward faster?",
        "Forward is to the right.",
        "The camera moves along: watch how fast the squares of the floor pass below it.",
        "Style does not count, only the way covered: a clumsy run beats a pretty stand.",
        "Backward is worse than standing still.",
        good="It gallops, and square after square passes to the left below it.",
        bad="It rocks on the spot, or slides back to the left.",
    ),
    "Hopper": _task(
        "Which one hops forward better?",
        "Forward is to the right: watch how fast the squares of the floor pass below it.",
        "The top of its body should stay high, as if it stood.",
        "Lying or crouching is bad for every moment that it lasts, even while it slides forward.",
        "If both move alike, the one that is more upright wins; if both stand alike, the one that gets further.",
        good="It hops to the right, its body upright, and lands on its foot again.",
        bad="It topples over in the first moments and lies there.",
    ),
    "Walker2d": _task(
        "Which one walks forward better?",
        "Forward is to the right: watch how fast the squares of the floor pass below it.",
        "The top of its body should stay high: upright is better than crouching, crouching better than lying.",
        "A fall counts for as long as it lies there: late in the clip is better than early.",
        good="It puts one leg before the other, stays upright and gets on.",
        bad="Its legs fold, it falls and moves no more.",
    ),
    "Swimmer": _task(
        "Which one swims forward faster?",
        "Forward is to the right of the picture, wherever its head points.",
        "The camera moves along: watch how far it gets across the squares below it.",
        "Wriggling does not count, only the way covered.",
        good="It waves like a snake, and the squares below it pass to the left.",
        bad="It bends a lot and stays where it is.",
    ),
    "Ant": _task(
        "Which one runs to the right faster?",
        "Only the way to the right counts: not to the left, not towards you or away from you.",
        "The camera moves along: watch how fast the squares of the floor pass below it.",
        "At the same speed, the one whose body is higher above the floor wins; on its back is worst.",
        good="It stands high on its four legs and runs straight to the right.",
        bad="It tips over, or turns around on the spot.",
    ),
    "Humanoid": _task(
        "Which one stays on its feet better, and gets forward?",
        "The most important: the higher its chest is above the floor, the better.",
        "Of two that stand, the one that gets further to the right wins.",
        "Of two that fall, the one that falls later wins.",
        good="It stands or walks upright, and moves to the right.",
        bad="It collapses at once and lies on the floor.",
    ),
    "Reacher": _task(
        "Which fingertip is nearer to the target?",
        "The target is the dark red ball that lies still; the fingertip is the green end of the arm.",
        "The whole clip counts: to be there early and to stay is better than to pass by.",
        "How the arm moves does not count.",
        good="The fingertip goes straight to the ball and stays on it.",
        bad="The arm swings around and misses the ball.",
    ),
    "InvertedPendulum": _task(
        "Which pole stands more upright?",
        "The whole clip counts: a pole that falls late is better than one that falls early.",
        "The nearer to upright, the better, even if both have tilted.",
        "How the cart below it moves does not count.",
        good="The cart follows the pole with small moves, and the pole stays upright.",
        bad="The pole drops to one side at once.",
    ),
    "InvertedDoublePendulum": _task(
        "Which tip of the two poles stays higher?",
        "The higher the upper end of the upper pole, the better: both poles stretched upright are best.",
        "The whole clip counts: to fall late is better than to fall early.",
        "If both stand, the calmer one near the middle of the rail wins.",
        good="Both poles are in one line, upright, and hardly move.",
        bad="The poles fold, and the tip drops below the cart.",
    ),
}
"""By the name of the model's class, without "Env": question, points to look for, a good and a bad example."""
