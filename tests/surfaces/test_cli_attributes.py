"""The command line: attributes are written with the media, shown, and what media are found by."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia import MediaStore
from fsmedia.cli.app import parse_conditions
from fsmedia.models import AttributeValue
from fsmedia.models.attributes import condition_text, meets, parse_value, value_text
from tests.storages import LocalStorage
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, on_terminal, put, refused, tells

PROMPT = 'a cat [x]? *star* "q" > = ü'
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(2**53 - 2, 2**53 + 2)
NUMBERS = INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text() | st.sampled_from(["4", "-0.5", "true", "null", '"', "[", '["a"]', "NaN", "1e999", " 4"])


@pytest.fixture
def three(url: str, tmp_path: Path) -> dict[str, str]:
    """Store three media with attributes by the command; the third has none."""
    file = tmp_path / "a.txt"
    file.write_text("a")
    return {
        name: exits(0, "store", file, "--run", "r1", *shlex.split(words), "-s", url).stdout.strip()
        for name, words in {
            "cat": f'-a model=gpt-4o -a score=4.5 -a prompt={shlex.quote(PROMPT)} -a \'tags=["night", "city"]\'',
            "dog": "--attribute model=claude -a 'score=\"4.5\"' -a draft=true -a seed=9007199254740993 -a empty=",
            "bare": "",
        }.items()
    }


@given(NUMBERS | st.booleans() | TEXTS | st.lists(TEXTS))
def test_a_value_is_read_as_it_is_spelled(value: AttributeValue) -> None:
    read = parse_value(value_text(value))
    assert (read, type(read)) == (value, type(value))


@given(NUMBERS, NUMBERS)
@example(2**53 + 1, 2**53)
@example(-(2**53) - 1, -(2**53))
def test_bounds_leave_out_what_they_say(value: float, bound: float) -> None:
    """Whole numbers from 2**53 on have neighbours that no float is."""
    for sign, wanted in {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}.items():
        condition = parse_conditions([f"x{sign}{json.dumps(bound)}"])
        assert condition is not None
        assert meets(value, condition["x"]) == wanted, (sign, condition)


def test_store_writes_attributes_and_media_are_found_by_them(url: str, three: dict[str, str]) -> None:
    assert MediaStore(url).info(three["cat"]).attributes == {
        "model": "gpt-4o", "score": 4.5, "prompt": PROMPT, "tags": ["night", "city"],
    }  # fmt: skip
    assert MediaStore(url).info(three["dog"]).attributes == {
        "model": "claude", "score": "4.5", "draft": True, "seed": 2**53 + 1, "empty": "",
    }  # fmt: skip
    for line, names in {
        "-a 'model=gpt-*'": "cat",
        "-a 'model=*'": "cat dog",
        "-a '!model'": "bare",
        "-a score=4.5": "cat dog",
        "-a 'score=\"4.5\"'": "dog",
        "-a 'score>=4.5'": "cat",
        "-a 'score>4.5'": "",
        "-a 'score<4.6' -a 'score>4.4'": "cat",
        "-a ' score > 4.4 '": "cat",
        "-a tags=city": "cat",
        '-a \'model=["claude", "gpt-*"]\'': "cat dog",
        "-a draft=true -a '!tags'": "dog",
        "-a draft=1": "",
        "-a empty=": "dog",
        "-a 'seed>9007199254740992'": "dog",
        f"--attribute {shlex.quote('prompt=' + PROMPT.replace('*', chr(92) + '*'))}": "cat",
        "-a 'prompt=*[x]?*> = ü'": "cat",
        "-a 'prompt=*[a-z]*'": "",
        "-a 'prompt=*, and a comma'": "",
        "-a model=gpt-4o --run r2": "",
    }.items():
        found = exits(0, "ls", *shlex.split(line), "-s", url)
        assert sorted(found.stdout.split()) == sorted(three[name] for name in names.split()), line
        assert ("no media match" in found.stderr) == (not names), line


def test_every_command_that_takes_conditions_takes_these(
    url: str, three: dict[str, str], here: Path, tmp_path: Path
) -> None:
    asked, nobody = ["-a", "model=gpt-*", "-s", url], ["-a", "model=nobody", "-s", url]
    for words in (
        ["get", "--reference-names"],
        ["rm"],
        ["policy", "apply", "retain"],
        ["policy", "hold", "--reason", "why"],
    ):
        done = exits(0, *words, "--dry-run", *asked)
        assert done.stdout.split()[-1].rpartition("/")[2] == three["cat"].rpartition("/")[2], done.stdout
        tells(exits(0, *words, *nobody).stderr, "no media match")
    tells(exits(0, "export", "webdataset", "set", "-n", *asked).stdout, "would export 1 (")
    tells(exits(0, "sync", url, "copy", "-n", *asked[:2]).stdout, "would copy 1 (")
    tells(exits(0, "gallery", "-a", "score>4", "-a", "score<=5", "-s", url).stdout, "1 of 1 media")
    assert "Score &gt; 4.0 and &lt;= 5" in (here / "gallery.html").read_text()
    assert "no page is written" in refused(fsmedia("gallery", *nobody), 1)
    assert sorted(MediaStore(url).list()) == sorted(three.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x"], "x: says nothing about a value"),
        ([""], "says nothing about a value"),
        (["x==4"], "says nothing about a value"),
        (["x=>4"], "says nothing about a value"),
        (["x!=4"], "'x!' can't be a name"),
        (["!"], "'' can't be a name"),
        (["=4"], "'' can't be a name"),
        (["ünï=4"], "'ünï' can't be a name"),
        (["x>=a"], ">= compares with a number"),
        (["x<true"], "< compares with a number"),
        (["x>1e999"], "> compares with a number"),
        (["x>" + "9" * 400], "> compares with a number"),
        (["x=1", "x=2"], """x stands twice, which only a range does; any of several is 'x=["a", "b"]'"""),
        (["x>1", "x>2"], "x stands twice"),
        (["x>1", "x<3", "x>2"], "x stands twice"),
        (["x", "!x"], "says nothing"),
        (["x=1", "!x"], "x stands twice"),
        (["x>5", "x<5"], "no number is in this range of x"),
        (["x=[]"], "nothing is any of an empty list"),
        (["x=\udc80"], "lone surrogate"),
        ([HOSTILE], "says nothing"),
    ],
)
def test_a_wrong_condition_teaches_the_forms(words: list[str], said: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        parse_conditions(words)
    tells(harmless(caught.value.message), said, "'model=gpt-*', 'score>=4'", "'!draft'")
    assert len(caught.value.message) < 400


def test_wrong_words_are_one_line_and_store_nothing(url: str, here: Path) -> None:
    (here / "a.txt").write_text("a")
    tells(refused(fsmedia("ls", "-a", "x~4", "-s", url), 2), "--attribute: x~4: says nothing", "ls --help")
    for word, code, said in (
        ("model", 2, "must be NAME=VALUE, e.g. score=5, 'prompt=a cat'"),
        ("a b=1", 1, "'a b' can't be a name"),
        (f"x={'x' * 70_000}", 1, "store it as media of its own"),
    ):
        assert said in refused(fsmedia("store", "a.txt", "--run", "r1", "-a", word, "-s", url), code)
    twice = refused(fsmedia("store", "a.txt", "--run", "r1", "-a", "x=1", "-a", "x=2", "-s", url), 2)
    assert "'x' is given twice" in twice
    assert not Path(url).exists()


def test_a_condition_reads_as_it_was_written() -> None:
    for words, said in {
        ("x=4",): "x 4", ("x=true",): "x true", ("x=gpt-*",): "x gpt-*", ('x=["a", "b"]',): "x a or b", ("!x",): "no x",
        ("x>4",): "x > 4.0", ("x>=4", "x<5.5"): "x >= 4 and < 5.5", ("x<=0.1",): "x <= 0.1",
    }.items():  # fmt: skip
        condition = parse_conditions(words)
        assert condition is not None
        assert condition_text("x", condition["x"]) == said


def test_attributes_stand_one_a_line_and_a_long_list_shows_those_asked_for(url: str, three: dict[str, str]) -> None:
    lines = exits(0, "info", three["cat"], "-s", url).stdout.splitlines()
    shown = ["model   gpt-4o", f"prompt  {PROMPT}", "score   4.5", 'tags    ["night","city"]']
    assert lines[lines.index("  attributes") + 1 :] == [f"    {line}" for line in shown]
    assert '    score  "4.5"' in exits(0, "info", three["dog"], "-s", url).stdout.splitlines()
    assert "attributes" not in exits(0, "info", three["bare"], "-s", url).stdout
    assert answers("info", three["cat"], "-s", url)[0]["attributes"]["tags"] == ["night", "city"]
    assert answers("ls", "-a", "tags=night", "-s", url)[0]["attributes"]["prompt"] == PROMPT
    long = exits(0, "ls", "-l", "-a", "score=4.5", "-a", "!draft", "-a", "prompt=*", "-s", url).stdout.split("  ")
    assert long[-3:] == ["score=4.5", f"prompt={PROMPT}", f"{three['cat']}\n"]


def test_attributes_of_strangers_are_shown_and_command_no_terminal(url: str) -> None:
    """A sidecar may hold any of them: names and values that no caller of this package could have written."""
    reference = put(url, attributes={"note": HOSTILE})
    place = Path(url, f"{reference}.meta")
    sidecar = json.loads(place.read_text())
    sidecar["xattrs"] |= {"user.tags": [HOSTILE], f"user.{HOSTILE}": "x", "user.deep": {"a": HOSTILE}, "other": HOSTILE}
    sidecar["xattrs"]["user.long"] = "x" * 5000
    place.write_text(json.dumps(sidecar))
    for words in (["info", reference], ["info", "--json", reference], ["ls", "-l", "-a", "note=*", "-a", "tags=*"]):
        tells(harmless(exits(0, *words, "-s", url).stdout), "[red]x[/red]")
    shown = exits(0, "info", reference, "-s", url).stdout
    tells(shown, "other attributes", '"user.deep": {"a": ', "    note", "    tags")
    assert len(exits(0, "ls", "-l", "-a", "long=*", "-s", url).stdout) < 300


# -- annotate -------------------------------------------------------------------------------------------------


def test_annotate_writes_what_it_planned_and_says_so(at: list[str], opened: MediaStore, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a")
    words = ["-a", "draft=true", "-a", 'tags=["draft"]', "--caption", "old", "--provider", "openai"]
    reference = exits(0, "store", file, "--run", "r1", *words, *at).stdout.strip()
    opened.hold(reference, "case")
    changes = ["--set", "score=5", "--set", 'text="5"', "--set", f"prompt={PROMPT}", "--set", 'list=["a", "b"]']
    changes += [
        "--set",
        "empty=",
        "--unset",
        "draft",
        "--add",
        "tags=night",
        "--add",
        "tags=city",
        "--discard",
        "tags=draft",
    ]
    changes += ["--caption", "", "--provider-id", "me", "--file-name", "b.txt"]
    before, texts = opened.info(reference), 'tags=["night","city"]'
    shown = ["score=5", 'text="5"', f"prompt={PROMPT}", 'list=["a","b"]', "empty=", "!draft", texts, reference]
    planned = exits(0, "annotate", reference, *changes, "--dry-run", *at)
    assert (planned.stdout, planned.stderr) == ("  ".join(["would annotate", *shown]) + "\n", "")
    assert opened.info(reference) == before
    done = exits(0, "annotate", reference, *changes, *at)
    assert done.stdout == "  ".join(["annotated", *shown]) + "\n"
    record = opened.info(reference)
    wanted = {"score": 5, "text": "5", "prompt": PROMPT, "list": ["a", "b"], "empty": "", "tags": ["night", "city"]}
    assert record.attributes == wanted
    assert (record.caption, record.provider_id, record.file_name, record.hold) == (None, "me", "b.txt", "case")
    (told,) = answers("annotate", reference, "--set", "score=4.5", *at)
    assert told == opened.info(reference).model_dump(mode="json") | {"hold": told["hold"]}


def test_annotate_takes_the_conditions_of_ls(url: str, three: dict[str, str], local_storage: LocalStorage) -> None:
    local_storage.write("runs/r1/thesis.md", b"mine")
    words = ["annotate", "--run", "r1", "-a", "!score", "--set", "score=0", "-s", url]
    done = exits(0, *words)
    assert done.stdout == f"annotated  score=0  {three['bare']}\n"
    tells(done.stderr, "left out 1 files without sidecar")
    assert exits(0, "ls", "-a", "score=0", "-s", url).stdout.split() == [three["bare"]]
    nobody = exits(0, "annotate", "-a", "model=nobody", "--set", "x=1", "-s", url)
    assert (nobody.stdout, "no media match" in nobody.stderr) == ("", True)
    everyone = answers("annotate", "--run", "r1", "--add", "tags=seen", "--yes", "-s", url)
    assert [each["reference"] for each in everyone] == sorted(three.values())
    assert all("seen" in MediaStore(url).info(each).attributes["tags"] for each in three.values())


def test_annotate_goes_on_past_what_fails(url: str, three: dict[str, str]) -> None:
    gone, broken = "runs/r1/none.png", put(url)
    Path(url, f"{broken}.meta").write_bytes(b"{")
    done = exits(3, "annotate", gone, three["cat"], "--set", "x=1", "-s", url)
    assert (done.stdout, done.stderr.count("\n")) == (f"annotated  x=1  {three['cat']}\n", 1)
    tells(done.stderr, gone, "no such media")
    done = exits(1, "annotate", three["dog"], broken, gone, "--set", "x=1", "-s", url)
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (1, 2)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("REF", 2, "--set: is missing"),
        ("--run r1 -a score=5", 2, "--set: is missing"),
        ("--set x=1", 2, "name media, or say which by conditions"),
        ("REF -a x=1 --set x=1", 2, "beside conditions"),
        ("REF --set x", 2, "must be NAME=VALUE, e.g. score=5"),
        ("REF --set x=1 --set x=2", 2, "'x' is given twice"),
        ("REF --set x=1 --unset x", 2, "'x' is set too"),
        ("REF --add tags", 2, "must be NAME=TEXT, e.g. tags=night"),
        ("REF --set 'a b=1'", 1, "'a b' can't be a name"),
        ("REF --unset 'a b'", 1, "'a b' can't be a name"),
        ("REF --set x=1 --add x=a", 1, "x is given a value, and added to"),
        ("REF --file-name a/b", 1, "must be a file name"),
        ("REF --add score=a", 1, "score is 4.5, no list of text"),
    ],
)
def test_what_annotate_can_not_mean_is_one_line_and_changes_nothing(
    line: str, code: int, said: str, url: str, three: dict[str, str]
) -> None:
    before = MediaStore(url).info(three["cat"])
    words = [three["cat"] if word == "REF" else word for word in shlex.split(line)]
    assert said in refused(fsmedia("annotate", *words, "-s", url), code)
    assert MediaStore(url).info(three["cat"]) == before


def test_annotate_asks_first_where_many_are_meant(url: str, three: dict[str, str], tmp_path: Path) -> None:
    words = ["annotate", "--run", "r1", "--set", "x=1", "-s", url]
    code, shown = on_terminal(*words, cwd=tmp_path, answer=b"n\n")
    assert (code, b"Annotate 3 media" in shown, b"nothing was changed" in shown) == (1, True, True)
    assert exits(0, "ls", "-a", "x=1", "-s", url).stdout == ""
    code, shown = on_terminal(*words, cwd=tmp_path, answer=b"y\n")
    assert (code, shown.count(b"annotated  x=1  runs/r1/")) == (0, 3)


def test_what_strangers_wrote_commands_no_terminal_in_a_plan(url: str) -> None:
    reference = put(url, attributes={"note": HOSTILE, "tags": [HOSTILE]}, run_id=HOSTILE)
    for words in (
        ["--add", "tags=x"],
        ["--add", "tags=x", "--dry-run"],
        ["--set", f"x={HOSTILE}"],
        ["--set", f"{HOSTILE}=x"],
    ):
        harmless(fsmedia("annotate", reference, *words, "-s", url).output)
