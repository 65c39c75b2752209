"""Measures both models on the held-out sets and prints one JSON document of figures.

    python3 evaluate.py WORK [--tenon PROGRAM] [--options "…"] [--only speech,commands,pipeline] [--limit N]
    python3 evaluate.py WORK --whisper-cli PROGRAM --model FILE --only speech        (a reference: whisper.cpp itself)

The sets are made by evaluation_data.py. Word error rate counts substituted, missing and invented words against the
words that were said, after both sides lose their punctuation and capital letters.
"""

import argparse
import json
import os
import time

from evaluation_data import make, read_lines
from runners import Tenon, WhisperCli
from schema import fits, schema

TIME_TOLERANCE = 0.2  # seconds


def words_of(text):
    kept = "".join(c if c.isalnum() or c in "'" else " " for c in text.lower())
    return kept.split()


def errors(said, heard):
    """Least number of words to substitute, drop or add: Levenshtein over words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def joined(segments):
    return " ".join(segment["text"].strip() for segment in segments)


def word_errors(cases, transcripts):
    """Word error rate and share of sentences without an error."""
    said = [words_of(case["text"]) for case in cases]
    wrong = [errors(words, words_of(joined(segments))) for words, segments in zip(said, transcripts)]
    words = sum(map(len, said))
    return {
        "clips": len(cases),
        "words": words,
        "word_error_rate": round(sum(wrong) / words, 4),
        "perfect": round(sum(w == 0 for w in wrong) / len(cases), 4),
    }


def segment_times(cases, transcripts):
    """How far the segments' times are from espeak's, over the recordings whose number of segments is right."""
    offsets, matched = [], 0
    for case, segments in zip(cases, transcripts):
        if len(segments) == len(case["segments"]):
            matched += 1
            pairs = zip(case["segments"], segments)
            offsets += [abs(true[edge] - made[edge]) for true, made in pairs for edge in ("start", "end")]
    within = sum(offset <= TIME_TOLERANCE for offset in offsets)
    return {
        "recordings": len(cases),
        "right_number_of_segments": matched,
        "times": len(offsets),
        "within_0.2_s": round(within / max(1, len(offsets)), 4),
        "mean_offset_s": round(sum(offsets) / max(1, len(offsets)), 3),
    }


def measure_speech(runner, folder, limit):
    cases = read_lines(os.path.join(folder, "speech.jsonl"))
    figures = {}
    for kind, sort in (("clean", "command"), ("noisy", "command"), ("clean", "free"), ("noisy", "free")):
        chosen = [case for case in cases if case["file"].startswith(kind) and case["sort"] == sort][:limit]
        transcripts = runner.transcribe([os.path.join(folder, case["file"]) for case in chosen])
        figures[f"{sort}, {kind}"] = word_errors(chosen, transcripts)
    for sort in ("sparse", "dense"):
        chosen = [case for case in cases if case["sort"] == sort][:limit]
        transcripts = runner.transcribe([os.path.join(folder, case["file"]) for case in chosen])
        figures[f"several commands, {sort}"] = word_errors(chosen, transcripts) | segment_times(chosen, transcripts)
    chosen = [case for case in cases if case["sort"] == "empty"][:limit]
    transcripts = runner.transcribe([os.path.join(folder, case["file"]) for case in chosen])
    invented = sum(bool(words_of(joined(segments))) for segments in transcripts)
    figures["noise without speech"] = {"clips": len(chosen), "with_invented_words": invented}
    return figures


def is_valid(answer, rules):
    try:
        return fits(json.loads(answer), rules)
    except ValueError:
        return False


def measure_commands(runner, folder, limit):
    cases, rules = read_lines(os.path.join(folder, "commands.jsonl"))[:limit], schema()
    answers = runner.answer([case["prompt"] for case in cases])
    figures = {"prompts": len(cases), "valid": sum(is_valid(answer, rules) for answer in answers) / len(cases)}
    sorts = {
        "exact": lambda case: True,
        "exact, one command": lambda case: case["expected"][0] == "{",
        "exact, several commands": lambda case: case["expected"][0] == "[",
        "exact, with digits": lambda case: any(c.isdigit() for c in case["prompt"]),
    }
    for name, belongs in sorts.items():
        right = [case["expected"] == answer for case, answer in zip(cases, answers) if belongs(case)]
        figures[name] = {"of": len(right), "share": round(sum(right) / max(1, len(right)), 4)}
    return figures


def measure_pipeline(runner, folder, limit):
    """From audio to JSON: right when the answer is the one that the spoken text itself gets."""
    figures = {}
    for kind in ("clean", "noisy"):
        cases = [c for c in read_lines(os.path.join(folder, "speech.jsonl")) if c["file"].startswith(kind) and c["sort"] == "command"]
        cases = cases[:limit]
        heard = [joined(segments) for segments in runner.transcribe([os.path.join(folder, case["file"]) for case in cases])]
        wanted, got = runner.answer([case["text"] for case in cases]), runner.answer(heard)
        figures[kind] = {"clips": len(cases), "right": round(sum(a == b for a, b in zip(wanted, got)) / len(cases), 4)}
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("--tenon", default="tenon")
    parser.add_argument("--options", default="", help="more options for transcribing")
    parser.add_argument("--whisper-cli")
    parser.add_argument("--model", help="the speech model's file, for --whisper-cli")
    parser.add_argument("--only", default="speech,commands,pipeline")
    parser.add_argument("--limit", type=int, help="no more than this many cases of each sort")
    asked = parser.parse_args()
    folder = os.path.join(asked.work, "evaluation")
    if not os.path.exists(os.path.join(folder, "commands.jsonl")):
        make(asked.work)
    if asked.whisper_cli:
        runner = WhisperCli(asked.whisper_cli, asked.model, asked.options.split())
    else:
        runner = Tenon(asked.tenon, options=asked.options.split())
    measures = {"speech": measure_speech, "commands": measure_commands, "pipeline": measure_pipeline}
    figures = {"date": time.strftime("%Y-%m-%d")}
    for name in asked.only.split(","):
        figures[name] = measures[name](runner, folder, asked.limit)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
