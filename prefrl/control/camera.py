"""What a person sees of an environment: the state of every step, kept while the policy acts, and drawn elsewhere."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from prefrl.types import Array, Segment

if TYPE_CHECKING:
    from prefrl.control.environments import Env

SIZE = 320
"""Pixels of a side: bodies are seen well, two clips fit beside each other, and 30 frames have about 100 kB."""
HIDDEN = ("mjRND_SHADOW", "mjRND_REFLECTION")
"""What is not drawn: without a graphics card they make a frame of 2 ms one of 19."""
GEOMS = 10_000
"""The most bodies in a picture."""
LIBRARIES = ("egl", "osmesa", "glfw")
"""What MuJoCo can draw with: the first with and without a graphics card, the last on a screen only."""
PATIENCE = 60
"""Seconds that a library may take to begin: half a second is usual."""
INSTALL = "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)"

Look = Callable[[], Array]
"""Called right after the environments were reset or stepped: what a camera needs to draw each of them as it is then."""


def looker(envs: Sequence["Env"], length: int = 60, share: float = 0.02) -> Look | None:
    """How to look at environments that step together; None if there is nothing to see.

    At MuJoCo's: a row of float64 each, (envs, n), of qpos, then mocap_pos and mocap_quat where the model has mocap
    bodies. At others that were made with render_mode "rgb_array": frames, as `Reel` says.
    """
    sim: Any = envs[0].unwrapped
    if has_model(sim):
        return _mocap(envs) if sim.model.nmocap else _joints(envs)
    return Reel(envs, length, share) if envs[0].render_mode == "rgb_array" else None


class Reel:
    """Films the first environment now and then: what one frame costs, many steps cost.

    A look gives (envs,) objects: of the first environment its frame, (H, W, 3) uint8 of at most SIZE pixels a side, or
    None; None of the others. Twice `length` steps on end are filmed, so that a segment of `length` is among them
    wherever it begins; then again when `pause` seconds are over, and filming has cost less than `share` of the time.
    """

    def __init__(
        self,
        envs: Sequence["Env"],
        length: int,
        share: float,
        pause: float = 2.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._env, self._envs = envs[0], len(envs)
        self._length, self._share, self._pause, self._clock = length, share, pause, clock
        self._began = self._next = clock()
        self._left, self._spent = 0, 0.0

    def __call__(self) -> Array:
        row = np.full(self._envs, None, object)
        now = self._clock()
        if not self._left and now >= self._next and self._spent <= self._share * (now - self._began):
            self._left, self._next = 2 * self._length, now + self._pause
        if self._left:
            row[0] = shrunk(self._env.render())
            self._left -= 1
            self._spent += self._clock() - now
        return row


def shrunk(frame: Any) -> Array:
    """The frame with at most SIZE pixels a side: squares of pixels are averaged."""
    pixels: Array = np.array(frame)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"render() must give (H, W, 3) uint8, not {pixels.dtype} of {pixels.shape}: nobody could see it"
        )
    n = -(-max(pixels.shape) // SIZE)
    if n == 1:
        return pixels
    high, wide = min(n, pixels.shape[0]), min(n, pixels.shape[1])
    height, width = pixels.shape[0] // high, pixels.shape[1] // wide
    squares = pixels[: height * high, : width * wide].reshape(height, high, width, wide, 3)
    small: Array = squares.mean((1, 3)).round().astype(np.uint8)
    return small


class Camera:
    """Draws segments of an environment; used by one thread, as OpenGL is.

    Shows what the camera that the environment was told to use shows; else its model's camera "track", which follows
    the body; else Gymnasium's view of it. What a state does not hold is drawn as the model has it: a goal that an
    environment marks by changing its model is not where it was.
    """

    def __init__(self, env_id: str) -> None:
        self._env_id = env_id
        self._stage: _Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._stage:
            self._stage.close()
        self._stage = None

    def film(self, segment: Segment) -> Array:
        """A frame of every step, (T, H, W, 3) uint8: those that were kept, else drawn from the segment's state."""
        state = segment.state
        if state is None:
            raise ValueError(f"segment {segment.id} cannot be shown: the run kept neither frames nor states of it")
        if state.dtype == np.uint8:
            return state
        self._stage = self._stage or _Stage(self._env_id)
        return np.stack([self._stage.draw(row) for row in self._stage.checked(state)])


class _Stage:
    """A model, and a graphics context of its own: mujoco.Renderer draws with what was chosen at its first import."""

    def __init__(self, env_id: str) -> None:
        from prefrl.control.environments import make

        with closing(make(env_id)) as env:
            sim: Any = env.unwrapped
            if not has_model(sim):
                raise ValueError(f"{env_id} is no MuJoCo environment: there is nothing to draw its states with")
            self._mujoco = mujoco = import_module("mujoco")
            self._name, self._model, self._data = env_id, sim.model, mujoco.MjData(sim.model)
            mujoco.mj_forward(self._model, self._data)
            self._view = _view(mujoco, self._model, self._data, getattr(sim, "mujoco_renderer", None))
        self._floors = _floors(mujoco, self._model)
        library = working_gl()
        if library is None:
            raise RuntimeError(no_gl())
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = SIZE
        self._model.vis.quality.offsamples = 0  # smooth edges would take more than half of the time
        self._gl = import_module(f"mujoco.{library}").GLContext(SIZE, SIZE)
        self._gl.make_current()
        self._scene, self._options = mujoco.MjvScene(self._model, GEOMS), mujoco.MjvOption()
        for flag in HIDDEN:
            self._scene.flags[getattr(mujoco.mjtRndFlag, flag)] = False
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        self._frame = mujoco.MjrRect(0, 0, SIZE, SIZE)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def checked(self, state: Array) -> Array:
        n = self._model.nq + 7 * self._model.nmocap
        if state.shape[1:] != (n,):
            raise ValueError(f"a state of {self._name} has {n} numbers, not {state[0].size}: it is of another model")
        return state

    def draw(self, state: Array) -> Array:
        mujoco, data, nq, end = self._mujoco, self._data, self._model.nq, self._model.nq + 3 * self._model.nmocap
        data.qpos[:] = state[:nq]
        data.mocap_pos[:] = state[nq:end].reshape(-1, 3)
        data.mocap_quat[:] = state[end:].reshape(-1, 4)
        mujoco.mj_forward(self._model, data)
        self._move_floors()
        self._gl.make_current()
        every, still = mujoco.mjtCatBit.mjCAT_ALL.value, mujoco.MjvPerturb()
        mujoco.mjv_updateScene(self._model, data, self._options, still, self._view, every, self._scene)
        mujoco.mjr_render(self._frame, self._scene, self._context)
        pixels = np.empty((SIZE, SIZE, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._frame, self._context)
        return pixels[::-1]  # OpenGL's first row is the lowest

    def _move_floors(self) -> None:
        """A floor has an end, 40 m away or so: it goes with the body, by whole squares, so that nobody sees it move."""
        bodies = self._data.xpos[1:, :2].mean(axis=0)
        for floor, square in self._floors:
            at = self._data.geom_xpos[floor]
            at[:2] += np.round((bodies - at[:2]) / square) * square

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()


@cache
def working_gl() -> str | None:
    """The graphics library that draws here: MUJOCO_GL's, or the first that does."""
    wanted = os.environ.get("MUJOCO_GL")
    return next((library for library in ([wanted.lower()] if wanted else LIBRARIES) if _draws(library)), None)


def no_gl() -> str:
    """What to do where none works."""
    wanted = os.environ.get("MUJOCO_GL")
    return f"MuJoCo cannot draw {f'with MUJOCO_GL={wanted}: unset it, or ' if wanted else 'here: '}{INSTALL}"


def _draws(library: str) -> bool:
    """Tried in a process of its own: a library that fails may end it, and keeps others from being loaded."""
    code = f"import os, mujoco; from mujoco.{library} import GLContext; gl = GLContext(8, 8); gl.make_current(); "
    code += "mujoco.MjrContext(mujoco.MjModel.from_xml_string('<mujoco/>'), 100); os._exit(0)"
    command, env = [sys.executable, "-c", code], os.environ | {"MUJOCO_GL": library}
    with TemporaryDirectory() as nowhere, suppress(subprocess.TimeoutExpired):  # MuJoCo logs to the current folder
        return subprocess.run(command, cwd=nowhere, env=env, capture_output=True, timeout=PATIENCE).returncode == 0
    return False


def has_model(sim: Any) -> bool:
    """It is MuJoCo that simulates an environment, which is given without wrappers."""
    mujoco = sys.modules.get("mujoco")  # without it there is no model
    return mujoco is not None and isinstance(getattr(sim, "model", None), mujoco.MjModel)


def _joints(envs: Sequence[Any]) -> Look:
    # unwrapped at every look: what crashed was made anew
    return lambda: np.concatenate([env.unwrapped.data.qpos for env in envs]).reshape(len(envs), -1)


def _mocap(envs: Sequence[Any]) -> Look:
    def look() -> Array:
        data = [env.unwrapped.data for env in envs]
        states = [(each.qpos, each.mocap_pos.ravel(), each.mocap_quat.ravel()) for each in data]
        return np.concatenate([part for state in states for part in state]).reshape(len(envs), -1)

    return look


def _floors(mujoco: Any, model: Any) -> list[tuple[int, Array]]:
    """Level planes that end somewhere and lie still, with the sides (2,) of the squares of which they consist."""
    found = []
    for floor in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE.value):
        size, material = model.geom_size[floor, :2], model.geom_matid[floor]
        still, level = model.geom_bodyid[floor] == 0, abs(model.geom_quat[floor, 0]) > 0.999
        if still and level and size.all():
            repeats = np.maximum(model.mat_texrepeat[material], 1e-6) if material >= 0 else np.ones(2)
            uniform = material >= 0 and model.mat_texuniform[material]
            found.append((int(floor), 1 / repeats if uniform else 2 * size / repeats))
    return found


def _view(mujoco: Any, model: Any, data: Any, renderer: Any) -> Any:
    camera = mujoco.MjvCamera()
    fixed = getattr(renderer, "camera_id", -1)
    if fixed < 0:
        fixed = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if fixed >= 0:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, fixed
        return camera
    mujoco.mjv_defaultFreeCamera(model, camera)
    camera.lookat[:], camera.distance = np.median(data.geom_xpos, axis=0), model.stat.extent  # as Gymnasium does
    for name, value in (getattr(renderer, "default_cam_config", None) or {}).items():
        setattr(camera, name, value)
    if camera.trackbodyid > 0:  # Gymnasium's view stays where it is, and bodies run out of it
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    return camera
