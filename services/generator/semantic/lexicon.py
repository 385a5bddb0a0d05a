"""English words that a question turns on: where one of two questions has such a word, so must the other."""

from __future__ import annotations

from services.generator.checks.evidence import words

_CARDINALS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
NUMBERS = {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1e6", "billion": "1e9", "dozen": "12", "half": "1/2",
    "once": "1x", "twice": "2x", "double": "2x", "both": "2", "single": "1",
    **{word: str(value) for value, word in enumerate(_CARDINALS)},
    **{word: f"{value}." for value, word in enumerate(_ORDINALS, 1)},
}  # fmt: skip

NEGATIONS = frozenset(
    words(
        "no not never none nor neither nobody nothing nowhere without cannot hardly barely rarely seldom "
        "except unless unable lack lacks lacking missing absent fail fails failed exclude excludes excluding "
        "besides"
    )
)
# Words that differ only by these are opposites: reversible and irreversible, import and export.
PREFIXES = frozenset(
    words(
        "un in im ir il dis non mis de anti re pre post sub super over under up down out en ex inter intra "
        "pro mono multi bi tri semi micro macro hyper hypo day night for back"
    )
)
LEAST_ROOT = 3

# Comparatives, superlatives and words with an opposite; "max" is read as "maximum".
TURNING = frozenset(
    words(
        "maximum minimum most least more less fewer many few first last earliest latest early late earlier "
        "later soonest next previous former current currently formerly new newest old oldest newer older "
        "young youngest younger recent large largest larger big biggest bigger small smallest smaller great "
        "greatest greater little tiny huge high highest higher low lowest lower tall tallest taller short "
        "shortest shorter long longest longer wide widest narrow narrowest deep deepest shallow thick thin "
        "fast fastest faster slow slowest slower heavy heaviest heavier light lightest lighter strong "
        "strongest stronger weak weakest weaker good best better bad worst worse cheap cheapest cheaper "
        "expensive rich richest poor poorest hot hottest hotter cold coldest colder warm warmest cool coolest "
        "wet dry hard soft easy difficult simple complex near nearest nearer far farthest farther close "
        "closest safe unsafe dangerous healthy true false right wrong before after during until since above "
        "below over under inside outside into from against toward towards up down left north south east west "
        "northern southern eastern western front back top bottom upper inner outer enable disable add remove "
        "start stop begin end open install uninstall create delete insert drop buy sell bought sold lend "
        "borrow win lose won lost gain loss arrive leave depart enter exit raise rise fall increase decrease "
        "grow shrink expand contract accept reject allow deny permit forbid approve refuse agree disagree "
        "encrypt decrypt upgrade downgrade import export lock unlock connect disconnect attach detach send "
        "receive push pull upload download encode decode compress decompress mount unmount pass fail succeed "
        "succeeded positive negative advantage disadvantage pro con benefit drawback strength weakness cause "
        "effect symptom treatment prevention internal external public private domestic foreign local remote "
        "male female man woman men women boy girl king queen father mother son daughter husband wife brother "
        "sister parent child morning evening afternoon noon midnight night day daytime nighttime summer "
        "winter spring autumn monday tuesday wednesday thursday friday saturday sunday weekday weekend "
        "january february march april june july august september october november december gross net actual "
        "planned expected estimated optional mandatory required obligatory temporary permanent manual "
        "automatic direct indirect physical virtual legal illegal alive dead birth death born died only also "
        "even still yet already always sometimes often usually all any some every each other another else "
        "both alone together except instead about per"
    )
)
# Some of which say little where they only ask for a measure: "how long", "how many".
ASKED = frozenset(
    words(
        "many much long far often old soon tall high deep wide big large heavy fast hot cold late early "
        "little few frequently expensive quickly well strong hard easy good bad close near cheap thick young "
        "loud"
    )
)

# Written one way: "5 km" and "5 kilometres".
UNITS = {
    form: forms.split()[0]
    for forms in (
        "second seconds sec secs s", "minute minutes min mins", "hour hours hr hrs h hourly", "day days daily",
        "week weeks weekly", "month months monthly", "quarter quarters quarterly",
        "year years yearly annual annually", "decade decades", "century centuries",
        "millisecond milliseconds ms", "metre metres meter meters m",
        "kilometre kilometres kilometer kilometers km kms", "mile miles mi",
        "centimetre centimetres centimeter centimeters cm", "millimetre millimetres millimeter millimeters mm",
        "foot feet ft", "inch inches", "yard yards", "acre acres", "hectare hectares ha", "gram grams g",
        "kilogram kilograms kilo kilos kg", "ton tons tonne tonnes", "pound pounds lb lbs", "ounce ounces oz",
        "litre litres liter liters l", "gallon gallons", "pint pints", "millilitre ml milliliter",
        "euro euros eur", "dollar dollars usd", "cent cents", "pence penny", "franc francs", "yen",
        "percent percentage", "celsius centigrade", "fahrenheit", "kelvin", "byte bytes", "bit bits",
        "kilobyte kilobytes kb", "megabyte megabytes mb", "gigabyte gigabytes gb", "terabyte terabytes tb",
        "volt volts", "watt watts", "kilowatt kilowatts kw", "ampere amperes amp amps", "hertz hz", "mph",
        "kph", "knot knots", "degree degrees",
    )
    for form in forms.split()
}  # fmt: skip

# Forms of one person that "he" and "she" stand for; "it" stands for nothing as often as for something.
PERSONS = {
    form: words(forms)[0]
    for forms in ("he him his himself", "she her hers herself", "they them their theirs themselves")
    for form in words(forms)
}

PAST = frozenset(words("was were did had used wasn weren didn hadn"))
PRESENT = frozenset(words("is are am do does isn aren don doesn"))
FUTURE = frozenset(words("will shall won gonna"))

# Which word stands before another one matters: a book by her, about her. Those that are used alike are one.
PREPOSITIONS = {
    "of": "of", "in": "of", "at": "of", "on": "of", "by": "by", "to": "to", "into": "to", "from": "from",
    "for": "for", "with": "with", "about": "about", "against": "against", "as": "as", "than": "than", "via": "via",
    "through": "via",
}  # fmt: skip

# What is said around a question, and asks nothing.
AROUND = (
    "please", "hello", "hi", "hey", "thanks", "thank you", "could you tell me", "can you tell me", "tell me",
    "could you explain", "can you explain", "please explain", "explain", "i want to know", "i would like to know",
    "do you know", "i wonder",
)  # fmt: skip
EMPTY = frozenset(words("located situated called named exactly please really actually"))
