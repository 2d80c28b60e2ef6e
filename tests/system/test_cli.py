"""Manual pages and shell completion, which are made of what the programs say of themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from router import PROJECT, SLUICECTL, SLUICED
from trafgen import TRAFGEN

PAGES = {"sluicectl.1": SLUICECTL, "sluiced.8": SLUICED, "sluice-trafgen.1": TRAFGEN}


def help_of(program: Path, *words: str) -> str:
    return subprocess.run([str(program), *words, "--help"], capture_output=True, text=True, check=True).stdout


def commands_of(program: Path, *words: str) -> list[tuple[str, ...]]:
    found = re.search(r"^Subcommands:\n((?:  .*\n)+)", help_of(program, *words), re.M)
    names = re.findall(r"^  ([\w-]+)", found[1], re.M) if found else []
    return [inner for name in names for inner in ((*words, name), *commands_of(program, *words, name))]


def options_of(program: Path, *words: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[\w-]+", "\n".join(
        line for line in help_of(program, *words).splitlines() if line.startswith("  -")))) - {"--help"}


@pytest.mark.parametrize("page", PAGES)
def test_manual_page_has_every_option_and_is_sound(page: str, tmp_path: Path) -> None:
    program = PAGES[page]
    made = tmp_path / page
    subprocess.run([str(PROJECT / "scripts/man-page"), str(PROJECT / f"docs/man/{page}.in"), str(program), str(made)],
                   check=True)
    text = re.sub(r"\\f[BIR]", "", made.read_text().replace("\\-", "-"))
    wanted = options_of(program).union(*(options_of(program, *words) for words in commands_of(program)))
    assert len(wanted) > 10
    missing = {option for option in wanted if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)}
    assert not missing
    for words in commands_of(program):
        assert f".SS {' '.join(words)}\n" in text
    if shutil.which("mandoc"):
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(made)], capture_output=True, text=True)
        assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("page, source, names", [
    ("ingress-nginx-conf.1", "tools/ingress-nginx-conf", r'add_argument\("(--[\w-]+)"'),
    ("sluice-cni.8", "tools/cni/cni.cpp", r'"(CNI_\w+)"'),
    ("sluicectl.1.in", "tools/sluicectl/server_options.cpp", r'"(SLUICE_\w+)"'),
])
def test_manual_page_names_what_the_source_reads(page: str, source: str, names: str) -> None:
    written = (PROJECT / "docs/man" / page).read_text()
    text = re.sub(r"\\f[BIR]", "", written.replace("\\-", "-"))
    wanted = set(re.findall(names, (PROJECT / source).read_text()))
    assert len(wanted) > 4
    assert not {name for name in wanted if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)}
    if shutil.which("mandoc") and not page.endswith(".in"):
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=written, capture_output=True, text=True)
        assert lint.returncode == 0, lint.stdout


def bash_candidates(line: str) -> list[str]:
    """What bash offers behind `line`, with the script that sluicectl gives it."""
    script = f"""
PATH={SLUICECTL.parent}:$PATH
eval "$(sluicectl completion bash)"
COMP_LINE=$1
read -r -a COMP_WORDS <<< "$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_POINT=${{#COMP_LINE}}
_sluicectl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True, check=True,
                          cwd=PROJECT)
    return done.stdout.split()


@pytest.mark.parametrize("line, wanted", [
    ("sluicectl dr", ["drain"]),
    ("sluicectl get serv", ["services"]),
    ("sluicectl get services -o ", ["json", "table", "wide", "yaml"]),
    ("sluicectl get services -o w", ["wide"]),
    ("sluicectl get flows --reply-s", ["--reply-src"]),
    ("sluicectl get flows --reply-port-", ["--reply-port-dst", "--reply-port-src"]),
    ("sluicectl completion ", ["bash", "fish", "zsh"]),
    ("sluicectl --socket /x events --ty", ["--types"]),
    ("sluicectl events --sock", ["--socket"]),  # those of the program may stand behind a command
    ("sluicectl conntrack --du", ["--dump"]),  # in a group of options
    ("sluicectl conntrack -e ", ["DESTROY", "NEW"]),
    ("sluicectl events --types co", []),
    ("sluicectl apply -f meson_op", ["meson_options.txt"]),
    ("sluicectl weather ", []),
])
def test_completion_in_bash(line: str, wanted: list[str]) -> None:
    assert bash_candidates(line) == wanted


def test_completion_offers_every_command() -> None:
    assert set(bash_candidates("sluicectl ")) == {words[0] for words in commands_of(SLUICECTL) if len(words) == 1}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_sound(shell: str) -> None:
    script = subprocess.run([str(SLUICECTL), "completion", shell], capture_output=True, text=True, check=True).stdout
    assert "__complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
