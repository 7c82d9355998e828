import io
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl.files import Unreadable
from prefrl.media import decode, encode


def moving(steps: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """A soft bright spot that goes to the right over a dark ground."""
    t, y, x = np.ogrid[:steps, :height, :width]
    spot = 200 * np.exp(-((x - 4.0 * t - 8) ** 2 + (y - height / 2) ** 2) / 60)
    return (30 + spot[..., None] * [1, 0.8, 0.6]).astype(np.uint8)


def test_a_clip_shows_its_frames():
    frames = moving()
    wrong = np.abs(decode(encode(frames, 20)).astype(int) - frames)
    assert wrong.mean() < 2 and wrong.max() < 30  # colours are kept for squares of four pixels, and rounded
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 60  # so that one frame is not taken for the next


@given(
    steps=st.integers(1, 9), height=st.integers(1, 33), width=st.integers(1, 33), fps=st.sampled_from([1, 10, 30, 60])
)
@settings(max_examples=25)
def test_a_clip_has_as_many_frames_as_there_were_steps(steps, height, width, fps):
    shown = decode(encode(np.full((steps, height, width, 3), 99, np.uint8), fps))
    assert shown.shape == (steps, height + height % 2, width + width % 2, 3)
    assert np.abs(shown.astype(int) - 99).max() <= 3


def test_the_same_frames_make_the_same_bytes_in_every_process():
    code = f"import sys; sys.path = {sys.path!r}\n"
    code += "import numpy, hashlib; from prefrl.media import encode\n"
    code += f"frames = numpy.frombuffer(sys.stdin.buffer.read(), 'u1').reshape({moving().shape})\n"
    code += "print(hashlib.sha256(encode(frames, 20)).hexdigest())"
    run = subprocess.run([sys.executable, "-c", code], input=moving().tobytes(), capture_output=True, check=True)
    assert run.stdout.decode().strip() == sha256(encode(moving(), 20)).hexdigest()


@pytest.mark.parametrize("fps", [10, 20, 30, 40])
def test_the_frames_of_a_clip_follow_each_other_evenly(fps):
    with av.open(io.BytesIO(encode(moving(), fps)), "r") as clip:
        times = [packet.pts for packet in clip.demux(video=0) if packet.pts is not None]
    assert times == [round(1000 * n / fps) for n in range(12)]  # WebM counts in milliseconds


def test_only_the_first_frame_stands_alone_so_playing_from_the_start_is_instant():
    with av.open(io.BytesIO(encode(moving(), 20)), "r") as clip:
        assert [packet.is_keyframe for packet in clip.demux(video=0) if packet.size] == [True] + [False] * 11


@pytest.mark.parametrize(
    "broken",
    [b"", b"no clip", encode(moving(), 20)[:300], encode(moving(), 20)[:-200], bytes(50) + encode(moving(), 20)[50:]],
    ids=["empty", "text", "its head", "its end is missing", "no head"],
)
def test_what_is_no_whole_clip_is_refused_in_one_line(broken):
    with pytest.raises(Unreadable, match=r"^.* bytes are no (whole )?clip: .*$") as refusal:
        decode(broken)
    assert "\n" not in str(refusal.value)


@given(at=st.integers(0), value=st.integers(0, 255))
@settings(max_examples=50)
def test_a_clip_with_a_wrong_byte_is_shown_or_refused(at, value):
    clip = bytearray(encode(moving(), 20))
    clip[at % len(clip)] = value
    with suppress(Unreadable):
        assert decode(bytes(clip)).ndim == 4


@pytest.mark.parametrize(
    "frames", [moving().astype(float), moving()[0], moving()[..., :2], moving()[:0], moving()[:, :0]]
)
def test_what_cannot_be_shown_is_not_encoded(frames):
    with pytest.raises(ValueError, match="frames must be uint8 of shape"):
        encode(frames, 20)


def test_without_pyav_one_line_says_what_to_install():
    code = f"import sys; sys.path = {sys.path!r}; sys.modules['av'] = None\n"
    code += "try: import prefrl.media\nexcept ValueError as error: print(error)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout == b'clips need PyAV: pip install "prefrl[web]"\n'
