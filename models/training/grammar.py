"""The sentences: voice commands with their answers, free sentences, and word salad.

A command is (text, answer, kind): text in lower case without punctuation, answer a dict whose keys stand in the
order in which the model writes them, kind the name of the rule that made it. The speech model hears the spoken
wording ("five minutes"); the command model reads both it and the written one ("5 min", "7:30 pm", "25%").

The same seed gives the same sentences: everything random comes from the `random.Random` that is passed in.
"""

import random
import zlib

from lexicon import (
    ACTIONS, ADJECTIVES, ADVERBS, AUXILIARIES, CITIES, COLORS, CONJUNCTIONS, COUNTED, DAYS, DETERMINERS, DEVICES, DOORS,
    GENRES, GROCERIES, LISTS, MONTHS, NAMES, NOUNS, OBJECTS, ONES, ORDINALS, OTHER_WORDS, PREPOSITIONS, ROOMS, SUBJECTS,
    TENS, VERBS, number, ordinal,
)  # fmt: skip

RELATIVES = "mother father sister brother uncle doctor teacher neighbour cousin".split()
PLACES = "work, home, school, the station, the airport, the hospital, the museum, the library, the beach".split(", ")
EVENTS = "meeting dinner lunch appointment party interview lesson".split()
UNITS = [("kilometers", "miles"), ("pounds", "kilograms"), ("liters", "gallons"), ("meters", "feet"), ("dollars", "euros")]
OPERATIONS = [("plus", "+"), ("minus", "-"), ("times", "*"), ("divided by", "/")]
REPLIES = {
    "hello": "hello, how can i help?",
    "good morning": "good morning!",
    "good evening": "good evening!",
    "thank you": "you are welcome.",
    "thanks": "you are welcome.",
    "who are you": "i am a tiny voice command model.",
    "what can you do": "i turn voice commands into json.",
    "goodbye": "goodbye!",
    "how are you": "i am fine, thank you.",
    "tell me a joke": "i would, but i only have a million weights.",
}
CHORES = [
    "take out the trash", "pay the rent", "go to the dentist", "finish the report", "book a hotel", "renew the passport",
    "charge the phone", "send the letter", "return the books", "cancel the subscription", "take the medicine",
    "go for a walk", "empty the dishwasher", "pack the suitcase",
]  # fmt: skip
MESSAGES = [
    "i will be late", "i am on my way", "happy birthday", "see you soon", "dinner is ready", "the meeting is cancelled",
    "please call me back", "good luck", "thank you for the gift", "i miss you", "where are you",
]  # fmt: skip


class Wording:
    """How one sentence puts numbers: spoken ("seven thirty") or written ("7:30")."""

    def __init__(self, rng, written=False):
        self.rng = rng
        self.written = written

    def pick(self, *choices):
        return self.rng.choice(choices)

    def any(self, choices):
        return self.rng.choice(choices)

    def chance(self, p):
        return self.rng.random() < p

    def number(self, n):
        return str(n) if self.written else number(n)

    def ordinal(self, n):
        if not self.written:
            return ordinal(n)
        ending = "th" if 10 < n < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
        return f"{n}{ending}"

    def counted(self, n, unit):
        short = {"minute": "min", "second": "sec"}.get(unit)
        if self.written and short and self.chance(0.2):
            return f"{n} {short}"
        return f"{self.number(n)} {unit}" + ("" if n == 1 else "s")

    def percent(self, n):
        return f"{n}%" if self.written and self.chance(0.7) else self.number(n) + " percent"

    def clock(self):
        """A time of day and its "HH:MM"."""
        if self.chance(0.06):
            return self.pick(("noon", "12:00"), ("midday", "12:00"), ("midnight", "00:00"))
        return self._written_clock() if self.written and self.chance(0.85) else self._spoken_clock()

    def _spoken_clock(self):
        hour, kind = self.rng.randint(1, 12), self.rng.random()
        if kind < 0.3:
            minute, text = 0, self.number(hour) + self.pick(" o'clock", "")
        elif kind < 0.45:
            minute, text = 30, "half past " + self.number(hour)
        elif kind < 0.55:
            minute, text = 15, "quarter past " + self.number(hour)
        elif kind < 0.65:
            minute, text = 45, "quarter to " + self.number(hour % 12 + 1)
        elif kind < 0.9:
            minute = self.rng.randrange(10, 60)
            text = f"{number(hour)} {number(minute)}"
        else:
            minute = self.pick(5, 10, 20, 25)
            text = f"{self.number(minute)} past {self.number(hour)}"
        if kind < 0.9 and self.chance(0.5):
            part = self.pick("morning", "morning", "afternoon", "evening", "evening")
            if part == "morning":
                hour %= 12
            elif part == "afternoon":
                hour = hour % 12 + 12
            elif hour == 12:
                return text, f"12:{minute:02d}"
            else:
                hour += 12
            text += f" in the {part}"
        return text, f"{hour:02d}:{minute:02d}"

    def _written_clock(self):
        kind = self.rng.random()
        if kind < 0.25:
            hour, minute = self.rng.randrange(0, 24), self.rng.randrange(60)
            return f"{hour}:{minute:02d}", f"{hour:02d}:{minute:02d}"
        hour = self.rng.randint(1, 12)
        minute = 0 if kind < 0.5 else self.rng.randrange(60)
        digits = str(hour) if minute == 0 and self.chance(0.8) else f"{hour}:{minute:02d}"
        half = self.pick("", "am", "pm", "am", "pm")
        if not half:
            return digits + (" o'clock" if ":" not in digits and self.chance(0.3) else ""), f"{hour:02d}:{minute:02d}"
        return digits + self.pick("", " ") + half, f"{hour % 12 + (12 if half == 'pm' else 0):02d}:{minute:02d}"

    def day(self):
        return self.pick("today", "tomorrow", "tonight") if self.chance(0.3) else self.any(DAYS)

    def duration(self):
        """A length of time and its fields."""
        kind, rng = self.rng.random(), self.rng
        if kind < 0.06:
            return self.pick(
                ("half an hour", {"minutes": 30}), ("an hour", {"hours": 1}), ("a minute", {"minutes": 1}),
                ("an hour and a half", {"hours": 1, "minutes": 30}), ("a quarter of an hour", {"minutes": 15}),
            )  # fmt: skip
        if kind < 0.47:
            minutes = rng.randint(1, 60) if self.chance(0.7) else rng.randint(1, 120)
            return self.counted(minutes, "minute"), {"minutes": minutes}
        if kind < 0.6:
            hours = rng.randint(1, 12)
            return self.counted(hours, "hour"), {"hours": hours}
        if kind < 0.75:
            seconds = rng.randint(1, 90)
            return self.counted(seconds, "second"), {"seconds": seconds}
        joint = self.pick(" and ", " ")
        if kind < 0.88:
            hours, minutes = rng.randint(1, 12), rng.randint(1, 59)
            return self.counted(hours, "hour") + joint + self.counted(minutes, "minute"), {"hours": hours, "minutes": minutes}
        minutes, seconds = rng.randint(1, 59), rng.randint(1, 59)
        return self.counted(minutes, "minute") + joint + self.counted(seconds, "second"), {"minutes": minutes, "seconds": seconds}


def on_day(day):
    return day if day in ("today", "tomorrow", "tonight") else "on " + day


RULES = {}  # kind -> (rule, weight)


def rule(weight):
    """Registers a rule: a function of a Wording that returns (text, intent, fields)."""

    def register(function):
        RULES[function.__name__] = (function, weight)
        return function

    return register


@rule(3)
def timer_set(w):
    text, fields = w.duration()
    template = w.pick(
        "set a timer for {}", "set a {} timer", "start a timer for {}", "start a {} timer", "timer for {}",
        "set timer for {}", "count down {}", "give me a {} timer", "i need a timer for {}", "wake me in {}",
        "create a timer for {}", "notify me in {}",
    )  # fmt: skip
    if "{} timer" in template:
        if text.split()[0] in ("a", "an", "half"):
            template = "set a timer for {}"
        elif len(fields) == 1:
            text = text.removesuffix("s")
    return template.format(text), "timer.set", fields


@rule(1)
def timer_cancel(w):
    return w.pick(
        "cancel the timer", "stop the timer", "delete my timer", "cancel my timer", "turn off the timer", "clear the timer",
        "remove the timer",
    ), "timer.cancel", {}  # fmt: skip


@rule(1)
def timer_query(w):
    return w.pick(
        "how much time is left", "how long is left on the timer", "how much time is left on my timer", "check the timer",
        "when will the timer finish",
    ), "timer.query", {}  # fmt: skip


@rule(3)
def alarm_set(w):
    clock, time = w.clock()
    fields = {"time": time}
    text = w.pick(
        "set an alarm for {}", "wake me up at {}", "set the alarm for {}", "alarm at {}", "i want to wake up at {}",
        "create an alarm for {}", "set my alarm to {}",
    ).format(clock)  # fmt: skip
    if w.chance(0.35):
        fields["day"] = w.day()
        text += " " + on_day(fields["day"])
    return text, "alarm.set", fields


@rule(1)
def alarm_cancel(w):
    return w.pick(
        "cancel the alarm", "turn off the alarm", "delete my alarm", "cancel all alarms", "remove the alarm", "stop the alarm",
        "switch off my alarm",
    ), "alarm.cancel", {}  # fmt: skip


@rule(3)
def light_switch(w):
    room, state, light = w.any(ROOMS), w.pick("on", "off"), w.pick("lights", "light", "lamp", "lamps")
    text = w.pick(
        f"turn {state} the {room} {light}", f"switch {state} the {light} in the {room}", f"turn the {room} {light} {state}",
        f"switch the {light} {state} in the {room}", f"{light} {state} in the {room}",
        f"turn {state} the {light} in the {room}", f"{room} {light} {state}",
    )  # fmt: skip
    return text, "light." + state, {"room": room}


@rule(0.6)
def light_switch_all(w):
    state = w.pick("on", "off")
    text = w.pick(f"turn {state} all the lights", f"switch {state} all lights", f"turn all the lights {state}", f"all lights {state}")
    return text, "light." + state, {"room": "all"}


@rule(2)
def light_dim(w):
    room, percent = w.any(ROOMS), w.rng.randint(1, 100)
    text = w.pick(
        "dim the {room} lights to {n}", "set the {room} lights to {n}", "set the brightness in the {room} to {n}",
        "dim the lights in the {room} to {n}",
    )  # fmt: skip
    return text.format(room=room, n=w.percent(percent)), "light.dim", {"room": room, "percent": percent}


@rule(1.5)
def light_color(w):
    room, color = w.any(ROOMS), w.any(COLORS)
    text = w.pick(
        f"make the {room} lights {color}", f"change the {room} lights to {color}", f"set the lights in the {room} to {color}",
        f"turn the {room} lights {color}",
    )  # fmt: skip
    return text, "light.color", {"room": room, "color": color}


@rule(2)
def thermostat_set(w):
    degrees = w.rng.randint(10, 32)
    fields, place, where = {"degrees": degrees}, "the house", ""
    if w.chance(0.4):
        fields["room"] = w.any(ROOMS)
        place, where = "the " + fields["room"], " in the " + fields["room"]
    text = w.pick(
        "set the temperature{where} to {n} degrees", "set the heating{where} to {n} degrees", "make it {n} degrees{where}",
        "change the temperature{where} to {n} degrees", "heat {place} to {n} degrees",
    )  # fmt: skip
    return text.format(n=w.number(degrees), place=place, where=where), "thermostat.set", fields


@rule(3)
def weather(w):
    text = w.pick(
        "what is the weather", "how is the weather", "what's the weather", "tell me the weather", "what will the weather be",
        "weather forecast", "give me the weather forecast", "what is the forecast",
    )  # fmt: skip
    fields = {}
    if w.chance(0.75):
        fields["city"] = w.any(CITIES)
        text += (" for " if "forecast" in text else " in ") + fields["city"]
    if w.chance(0.6):
        fields["day"] = w.day()
        text += " " + on_day(fields["day"])
    return text, "weather.query", fields


@rule(1)
def rain(w):
    text = w.pick("will it rain", "is it going to rain", "will it snow", "do i need an umbrella", "will it be sunny")
    fields = {}
    if w.chance(0.7):
        fields["city"] = w.any(CITIES)
        text += " in " + fields["city"]
    fields["day"] = w.day()
    return f"{text} {on_day(fields['day'])}", "weather.query", fields


@rule(2)
def music_play(w):
    genre = w.any(GENRES)
    text = w.pick(
        f"play some {genre} music", f"play {genre} music", f"i want some {genre} music", f"put on some {genre} music",
        f"start the {genre} playlist", f"play the {genre} playlist", f"listen to {genre} music",
    )  # fmt: skip
    return text, "music.play", {"genre": genre}


MUSIC_CONTROLS = {
    "music.pause": ["pause the music", "pause", "stop the music", "pause the song", "stop playing"],
    "music.next": ["next song", "skip this song", "play the next song", "next track", "skip this track"],
    "music.previous": ["previous song", "play the previous song", "go back one song", "last song again", "previous track"],
    "music.resume": ["resume the music", "continue the music", "continue playing", "resume", "keep playing"],
    "music.query": ["what song is this", "what is playing", "who is singing this", "what is this song called"],
}


@rule(1.5)
def music_control(w):
    intent = w.any(list(MUSIC_CONTROLS))
    return w.any(MUSIC_CONTROLS[intent]), intent, {}


@rule(2)
def volume(w):
    kind = w.rng.random()
    if kind < 0.6:
        percent = w.rng.randint(0, 100)
        text = w.pick("set the volume to {}", "volume {}", "change the volume to {}", "set volume to {}", "volume to {}")
        bare = text == "set volume to {}" and w.chance(0.8)
        return text.format(w.number(percent) if bare else w.percent(percent)), "volume.set", {"percent": percent}
    if kind < 0.8:
        text = w.pick("turn up the volume", "louder", "make it louder", "volume up", "turn the music up", "increase the volume")
        return text, "volume.up", {}
    text = w.pick("turn down the volume", "quieter", "make it quieter", "volume down", "turn the music down", "decrease the volume")
    return text, "volume.down", {}


def errand(w):
    """Something to be reminded of."""
    kind = w.rng.random()
    if kind < 0.25:
        who = w.any(NAMES) if w.chance(0.5) else "my " + w.any(RELATIVES)
        return w.pick("call", "visit", "thank", "meet", "help", "pay", "email", "invite", "pick up") + " " + who
    if kind < 0.5:
        return w.pick("buy", "order", "get", "bring") + w.pick(" ", " the ", " some ") + w.any(GROCERIES)
    if kind < 0.65:
        work = w.pick("water the", "feed the", "clean the", "wash the", "paint the", "check the", "fix the", "move the")
        thing = w.pick("plants", "cat", "dog", "car", "windows", "kitchen", "garden", "fence", "bicycle", "curtains", "roof", "table")
        return f"{work} {thing}"
    if kind < 0.8:
        return w.any(CHORES)
    return f"{w.any(VERBS)[0]} {w.pick('the', 'a', 'my', 'our')} {w.any(NOUNS)}"


@rule(4)
def reminder(w):
    fields, when = {"text": errand(w)}, ""
    if w.chance(0.6):
        fields["day"] = w.day()
        when += " " + on_day(fields["day"])
    if w.chance(0.5):
        clock, fields["time"] = w.clock()
        when += " at " + clock
    text = w.pick(
        "remind me to {what}{when}", "remind me{when} to {what}", "set a reminder to {what}{when}",
        "please remind me to {what}{when}", "i need to {what}{when}", "don't let me forget to {what}{when}",
    )  # fmt: skip
    return text.format(what=fields["text"], when=when), "reminder.create", fields


@rule(3)
def list_add(w):
    item, name = w.any(GROCERIES), w.any(LISTS)
    if w.chance(0.3):
        count = w.rng.randint(2, 20)
        text = w.pick("add {n} {item} to the {name} list", "put {n} {item} on my {name} list", "add {n} {item} to my {name} list")
        fields = {"list": name, "item": item, "count": count}
        return text.format(n=w.number(count), item=item, name=name), "list.add", fields
    if w.chance(0.25):
        other = w.any([g for g in GROCERIES if g != item])
        text = w.pick(f"add {item} and {other} to the {name} list", f"put {item} and {other} on my {name} list")
        return text, "list.add", {"list": name, "items": [item, other]}
    text = w.pick(
        f"add {item} to the {name} list", f"put {item} on my {name} list", f"add {item} to my {name} list",
        f"put {item} on the {name} list",
    )  # fmt: skip
    return text, "list.add", {"list": name, "item": item}


@rule(1)
def list_remove(w):
    item, name = w.any(GROCERIES), w.any(LISTS)
    text = w.pick(f"remove {item} from the {name} list", f"delete {item} from my {name} list", f"take {item} off the {name} list")
    return text, "list.remove", {"list": name, "item": item}


@rule(0.7)
def list_read(w):
    name = w.any(LISTS)
    text = w.pick(f"read my {name} list", f"what is on the {name} list", f"show me the {name} list", f"what's on my {name} list")
    return text, "list.read", {"list": name}


@rule(2)
def call(w):
    name = w.any(NAMES)
    text = w.pick(f"call {name}", f"phone {name}", f"please call {name}", f"make a call to {name}", f"i want to talk to {name}", f"ring {name}")
    return text, "call.place", {"name": name}


def message_text(w):
    kind = w.rng.random()
    if kind < 0.3:
        return w.any(MESSAGES)
    if kind < 0.6:
        opening = w.pick("i will arrive at ", "the train leaves at ", "let us meet at ", "dinner is at ", "the party starts at ")
        return opening + w.clock()[0]
    return f"{w.pick('i', 'we', 'they')} {w.any(VERBS)[1]} {w.pick('the', 'my', 'a', 'your')} {w.any(NOUNS)}"


@rule(2.5)
def message(w):
    name, said = w.any(NAMES), message_text(w)
    text = w.pick(
        f"send a message to {name} saying {said}", f"tell {name} that {said}", f"text {name} {said}",
        f"message {name} saying {said}", f"write to {name} that {said}",
    )  # fmt: skip
    return text, "message.send", {"name": name, "text": said}


@rule(2)
def time_query(w):
    if w.chance(0.5):
        text = w.pick("what time is it", "tell me the time", "what's the time", "what is the time", "do you have the time")
        return text, "time.query", {}
    city = w.any(CITIES)
    return w.pick(f"what time is it in {city}", f"tell me the time in {city}", f"what's the time in {city}"), "time.query", {"city": city}


@rule(0.7)
def date_query(w):
    text = w.pick("what day is it", "what is the date", "what's the date today", "what day is it today", "which day is today")
    return text, "date.query", {}


@rule(1.5)
def navigate(w):
    place = w.any(CITIES) if w.chance(0.4) else w.any(PLACES)
    text = w.pick(
        f"navigate to {place}", f"take me to {place}", f"how do i get to {place}", f"drive to {place}",
        f"show me the way to {place}", f"give me directions to {place}",
    )  # fmt: skip
    return text, "navigate", {"place": place}


@rule(2.5)
def event_create(w):
    title = w.any(EVENTS)
    article = "an" if title[0] in "ai" else "a"
    text, fields = f"{w.pick('schedule', 'add', 'create', 'plan')} {article} {title}", {"title": title}
    if w.chance(0.6):
        fields["with"] = w.any(NAMES)
        text += " with " + fields["with"]
    if w.chance(0.5):
        fields["day"] = w.day()
        text += " " + on_day(fields["day"])
    else:
        fields["month"], fields["date"] = w.any(MONTHS), w.rng.randint(1, 31)
        date = w.ordinal(fields["date"])
        text += w.pick(f" on {fields['month']} {date}", f" on the {date} of {fields['month']}")
    if w.chance(0.6):
        clock, fields["time"] = w.clock()
        text += " at " + clock
    return text, "event.create", fields


@rule(0.7)
def event_query(w):
    day = w.day()
    text = w.pick("what is on my calendar", "what do i have", "what are my plans", "what's on my schedule")
    return f"{text} {on_day(day)}", "event.query", {"day": day}


@rule(1.5)
def door(w):
    name, action = w.any(DOORS), w.pick("lock", "unlock")
    return w.pick(f"{action} the {name}", f"please {action} the {name}"), "door." + action, {"door": name}


@rule(0.6)
def door_query(w):
    name = w.any(DOORS)
    return w.pick(f"is the {name} locked", f"did i lock the {name}", f"check if the {name} is locked"), "door.query", {"door": name}


@rule(1.5)
def blinds(w):
    room, action, what = w.any(ROOMS), w.pick("open", "close"), w.pick("blinds", "curtains", "shutters")
    text = w.pick(f"{action} the {room} {what}", f"{action} the {what} in the {room}", f"please {action} the {what} in the {room}")
    return text, "blinds." + action, {"room": room}


@rule(2.5)
def device(w):
    name, state = w.any(DEVICES), w.pick("on", "off")
    fields, where = {"device": name}, ""
    if w.chance(0.35):
        fields["room"] = w.any(ROOMS)
        where = " in the " + fields["room"]
    text = w.pick(
        f"turn {state} the {name}{where}", f"switch {state} the {name}{where}", f"turn the {name}{where} {state}",
        f"switch the {name}{where} {state}",
    )  # fmt: skip
    return text, "device." + state, fields


@rule(2)
def math(w):
    a, b, (said, sign) = w.rng.randint(0, 99), w.rng.randint(0, 99), w.any(OPERATIONS)
    middle = f" {sign} " if w.written and w.chance(0.5) else f" {said} "
    sum_text = w.number(a) + middle + w.number(b)
    return w.pick("what is {}", "calculate {}", "how much is {}").format(sum_text), "math", {"expr": f"{a}{sign}{b}"}


@rule(1)
def convert(w):
    source, target = w.rng.sample(w.any(UNITS), 2)
    value = w.rng.randint(2, 999)
    text = w.pick("convert {n} {a} to {b}", "how many {b} is {n} {a}", "what is {n} {a} in {b}")
    return text.format(n=w.number(value), a=source, b=target), "convert", {"value": value, "from": source, "to": target}


@rule(0.8)
def chat(w):
    text = w.any(list(REPLIES))
    return text, "chat", {"reply": REPLIES[text]}


@rule(4)
def no_command(w):
    return sentence(w.rng), "none", {}


KINDS = list(RULES)
WEIGHTS = [weight for _, weight in RULES.values()]
# What these say may end in anything, so a second command after them could not be told apart.
OPEN_ENDED = {"reminder", "message", "no_command", "chat", "timer_query"}
REQUESTS = set("set turn switch play add call dim open close lock unlock start cancel put make".split())


def fixed_phrases():
    """Commands without anything to fill in, such as "next song"."""
    rng, texts = random.Random(0), set(REPLIES)
    for kind in ("timer_cancel", "timer_query", "alarm_cancel", "music_control", "volume", "time_query", "date_query"):
        for _ in range(400):
            text, _, fields = RULES[kind][0](Wording(rng))
            if not fields:
                texts.add(text)
    return texts


FIXED_PHRASES = fixed_phrases()


def held_out(text):
    """Is this sentence kept out of training? One in twenty, by the hash of its letters and digits.

    Fixed phrases never are: there is nothing to generalise from one to another.
    """
    letters = " ".join("".join(c if c.isalnum() or c in ":'%" else " " for c in text.lower()).split())
    bare = letters.removeprefix("please ").removeprefix("can you ").removeprefix("could you ").removesuffix(" please")
    return bare not in FIXED_PHRASES and zlib.crc32(letters.encode()) % 20 == 0


def polite(text, rng):
    if rng.random() > 0.15 or text.startswith("please"):
        return text
    options = ["please " + text, text + " please"]
    if text.split()[0] in REQUESTS:
        options.append(rng.choice(["can you ", "could you "]) + text)
    return rng.choice(options)


def one_command(rng, written=False, closed=False):
    """One command; `closed` leaves out the kinds that another command cannot follow."""
    while True:
        kind = rng.choices(KINDS, WEIGHTS)[0]
        if closed and kind in OPEN_ENDED:
            continue
        text, intent, fields = RULES[kind][0](Wording(rng, written))
        if kind not in ("no_command", "chat", "reminder", "message"):
            text = polite(text, rng)
        return " ".join(text.split()), {"intent": intent, **fields}, kind


def several_commands(rng, written=False, keep=lambda text: True):
    """Two or three commands in one text, answered by a list. Only parts that `keep` accepts are used."""
    parts = []
    wanted = 2 if rng.random() < 0.85 else 3
    while len(parts) < wanted:
        text, answer, kind = one_command(rng, written, closed=len(parts) < wanted - 1)
        if kind not in ("no_command", "chat") and keep(text):
            parts.append((text, answer))
    joint = rng.choice([" and ", " and ", " and then ", " then ", " and also ", " "])
    if written and rng.random() < 0.5:
        joint = rng.choice([". ", ", ", ", then ", ", and "])
    return joint.join(text for text, _ in parts), [answer for _, answer in parts], "several"


def command(rng, written=False, keep=lambda text: True, several_share=0.125):
    """A command (with probability `several_share` two or three at once) whose text `keep` accepts."""
    while True:
        several = rng.random() < several_share
        made = several_commands(rng, written, keep) if several else one_command(rng, written)
        if keep(made[0]):
            return made


# ---- free sentences: grammatical, meaningless, over the whole lexicon


def noun_phrase(rng, nested=False):
    words = [rng.choice(DETERMINERS)]
    words += [rng.choice(ADJECTIVES) for share in (0.45, 0.08) if rng.random() < share]
    words.append(rng.choice(NOUNS))
    if words[0] == "a" and words[1][0] in "aeiou":
        words[0] = "an"
    if not nested and rng.random() < 0.2:
        words += [rng.choice(PREPOSITIONS)] + noun_phrase(rng, nested=True)
    return words


def subject(rng):
    kind = rng.random()
    if kind < 0.3:
        return [rng.choice(SUBJECTS)]
    return [rng.choice(NAMES)] if kind < 0.42 else noun_phrase(rng)


def object_(rng):
    kind = rng.random()
    if kind < 0.2:
        return [rng.choice(OBJECTS)]
    if kind < 0.28:
        return [rng.choice(NAMES)]
    if kind < 0.36:
        return number(rng.randint(2, 150)).split() + [rng.choice(COUNTED)]
    return noun_phrase(rng)


def predicate(rng):
    kind = rng.random()
    if kind < 0.3:
        return [rng.choice(VERBS)[1]] + object_(rng)
    if kind < 0.45:
        return [rng.choice(AUXILIARIES)] + (["not"] if rng.random() < 0.2 else []) + [rng.choice(VERBS)[0]] + object_(rng)
    if kind < 0.55:
        return [rng.choice(ACTIONS)[1]]
    if kind < 0.65:
        return [rng.choice(["is", "was", "are", "were"]), rng.choice(VERBS)[2]] + object_(rng)
    if kind < 0.75:
        degree = [rng.choice(["very", "really", "so", "quite"])] if rng.random() < 0.3 else []
        return [rng.choice(["is", "was", "seems", "looks", "feels"])] + degree + [rng.choice(ADJECTIVES)]
    if kind < 0.85:
        return [rng.choice(["has", "had", "have"]), rng.choice(VERBS)[1]] + object_(rng)
    return [rng.choice(AUXILIARIES), rng.choice(ACTIONS)[0]]


def circumstance(rng):
    kind = rng.random()
    if kind < 0.35:
        return [rng.choice(PREPOSITIONS)] + noun_phrase(rng, nested=True)
    if kind < 0.5:
        clock = "at " + Wording(rng).clock()[0]
        where = ["in " + rng.choice(CITIES), "on " + rng.choice(DAYS), "in " + rng.choice(MONTHS), clock]
        return rng.choice(where + ["with " + rng.choice(NAMES), "in the " + rng.choice(ROOMS)]).split()
    return []


def clause(rng):
    before = [rng.choice(ADVERBS)] if rng.random() < 0.25 else []
    after = [rng.choice(ADVERBS)] if rng.random() < 0.12 else []
    return subject(rng) + before + predicate(rng) + circumstance(rng) + after


def sentence(rng):
    """A free sentence of at most 16 words."""
    kind = rng.random()
    if kind < 0.62:
        words = clause(rng)
    elif kind < 0.78:
        words = clause(rng)[:9] + [rng.choice(CONJUNCTIONS)] + clause(rng)[:9]
    elif kind < 0.88:
        opening = rng.choice(["what", "where", "who", "why", "how", "when", "don't", "let us", "which"])
        words = [opening, rng.choice(["did", "do", "is", "can", "will"])] + clause(rng)
    else:
        words = [rng.choice(OTHER_WORDS)] + clause(rng)
    return " ".join(" ".join(words).split()[:16])


def lexicon_words():
    """Every word of the lexicon, sorted."""
    lists = (
        NOUNS, ADJECTIVES, ADVERBS, PREPOSITIONS, DETERMINERS, SUBJECTS, OBJECTS, CONJUNCTIONS, AUXILIARIES, OTHER_WORDS,
        NAMES, MONTHS, DAYS, GENRES, ORDINALS, LISTS, COUNTED, ONES, TENS, ROOMS, CITIES, GROCERIES, DEVICES, DOORS, COLORS,
        *VERBS, *ACTIONS,
    )  # fmt: skip
    return sorted({word for words in lists for phrase in words for word in phrase.split()})


ALL_WORDS = lexicon_words()


def salad(rng):
    """Words, numbers and names in no order: the only way to hear rare words often enough."""
    kind = rng.random()
    if kind < 0.25:
        figures = [rng.randint(0, 9), rng.randint(10, 99), rng.randint(0, 9999)]
        spoken = [number(n) for n in figures] + [ordinal(rng.randint(1, 31))]
        return " ".join(rng.choice(spoken) for _ in range(rng.randint(1, 4)))
    if kind < 0.4:
        lists = (CITIES, NAMES, MONTHS, DAYS, ROOMS, GROCERIES, DEVICES)
        return " ".join(rng.choice(rng.choice(lists)) for _ in range(rng.randint(1, 5)))
    return " ".join(rng.choice(ALL_WORDS) for _ in range(rng.randint(1, 8)))


def spoken_text(rng, keep=lambda text: True):
    """Something to say, and its sort: "command", "free" or "salad"."""
    kind = rng.random()
    if kind < 0.45:
        return command(rng, keep=keep)[0], "command"
    make = sentence if kind < 0.8 else salad
    while not keep(text := make(rng)):
        pass
    return text, "free" if kind < 0.8 else "salad"


def spoken_words():
    """Every word that can be spoken, sorted: the speech model's vocabulary."""
    rng = random.Random(0)
    words = set(ALL_WORDS)
    for _ in range(40_000):
        words.update(command(rng)[0].split())
    return sorted(words)
