import torch

from captioner.claims import VALUES, FactHeads, claimed_values, fact_loss
from curate.drawn.shot import SLOTS


def claimed(text):
    values = claimed_values([text])[0].tolist()
    return {slot: VALUES[slot][value] for slot, value in zip(VALUES, values, strict=True) if value >= 0}


def test_a_caption_claims_what_it_says():
    assert claimed("A large red star is moving left. A blue ring is above it. The camera pans left.") == {
        "count": "1",
        "size": "large",
        "color": "red",
        "shape": "star",
        "other_color": "blue",
        "other_shape": "ring",
        "relation": "above",
        "camera": "pan_left",
    }


def test_that_there_is_none_is_a_claim_and_silence_is_not():
    assert claimed("There is no text.") == {"text": None}
    assert claimed("IMG_2034") == {}
    assert claimed('The word "SUMMER" is written on the screen.') == {}  # a word that no drawn clip shows


def test_every_slot_has_a_head_for_all_its_values():
    logits = FactHeads(3, 8)(torch.zeros(2, 3, 8))  # fewer tokens than slots
    assert [each.shape[1] for each in logits] == 2 * [len(values) for values in VALUES.values()]
    assert set(VALUES) == {*SLOTS, "other_shape", "other_color"}


def test_only_what_is_told_is_learnt():
    logits = [torch.zeros(2, len(values), requires_grad=True) for values in VALUES.values()]
    shape = list(VALUES).index("shape")
    claims = claimed_values(["star", "IMG_2034"])
    loss = fact_loss(logits, claims)
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(float(len(VALUES["shape"]))).log())
    assert logits[shape].grad[0].abs().sum() > 0
    assert not logits[shape].grad[1].any()
    assert all(not each.grad.any() for index, each in enumerate(logits) if index != shape)
    assert fact_loss(logits, claimed_values(["IMG_2034"] * 2)) == 0
