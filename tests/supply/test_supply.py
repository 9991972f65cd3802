"""What the project brings along, and what it must not: licences, secrets, personal data, faces of real people."""

import json
import re
import subprocess
from pathlib import Path

import bill
import numpy as np
import pytest
import vulnerabilities
from locks import ROOT, pinned
from PIL import Image
from skimage import data, feature

from uncertain_affect import corpora


@pytest.fixture(scope="module")
def committed():
    return json.loads((bill.FOLDER / "sbom.json").read_text(encoding="utf-8"))


def test_the_bill_lists_what_the_locks_pin_each_with_a_licence_and_follows_from_both(committed):
    found = {(c["name"], c["version"]): c["licenses"][0]["license"]["name"] for c in committed["components"]}
    assert sorted(found) == pinned(), "the locks have changed: make sbom"
    assert all(found.values())
    assert len(found) > 150
    assert bill.bill(found) == committed
    assert (bill.FOLDER / "licences.md").read_text(encoding="utf-8") == bill.listed(found)


def test_everything_is_brought_in_by_the_project(committed):
    brings = {entry["ref"]: entry["dependsOn"] for entry in committed["dependencies"]}
    reached, todo = set(), ["uncertain-affect"]
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += brings[ref]
    assert reached == {"uncertain-affect", *(c["bom-ref"] for c in committed["components"])}


@pytest.mark.parametrize(
    "lines, licence",
    [
        ("License-Expression: MIT\nLicense: something else", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: MIT", "MIT License"),
        ("Classifier: License :: OSI Approved\nLicense: BSD 3-Clause\n        and more lines", "BSD 3-Clause"),
        ("Classifier: Topic :: Software", "not said"),
    ],
)
def test_a_licence_is_what_the_package_says(lines, licence):
    assert bill.licence_of(bill.email.message_from_string(lines)) == licence


FINE = {"name": "a", "version": "1.0", "vulns": []}
BAD = {"name": "b", "version": "1.0", "vulns": [{"id": "X-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "dependencies, code, line",
    [
        ([FINE], 0, "1 of 1 packages were looked up, 0 vulnerabilities found"),
        ([FINE, BAD], 1, "b 1.0: X-1, mended in 1.1"),
        ([FINE, SKIPPED], 2, "NOT looked up, for want of a network or of an entry: c"),
        ([], 2, "0 of 0 packages were looked up"),
    ],
)
def test_what_was_not_looked_up_is_not_called_sound(capsys, dependencies, code, line):
    assert vulnerabilities.report(dependencies) == code
    assert line in capsys.readouterr().out


def test_of_two_versions_the_newest_is_looked_up():
    assert vulnerabilities.once([("b", "2.0"), ("a", "2.10"), ("a", "2.9")]) == [("a", "2.10"), ("b", "2.0")]


SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a token of a code host": r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20})",
    "a token of a hub or an index": r"\b(hf_[A-Za-z0-9]{30,}|pypi-AgEI[\w-]{50,}|npm_[A-Za-z0-9]{36})",
    "a key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}",
    "a token of a service": r"\b(xox[abprs]-[\w-]{10,}|sk-[A-Za-z0-9_-]{32,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.)",
    "a password": r"""(?i)\b(password|api_?key|secret_?key|access_?token)["']?\s*[=:]\s*["'][^"'{}<\s]{6,}["']""",
    "a password in an address": r"\b[a-z]+://[^\s/:@{}\"'<>]+:[^\s/:@{}\"'<>]+@\w",
}
PERSONAL = {
    # example.org and its like belong to nobody
    "an e-mail address": r"[\w.+-]+@(?!example\.(?:org|com|net)\b)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b",
    # "me" is whoever reads this
    "a home folder": r"(/home|/Users)/(?!me\b)\w+|\b[A-Za-z]:\\{1,2}Users\\{1,2}(?!me\b)\w+|(?<![\w/])/root/\w",
    "a folder of one machine": r"(?<![\w/.<>)\]}$~-])/(tmp|work|mnt|media|scratch)/(?!x/y\b)[\w.-]+/[\w.-]+",
    "a number of a telephone": r"(?<![\w.+-])\+\d{1,3}[ -]\d{2,4}[ -]\d{3,}[ -]?\d{2,}",
}


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout with git: there is no list of files that belong to it")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def found_in(text, patterns):
    return [f"{what}: {match[0][:60]}" for what, pattern in patterns.items() for match in re.finditer(pattern, text)]


def test_no_file_holds_a_secret_or_names_a_person_or_a_machine():
    found, read = {}, 0
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in (".png", ".npz"):
            continue
        text = path.read_text(encoding="utf-8")  # what is committed is text, but for pictures and evidence
        if path.suffix == ".ipynb":  # pictures in notebooks are letters by chance
            text = re.sub(r'"image/png": "[^"]*"', "", text)
        read += 1
        if problems := found_in(text, SECRETS | PERSONAL):
            found[str(path.relative_to(ROOT))] = problems
    assert read > 100
    assert found == {}


SEEN = [
    "-----BEGIN RSA PRIVATE KEY-----", "ghp_" + 36 * "a", "hf_" + 34 * "a", "AKIA" + 16 * "A", "xoxb-" + 12 * "1",
    'api_key = "0123456789"', "https://me:secret@example.org", "write to jane.doe@university.edu", "/home/jane/data",
    "C:\\Users\\jane", "in /tmp/here/there", "+49 30 1234567",
]  # fmt: skip


@pytest.mark.parametrize("text", SEEN)
def test_a_secret_or_a_person_is_seen(text):
    assert found_in(text, SECRETS | PERSONAL)


def test_pictures_say_nothing_but_their_resolution():
    for path in tracked():
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert set(picture.info) <= {"dpi"}, path  # no author, camera, place or path
                assert not picture.getexif(), path


def faces_in(picture):
    """How many faces the cascade of scikit-image finds."""
    cascade = feature.Cascade(data.lbp_frontal_face_cascade_filename())
    sizes = {"scale_factor": 1.2, "step_ratio": 1.5, "min_size": (24, 24), "max_size": (300, 300)}
    return len(cascade.detect_multi_scale(np.asarray(picture.convert("RGB")), min_neighbor_number=3, **sizes))


@pytest.mark.slow
def test_no_committed_figure_shows_a_face_of_a_real_person():
    real = set(corpora.KNOWN) - {"simulated"}  # of simulated people, faces may be shown
    figures = [path for path in tracked() if path.suffix == ".png" and real & set(path.relative_to(ROOT).parts)]
    assert len(figures) > 20
    for path in figures:
        with Image.open(path) as picture:
            assert not faces_in(picture), path


def test_faces_of_real_people_would_be_seen():
    """Those of Labeled Faces in the Wild that come with scikit-image, in pictures like figures."""
    faces = np.load(Path(data.__file__).with_name("lfw_subset.npy"))[:12]
    figure = np.full((110, 640), 255, np.uint8)
    for i, face in enumerate(faces):
        small = Image.fromarray((255 * face).astype(np.uint8)).resize((48, 48))
        figure[5 + 52 * (i % 2) :][:48, 5 + 105 * (i // 2) :][:, :48] = np.asarray(small)
    assert faces_in(Image.fromarray(figure)) >= 6
    simulated = ROOT / "results" / "quick" / "simulated" / "01_simulated_world" / "figures" / "identities.png"
    assert faces_in(Image.open(simulated)) > 10
    assert faces_in(Image.fromarray(np.full((110, 640), 255, np.uint8))) == 0
