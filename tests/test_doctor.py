import pytest

from prefrl import doctor
from prefrl.control import camera


def lines():
    return doctor.examine().splitlines()


@pytest.fixture
def installed(monkeypatch):
    """The packages that are there, for a test to say."""
    names = {package for _, packages in doctor.EXTRAS.values() for package in packages}
    monkeypatch.setattr(doctor, "_installed", names.__contains__)
    monkeypatch.setattr(camera, "working_gl", lambda: "osmesa")
    return names


def test_nothing_is_said_of_what_is_there(installed):
    assert not any("needs" in line for line in lines())


def test_who_cannot_label_is_told_what_to_install(installed):
    installed.difference_update({"av", "uvicorn"})
    assert 'the labelling page needs av, uvicorn: pip install "prefrl[web]"' in lines()


def test_every_missing_extra_is_named(installed):
    installed.clear()
    assert [line.partition('"prefrl')[2] for line in lines() if "needs" in line] == [
        '[mujoco]"',
        '[atari]"',
        '[text]"',
        '[web]"',
        '[postgres]"',
        '[parquet]"',
        '[ray]"',
        '[tune]"',
        '[track]"',
    ]


def test_the_library_that_draws_is_named(installed):
    assert "MuJoCo draws clips with osmesa" in lines()


def test_without_one_the_doctor_says_what_to_install(installed, monkeypatch):
    monkeypatch.setattr(camera, "working_gl", lambda: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert "MuJoCo cannot draw here: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)" in lines()


def test_without_mujoco_nobody_tries_to_draw(installed, monkeypatch):
    installed.discard("mujoco")
    monkeypatch.setattr(camera, "working_gl", lambda: pytest.fail("it was tried"))
    assert not any("draw" in line for line in lines())
