"""That what the README and the book's pages tell people to do can be done, and gives what they say."""

import doctest
import re
import shlex

import pytest

from uncertain_affect.compute.paths import project_root
from uncertain_affect.evidence import printed
from uncertain_affect.run import cli

ROOT = project_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "site").glob("*.md"))]
BLOCKS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands(page):
    for block in BLOCKS.findall(page.read_text(encoding="utf-8")):
        yield from (line.partition("  #")[0].strip() for line in block.splitlines() if line.strip())


def test_the_readme_is_short_and_its_lines_of_code_give_what_it_says():
    assert len(README.splitlines()) <= 150
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert (failed, tried) == (0, 6)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_papers_and_notebooks_are_all_named():
    for key in printed.keys():
        info = printed.load(key).info
        assert f"[{info['title']}]({info['url']})" in README
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"notebooks/{path.name}" in README or path.name.startswith("00_")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_known(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands(page):
        if not command.removeprefix(".venv/bin/").startswith(("make ", "uncertain-affect ")):
            continue
        words = shlex.split(command.removeprefix(".venv/bin/").partition(" && ")[0])
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command
        elif "--help" not in words:
            cli._parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_fits_its_page(page):
    for block in BLOCKS.findall(page.read_text(encoding="utf-8")):
        assert max(map(len, block.splitlines())) <= 96, block
