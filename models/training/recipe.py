"""The recipe, step by step; each step leaves files in work/ or in models/ and can be repeated.

    .venv/bin/python recipe.py all
    .venv/bin/python recipe.py speech-data speech-train …

Everything is seeded. Training stops and goes on at its checkpoints; delete work/ to begin anew. The step `recordings`
needs the program `tenon`, because it keeps only what comes out right; `evaluate` needs it too: the one that this checkout
built (`cargo xtask demo`), or TENON=path/to/tenon of another checkout's build, which has to find these models. The others
need only Python and espeak-ng.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.dirname(HERE)
WORK = os.path.join(HERE, "work")
SPEECH = os.path.join(MODELS, "commands-en-q5_0.bin")
COMMANDS = os.path.join(MODELS, "intents-en-q8_0.gguf")
SCHEMA = os.path.join(MODELS, "intents-en.schema.json")
RECORDINGS = os.path.join(MODELS, "recordings")
CHECKOUT = os.path.dirname(MODELS)
MANIFESTS = os.path.join(CHECKOUT, "manifests")


def python(script, *arguments):
    """Runs a script in a process of its own: JAX keeps its memory and espeak-ng its voice until a process ends."""
    subprocess.run([sys.executable, os.path.join(HERE, script), *arguments], check=True)


def tenon():
    return os.environ.get("TENON") or os.path.join(CHECKOUT, "target", "release", "tenon")


STEPS = {
    "speech-data": lambda: python("speech_data.py", WORK),
    "speech-train": lambda: python("speech_train.py", WORK),
    "speech-export": lambda: python("speech_export.py", WORK, SPEECH, "q5_0"),
    "command-train": lambda: python("command_train.py", WORK),
    "command-export": lambda: python("command_export.py", WORK, COMMANDS, "q8_0"),
    "command-check": lambda: python("command_check.py", WORK, COMMANDS),
    "manifests": lambda: python("manifests.py", MANIFESTS, SPEECH, COMMANDS),
    "schema": lambda: python("schema.py", SCHEMA),
    "evaluation-data": lambda: python("evaluation_data.py", WORK),
    "recordings": lambda: python("recordings.py", WORK, RECORDINGS, "--tenon", tenon()),
    "evaluate": lambda: python("evaluate.py", WORK, "--tenon", tenon(), "--options=--preset fast"),
}
NEED_TENON = {"recordings", "evaluate"}


def main():
    asked = sys.argv[1:] or ["all"]
    unknown = [step for step in asked if step not in {"all", *STEPS}]
    if unknown:
        sys.exit(f"recipe.py: no step {unknown[0]}; there are: all {' '.join(STEPS)}")
    steps = list(STEPS) if "all" in asked else asked
    # Said before hours of training, not after them.
    if NEED_TENON.intersection(steps) and not shutil.which(tenon()):
        sys.exit(f"recipe.py: there is no program {tenon()}: build it with `cargo xtask demo`, or set TENON")
    os.makedirs(WORK, exist_ok=True)
    for step in steps:
        print(f"== {step}", flush=True)
        STEPS[step]()


if __name__ == "__main__":
    main()
