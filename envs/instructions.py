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
    "BeamRider": _task(
        "Which one plays better?",
        "Your ship is the yellow one at the bottom; it moves along the beams and fires upwards.",
        "Every enemy that is hit counts: it bursts when a shot of yours reaches it, and the sky flashes.",
        "If neither hits, the one that shoots along the beam of an enemy is better than the one that does nothing.",
        "To be hit, or run into, is bad: your ship bursts.",
        good="It slides below a white saucer, fires, and the saucer bursts.",
        bad="It stays in a corner or fires at nothing, and an enemy's shot comes down on it.",
    ),
    "Breakout": _task(
        "Which one plays better?",
        "Every brick that disappears counts.",
        "A ball that falls past the paddle is bad; to let it fall and start anew soon is better than never to start.",
        "If no brick goes, the paddle that is on its way to where the ball will come down is the better one.",
        good="The paddle meets the ball, and the ball takes bricks out of the wall.",
        bad="The ball falls past the paddle, or no ball is in play at all.",
    ),
    "Enduro": _task(
        "Which one races better?",
        "Your car is the one at the bottom: every car that it passes counts, and every car that passes it is a loss.",
        "Faster is better: watch how fast the edges of the road and the other cars come nearer.",
        "To bump into another car, or to scrape along the edge, is bad, because it costs the speed.",
        good="It steers through between the others, and one after the other disappears below.",
        bad="It stands or crawls, and other cars overtake it.",
    ),
    "Pong": _task(
        "Which one plays better?",
        "You are the green paddle on the right.",
        "A ball that gets past the brown paddle on the left is a point for you, one past the green paddle is lost.",
        "If no point is made, to hit the ball is better than to wait, and the paddle nearer to where it arrives wins.",
        good="The green paddle returns the ball, and the brown one misses it.",
        bad="The green paddle is nowhere near, and the ball leaves the picture on the right.",
    ),
    "Qbert": _task(
        "Which one plays better?",
        "Every cube whose top takes the new colour counts; to jump on one that has it already brings nothing.",
        "To catch a green thing counts too, and so does to lure the snake off the pyramid by leaving on a disk.",
        "To jump off the edge, or into a ball or the snake, is bad.",
        good="It jumps from cube to cube, and top after top changes its colour.",
        bad="It jumps to and fro between two cubes, or falls off the pyramid.",
    ),
    "Seaquest": _task(
        "Which one plays better?",
        "You are the yellow submarine: every shark and every enemy submarine that it shoots counts.",
        "To pick up divers is good, and best is to bring six of them to the surface.",
        "The bar at the bottom is the air: to come up for it when it is short is right, to let it run out is fatal.",
        "To touch a shark, a submarine or a torpedo is bad: the submarine bursts.",
        good="It turns to the sharks, and they vanish at its shots.",
        bad="It swims into a shark, or stays at the surface and shoots at nothing.",
    ),
    "SpaceInvaders": _task(
        "Which one plays better?",
        "You are the green cannon at the bottom: every invader that is hit counts, higher rows count more.",
        "To be hit is bad: the cannon bursts, and everything stands still for a moment.",
        "If neither hits, the one that fires below the invaders and keeps out of their shots is better.",
        good="Its shots go up into the rows, and invaders disappear.",
        bad="It shoots at its own shields, or stands below a bomb until that hits.",
    ),
    "MovingDot": _task(
        "Which dot is nearer to the middle?",
        "The middle is where the two grey lines cross.",
        "The whole clip counts: to be there early and to stay is better than to arrive at the end.",
        "How it moves does not count.",
        good="It goes straight to the crossing and stays there.",
        bad="It keeps to the border of the picture.",
    ),
    "EnduroEven": _task(
        "Which car drives more evenly with the others?",
        "Your car is the one at the bottom; the best is to drive beside or right behind another car, as fast as it.",
        "Passing other cars is bad, and to be passed by them is as bad: count them, whichever way.",
        "An empty road is neither good nor bad.",
        good="Another car is near, and for the whole clip neither gets away from the other.",
        bad="It races past one car after the other, or stands still while the others drive by.",
    ),
}
"""By the name of the task, as in its id: question, points to look for, a good and a bad example."""
