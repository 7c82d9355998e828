"""An environment that crashes or hangs is cut off and made anew, and the others notice nothing."""

import signal
import time
from contextlib import contextmanager
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.camera import looker
from prefrl.control.environments import make
from prefrl.control.guard import CUT_OFF, CUTS, Guarded, Hung, Watch
from prefrl.control.rollout import Cutter
from prefrl.control.vec_env import EnvFailure, Recorder
from tests.tiny_envs import HORIZON, Dot, dot, loops, raises, sleeps

PATIENCE = 0.2
STEPS = 50
"""Two episodes and a half of an environment that is well."""
CUT = 27
"""The step, counted from 0, that does not happen where an environment fails after 27."""
CHEETAH = "prefrl/HalfCheetah-v0"


@pytest.fixture
def watch():
    watch = Watch(PATIENCE)
    with watch.on():
        yield watch


@pytest.fixture
def reports():
    return []


@pytest.fixture
def recorded(watch, reports):
    """A record of environments, the first of which is well."""

    def recorded(*makes, name="Dot", **options):
        guarded = [partial(Guarded, make, i, watch, reports.append) for i, make in enumerate(makes)]
        venv = DummyVecEnv(guarded)
        look = partial(looker, venv.envs, 5, 1.0)
        return Recorder(venv, name, HORIZON, look if options.pop("looked_at", False) else None, watch, **options)

    return recorded


def limited(make, **options):
    """Ends after HORIZON steps if it does not fail before."""
    return lambda: gym.wrappers.TimeLimit(make(**options), HORIZON)


def once(*makes):
    """Makes one environment after the other, the last from then on."""
    left = [*makes]
    return lambda: (left.pop(0) if left[1:] else left[0])()


def fails_once(fails, **options):
    return once(limited(fails, steps=CUT, **options), limited(Dot, **options))


def play(recorder, steps=STEPS):
    """What the recorder gave, and its record."""
    recorder.seed(0)
    recorder.reset()
    rng = np.random.default_rng(0)
    acts = rng.uniform(-1, 1, (steps, recorder.num_envs, *recorder.action_space.shape)).astype(np.float32)
    return [recorder.step(each) for each in acts], recorder.take()


FAILURES = {
    "raises": (raises, "RuntimeError: the simulator is gone"),
    "sleeps": (sleeps, "Hung: did not come back for 0.2 s"),
    "loops": (loops, "Hung: did not come back for 0.2 s"),
}


@pytest.fixture(params=FAILURES)
def failed(request, recorded, reports):
    """A recorder of a sound environment and one that failed; what it gave, its record, the cause and what was said."""
    fails, cause = FAILURES[request.param]
    recorder = recorded(dot, fails_once(fails))
    return recorder, *play(recorder), cause, reports


def test_a_failure_is_reported_with_index_and_traceback(failed):
    *_, cause, (report,) = failed
    assert report.startswith("environment 1 was cut off and made anew, 1 times of 10:\nTraceback")
    assert "in step" in report and "tiny_envs.py" in report
    assert report.endswith(cause)


def test_the_step_that_did_not_happen_is_marked_and_pays_nothing(failed):
    _, steps, rollout, *_ = failed
    marked = [(t, env) for t, (*_, infos) in enumerate(steps) for env in (0, 1) if infos[env].get(CUT_OFF)]
    assert marked == [(CUT, 1)]
    assert rollout.truth[CUT, 1] == 0 and rollout.dones[CUT, 1]


def test_the_step_that_did_not_happen_ends_its_episode_where_it_was(failed):
    _, steps, rollout, *_ = failed
    _, _, dones, infos = steps[CUT]
    assert dones.tolist() == [False, True]
    assert np.array_equal(infos[1]["terminal_observation"], rollout.obs[CUT, 1])
    assert infos[1]["TimeLimit.truncated"]


def test_the_others_go_on_untouched(failed):
    _, _, rollout, *_ = failed
    _, sound = play(Recorder(DummyVecEnv([dot, dot]), "Dot", HORIZON))
    for name in ("obs", "acts", "truth", "dones"):
        assert np.array_equal(getattr(rollout, name)[:, 0], getattr(sound, name)[:, 0])


def test_it_begins_a_new_episode_in_its_place(failed):
    _, _, rollout, *_ = failed
    assert np.abs(rollout.obs[CUT + 1, 1]).max() <= 0.1
    assert np.flatnonzero(rollout.dones[:, 1]).tolist() == [HORIZON - 1, CUT, CUT + HORIZON]


def test_an_episode_that_was_cut_off_is_no_episode(failed):
    """Its return would say nothing, and its length is not complained of."""
    recorder, steps, *_ = failed
    whole = [2 * HORIZON] * 2 + [4 * HORIZON, 2 * (CUT + 1 + HORIZON)]
    assert [episode.step for episode in recorder.take_episodes()] == whole
    assert "episode" not in steps[CUT][3][1]


def test_the_return_of_the_next_episode_is_its_own(failed):
    recorder, _, rollout, *_ = failed
    *_, (_, last, _) = recorder.take_episodes()
    assert last == pytest.approx(rollout.truth[CUT + 1 : CUT + 1 + HORIZON, 1].sum(), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_no_segment_crosses_the_cut(failed, seed):
    *_, rollout, _, _ = failed
    segments = Cutter(5, HORIZON, seed)(rollout, step=100)
    assert len(segments) > 10
    for segment in segments:
        after = (segment.obs + 0.1 * segment.acts).clip(-1, 1)  # how the dot moves
        np.testing.assert_allclose(segment.obs[1:], after[:-1], atol=1e-6)


def test_an_environment_that_always_fails_ends_the_run(recorded, reports):
    recorder = recorded(dot, partial(raises, steps=0))
    with pytest.raises(EnvFailure, match=r"environment 1 failed 10 times on end: the simulator is gone.* 18 steps"):
        play(recorder)
    assert len(reports) == CUTS - 1


def test_an_environment_that_fails_now_and_then_is_not_given_up(recorded, reports):
    """Each time it plays an episode before it fails in the next one."""
    play(recorded(dot, limited(raises, steps=CUT)), steps=(CUTS + 1) * (CUT + 1))
    assert len(reports) == CUTS + 1
    assert all(report.startswith("environment 1 was cut off and made anew, 1 times of 10:") for report in reports)


def test_an_environment_that_cannot_be_made_anew_ends_the_run_by_its_number(recorded):
    def make():
        if made:
            raise OSError("no display")
        made.append(1)
        return raises(steps=CUT)

    made = []
    words = r"environment 1 failed \(the simulator is gone\) and could not be made anew: no display"
    with pytest.raises(EnvFailure, match=words):
        play(recorded(dot, make))


class FailsAtReset(Dot):
    """Its first resets raise or hang, as many as `left`."""

    left = 0

    def __init__(self, fail, left):
        super().__init__()
        self._fail = fail
        FailsAtReset.left = left

    def reset(self, **options):
        if FailsAtReset.left:
            FailsAtReset.left -= 1
            self._fail()
        return super().reset(**options)


def fail():
    raise OSError("no display")


@pytest.mark.parametrize("fails", [fail, partial(time.sleep, 600)])
def test_an_environment_that_fails_at_reset_is_made_anew(fails, recorded, reports):
    recorder = recorded(dot, once(limited(FailsAtReset, fail=fails, left=1), dot))
    recorder.reset()
    (report,) = reports
    assert report.startswith("environment 1 was cut off and made anew, 1 times of 10:")
    assert play(recorder)[1].dones[:, 1].sum() == 2


def test_an_environment_that_never_begins_ends_the_run(recorded):
    with pytest.raises(EnvFailure, match=r"environment 1 failed 10 times on end: no display.* after 0 steps"):
        recorded(dot, partial(FailsAtReset, fail, left=1)).reset()


@pytest.mark.parametrize("closing", [fail, partial(time.sleep, 600)])
def test_an_environment_that_fails_when_it_is_closed_is_left_alone(closing, recorded, reports):
    class Stuck(gym.Wrapper):
        def close(self):
            closing()

    play(recorded(dot, once(lambda: Stuck(raises(CUT)), dot)))
    assert len(reports) == 1


# hanging


@pytest.mark.parametrize("hangs", [sleeps, loops])
def test_a_hang_is_interrupted_before_twice_the_patience(hangs, watch, reports):
    env = Guarded(once(partial(hangs, steps=0), dot), 0, watch, reports.append)
    env.reset()
    began = time.monotonic()
    *_, info = env.step(np.zeros(2, np.float32))
    assert PATIENCE <= time.monotonic() - began < 2 * PATIENCE + 0.5  # what a busy machine takes to notice
    assert info == {CUT_OFF: True}


def look():
    signal.raise_signal(signal.SIGALRM)


@contextmanager
def patient():
    """A watch that looks when the test says so."""
    watch = Watch(600)
    with watch.on():
        yield watch


def test_the_same_call_is_interrupted_at_the_second_look():
    with patient() as watch:
        watch.enter()
        look()
        with pytest.raises(Hung, match="did not come back for 600 s"):
            look()


def test_another_call_is_not():
    with patient() as watch:
        for _ in range(3):
            watch.enter()
            look()


def test_nobody_is_interrupted_outside_of_calls():
    with patient() as watch:
        watch.enter()
        look()
        watch.inside = False
        look()
        look()


def test_what_shrugs_off_an_interruption_is_interrupted_again():
    with patient() as watch:
        watch.enter()
        look()
        for _ in range(2):
            with pytest.raises(Hung):
                look()


def test_signals_are_as_before_when_watching_ends():
    def mine(*_):
        pass

    before = signal.signal(signal.SIGALRM, mine)
    try:
        with pytest.raises(KeyError), Watch(600).on():
            raise KeyError
        assert signal.getsignal(signal.SIGALRM) is mine
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_who_waits_is_not_woken_by_looks(watch):
    began = time.monotonic()
    time.sleep(1.5 * PATIENCE)
    assert time.monotonic() - began >= 1.5 * PATIENCE


# looking


class FailsAt(gym.Wrapper):
    """Raises at the calls of `verb` whose numbers are given, counted from 0."""

    def __init__(self, env, verb, *numbers):
        super().__init__(env)
        self.verb, self.numbers, self.calls = verb, numbers, 0

    def _call(self, verb, *args, **kwargs):
        if verb == self.verb:
            self.calls += 1
            if self.calls - 1 in self.numbers:
                raise RuntimeError("the simulator is gone")
        return getattr(self.env, verb)(*args, **kwargs)

    def step(self, action):
        return self._call("step", action)

    def reset(self, **options):
        return self._call("reset", **options)


def cheetah():
    return gym.wrappers.TimeLimit(gym.make(CHEETAH).env, HORIZON)


@pytest.mark.parametrize("failing", [("step", CUT), ("reset", 1), ("reset", 2)])
def test_the_states_of_a_simulator_made_anew_are_its_own(failing, recorded, reports):
    """HalfCheetah observes its joints but for the first."""
    make(CHEETAH).close()  # registers it
    recorder = recorded(cheetah, once(lambda: FailsAt(cheetah(), *failing), cheetah), name=CHEETAH, looked_at=True)
    _, rollout = play(recorder)
    assert len(reports) == 1
    assert np.array_equal(rollout.state[..., 1:], rollout.obs[..., :8])


def test_an_environment_made_anew_is_filmed(recorded, reports):
    sound = limited(Dot, render_mode="rgb_array")
    recorder = recorded(fails_once(raises, render_mode="rgb_array"), sound, looked_at=True)
    _, rollout = play(recorder)
    assert len(reports) == 1
    filmed = [t for t in range(STEPS) if rollout.state[t, 0] is not None]
    assert filmed[:10] == [*range(10)]
    for t in filmed:
        rows, columns, _ = np.nonzero(rollout.state[t, 0])
        x, y = rollout.obs[t, 0]
        assert (rows.min(), columns.min()) == (int(14 * (1 + y)), int(14 * (1 + x)))
