"""Phrases that give away an answer that is no caption, or wrap one. Patterns are joined by `|` and ignore case."""

from __future__ import annotations

import re


def _any(patterns: str, *, before: str = "", after: str = "") -> re.Pattern[str]:
    """One pattern out of a line each; spaces in them match any single space."""
    lines = [line.strip() for line in patterns.strip().splitlines()]
    return re.compile(f"{before}(?:{'|'.join(lines)}){after}", re.IGNORECASE)


_FOOTAGE = r"(?:short |brief |provided |given )?(?:video|clip|image|footage|picture|photo|animation|sequence)"
_WE_SEE = "(?:we|you|one) (?:can )?see"
_SHOWS = (
    r"(?:shows?|depicts?|features?|captures?|showcases?|presents?|portrays?|displays?|illustrates?|contains?"
    r"|(?:begins?|starts?|opens?) with|is (?:of|about)|focuses on)"
)

OPENERS = _any(
    rf"""
    here(?:'s| is| are)\b[^:\n]{{0,80}}:\s*
    (?:caption|description|answer|output)\s*:\s*
    (?:in|throughout) (?:the|this) (?:{_FOOTAGE}|scene|frames?)(?: clip)?,? (?:{_WE_SEE} |there (?:is|are) )?
    (?:the|this) {_FOOTAGE}(?: clip| footage| sequence)? {_SHOWS}\s
    {_WE_SEE}\s
    it (?:shows|depicts)\s
    """,
    before=r"^(?:(?:sure|certainly|of course|okay|ok|absolutely)[,!.]?\s+)?",
)
"""Beginnings that are cut off, so that the subject stands in front."""

FILLER = _any(
    r"""
    evok(?:es?|ing) (?:an?|the)\b
    sense of (?:calm|tranquil|peace|wonder|mystery|awe|nostalgia|serenity|joy|urgency|intimacy)
    (?:mood|atmosphere|tone) (?:is|of|conveys|suggests)\b
    adding to the (?:overall )?\w+
    (?:no|not any) (?!other\b)(?:\w+ ){0,3}(?:visible|discernible|apparent)\b
    no (?!other\b)(?:\w+ ){1,3}(?:is|are) (?:visible|discernible|shown)\b
    (?:is|are) not (?:visible|discernible|shown)\b
    cannot be (?:determined|seen|identified)
    not possible to (?:tell|determine|see|say)
    (?:it is|it's) (?:unclear|unknown|difficult to)\b
    """,
    before=r"\b",
)
"""Moods, and talk about what is absent or uncertain: such sentences are left out."""

_I_CANNOT = r"i (?:can ?not|can'?t|could ?n[o']t|won'?t|do not|don'?t)"

REFUSALS = _any(
    rf"""
    (?:i'?m|i am) (?:really |very |so )?(?:sorry|afraid|unable|not able)\b
    (?:my )?apologies\b
    i apologi[sz]e\b
    sorry,? (?:but|i)\b
    {_I_CANNOT} (?:assist|help|describe|provide|see|view|watch|analy[sz]e)\b
    {_I_CANNOT} (?:process|identify|comply|fulfill?|generate|create|have|do)\b
    as an? (?:ai|artificial|language model|large language)\b
    unfortunately,? i\b
    (?:there (?:is|are) )?no (?:video|image|frame|attachment)s? (?:was|were|is|are|has|have|attached|provided|in your)\b
    please (?:provide|upload|share|attach)\b
    """,
    before="^",
)
"""Beginnings of sentences. Within a sentence, "he says I can't" may well be what is shown."""

LEAKS = _any(
    r"""
    ```
    </?think>
    <\|[^|>]*\|?>
    \[/?inst\]
    <</?sys>>
    <(?:image|video|s|/s|pad|unk)>
    (?:^|\n)\s*(?:system|user|assistant|human)\s*:
    \bas requested\b
    \bbased on (?:the|your) (?:prompt|instructions?)\b
    \b(?:let me know|feel free to|i hope this|would you like)\b
    \bnote:
    \{\s*"
    \b(?:word count|json object|json format)\b
    """
)
"""Traces of the conversation, the template or the tokenizer."""

FRAME_TALK = _any(
    r"""
    (?:first|second|third|last|final|next|previous) (?:frame|image)s?
    frames? \d+
    image \d+
    in this (?:frame|picture)
    (?:in|of|throughout|across) (?:the|this|these|all) (?:video|clip|footage|image|sequence)s?
    (?:the|this) (?:video|clip) (?:is|was|ends|begins|starts|then|also|concludes|shows|appears|seems)
    """,
    before=r"\b",
    after=r"\b",
)
"""Talk about the pictures instead of what they show."""

SENTINELS = frozenset(
    ("unknown caption", "unknown", "none", "null", "n/a", "nan", "error", "undefined", "caption", "no caption")
)
"""What stands where a caption should, when something upstream failed."""

MOJIBAKE = re.compile(r"\ufffd|Ã[\x80-\xbf©¨ª¢]|â€|Â[\xa0-\xbf]|Ð[\x80-\xbf]")
"""UTF-8 that was read as Latin-1."""

DANGLING = frozenset(
    """a an the of in on at with and or to from by as into onto over under while which its their""".split()  # noqa: SIM905
)
"""Words that no caption ends with."""

ENGLISH = frozenset(
    """a an the is are was of in on at to and with as it its from by for this that there while has have his her their
    he she they one two three into over under up down left right behind near against through no""".split()  # noqa: SIM905
)
NOT_ENGLISH = frozenset(
    """der die das und ist ein eine mit auf im von zu den dem le la les des et est un une dans avec sur du au el los
    las y es una en con del por que il lo gli di che sono nel een het van de op met uma os na em com para jest z
    w""".split()  # noqa: SIM905
)
"""The commonest function words of English, and of languages in the same script."""
