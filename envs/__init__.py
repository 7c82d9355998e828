"""The tasks of the paper as Gymnasium environments; importing this package registers them as `prefrl/NAME-v0`.

Every episode of a task has the same length (an early end would tell the policy about the reward), or none ever ends
as in the Atari games; and no reward term is hidden from a person who watches. What a labeller sees is data of the spec:
`gymnasium.spec("prefrl/Hopper-v0").kwargs` holds `fps` (frames per second of a clip) and `segment_seconds`.
"""

import gymnasium as gym

from prefrl_envs.fixed_horizon import FixedHorizon
from prefrl_envs.games import find_games

__all__ = ["FixedHorizon"]

PIXELS = {"fps": 15, "segment_seconds": 25 / 15}  # appendix A.2: 25 steps, of four of the console's 60 frames a second
SEGMENT_SECONDS = 1.5  # Christiano et al. 2017, section 2.2.2: clips of one to two seconds


def _register(name: str, entry_point: str, horizon: int, fps: int) -> None:
    gym.register(
        f"prefrl/{name}-v0",
        entry_point=f"prefrl_envs.{entry_point}",
        max_episode_steps=horizon,
        kwargs={"fps": fps, "segment_seconds": SEGMENT_SECONDS},
    )


# fps is the paper's video rate, not the simulator's: Hopper is shown at a third of its speed, so 1.5 s are 60 steps.
_register("HalfCheetah", "locomotion:half_cheetah", horizon=1000, fps=20)
_register("Hopper", "locomotion:hopper", horizon=1000, fps=40)
_register("Walker2d", "locomotion:walker2d", horizon=1000, fps=30)
_register("Swimmer", "locomotion:swimmer", horizon=1000, fps=40)
_register("Ant", "locomotion:ant", horizon=1000, fps=20)
_register("Humanoid", "locomotion:humanoid", horizon=1000, fps=40)
_register("Reacher", "reacher:reacher", horizon=50, fps=10)
_register("InvertedPendulum", "pendulums:inverted_pendulum", horizon=25, fps=10)
_register("InvertedDoublePendulum", "pendulums:inverted_double_pendulum", horizon=50, fps=10)

# Three segments of 25 steps, and the furthest corner is 40 steps from the middle: time is left to stay there.
gym.register(
    "prefrl/MovingDot-v0",
    entry_point="prefrl_envs.moving_dot:MovingDot",
    max_episode_steps=75,
    kwargs={**PIXELS},
)

for _name in find_games():
    gym.register(
        f"prefrl/{_name}-v0",
        entry_point="prefrl_envs.atari:Atari",
        vector_entry_point="prefrl_envs.atari:AtariVector",
        kwargs={"game": _name, **PIXELS},
    )

gym.register(
    "prefrl/EnduroEven-v0",
    entry_point="prefrl_envs.enduro_even:enduro_even",
    kwargs={**PIXELS},
)
