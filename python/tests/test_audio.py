"""Audio in all of its forms."""

import ctypes
import struct
import wave
from array import array
from io import BytesIO
from pathlib import Path

import pytest

import tenon
from tenon._audio import samples

FLOATS = array("f", [0.5] * 16000)
HALF = " second 1 peak 50"


def wav():
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(struct.pack("<16000h", *[16384] * 16000))
    return file.getvalue()


def address(array):
    return array.__array_interface__["data"][0]


def test_files_and_their_bytes_are_read(session, tmp_path):
    path = tmp_path / "spräche.wav"
    path.write_bytes(wav())
    forms = [path, str(path), wav(), bytearray(wav())]
    assert [session.transcribe(form).text for form in forms] == [HALF] * 4


def test_a_file_that_is_missing_or_no_audio_is_an_error(session):
    with pytest.raises(tenon.TenonError, match="nowhere.wav"):
        session.transcribe(Path("nowhere.wav"))
    with pytest.raises(tenon.TenonError) as raised:
        session.transcribe(b"this is no audio at all, not even nearly")
    assert raised.value.name == "TENON_E_AUDIO"
    with pytest.raises(ValueError, match="null character"):
        session.transcribe("a\0b.wav")


def test_samples_need_no_numpy(session):
    integers = array("h", [16384] * 16000)
    raw = integers.tobytes()
    forms = [FLOATS, [0.5] * 16000, integers, memoryview(raw).cast("h"), array("d", [0.5] * 16000)]
    assert [session.transcribe(form, rate=16000).text for form in forms] == [HALF] * 5


def test_rate_and_channels_are_converted(session):
    for kind in ("f", "d"):
        stereo = memoryview(array(kind, [0.75, 0.25] * 8000)).cast("B").cast(kind, (8000, 2))
        assert samples(stereo).channels == 2
        heard = session.transcribe(stereo, rate=8000)
        assert heard.usage.audio_seconds == pytest.approx(1.0, abs=0.01)


def test_arrays_of_numpy_are_used_where_they_lie(session):
    numpy = pytest.importorskip("numpy")
    for kind, integer in ((numpy.float32, False), (numpy.int16, True)):
        made = numpy.zeros((1600, 2), dtype=kind)
        found = samples(made)
        assert ctypes.addressof(found.pointer) == address(made)
        assert (found.frames, found.channels, found.integer) == (1600, 2, integer)
        made.flags.writeable = False
        assert ctypes.cast(samples(made).pointer, ctypes.c_void_p).value == address(made)
        part = made[800:]
        assert ctypes.cast(samples(part).pointer, ctypes.c_void_p).value == address(part)
    assert ctypes.addressof(samples(FLOATS).pointer) == FLOATS.buffer_info()[0]


def test_arrays_of_numpy_that_c_cannot_read_are_copied(session):
    numpy = pytest.importorskip("numpy")
    ramp = numpy.arange(32000, dtype=numpy.float32) / 32000
    every_second = ramp[::2]
    found = samples(every_second)
    assert ctypes.addressof(found.pointer) != address(every_second)
    assert list(found.pointer) == every_second.tolist()
    double = numpy.full(16000, 0.5)
    assert session.transcribe(double, rate=16000).text == HALF
    transposed = numpy.full((1, 16000), 0.5, dtype=numpy.float32).T
    assert session.transcribe(transposed, rate=16000).text == HALF


def test_a_part_of_a_memoryview_is_that_part():
    numpy = pytest.importorskip("numpy")
    ramp = numpy.arange(100, dtype=numpy.float32)
    ramp.flags.writeable = False
    assert samples(memoryview(ramp)[50:]).pointer[0] == 50.0
    assert samples(memoryview(ramp.astype("float64"))[50:]).pointer[0] == 50.0


def test_a_list_of_whole_numbers_is_of_16_bits(session):
    assert session.transcribe([16384] * 16000, rate=16000).text == HALF
    assert [samples(some).integer for some in ([1, 2], (1, 2.0), [True, False])] == [True, False, False]
    for value in (32768, -32769):
        with pytest.raises(ValueError, match="-32768 to 32767"):
            samples([value])


def test_what_offers_an_array_is_taken_as_one(session):
    numpy = pytest.importorskip("numpy")

    class Tensor:
        def __array__(self):
            return numpy.full(16000, 0.5, dtype=numpy.float32)

    assert session.transcribe(Tensor(), rate=16000).text == HALF


def test_channels_and_frames_that_are_confused_are_refused():
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ValueError, match=r"\(frames, channels\)"):
        samples(numpy.zeros((2, 16000), dtype=numpy.float32))
    with pytest.raises(ValueError, match="shape"):
        samples(numpy.zeros((2, 2, 2), dtype=numpy.float32))
    with pytest.raises(ValueError, match="shape"):
        samples(numpy.float32(1).reshape(()))


def test_samples_of_other_kinds_are_refused(session):
    with pytest.raises(TypeError, match="float32 or int16"):
        session.transcribe(array("i", [1, 2]), rate=16000)
    with pytest.raises(TypeError, match="cast"):
        samples(b"raw")
    with pytest.raises(TypeError, match="not object"):
        session.transcribe(object(), rate=16000)
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match="float32 or int16"):
        session.transcribe(numpy.zeros(100, dtype=">f4"), rate=16000)


def test_the_rate_is_for_samples_alone(session):
    with pytest.raises(TypeError, match="rate=16000"):
        session.transcribe(FLOATS)
    with pytest.raises(TypeError, match="rate is for samples"):
        session.transcribe(wav(), rate=16000)
    for rate in (0, -1, 2**32, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate is"):
            session.transcribe(FLOATS, rate=rate)


def test_no_samples_at_all_are_an_error_or_an_empty_transcript_but_no_crash(session):
    for nothing in ([], array("f"), array("h")):
        try:
            assert session.transcribe(nothing, rate=16000).segments == ()
        except tenon.TenonError as problem:
            assert problem.name in ("TENON_E_AUDIO", "TENON_E_INVALID_ARGUMENT")


def test_the_array_may_change_after_the_request_was_made(session):
    changing = array("f", [0.5] * 16000)
    request = tenon.Request.transcribe(changing, rate=16000)
    for index in range(len(changing)):
        changing[index] = 0.0
    assert session.run(request).text == HALF
