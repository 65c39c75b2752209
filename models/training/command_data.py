"""The command model's conversations and its tokenizer.

A conversation is [(role, text)], written in ChatML. The answer is compact JSON in lower case: one object, or a list
when the text holds several commands. Conversations are made as they are needed, never stored.
"""

import io
import json
import os
import random

import numpy as np
import sentencepiece

import grammar
from lexicon import CITIES, DAYS, MONTHS, NAMES, ONES, ORDINALS, TENS

VOCABULARY = 2560
UNKNOWN, BEGIN, END_OF_TEXT, START_OF_TURN, END_OF_TURN = range(5)
SYSTEM_PROMPTS = [
    "You are a voice command parser. Reply with JSON only.",
    "You are a helpful assistant.",
    "Turn the command into JSON.",
    "You turn voice commands into JSON intents.",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PROPER = {word for phrase in NAMES + CITIES + DAYS + MONTHS for word in phrase.split()}
QUESTION = set("what how is will who when which where do did can could what's why".split())
COPIED_FIELDS = ("name", "text", "item", "with", "city", "place")
COPYING_KINDS = {"call", "message", "reminder", "list_add", "event_create", "weather", "list_remove", "time_query", "navigate"}
SYLLABLES = """
    ba be bi bo bu da de di do du fa fe fi ka ke ko la le li lo lu ma me mi mo na ne ni no pa pe po ra re ri ro sa se si so
    ta te ti to va ve vi vo za ze zo an en in on ar er or el al is us st
""".split()


def answer_text(answer):
    return json.dumps(answer, separators=(",", ":"))


def made_up_word(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))


def with_made_up_word(rng, text, answer):
    """Replaces one copied word on both sides, so that copying works for words never seen."""
    words = text.split()
    copied = [word for field in COPIED_FIELDS for word in str(answer.get(field, "")).split()]
    copied = [word for word in copied if words.count(word) == 1 and len(word) > 2 and word.isalpha()]
    if not copied:
        return text, answer
    old, new = rng.choice(copied), made_up_word(rng)
    swapped = lambda value: " ".join(new if word == old else word for word in value.split())
    fields = {key: swapped(value) if key in COPIED_FIELDS else value for key, value in answer.items()}
    return swapped(text), fields


def with_random_words(rng, text, answer):
    """Replaces what a message or a reminder says by words in no order: nothing but copying gets those right."""
    words = " ".join(rng.choice(grammar.ALL_WORDS) for _ in range(rng.randint(2, 7)))
    return text.replace(answer["text"], words), answer | {"text": words}


def capitalised(text):
    """Capital letters where people write them in English."""
    words = [word.capitalize() if word.strip(".,") in PROPER or word in ("i", "i'm", "i'll") else word for word in text.split(" ")]
    for i, word in enumerate(words):
        if i == 0 or words[i - 1].endswith("."):
            words[i] = word[:1].upper() + word[1:]
    return " ".join(words)


def typed(rng, text, share):
    """The text as people type it, with probability `share` each: capital letters, and a mark at the end."""
    question = text.split()[0] in QUESTION
    if rng.random() < share:
        text = capitalised(text)
    if rng.random() < share:
        text += ("?" if question and rng.random() < 0.7 else rng.choice("...!"))
    return text


def example(rng, held_out=False):
    """One (text, answer JSON): spoken wording or written, for training or for the evaluation."""
    written = rng.random() < 0.45
    several = 0.125 if held_out else 0.22  # several at once are the hardest to learn
    text, answer, kind = grammar.command(rng, written, lambda text: grammar.held_out(text) == held_out, several)
    if not held_out and kind in COPYING_KINDS and rng.random() < 0.15:
        text, answer = with_made_up_word(rng, text, answer)
    elif not held_out and kind in ("message", "reminder") and rng.random() < 0.25:
        text, answer = with_random_words(rng, text, answer)
    return typed(rng, text, 0.5 if written else 0.1), answer_text(answer)


def conversation(rng):
    turns = [("system", rng.choice(SYSTEM_PROMPTS))] if rng.random() < 0.12 else []
    for _ in range(1 if rng.random() < 0.94 else 2):
        text, answer = example(rng)
        turns += [("user", text), ("assistant", answer)]
    return turns


def make_tokenizer(work):
    """SentencePiece BPE with byte fallback. A space is always a token of its own, so that a word has the same token
    after a space in the command and after a quote in the answer: copying is repeating a token."""
    rng, words = random.Random(7), []
    for _ in range(60_000):
        for role, text in conversation(rng):
            words += f"{role} {text}".split()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=model, model_type="bpe", vocab_size=VOCABULARY, byte_fallback=True,
        add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity", split_digits=True,
        split_by_unicode_script=True, character_coverage=1.0, control_symbols=["<|im_start|>", "<|im_end|>"],
        user_defined_symbols=["\u2581"], unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END_OF_TEXT, pad_id=-1,
        max_sentencepiece_length=16, num_threads=1, minloglevel=1,
        required_chars="".join(chr(code) for code in range(33, 127)),
    )  # fmt: skip
    with open(tokenizer_path(work), "wb") as file:
        file.write(model.getvalue())


def tokenizer_path(work):
    return os.path.join(work, "commands.spm")


def load_tokenizer(work):
    return sentencepiece.SentencePieceProcessor(model_file=tokenizer_path(work))


# What a digit of the answer may stand for in the command.
DIGIT_WORDS = {str(n): {ONES[n], ONES[n + 10], ORDINALS[n - 1], ORDINALS[n + 9], *TENS[n - 2 : n - 1]} for n in range(1, 10)}
DIGIT_WORDS["1"] = {"one", "eleven", "first", "eleventh"}


class Copies:
    """Where in the command an answer's token comes from: the training guides attention there."""

    def __init__(self, tokenizer):
        self.names = [tokenizer.id_to_piece(i).lower() for i in range(tokenizer.vocab_size())]
        self.stands_for = {word: digit for digit, words in DIGIT_WORDS.items() for word in words}

    def sources(self, command, answer, start):
        """For each token of `answer` its place (`start` + index in `command`), or 0 when that is not clear."""
        places = {}
        for i, token in enumerate(command):
            name = self.names[token]
            for meaning in {name, self.stands_for.get(name, name)}:
                places.setdefault(meaning, []).append(start + i)
        found, last = [], 0
        for token in answer:
            name = self.names[token]
            place = self.clear_place(places.get(name, []), name, last)
            found.append(place)
            last = place or last
        return found

    @staticmethod
    def clear_place(candidates, name, last):
        """The one candidate, or the one that goes on from the last place (perhaps after a space), or the next digit."""
        if last and last + 1 in candidates:
            return last + 1
        if not name.isalnum():
            return 0
        if len(candidates) == 1:
            return candidates[0]
        if last and last + 2 in candidates:
            return last + 2
        return next((place for place in candidates if place > last), candidates[0]) if candidates and name.isdigit() else 0


def encoded(tokenizer, turns, copies=None):
    """Token ids of a conversation, 1 for each that the assistant says, and the source of each (0 without `copies`)."""
    ids, said, sources = [BEGIN], [0], [0]
    command, start = [], 0
    for i, (role, text) in enumerate(turns):
        head = [START_OF_TURN] + tokenizer.encode(role + "\n")
        words = tokenizer.encode(text)
        tail = [END_OF_TURN] + (tokenizer.encode("\n") if i < len(turns) - 1 else [])
        answers = role == "assistant"
        sources += [0] * len(head) + (copies.sources(command, words, start) if copies and answers else [0] * len(words)) + [0] * len(tail)
        command, start = words, len(ids) + len(head)
        ids += head + words + tail
        said += [0] * len(head) + [int(answers)] * (len(words) + 1) + [0] * (len(tail) - 1)
    return ids, said, sources


def prompt_ids(tokenizer, text):
    """Token ids of one user's turn and the opening of the assistant's."""
    user = [START_OF_TURN] + tokenizer.encode("user\n" + text) + [END_OF_TURN] + tokenizer.encode("\n")
    return [BEGIN] + user + [START_OF_TURN] + tokenizer.encode("assistant\n")


LENGTHS = (48, 80, 144)  # a batch holds conversations of one of these lengths, padded
JUDGED = 0.4  # the share of a batch's tokens that the loss looks at: all that the assistant says, some of the rest
ASIDE = 0.02  # how much a token of the rest counts


def judged(rng, ids, said):
    """Places (in the flattened batch) whose next token the loss looks at, and their weights.

    The answers are a third of the tokens, and the output layer a third of the work: looking only at them is faster.
    """
    following, real = said[:, 1:].ravel(), ids[:, 1:].ravel() > 0
    count = int(ids.size * JUDGED)
    answers, rest = np.nonzero(following)[0], np.nonzero(real & (following == 0))[0]
    places = np.concatenate([rng.permutation(answers), rng.permutation(rest), np.zeros(count, int)])[:count]
    weights = np.where(following[places] == 1, 1.0, ASIDE) * real[places]
    weights[len(answers) + len(rest) :] = 0
    return places.astype(np.int32), weights.astype(np.float32)


def batches(tokenizer, seed, tokens):
    """Endless (ids, sources [conversations, length] int32, places, weights) of about `tokens` tokens; like lengths together."""
    copies = Copies(tokenizer)
    rng, shuffler, waiting = random.Random(seed), np.random.default_rng(seed), {length: [] for length in LENGTHS}
    while True:
        ids, said, sources = encoded(tokenizer, conversation(rng), copies)
        length = next((length for length in LENGTHS if len(ids) <= length), None)
        if length is None:
            continue
        waiting[length].append((ids, said, sources))
        if len(waiting[length]) * length >= tokens:
            made, waiting[length] = waiting[length], []
            rows = np.zeros((3, len(made), length), np.int32)
            for i, columns in enumerate(made):
                rows[:, i, : len(columns[0])] = columns
            yield rows[0], rows[2], *judged(shuffler, rows[0], rows[1])


def held_out_examples(count, seed=99):
    """`count` different held-out commands as {"prompt", "expected"}."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        text, answer = example(rng, held_out=True)
        found.setdefault(text, answer)
    return [{"prompt": text, "expected": answer} for text, answer in found.items()]
