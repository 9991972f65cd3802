import pytest
import torch

from uncertain_affect.compute.devices import choose_device, one_thread


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == "cpu"
    for wanted in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f'DEVICE is {wanted!r}.*use "auto" or "cpu"'):
            choose_device(wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_float32_matmul_precision("high")
        assert (choose_device(), choose_device("cuda:1")) == ("cuda", "cuda:1")
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"  # no TF32 in products either
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")


def test_one_thread_is_for_a_block_or_a_function_and_ends_with_it():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        with pytest.raises(ZeroDivisionError), one_thread():
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2
        assert [one_thread()(torch.get_num_threads)() for _ in range(2)] == [1, 1]
    finally:
        torch.set_num_threads(before)
