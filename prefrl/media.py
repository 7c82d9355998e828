"""Clips that people see of segments: VP9 in WebM."""

import io
from fractions import Fraction

import numpy as np

from prefrl.files import Unreadable
from prefrl.types import Array

try:
    import av
except ImportError:
    raise ValueError('clips need PyAV: pip install "prefrl[web]"') from None

ENCODER = {
    "deadline": "realtime",
    # 30 frames of 320 x 320 take 42 ms on one core; 7 takes 55 ms for clips 8 % smaller.
    "cpu-used": "8",
    # Constant quality: 39 dB on a chequered floor, where 24 costs a fifth more bytes and looks the same.
    "crf": "28",
    "b": "0",
    # One key frame, the first, and none that refers to a later one: playing from the start decodes nothing else.
    "g": "9999",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
}
SD, VIDEO_RANGE = 5, 1
"""FFmpeg's numbers of BT.601's colours and of video levels: what the pixels are converted to, for players to know."""


def encode(frames: Array, fps: int) -> bytes:
    """A clip of exactly these frames, (T, H, W, 3) uint8, `fps` a second; the same frames make the same bytes."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames must be uint8 of shape (T, H, W, 3), not {frames.dtype} of {frames.shape}")
    frames = _even(frames)
    file = io.BytesIO()
    # bitexact: neither the date nor the library's version, nor a random name of the track
    with av.open(file, "w", format="webm", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=fps, options=ENCODER)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = SD, VIDEO_RANGE
        stream.codec_context.thread_count = 1  # the bytes do not depend on the machine
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def decode(data: bytes) -> Array:
    """The frames of a clip, (T, H, W, 3) uint8; raises Unreadable for what is none."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            seconds, fps = (container.duration or 0) / av.time_base, container.streams.video[0].average_rate
    except Exception as error:  # a broken file makes it raise anything
        raise Unreadable(f"{len(data)} bytes are no clip: {' '.join(str(error).split())}") from error
    if not frames or len(frames) != round(seconds * (fps or 0)):
        raise Unreadable(f"{len(data)} bytes are no whole clip: {len(frames)} frames for {seconds} s")
    return np.stack(frames)


def _even(frames: Array) -> Array:
    """The last row and column are doubled where their number is odd: colours are kept for squares of four pixels."""
    _, height, width, _ = frames.shape
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
