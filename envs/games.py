"""The Atari games that can be played here, and where in the picture they tell the score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path

HEIGHT, WIDTH = 210, 160  # of the emulator's picture

Box = tuple[int, int, int, int]
"""Top and bottom row, left and right column of the emulator's picture; bottom and right are outside."""


@dataclass(frozen=True)
class Game:
    """What has to be known of a game to learn it from preferences."""

    rom: str
    """The file's name in ale-py, without its suffix."""
    masks: tuple[Box, ...] = ()
    """Black for the agent and for people, or the reward could be read there: Christiano et al. 2017, appendix A.2."""
    penalty: float = 1.0
    """What the oracle takes off when an episode ends; the paper names no size, this is one clipped reward."""

    def hidden(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Rows and columns of the masks in a picture of this size; a pixel that shows any of a mask belongs to it."""
        return [
            (
                slice(top * height // HEIGHT, ceil(bottom * height / HEIGHT)),
                slice(left * width // WIDTH, ceil(right * width / WIDTH)),
            )
            for top, bottom, left, right in self.masks
        ]


GAMES: Mapping[str, Game] = {
    "BeamRider": Game("beam_rider", ((10, 18, 61, 107), (32, 40, 20, 31))),  # the second: how many enemies are left
    "Breakout": Game("breakout", ((5, 15, 36, 144),)),  # lives and the player's number stand in the same line
    "Enduro": Game("enduro", ((161, 191, 48, 112),)),  # the whole panel: way covered, day, cars to pass
    "Pong": Game("pong", ((1, 21, 16, 144),), penalty=0.0),
    "Qbert": Game("qbert", ((6, 13, 34, 71),)),
    "Seaquest": Game("seaquest", ((9, 17, 59, 105),)),
    "SpaceInvaders": Game("space_invaders", ((10, 20, 4, 64), (10, 20, 84, 144))),  # now and then a ship flies there
}
"""The paper's seven, whose score is hidden."""

TWO_PLAYERS = {"combat", "joust", "maze_craze", "warlords"}  # given one of these, the emulator ends the whole process


def find_games() -> dict[str, Game]:
    """`GAMES` and every other game that ale-py carries, if it is installed; of those nothing is known but the ROM."""
    others = {rom.title().replace("_", ""): Game(rom) for rom in sorted(_roms()) if rom not in TWO_PLAYERS}
    return {**others, **GAMES}


def _roms() -> Iterator[str]:
    spec = find_spec("ale_py")  # the package itself takes half a second to import
    for folder in spec.submodule_search_locations or () if spec else ():
        yield from (file.stem for file in Path(folder, "roms").glob("*.bin"))
