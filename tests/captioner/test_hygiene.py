"""Each failure of captioners is detected, and each near miss, a good caption that looks like one, is not."""

import pytest

from captioner.hygiene import LIMITS, clean, inspect
from captioner.prompts import DESCRIPTIVE
from captioner.structured import Facts, compose
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.sample import sample_shot
from curate.drawn.shot import World

GOOD = (
    "A woman in a red coat walks a small white dog along a snowy path. Bare trees stand on both sides, and a yellow "
    'tram passes behind them from left to right. A sign on the left reads "PARK". The light is soft and grey.'
)
LONGER = GOOD + (
    " Two children in blue jackets run past her, the taller one pulling a wooden sled with a folded blanket on it. "
    "Far behind, smoke rises from the chimney of a brick house whose windows are lit."
)


def reasons(text, *, kind="descriptive", finish_reason="stop", prompt=DESCRIPTIVE.text):
    return inspect(text, finish_reason=finish_reason, limits=LIMITS[kind], prompt=prompt)


@pytest.mark.parametrize("text", [GOOD, LONGER])
def test_good_captions_pass(text):
    assert clean(text) == (text, [])
    assert reasons(text) == []


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("empty", ""),
        ("empty", " . "),
        ("empty", "Unknown caption"),
        ("too_short", "A dog runs."),
        ("too_long", " ".join(f"Item {i} is a thing of colour {i * 7919}." for i in range(60))),
        ("truncated", "A woman in a red coat walks a small white dog along a snowy"),
        ("loop", "A red car drives on a road. " + "a red car, " * 5 + "a red car."),
        ("loop", "A man in a suit is standing 2 2 2 2 2 2 2 in a big hall."),
        ("loop", f"{GOOD} {GOOD}"),
        (
            "loop",
            "The dog runs to the left, then the dog runs to the right, then the dog runs to the left, then it stops.",
        ),
        ("refusal", "I'm sorry, but I can't help with describing people in this way at all."),
        ("refusal", "I’m unable to view videos directly, so nothing can be said about it."),
        ("refusal", "As an AI language model, I have no eyes with which to look at this."),
        ("refusal", "A person stands in a room. Unfortunately, I cannot describe who it is."),
        ("refusal", "No video was provided, so there is nothing to describe for me here."),
        ("leaked_prompt", "A dog runs over a lawn in the evening. Let me know if you need more."),
        ("leaked_prompt", "assistant: A dog runs over a lawn in the evening light, barking."),
        ("leaked_prompt", "A dog runs. Cover every subject with its number, colour, size, clothing or material."),
        ("leaked_prompt", '{"subjects": ["a dog"]} is the answer about the dog that runs.'),
        ("frame_talk", "In frame 1, a dog sits on a lawn, while frame 2 has the dog running."),
        ("frame_talk", "A dog sits on the lawn in the first frame and it runs in the last frame."),
        ("frame_talk", "A dog is seen running over the lawn throughout the video, and it barks."),
        ("wrong_language", "Ein Hund läuft mit einem roten Ball über die Wiese, und die Sonne scheint auf den See."),
        ("wrong_language", "Un perro corre por el parque con una pelota roja en la boca y salta sobre el banco."),
        ("wrong_language", "一只白色的小狗在雪地里奔跑。 穿红色外套的女人跟在后面。 天空是灰色的。 树木光秃秃的。"),
        ("garbled", "A woman walks along a snowy path in her cafÃ© coat and waves to us."),
        ("garbled", "A dog ▒▒░░ ┤╡╢ runs ╖╕╣ over ║╗╝ the ╜╛┐ lawn └┴┬ there."),
    ],
)
def test_failures_are_detected(reason, text):
    assert reason in reasons(clean(text)[0])


@pytest.mark.parametrize(
    "text",
    [
        'A man in a suit says "I cannot help you" to a woman who stands behind the counter.',
        'A sign above the door reads "Note: closed". A boy waits in front of it.',
        "A video game is being played on a large screen by two boys on a sofa.",
        "A photographer shows a picture of the sea to an old man with a white beard.",
        "A dancer enters the frame from the left and stays in the centre of the frame.",
        "A row of cars: a red car, a blue car, a red truck and a white van, all parked in the rain.",
        "A sorry looking, wet cat sits on the steps of a house with a green door.",
        "A chef in a café sautés jalapeños beside a naïve painting of a fjord.",
        "A waiter brings crème brûlée to the table on the left and la carte du jour to the right one.",
        "A clock shows 12:45; below it, the numbers 2, 4, 6 and 8 are painted on 4 doors.",
        "One, two, three, four children jump over the rope, one after the other, and laugh.",
        "A white van stands on the left. A red ball rolls to the right. There is no text.",
    ],
)
def test_near_misses_pass(text):
    assert reasons(clean(text)[0]) == []


def test_a_cut_answer_is_told_by_its_finish_reason():
    assert reasons(GOOD, finish_reason="length") == ["truncated"]


def test_short_captions_need_no_full_stop_but_may_not_end_in_the_middle():
    assert reasons("a red circle drifts leftward", kind="short") == []
    assert reasons("a red circle drifts over the", kind="short") == ["truncated"]


def test_texts_by_people_are_kept_as_they_are_unless_empty_or_broken():
    assert reasons("IMG 2034", kind="alt") == []
    assert reasons("In the video, Hund und Katze", kind="human") == []
    assert reasons("", kind="alt") == ["empty"]


def test_captions_of_drawn_footage_pass_unchanged():
    for index in range(200):
        shot = sample_shot(generator(0, "hygiene", index), World())
        for kind in ("short", "descriptive"):
            caption = describe(shot, kind, seed=index)
            assert clean(caption) == (caption, [])
            assert reasons(caption, kind=kind) == []


def test_composed_prose_passes():
    facts = Facts(
        subjects=("a cat", "a mouse"), actions=("The cat sleeps",), background="a kitchen", text=("Let me know",)
    )
    assert reasons(compose(facts, "descriptive"), kind="structured") == []


@pytest.mark.parametrize(
    ("answer", "text", "flags"),
    [
        ("The video shows a dog running.", "A dog running.", ["opener_removed"]),
        ("Sure! Here is a caption: **The video shows a dog.**", "A dog.", ["opener_removed"]),
        ("In this video, we see a dog running.", "A dog running.", ["opener_removed"]),
        ("This short clip captures a dog.", "A dog.", ["opener_removed"]),
        ("Caption: A dog runs.", "A dog runs.", ["opener_removed"]),
        ("The video begins with a dog that runs.", "A dog that runs.", ["opener_removed"]),
        ('"A dog runs."', "A dog runs.", []),
        ("```\nA dog runs.\n```", "A dog runs.", []),
        ("<think>a cat? no</think>\nA dog runs.", "A dog runs.", []),
        ("# Dog\n\n- A *small* dog\n- runs.", "Dog A small dog runs.", []),
        ("A  dog\n\nruns.", "A dog runs.", []),
        ("A dog runs. The scene evokes a sense of calm.", "A dog runs.", ["filler_removed"]),
        ("A dog runs. No people are visible. It barks.", "A dog runs. It barks.", ["filler_removed"]),
        ("A dog runs. There is no text. It barks.", "A dog runs. There is no text. It barks.", []),
        ("A dog runs. There are no visible people. It barks.", "A dog runs. It barks.", ["filler_removed"]),
        ("ﬁve ½ dogs", "five 1⁄2 dogs", []),
        ('"A" and "B" are letters.', '"A" and "B" are letters.', []),
        ("Video games lie on a table.", "Video games lie on a table.", []),
        ("It shows.", "It shows.", []),
    ],
)
def test_cleaning_unwraps_and_flags(answer, text, flags):
    assert clean(answer) == (text, flags)


@pytest.mark.parametrize(
    "answer", ["Sure! Here is a caption: **The video shows the image shows a dog.**", f'"{GOOD}"', ""]
)
def test_cleaning_twice_changes_nothing(answer):
    once, _ = clean(answer)
    assert clean(once) == (once, [])
