import os
import subprocess
import sys
from pathlib import Path

from parsers import PARSERS

from uncertain_affect.corpora import KNOWN

DRIVER = Path(__file__).with_name("fuzz.py")


def test_every_corpus_and_tool_output_has_a_parser_to_fuzz():
    assert {name.partition(" ")[0] for name in PARSERS} >= {*KNOWN, "tones", "openface"} - {"simulated"}


def test_without_atheris_it_says_so_and_claims_nothing(tmp_path):
    (tmp_path / "atheris.py").write_text("raise ImportError")
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, str(DRIVER), "--seconds", "1"], env=here, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Nothing was fuzzed: atheris is not installed" in done.stdout
