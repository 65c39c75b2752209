"""Streams, on the echo plugin."""

import asyncio
import os
import select
import threading
import time
from array import array

import pytest

import tenon

SECOND = array("f", [0.5] * 16000)
SLOW = {"delay_ms": 60000}


def test_a_stream_gives_events_and_then_the_result(session):
    with session.stream(tenon.Request.generate("one two", tokens=True)) as stream:
        events = list(stream)
        assert tenon.Text("one ") in events
        assert tenon.Token(1, "two", 0.0) in events
        assert stream.ended and list(stream) == []
        assert stream.result().text == "one two"
        assert stream.result() == stream.result()


def test_segments_of_a_stream_are_those_of_the_result(session):
    with session.stream(tenon.Request.transcribe(SECOND + SECOND, rate=16000, words=True)) as stream:
        segments = tuple(stream.segments())
        assert len(segments) == 2
        assert segments == stream.result().segments


def test_a_stream_tells_language_progress_and_vectors(session):
    with session.stream(tenon.Request.detect_language(SECOND, rate=16000)) as stream:
        assert tenon.Language("en", "english", 1.0) in list(stream)
    with session.stream(tenon.Request.embed(["a", "b"])) as stream:
        vectors = {event.index: event.values for event in stream if isinstance(event, tenon.Embedding)}
        assert [vectors[0], vectors[1]] == list(stream.result())
    with session.stream(tenon.Request.transcribe(SECOND * 3, rate=16000)) as stream:
        fractions = [event.fraction for event in stream if isinstance(event, tenon.Progress)]
    assert all(0 <= fraction <= 1 for fraction in fractions)


def test_pieces_of_text_come_as_they_are_made(session):
    with session.stream(tenon.Request.chat("first second", delay_ms=1)) as stream:
        assert list(stream.texts()) == ["first ", "second"]


def test_the_result_can_be_asked_for_without_reading_events(session):
    with session.stream(tenon.Request.generate("unread words")) as stream:
        assert stream.result().text == "unread words"


def test_polling_gives_none_until_there_is_an_event(session):
    with session.stream(tenon.Request.generate("x", **SLOW)) as stream:
        assert stream.poll() is None
        started = time.monotonic()
        assert stream.poll(0.25) is None
        assert time.monotonic() - started >= 0.25
        assert not stream.ended
    with session.stream(tenon.Request.generate("x")) as stream:
        while not stream.ended:
            event = stream.poll(5)
            assert event is not None or stream.ended


def test_a_request_that_fails_raises_once_and_then_ends(session):
    with session.stream(tenon.Request.generate("x", grammar="root ::= x")) as stream:
        with pytest.raises(tenon.UnsupportedError, match="grammar"):
            list(stream)
        assert stream.ended and list(stream) == []
        with pytest.raises(tenon.UnsupportedError, match="grammar"):
            stream.result()


def test_cancel_from_another_thread_ends_a_stream(session):
    with session.stream(tenon.Request.generate("x", **SLOW)) as stream:
        threading.Timer(0.02, stream.cancel).start()
        with pytest.raises(tenon.CancelledError):
            list(stream)
        stream.cancel()


def test_closing_a_stream_ends_its_request(session):
    stream = session.stream(tenon.Request.generate("x", **SLOW))
    stream.close()
    with pytest.raises(ValueError, match="Stream is closed"):
        next(stream)
    assert session.generate("free again").text == "free again"


def test_a_stream_can_be_closed_while_another_thread_reads_it(session):
    for _ in range(20):
        stream = session.stream(tenon.Request.generate("a b c d", delay_ms=1000))
        ends = []

        def read(stream=stream, ends=ends):
            try:
                list(stream)
            except (tenon.TenonError, ValueError) as problem:
                ends.append(problem)

        thread = threading.Thread(target=read)
        thread.start()
        stream.close()
        thread.join()
        assert len(ends) == 1
    assert session.generate("free again").text == "free again"


def test_one_thread_at_a_time_reads_a_stream(session):
    with session.stream(tenon.Request.generate("x", **SLOW)) as stream:
        problems = []

        def read():
            try:
                list(stream)
            except tenon.TenonError as problem:
                problems.append(problem.name)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not problems:
            time.sleep(0.01)
        stream.cancel()
        for thread in threads:
            thread.join()
        assert sorted(problems) == ["TENON_E_BUSY", "TENON_E_CANCELLED"]


def test_live_audio_is_heard_as_it_is_pushed(session):
    with session.stream(tenon.Request.transcribe(tenon.LIVE)) as stream:
        for _ in range(4):
            stream.push_audio(SECOND[:8000], rate=16000)
        first = next(stream.segments())
        assert first.text == " second 1 peak 50"
        stream.push_audio(array("f", [0.25] * 16000), rate=16000)
        stream.finish_input()
        stream.finish_input()
        assert [segment.end for segment in stream.segments()] == [2.0, 3.0]
        assert stream.result().text.endswith("second 3 peak 25")
        with pytest.raises(tenon.TenonError) as raised:
            stream.push_audio(SECOND, rate=16000)
    assert raised.value.name in ("TENON_E_END", "TENON_E_INVALID_ARGUMENT")


def test_live_audio_of_16_bits_and_of_another_thread(session):
    with session.stream(tenon.Request.transcribe(tenon.LIVE)) as stream:

        def push():
            for _ in range(10):
                stream.push_audio(array("h", [16384] * 1600), rate=16000)
            stream.finish_input()

        thread = threading.Thread(target=push)
        thread.start()
        assert [segment.text for segment in stream.segments()] == [" second 1 peak 50"]
        thread.join()


def test_wrong_live_audio_is_refused(session):
    with session.stream(tenon.Request.transcribe(tenon.LIVE)) as stream:
        stream.push_audio(SECOND, rate=16000)
        with pytest.raises(tenon.InvalidArgumentError):
            stream.push_audio(SECOND, rate=8000)
        with pytest.raises(TypeError, match="cast"):
            stream.push_audio(b"raw", rate=16000)
        stream.cancel()
    with session.stream(tenon.Request.generate("x", **SLOW)) as stream:
        with pytest.raises(tenon.InvalidArgumentError, match="live audio"):
            stream.push_audio(SECOND, rate=16000)


def test_a_stream_has_a_descriptor_for_select(session):
    with session.stream(tenon.Request.generate("one two three", delay_ms=5)) as stream:
        pieces = []
        while not stream.ended:
            readable, _, _ = select.select([stream], [], [], 30)
            assert readable
            while (event := stream.poll()) is not None:
                pieces.append(event)
    assert [piece.text for piece in pieces if isinstance(piece, tenon.Text)] == ["one ", "two ", "three"]


def test_asyncio_reads_streams_side_by_side(model):
    async def read(name):
        pieces = []
        with model.session() as session:
            async with session.stream(tenon.Request.generate(f"{name} a b c", delay_ms=5)) as stream:
                async for event in stream:
                    if isinstance(event, tenon.Text):
                        pieces.append(event.text)
                return "".join(pieces), stream.result().text

    async def both():
        return await asyncio.gather(read("x"), read("y"))

    assert asyncio.run(both()) == [("x a b c", "x a b c"), ("y a b c", "y a b c")]


def test_asyncio_runs_and_cancels_a_request(session):
    async def main():
        assert (await session.run_async(tenon.Request.generate("one two"))).text == "one two"
        with pytest.raises(tenon.DeadlineError):
            await session.run_async(tenon.Request.generate("x", timeout=0.05, **SLOW))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.run_async(tenon.Request.generate("x", **SLOW)), 0.05)
        # The request of the task that was cancelled has ended, or this would be busy.
        return (await session.run_async(tenon.Request.generate("again"))).text

    assert asyncio.run(main()) == "again"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted where Linux lists them")
def test_many_streams_leave_no_descriptors_behind(session):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with session.stream(tenon.Request.generate("a b")) as stream:
            stream.fileno()
            assert stream.result().text == "a b"
    assert len(os.listdir("/proc/self/fd")) <= before
