import pytest
import torch

from model.attention import Ragged, attend

CASES = {
    "equal lengths": ((6, 6, 6), (6, 6, 6)),
    "many lengths": ((9, 9, 5, 1, 1, 12), (9, 9, 5, 1, 1, 12)),
    "ragged texts": ((9, 9, 5, 4, 4, 4), (3, 7, 1, 2, 2, 5)),
}


def inputs(queries, keys):
    torch.manual_seed(0)
    shapes = (sum(queries), 2, 16), (sum(keys), 2, 16), (sum(keys), 2, 16)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_agrees_with_the_dense_oracle(case):
    queries, keys = CASES[case]
    q, k, v = (tensor.detach() for tensor in inputs(queries, keys))  # on a CPU it has no backward pass
    expected, actual = (attend(q, k, v, Ragged(queries, keys, name, torch.device("cpu"))) for name in ("dense", "flex"))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_grouped_attention_and_its_gradients_agree_with_the_dense_oracle(case):
    queries, keys = CASES[case]
    q, k, v = inputs(queries, keys)
    expected, actual = (
        attend(q, k, v, Ragged(queries, keys, name, torch.device("cpu"))) for name in ("dense", "grouped")
    )
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    given = torch.autograd.grad((actual * weight).sum(), (q, k, v))
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_segments_do_not_see_each_other():
    queries, keys = CASES["ragged texts"]
    q, k, v = inputs(queries, keys)
    ragged = Ragged(queries, keys, "grouped", torch.device("cpu"))
    before = attend(q, k, v, ragged)
    with torch.no_grad():
        k[3:10] += 5.0  # keys of the second segment
        v[3:10] += 5.0
    changed = (attend(q, k, v, ragged) != before).flatten(1).any(1)
    assert changed[9:18].all()
    assert not changed[:9].any()
    assert not changed[18:].any()


def test_unknown_backends_and_unequal_counts_are_refused():
    with pytest.raises(ValueError, match="known: grouped, varlen, flex, dense"):
        Ragged((1,), (1,), "magic", torch.device("cpu"))
    with pytest.raises(ValueError, match="1 segments of queries but 2 of keys"):
        Ragged((1,), (1, 1), "dense", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("backend", "dtype"), [("varlen", torch.bfloat16), ("flex", torch.float32)])
def test_kernels_for_gpus_agree_with_the_dense_oracle(case, backend, dtype):
    queries, keys = CASES[case]
    tensors = [tensor.detach().to("cuda", dtype).requires_grad_() for tensor in inputs(queries, keys)]
    expected, actual = (
        attend(*tensors, Ragged(queries, keys, name, torch.device("cuda"))) for name in ("dense", backend)
    )
    tolerance = {"atol": 2e-2, "rtol": 2e-2} if dtype is torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(actual, expected, **tolerance)
    weight = torch.randn_like(expected)
    wanted, given = (torch.autograd.grad((result * weight).sum(), tensors) for result in (expected, actual))
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
