"""Word lists of the grammar, written from memory for this project; no corpus stands behind them."""

MONTHS = """
    january february march april may june july august september october november december
""".split()

DAYS = """
    monday tuesday wednesday thursday friday saturday sunday
""".split()

ROOMS = """
    kitchen, bedroom, bathroom, living room, dining room, garage, hallway, office, attic, basement, garden, balcony,
    nursery, guest room, porch, study, laundry room, library, workshop, cellar
"""
ROOMS = [" ".join(phrase.split()) for phrase in ROOMS.split(",")]

CITIES = """
    london, paris, berlin, madrid, rome, vienna, prague, warsaw, lisbon, dublin, athens, oslo, stockholm, helsinki,
    copenhagen, amsterdam, brussels, budapest, moscow, istanbul, cairo, nairobi, lagos, dubai, delhi, mumbai,
    bangkok, singapore, tokyo, osaka, seoul, beijing, shanghai, sydney, melbourne, auckland, toronto, montreal,
    vancouver, chicago, boston, new york, denver, seattle, dallas, houston, miami, atlanta, phoenix, detroit,
    san francisco, los angeles, mexico city, havana, lima, santiago, munich, hamburg, zurich, geneva, milan, naples,
    venice, barcelona, glasgow, edinburgh, manchester, liverpool
"""
CITIES = [" ".join(phrase.split()) for phrase in CITIES.split(",")]

NAMES = """
    alice anna peter paul mary john david sarah emma oliver lucas sophia daniel michael laura maria thomas robert
    susan linda james william henry george charles edward victoria elizabeth margaret helen martin simon rachel
    rebecca jessica jennifer kevin brian steven andrew matthew joshua samuel benjamin nathan hannah olivia isabella
    charlotte amelia felix oscar hugo bruno clara julia nora eva diana monica vincent walter
""".split()

GENRES = """
    jazz rock classical blues country folk techno opera piano guitar relaxing christmas disco electronic acoustic
""".split()

COLORS = """
    red, blue, green, yellow, orange, purple, pink, white, warm white
"""
COLORS = [" ".join(phrase.split()) for phrase in COLORS.split(",")]

DEVICES = """
    television, heater, fan, oven, dishwasher, coffee machine, radio, vacuum cleaner, washing machine,
    air conditioner, speaker, computer, printer, humidifier, kettle, toaster, projector, router, fireplace,
    sprinkler
"""
DEVICES = [" ".join(phrase.split()) for phrase in DEVICES.split(",")]

DOORS = """
    front door, back door, garage door, garden gate, cellar door, main entrance, side door
"""
DOORS = [" ".join(phrase.split()) for phrase in DOORS.split(",")]

GROCERIES = """
    milk, eggs, butter, cheese, apples, bananas, oranges, tomatoes, potatoes, onions, carrots, rice, pasta, sugar,
    salt, coffee, chocolate, chicken, fish, honey, yogurt, soap, toothpaste, batteries, paper towels, olive oil,
    orange juice, ice cream, dog food, light bulbs, lemons, garlic, spinach, mushrooms, cucumbers, peanut butter,
    shampoo, napkins, cereal, salad, bread, water, tea, soup, biscuits
"""
GROCERIES = [" ".join(phrase.split()) for phrase in GROCERIES.split(",")]

LISTS = """
    shopping grocery packing wish holiday hardware
""".split()

NOUNS = """
    animal apartment apple army arrow artist author baby bag baker ball banana bank basket bath beach bed bell
    bicycle bird blanket boat body book bottle box boy branch bridge brother brush bucket building bus butcher
    button cabin cabinet cable cake camera camp candle captain car card carpet castle cat chain chair chicken child
    church circle city classroom clock cloud club coat coin college company corner cottage couch country cousin cow
    cup curtain customer dance danger daughter desk dinner doctor dog door dragon drawer dream dress driver drum
    duck eagle egg elephant engine engineer envelope face factory family farm farmer father feather fence field film
    finger fire fish flag flame floor forest fork fox friend frog fruit future game garden gate ghost gift girl
    glass glove goat grandfather grandmother grass guard guest guitar hammer hand hat heart helmet hill home horse
    hospital hotel house husband insect island jacket job journey judge jungle key king kitten knife ladder lady
    lake lamp language lawyer leader leaf leg lemon lesson letter lion lock machine magazine man manager map market
    meal medicine meeting message minute mirror monkey moon morning mother mountain mouse mouth movie museum
    musician napkin neck needle neighbour nest newspaper night nurse ocean office orange orchestra oven owl package
    page painter painting palace pan paper parent park party passenger path pencil people person phone photograph
    piano picture pig pillow pilot planet plant plate player pocket poem poet police pond pool potato president
    price prince princess prison prize problem professor question queen rabbit radio railway reason refrigerator
    restaurant ring river road robot rock roof room rope rose sailor sandwich scarf school scientist screen secret
    servant shadow sheep shelf ship shirt shoe shop shoulder sister sky snake soldier song spider spoon square
    stable stage star station statue stone store storm story stranger stream street student sugar suit summer table
    tailor task taxi teacher team telephone temple tent theatre thief ticket tiger tomato tooth tower town toy
    tractor train tree triangle truck tunnel turtle uncle university valley vegetable village visitor voice wagon
    waiter wall watch wheel whistle wife window winter wizard wolf woman worker world writer yard zebra zoo answer
    amount attack balance battle beauty bill birth blood border breakfast breath business capital cause century
    chance choice circus coast comfort conversation cost courage crime crowd culture damage death decision degree
    design detail difference direction discovery disease distance dust earth economy education effect effort
    election energy evening event example exercise experience expert fact failure fashion fear festival figure fight
    flight focus force form freedom fuel government group growth habit health heat height history hobby holiday hope
    hour idea image income industry information interest issue knowledge law level library life light limit link
    list loss luck lunch market mass material matter memory method mind mistake model moment money month mood
    movement music nation nature network noise object opinion order owner pain pattern peace period plan pleasure
    policy position power practice pressure process product profit program progress project promise purpose quality
    record relation report rescue result reward rhythm risk rule safety sample science season sentence series
    service shape signal silence size skill sleep smell smoke snow society sound source space speech speed spirit
    sport spring staff state step stock strategy strength success surface surprise system talent target taste
    technology temperature test theory thought thunder title tool topic total touch trade traffic training travel
    treasure trip trouble truth type value version victory view vision visit war wind wish wonder year zone
""".split()

# Plurals that go after a number.
COUNTED = """
    animals apartments apples arrows artists bakers beds bells birds books bottles brothers buckets buttons cameras
    candles cars cards chairs coats coins cups daughters dollars doors dragons ducks eggs elephants engines farmers
    fingers flags friends guitars hammers hours islands keys kittens lamps lemons letters lions mirrors monkeys
    mountains needles nights pencils pictures pillows planets players questions rabbits rivers robots sailors
    shadows sisters soldiers songs spoons stars stones streets students tables tickets tigers towers trains trees
    trucks villages visitors windows workers writers minutes seconds weeks months years
""".split()

ADJECTIVES = """
    able afraid amazing ancient angry anxious awful bad beautiful big bitter black blind brave brief bright
    brilliant broken brown busy calm careful careless cheap clean clear clever cold comfortable common cool correct
    crazy cruel curious cute dangerous dark dead deep delicious different difficult dirty dry eager early easy
    elegant empty enormous equal excellent exciting expensive famous fancy fast fat final fine flat foolish foreign
    free fresh friendly full funny gentle giant glad golden good gray great green guilty happy hard healthy heavy
    helpful honest hot huge hungry important impossible innocent international jealous kind large late lazy little
    local lonely long loose loud lovely lucky modern narrow nasty national natural nervous new nice noisy normal
    official old open ordinary perfect personal pleasant polite poor popular possible pretty private proud public
    quick quiet rapid rare ready real recent rich rough royal rude sad safe secret serious sharp short shy sick
    silent silly silver similar simple single slow small smart smooth social soft sour special steep strange strict
    strong stupid sudden sweet tall terrible thick thin tidy tiny tired tough tropical true ugly unusual useful
    usual warm weird wet wide wild wise wonderful wooden wrong young
""".split()

VERBS = """
    ask asked asking, answer answered answering, bake baked baking, begin began beginning,
    believe believed believing, borrow borrowed borrowing, break broke breaking, bring brought bringing,
    build built building, burn burned burning, call called calling, carry carried carrying, catch caught catching,
    change changed changing, chase chased chasing, choose chose choosing, clean cleaned cleaning,
    close closed closing, collect collected collecting, cook cooked cooking, copy copied copying,
    count counted counting, cover covered covering, create created creating, cross crossed crossing,
    cut cut cutting, deliver delivered delivering, describe described describing, destroy destroyed destroying,
    discover discovered discovering, draw drew drawing, drink drank drinking, drive drove driving,
    drop dropped dropping, enjoy enjoyed enjoying, enter entered entering, examine examined examining,
    explain explained explaining, fill filled filling, find found finding, finish finished finishing,
    fix fixed fixing, follow followed following, forget forgot forgetting, give gave giving, hate hated hating,
    help helped helping, hide hid hiding, hit hit hitting, hold held holding, hunt hunted hunting,
    invite invited inviting, join joined joining, keep kept keeping, kick kicked kicking, kiss kissed kissing,
    learn learned learning, leave left leaving, lift lifted lifting, like liked liking, lose lost losing,
    love loved loving, make made making, measure measured measuring, miss missed missing, move moved moving,
    need needed needing, notice noticed noticing, offer offered offering, open opened opening,
    order ordered ordering, paint painted painting, pick picked picking, play played playing,
    prepare prepared preparing, protect protected protecting, pull pulled pulling, push pushed pushing,
    receive received receiving, remember remembered remembering, repair repaired repairing,
    repeat repeated repeating, save saved saving, sell sold selling, send sent sending, show showed showing,
    sing sang singing, start started starting, steal stole stealing, stop stopped stopping, study studied studying,
    take took taking, teach taught teaching, touch touched touching, trust trusted trusting, turn turned turning,
    understand understood understanding, use used using, visit visited visiting, want wanted wanting,
    wash washed washing, watch watched watching
"""
VERBS = [tuple(verb.split()) for verb in VERBS.split(",")]  # base, past, -ing

ACTIONS = """
    arrive arrived arriving, come came coming, cry cried crying, dance danced dancing,
    disappear disappeared disappearing, fall fell falling, fly flew flying, go went going, grow grew growing,
    happen happened happening, jump jumped jumping, laugh laughed laughing, listen listened listening,
    live lived living, run ran running, shout shouted shouting, sit sat sitting, sleep slept sleeping,
    smile smiled smiling, speak spoke speaking, stand stood standing, stay stayed staying, swim swam swimming,
    talk talked talking, think thought thinking, travel traveled traveling, wait waited waiting, wake woke waking,
    walk walked walking, work worked working, worry worried worrying
"""
ACTIONS = [tuple(verb.split()) for verb in ACTIONS.split(",")]  # base, past, -ing

ADVERBS = """
    again almost already also always angrily badly carefully certainly clearly completely easily finally gently
    happily immediately later loudly maybe nearly never now often once only perhaps probably quickly quietly rarely
    really recently sadly seldom simply slowly softly sometimes soon still suddenly then there together tomorrow
    tonight today usually very yesterday early far outside inside upstairs downstairs everywhere nowhere somewhere
""".split()

PREPOSITIONS = """
    about above across after against along among around at before behind below beside between beyond by during for
    from in into near of off on over past since through to toward under until up upon with without
""".split()

DETERMINERS = """
    the a this that these those my your his her our their every some another each no any
""".split()

SUBJECTS = """
    i you he she it we they
""".split()

OBJECTS = """
    me you him her it us them
""".split()

CONJUNCTIONS = """
    and but because when while if or so although
""".split()

AUXILIARIES = """
    will would can could should must might did may
""".split()

OTHER_WORDS = """
    what where who why how which whose is are was were am be been being have has had do does done don't doesn't
    didn't can't won't isn't i'm it's what's let's that's there's he's she's we're they're i'll we'll please thank
    thanks hello goodbye yes okay sorry good welcome excuse not more most less much many few several other same own
    such just even than as here back down out away percent degrees point half quarter past minus plus times divided
    dollars euros pounds kilometers miles meters kilograms grams liters seconds minutes hours days weeks months
    years hundred thousand million o'clock noon midnight
""".split()

ONES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
""".split()

TENS = """
    twenty thirty forty fifty sixty seventy eighty ninety
""".split()

ORDINALS = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
""".split()


def number(n):
    """`n` in words, 0 to 9999: 215 is "two hundred and fifteen"."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (" " + ONES[n % 10] if n % 10 else "")
    if n < 1000:
        return ONES[n // 100] + " hundred" + (" and " + number(n % 100) if n % 100 else "")
    rest = n % 1000
    return ONES[n // 1000] + " thousand" + ((" and " if rest < 100 else " ") + number(rest) if rest else "")


def ordinal(n):
    """`n` as an ordinal in words, 1 to 39: 21 is "twenty first"."""
    if n <= 20:
        return ORDINALS[n - 1]
    if n == 30:
        return "thirtieth"
    return TENS[n // 10 - 2] + " " + ORDINALS[n % 10 - 1]
