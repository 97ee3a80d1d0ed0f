"""Media in logs that inspect_ai itself wrote, with a model that answers from a list and no network."""

import base64
import hashlib
import json
import sys
import zipfile
from itertools import product
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log, write_eval_log  # and teaches zipfile the third method

from fsmedia import MediaNotFoundError, MediaStore, StorageError, import_inspect
from fsmedia.exchange import inspect_logs
from tests.clients.test_media import painted
from tests.contract.specimens import raised
from tests.style.project import run_python
from tests.surfaces.commands import fsmedia, refused
from tests.surfaces.specimens import sound

EVALUATE = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import *
from inspect_ai.scorer import match
from inspect_ai.solver import generate
urls = json.loads(sys.argv[3])
user = lambda *parts: [ChatMessageUser(content=list(parts))]
samples = [
    Sample(id="a/b", target="x", input=user(
        ContentText(text="look"), ContentImage(image=urls["red"], detail="low"),
        ContentAudio(audio=urls["sound"], format="wav"))),
    Sample(id=2, target="x", input=user(
        ContentDocument(document=urls["paper"], filename="../../etc/x.pdf"),
        ContentText(text="and"), ContentVideo(video=urls["film"], format="mp4"),
        ContentImage(image=urls["red"]))),
]
answer = lambda *parts: ChatCompletionChoice(
    message=ChatMessageAssistant(content=list(parts), model="model-2"), stop_reason="stop")
usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
output = ModelOutput(model="mockllm/model", response_id="resp-1", usage=usage, choices=[
    answer(ContentText(text="here"), ContentImage(image=urls["blue"])), answer(ContentImage(image=urls["green"]))])
[log] = eval(
    Task(name="draw", dataset=samples, solver=[generate()], scorer=match()), epochs=2, display="none",
    log_dir=sys.argv[1], model=get_model("mockllm/model", custom_outputs=[output] * 4), log_format=sys.argv[2],
    log_images=sys.argv[4] == "images")
print("LOG", json.dumps([log.status, log.location, log.eval.run_id, log.eval.eval_id]))
"""

ZSTANDARD = 93  # how inspect_ai packs by default

DATA = {
    **{colour: ("image/png", painted(colour)) for colour in ("red", "blue", "green")},
    "sound": ("audio/wav", sound(0.1)),
    "paper": ("application/pdf", b"%PDF-1.4 tiny"),
    "film": ("video/mp4", b"\0\0\0\x18ftypmp42\0\0\0\0"),
}
URLS = {name: f"data:{kind};base64,{base64.b64encode(data).decode()}" for name, (kind, data) in DATA.items()}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, (_, data) in DATA.items()}
# Which media a sample has: message, part, name, whether the model made it.
PLACES = {
    "draw/a/b": [(0, 1, "red", False), (0, 2, "sound", False), (1, 1, "blue", True), (2, 0, "green", True)],
    "draw/2": [(0, 0, "paper", False), (0, 2, "film", False), (0, 3, "red", False), (1, 1, "blue", True),
               (2, 0, "green", True)],
}  # fmt: skip
INSPECT = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
try:
    task = Task(dataset=[Sample(input="hey", target="hey")])
    logs = eval(task, model="mockllm/model", log_dir=sys.argv[1], display="none")
except BaseException as error:
    print("RAISED", repr(error), repr(error.__context__))
    raise
print("STATUS", logs[0].status, logs[0].location, logs[0].error)
"""


@pytest.fixture(scope="module")
def evaluate(forks, tmp_path_factory):
    """Give what lets inspect_ai run an evaluation: it returns its log, its run's id and its own."""

    def evaluated(form="eval", images="images"):
        folder = tmp_path_factory.mktemp("inspect")
        env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        words = (folder / "logs", form, json.dumps(URLS), images)
        _, told, said = forks("inspect_ai").run(EVALUATE, words, env, folder)
        assert "LOG" in told, told + said
        status, location, run_id, eval_id = json.loads(told.rpartition("LOG")[2])
        assert status == "success"
        return Path(location.removeprefix("file://")), run_id, eval_id

    return evaluated


@pytest.fixture(scope="module", params=["eval", "json"])
def log(request, evaluate):
    return evaluate(request.param)


@pytest.fixture
def store(memory_storage):
    return MediaStore(memory_storage.url)


def test_every_media_of_every_sample_is_taken_in_once(store, log):
    file, run_id, eval_id = log
    planned = import_inspect(store, file, dry_run=True)
    assert list(store.list()) == []
    report = import_inspect(store, file.parent, policy_name="retain-1days")  # the folder
    assert (report.failed, report.skipped, len(report.stored)) == ((), (), 18)
    assert [each.source for each in planned.stored] == [each.source for each in report.stored]
    found = {}
    for each in report.stored:
        record = store.info(each.reference)
        assert (record.run_id, record.session_id) == (run_id, eval_id)
        assert None not in (record.timestamp, record.expires_at)
        place = (record.message_idx, record.part_idx)
        found.setdefault(record.conversation_id, {})[place] = record
        assert each.source.startswith(f"inspect:{eval_id}#")
    assert found.keys() == {f"{name}/{epoch}" for name in PLACES for epoch in (1, 2)}
    for (name, places), epoch in product(PLACES.items(), (1, 2)):
        records = found[f"{name}/{epoch}"]
        assert len(records) == len(places)
        for message, part, media, made in places:
            record = records[message, part]
            told = (record.sha256, record.mime_type, record.provider_id)
            assert told == (DIGESTS[media], DATA[media][0], "mockllm/model" if made else "")
            assert store.retrieve_media(record.reference).read_bytes() == DATA[media][1]
            about = {"task": "draw", "sample_id": 2 if name == "draw/2" else "a/b", "epoch": epoch, "score.match": "I"}
            answer = {"model": "model-2", "finish_reason": "stop", "response_id": "resp-1"} if made else {}
            assert {**record.attributes, "source": ""} == {**about, **answer, "source": ""}
    assert [found["draw/2/1"][0, part].file_name for part in (0, 2)] == ["x.pdf", None]
    assert (found["draw/a/b/1"][0, 1].detail, found["draw/2/1"][0, 0].caption) == ("low", "../../etc/x.pdf")
    again = import_inspect(store, [file, file])
    assert (again.stored, again.unchanged) == ((), 18)  # each log once


def test_pictures_that_were_left_out_of_a_log_are_told(store, evaluate):
    file, _, _ = evaluate(images="none")
    report = import_inspect(store, file)
    assert report.failed == ()
    reasons = {each.reason for each in report.skipped}
    assert "its bytes were left out when the log was written (log_images=False)" in reasons
    # inspect_ai strips messages and events, not the other choices of a model.
    assert all("/messages/2/" in each.source for each in report.stored)


def test_attachments_that_no_message_names_are_taken_in_too(store, log, tmp_path):
    changed = read_eval_log(log[0])
    sample, other_sample = ({each.id: each for each in changed.samples or ()}[name] for name in ("a/b", 2))
    sample.attachments["0" * 32] = URLS["film"]
    sample.attachments["1" * 32] = "only text, " * 20
    sample.attachments["2" * 32] = "data:image/png;base64,???"
    [shown] = [part for part in other_sample.messages[0].content if part.type == "image"]
    shown.image = "http://127.0.0.1:9/x.png"  # what it showed before is named by no message now
    [heard] = [part for part in sample.messages[0].content if part.type == "audio"]
    heard.audio = "/etc/passwd"
    other = tmp_path / "changed.json"
    write_eval_log(changed, other)
    report = import_inspect(store, other)
    left = {store.info(each.reference).sha256: each for each in report.stored if "/attachments/" in each.source}
    assert left.keys() == {DIGESTS["film"], DIGESTS["red"], DIGESTS["sound"]}
    assert left[DIGESTS["film"]].source.endswith("/attachments/" + "0" * 32)
    assert store.info(left[DIGESTS["film"]].reference).message_idx == 3
    assert ["base64" in str(each.error) for each in report.failed] == [True]
    reasons = {"names only a URL, and URLs are not fetched", "names a file elsewhere"}
    assert {each.reason for each in report.skipped} == reasons


def test_damaged_logs_are_told_and_the_next_one_is_read(store, log, tmp_path, monkeypatch):
    (tmp_path / "empty.eval").write_bytes(b"")
    (tmp_path / "cut.eval").write_bytes(log[0].read_bytes()[:500])
    (tmp_path / "no.json").write_text('{"a": ' * 5000)
    with zipfile.ZipFile(tmp_path / "bomb.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", bytes(3_000_000))
    monkeypatch.setattr(inspect_logs, "LARGEST_MEMBER", 2_000_000)
    report = import_inspect(store, [*sorted(tmp_path.iterdir()), log[0]])
    assert len(report.stored) == 18
    assert {Path(each.source).name for each in report.failed} == {"empty.eval", "cut.eval", "no.json", "bomb.eval"}
    assert all(str(each.error).isprintable() and len(str(each.error)) < 600 for each in report.failed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, ZSTANDARD])
def test_a_log_that_lies_about_its_sizes_is_not_unpacked(method, store, tmp_path, monkeypatch):
    """The reader of logs unpacks a member at once, whatever size it claims: a megabyte took gigabytes."""
    given = []
    monkeypatch.setattr(inspect_logs, "_opened", lambda _, file: given.append(file) or (None, []))
    for name, claimed in (("lie", 1000), ("true", 30_000_000)):
        with zipfile.ZipFile(tmp_path / f"{name}.eval", "w", method) as archive:
            archive.writestr("header.json", b" " * 30_000_000)
            archive.infolist()[0].file_size = claimed
    (failure,) = import_inspect(store, tmp_path).failed
    assert Path(failure.source).name == "lie.eval"
    assert "header.json" in str(failure.error)
    assert [file.name for file in given] == ["true.eval"]


def test_what_is_no_log_or_not_there_is_an_error_also_of_the_command(store, tmp_path, monkeypatch):
    raised(MediaNotFoundError, import_inspect, store, tmp_path / "x.eval", match="no such log")
    words = ("import", "inspect", tmp_path / "x.eval", "-s", tmp_path / "media")
    assert "no such log" in refused(fsmedia(*words), 3)
    (tmp_path / "x.eval").write_bytes(b"no log")
    result = fsmedia(*words)
    assert (result.exit_code, "x.eval" in result.stderr) == (1, True)
    # Without inspect_ai the error names the package, and nothing else loads it.
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    raised(StorageError, import_inspect, store, "x.eval", match="pip install inspect-ai")
    code = "import sys, fsmedia.cli, fsmedia.exchange, fsmedia.exchange\nfsmedia.import_inspect\n"
    done = run_python(code + "print([n for n in ('inspect_ai', 'pyarrow', 'PIL') if n in sys.modules])", cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout


# -- logs written into a store -------------------------------------------------------------------------------
def test_inspect_ai_logs_by_environment_and_on_a_chain_is_refused_and_leaves_no_key(lab, run):
    before = lab.server_keys()
    code, told, said = run(INSPECT, lab.url("runs/logs"), library="inspect_ai", **lab.environment)
    assert (code != 0, "STATUS" in told) == (True, False)
    assert "do not have write permission" in told, told + said
    assert lab.server_keys() == before
    _, told, said = run(INSPECT, "media://runs/logs", library="inspect_ai", **lab.environment)
    # Whatever the evaluation itself comes to (its tokenizer may want the network), its log lies in the store.
    assert "STATUS" in told, told + said
    [file] = lab.fs.glob("runs/logs/*.eval")
    with lab.fs.open(file) as stored, zipfile.ZipFile(stored) as archive:
        assert "_journal/start.json" in archive.namelist()
