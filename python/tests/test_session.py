"""Sessions and requests, on the echo plugin."""

import json
import pickle
import threading
import time

import pytest

import tenon

SECOND = [0.5] * 16000


def test_transcribe_gives_timed_segments(session):
    heard = session.transcribe(SECOND + [0.25] * 8000, rate=16000, words=True)
    assert isinstance(heard, tenon.Transcript)
    assert heard.text == " second 1 peak 50 second 2 peak 25"
    first, second = heard.segments
    assert (first.start, first.end, second.end) == (0.0, 1.0, 1.5)
    assert (first.text, first.confidence, first.no_speech) == (" second 1 peak 50", 1.0, 0.5)
    assert [word.text for word in first.words] == ["second", "1", "peak", "50"]
    assert first.words[1] == tenon.Word(start=0.25, end=0.5, text="1", confidence=1.0)
    assert heard.language == tenon.Language("en", "english", None)
    assert heard.usage.audio_seconds == 1.5
    assert heard.usage.total_seconds >= 0 and heard.usage.first_seconds is not None
    assert (heard.task, heard.model, heard.preset, heard.notes) == ("transcribe", "echo", "", ())
    assert heard.options["words"] is True
    assert json.loads(heard.json)["segments"][1]["end_us"] == 1500000


def test_words_are_there_only_when_asked_for(session):
    assert session.transcribe(SECOND, rate=16000).segments[0].words == ()


def test_translate_and_detect_language(session):
    assert session.translate(SECOND, rate=16000).text == " SECOND 1 PEAK 50"
    assert session.detect_language(SECOND, rate=16000).language == tenon.Language("en", "english", 1.0)


def test_generate_gives_text_and_why_it_ended(session):
    answer = session.generate("one two three")
    assert isinstance(answer, tenon.Answer)
    assert (answer.text, answer.finish, answer.stop, answer.tokens) == ("one two three", "stop", None, ())
    assert (answer.usage.prompt_tokens, answer.usage.generated_tokens) == (3, 3)
    assert session.generate("one two three", max_tokens=2).finish == "length"
    stopped = session.generate("one two three", stop=["two"])
    assert (stopped.text, stopped.stop) == ("one ", "two")
    told = session.generate("one two", tokens=True)
    assert told.tokens == (tenon.Token(0, "one ", 0.0), tenon.Token(1, "two", 0.0))


def test_chat_takes_pairs_and_dicts_and_a_single_text(session):
    assert session.chat([("system", "be brief"), ("user", "hello")]).text == "hello"
    assert session.chat([{"role": "user", "content": "grüß dich 你好"}]).text == "grüß dich 你好"
    assert session.chat("hi").text == "hi"


def test_embed_gives_a_vector_for_each_text(session):
    made = session.embed(["ab", "c"])
    assert len(made) == 2
    assert [len(vector) for vector in made] == [8, 8]
    assert sum(value * value for value in made[0]) == pytest.approx(1.0)
    assert made[1].tolist() == [1.0] + [0.0] * 7
    assert session.embed("ab").vectors == (made[0],)


def test_embeddings_become_a_matrix_of_numpy(session):
    numpy = pytest.importorskip("numpy")
    made = session.embed(["ab", "c", "d"])
    matrix = numpy.asarray(made)
    assert (matrix.shape, matrix.dtype) == ((3, 8), numpy.float32)
    assert matrix[0].tolist() == made[0].tolist()
    vector = numpy.asarray(made[0])
    vector[0] = 7
    assert made[0][0] == 7.0


def test_results_are_plain_data_that_can_be_pickled(session):
    heard = session.transcribe(SECOND, rate=16000, words=True)
    assert pickle.loads(pickle.dumps(heard)) == heard


def test_presets_and_options_lie_over_each_other(session):
    assert session.generate("one two three", preset="short").text == "one "
    assert session.generate("one two three", preset="short", max_tokens=2).text == "one two "
    assert session.generate("one two three", max_tokens=None).text == "one two three"
    with pytest.raises(tenon.TenonError, match="long"):
        session.generate("one", preset="long")


def test_a_wrong_option_is_refused_with_the_right_one(session):
    with pytest.raises(tenon.OptionsError, match="temperature") as raised:
        session.generate("x", temperatur=1)
    assert raised.value.details["option"] == "temperatur"
    with pytest.raises(tenon.OptionsError):
        session.generate("x", temperature=17)
    with pytest.raises(tenon.OptionsError):
        session.generate("x", max_tokens="many")
    with pytest.raises(ValueError, match="the option temperature is nan"):
        session.generate("x", temperature=float("nan"))
    with pytest.raises(TypeError, match="the option stop"):
        session.generate("x", stop=[object()])


def test_options_take_the_numbers_of_numpy(session):
    numpy = pytest.importorskip("numpy")
    options = {"max_tokens": numpy.int64(2), "temperature": numpy.float32(0.5), "tokens": numpy.bool_(True)}
    answer = session.generate("one two three", **options)
    assert answer.text == "one two " and len(answer.tokens) == 2


def test_a_request_that_takes_too_long_ends_by_its_timeout(session):
    with pytest.raises(tenon.DeadlineError) as raised:
        session.generate("one two", delay_ms=60000, timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    assert session.generate("goes on").text == "goes on"
    with pytest.raises(ValueError, match="timeout"):
        session.generate("x", timeout=-1)
    assert session.generate("x", timeout=float("inf")).text == "x"


def test_another_thread_cancels_what_a_session_runs(session):
    started = threading.Event()

    def cancel():
        started.wait()
        while not done.is_set():
            session.cancel()
            time.sleep(0.01)

    done = threading.Event()
    thread = threading.Thread(target=cancel)
    thread.start()
    started.set()
    with pytest.raises(tenon.CancelledError) as raised:
        session.generate("one two", delay_ms=60000)
    done.set()
    thread.join()
    assert raised.value.name == "TENON_E_CANCELLED"
    assert session.generate("goes on").text == "goes on"


def test_a_session_does_one_request_at_a_time(session):
    with session.stream(tenon.Request.generate("one two", delay_ms=60000)):
        with pytest.raises(tenon.BusyError):
            session.generate("me too")
        with pytest.raises(tenon.BusyError):
            session.reset()
    session.reset()
    assert session.generate("now").text == "now"


def test_several_threads_use_sessions_of_one_model(model):
    answers = {}

    def work(name):
        with model.session() as session:
            answers[name] = [session.generate(f"{name} {turn}").text for turn in range(20)]

    threads = [threading.Thread(target=work, args=(f"thread-{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {f"thread-{index}": [f"thread-{index} {turn}" for turn in range(20)] for index in range(4)}


def test_a_request_can_be_used_again_and_by_several_sessions(model):
    request = tenon.Request.transcribe(SECOND, rate=16000)
    with model.session() as first, model.session() as second:
        texts = {first.run(request).text, second.run(request).text, first.run(request).text}
    assert texts == {" second 1 peak 50"}
    request.close()
    with model.session() as session, pytest.raises(ValueError, match="Request is closed"):
        session.run(request)


def test_a_task_can_be_asked_for_by_its_name(session):
    result = session.run(tenon.Request("generate", messages=[(None, "by name")], options={"max_tokens": 1}))
    assert type(result) is tenon.Result
    assert result.text == "by "
    with pytest.raises(tenon.TenonError, match="fly"):
        session.run(tenon.Request("fly", messages=[(None, "x")]))
    with pytest.raises(tenon.InvalidArgumentError, match="no input"):
        session.run(tenon.Request("generate"))


def test_texts_that_c_cannot_hold_are_carried_or_refused(session):
    # A NUL is carried in a text with a size; results show it as U+FFFD, as the header says of every text.
    assert session.generate("a\0b").text == "a\ufffdb"
    with pytest.raises(ValueError, match="null character"):
        session.run(tenon.Request("gen\0erate", messages=[(None, "x")]))
    with pytest.raises(UnicodeEncodeError):
        session.generate("\ud800")
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        session.generate(b"bytes")
    with pytest.raises(TypeError, match="must be a str, not int"):
        session.embed([1])


def test_wrong_messages_are_refused(session):
    with pytest.raises(tenon.InvalidArgumentError, match="system, user and assistant"):
        session.chat([("robot", "hello")])
    with pytest.raises(ValueError, match="role and content"):
        session.chat([{"role": "user", "text": "hello"}])
    with pytest.raises(TypeError, match="not a str"):
        session.chat(["hello"])


def test_a_session_that_is_closed_while_it_runs_ends_the_run(model):
    session = model.session()
    outcome = []

    def run():
        try:
            session.generate("one two", delay_ms=60000)
        except tenon.TenonError as problem:
            outcome.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    # A stream goes on without its session, so it is cancelled until it has been started and ended.
    while thread.is_alive():
        session.cancel()
        time.sleep(0.01)
    session.close()
    assert [problem.name for problem in outcome] == ["TENON_E_CANCELLED"]
