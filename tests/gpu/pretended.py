"""A GPU that is not there: tensors that are on "cuda" for whoever asks, with the CPU computing behind them.

torch has fake tensors that do without a driver, but where it is built without CUDA a backward pass of fake "cuda"
tensors ends the process, and they hold no numbers. These go through whole trainings, refuse what a GPU refuses
(operands that lie on the CPU, but for single numbers and indices; the CPU's generators; NumPy), and what comes out is
to the last bit what the CPU gives.
"""

from contextlib import ExitStack, contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)
STANDS_FOR = torch.device("meta")  # the one other device whose tensors autograd handles in every build
aten = torch.ops.aten
# these move between devices; those take indices that lie on the CPU, as CUDA's kernels do
MOVING = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended GPU; `held` is the one on the CPU that has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=STANDS_FOR, **layout)
        tensor.held = held
        return tensor

    def __repr__(self, **_):
        return f"pretended {self.held!r}"

    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, *_):
        return PretendedTensor(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {}, device_is_real=False)


def _is_there(x) -> bool:
    return isinstance(x, PretendedTensor)


def _compute(func, args, kwargs, device_is_real):
    """Compute on the CPU what is asked of the GPU, or refuse what it would refuse."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    device, there = kwargs.get("device"), any(map(_is_there, tensors))
    if device is not None and not device_is_real and torch.device(device).type in ("meta", "cuda"):
        device = GPU
    if not there and device != GPU:
        return func(*args, **kwargs)
    if torch.is_inference_mode_enabled():  # where operations made of others come whole
        with _Operations():
            if (out := func.decompose(*args, **kwargs)) is not NotImplemented:
                return out
    if func not in MOVING:
        looked_at = [args[0], *args[2:]] if func in INDEXING else tensors
        looked_at = [x for x in tree_flatten(looked_at)[0] if isinstance(x, torch.Tensor)]
        if there and (left := [x for x in looked_at if not _is_there(x) and x.ndim]):
            raise RuntimeError(
                f"{func}: expected all tensors on one device, but one of shape {tuple(left[0].shape)} is on "
                f"{left[0].device} and others on {GPU}"
            )
        if any(isinstance(x, torch.Generator) for x in (*args, *kwargs.values())):
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
    to_gpu = device == GPU or (device is None and there)
    inside = tree_map(_held, kwargs) | ({} if device is None else {"device": torch.device("cpu")})
    out = func(*tree_map(_held, args), **inside)
    out = tree_map(lambda x: PretendedTensor(x) if to_gpu and isinstance(x, torch.Tensor) else x, out)
    if func is aten._to_copy.default or not there:
        return out
    if func is aten.copy_.default:
        return args[0]
    return return_and_correct_aliasing(func, args, kwargs, out)


def _held(x):
    return x.held if _is_there(x) else x


class _Operations(TorchDispatchMode):
    """Sees what operations without a pretended tensor ask for, and those that C++ calls."""

    device_is_real = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {}, self.device_is_real)


class _Calls(TorchFunctionMode):
    """Turns the device that Python names into the one that stands for it, and back."""

    def __init__(self, operations: _Operations):
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func == torch.Tensor.device.__get__:
            return GPU if _is_there(args[0]) else func(*args)
        if func == torch.Tensor.is_cuda.__get__:
            return _is_there(args[0])
        if func == torch.Tensor.is_meta.__get__ and _is_there(args[0]):
            return False
        if func is torch.Tensor.new_tensor and _is_there(args[0]):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(STANDS_FOR)
        if func == torch.Tensor.data.__set__ and _is_there(args[0]):
            args[0].held = args[1].held
            return func(*args)
        if func is torch.Tensor.tolist and _is_there(args[0]):
            return args[0].held.tolist()
        if func is torch.Tensor.numpy and _is_there(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it to the CPU first")
        if func is torch.Tensor.__deepcopy__ and _is_there(args[0]) and isinstance(args[0], torch.nn.Parameter):
            copied = torch.nn.Parameter(PretendedTensor(args[0].held.detach().clone()), args[0].requires_grad)
            return args[1].setdefault(id(args[0]), copied)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and _is_there(args[0]):
            at = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (
                args[0],
                tuple(torch.tensor(x, dtype=None if x else torch.int64) if isinstance(x, list) else x for x in at),
                *args[2:],
            )
        if func in (torch.device, torch._C._nn._parse_to):  # a module then asks each of its tensors
            return func(*args, **kwargs)
        named = [kwargs.get("device"), *args]
        if any(_names(x, "cuda") for x in named):
            if func in (torch.tensor, torch.as_tensor):  # which make no numbers on what stands for it
                return func(*args, **kwargs | {"device": "cpu"}).to(STANDS_FOR)
            args = [STANDS_FOR if _names(x, "cuda") else x for x in args]
            kwargs = {name: STANDS_FOR if _names(x, "cuda") else x for name, x in kwargs.items()}
            return func(*args, **kwargs)
        before, self.operations.device_is_real = self.operations.device_is_real, any(_names(x, "meta") for x in named)
        try:
            return func(*args, **kwargs)
        finally:
            self.operations.device_is_real = before


def _names(x, kind: str) -> bool:
    return (isinstance(x, str) and x.partition(":")[0] == kind) or (isinstance(x, torch.device) and x.type == kind)


@contextmanager
def pretended_gpu():
    """Within it torch has a GPU, "cuda", which refuses what lies on the CPU as a real one does."""
    operations = _Operations()
    with ExitStack() as stack:
        stack.enter_context(operations)
        stack.enter_context(_Calls(operations))
        yield
