"""What was learned, kept in the store: whole or not at all, and never trusted more than its bytes deserve."""

import dataclasses
import io
import os
import pickle
import pickletools
import sqlite3
import subprocess
from collections import Counter, deque
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from workload import DAY, MONDAY, calls

from tracewatch.judge import NEEDS, Judge, chosen
from tracewatch.live import baselines, sealing
from tracewatch.live.baselines import Restored, forget, restore, revision_of, save
from tracewatch.live.state import State
from tracewatch.records import Baseline, as_dict, json_schema
from tracewatch.stores import Filter, open_store

NONE = Restored(state=None, revision=0, parts=0)


@pytest.fixture(scope="module")
def state():
    """A judge who has seen three days."""
    judge = Judge()
    for batch in calls(days=3).to_batches():
        part = chosen(batch, NEEDS)
        judge.feed({name: part.column(name).to_numpy(zero_copy_only=False) for name in part.schema.names})
    judge.judge(MONDAY + 3 * DAY)
    state = State(judge=judge)
    state.reading.rows, state.reading.cursor, state.reading.judged = 900, "llm_traces:900", MONDAY + 3 * DAY
    return state


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "watch.db"), create=True) as store:
        yield store


def seal(state):
    """The bytes of a state."""
    sealed = io.BytesIO()
    sealing.seal(state, sealed)
    return sealed.getvalue()


def unseal(data):
    """What these bytes hold."""
    return sealing.unseal(io.BytesIO(data))


def parts_of(store, project="default"):
    found = store.page(Baseline, [Filter("project", "=", (project,))], limit=1000).records
    return sorted(found, key=lambda each: each.part)


def same(one, other):
    """Whether two states are equal; a second time, because only what was read shares its words throughout."""
    return seal(unseal(seal(one))) == seal(unseal(seal(other)))


def test_a_state_comes_back_as_it_was(store, state):
    saved = save(store, "default", state, NONE, MONDAY)
    found = restore(store, "default")
    assert (saved.revision, found.revision, found.parts, found.unusable) == (1, 1, saved.parts, "")
    assert same(found.state, state)
    (first, *_) = parts_of(store)
    assert (first.learned_rows, first.learned_until, first.cursor) == (900, MONDAY + 3 * DAY, "llm_traces:900")
    assert first.size == len(seal(state))


def test_a_state_in_parts_is_one(store, state, monkeypatch):
    monkeypatch.setattr(baselines, "PART_BYTES", 1000)
    saved = save(store, "default", state, NONE, MONDAY)
    assert saved.parts == len(parts_of(store)) > 20
    assert same(restore(store, "default").state, state)
    monkeypatch.undo()
    saved = save(store, "default", state, saved, MONDAY + 1)
    assert [each.revision for each in parts_of(store)] == [2] * saved.parts
    assert same(restore(store, "default").state, state)


def test_who_did_not_restore_the_last_state_does_not_replace_it(store, state):
    first = save(store, "default", state, NONE, MONDAY)
    assert save(store, "default", State(judge=Judge()), NONE, MONDAY + 1) is None
    second = save(store, "default", state, first, MONDAY + 2)
    assert save(store, "default", State(judge=Judge()), first, MONDAY + 3) is None
    assert revision_of(store, "default") == second.revision == 2
    assert same(restore(store, "default").state, state)


def test_projects_keep_what_they_learned_apart(store, state):
    save(store, "one", state, NONE, MONDAY)
    assert restore(store, "other").state is None
    save(store, "other", State(judge=Judge()), NONE, MONDAY)
    forget(store, "other")
    assert revision_of(store, "other") == 0
    assert restore(store, "one").state is not None


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda part: {"state": part.state[:-1] + bytes([part.state[-1] ^ 1])}, "it is damaged"),
        (lambda part: {"state": b""}, "it is damaged"),
        (lambda part: {"parts": part.parts + 1}, "it is damaged"),
        (lambda part: {"size": 2**62}, "it is damaged"),
        (lambda part: {"size": part.size - 1}, "it cannot be read"),
        (lambda part: {"version": "1-0"}, "another version of tracewatch wrote it"),
    ],
)
def test_what_cannot_be_used_says_why(store, state, damage, why):
    save(store, "default", state, NONE, MONDAY)
    (part,) = parts_of(store)
    store.put([dataclasses.replace(part, **damage(part))])
    found = restore(store, "default")
    assert found.state is None
    assert why in found.unusable
    assert save(store, "default", state, found, MONDAY + 1).revision == 2


def test_what_a_stranger_wrote_into_the_table_is_damage(store, state):
    save(store, "default", state, NONE, MONDAY)
    with sqlite3.connect(store.url) as connection:
        connection.execute("UPDATE tracewatch_baselines SET state = 'text', revision = 'many', part = 'first'")
    connection.close()
    found = restore(store, "default")
    assert found.unusable == "it is damaged"
    assert revision_of(store, "default") == 0
    assert save(store, "default", state, found, MONDAY + 1).revision == 1
    assert same(restore(store, "default").state, state)


# Nobody else's code.


class Evil:
    """What an attacker's pickle asks for."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


HOSTILE = {
    "os.system": lambda path: pickle.dumps(Evil(os.system, f"touch {path}")),
    "subprocess": lambda path: pickle.dumps(Evil(subprocess.run, ["touch", str(path)])),
    "eval": lambda path: pickle.dumps(Evil(eval, f"open({str(path)!r}, 'w')")),
    "open": lambda path: pickle.dumps(Evil(open, str(path), "w")),
    "old protocol": lambda path: f"cos\nsystem\n(S'touch {path}'\ntR.".encode(),
    "getattr": lambda path: pickle.dumps(Evil(getattr, [], "append")),
    "a path of names": lambda path: b"\x80\x04\x8c\x17tracewatch.live.sealing\x8c\x0ekcopyreg.sys\x93.",
    "a module of ours": lambda path: b"\x80\x04\x8c\x1btracewatch.live.state\x8c\x08np.load\x93.".replace(
        b"\x1b", b"\x15"
    ),
    "a function of ours": lambda path: b"ctracewatch.incidents\nidentity\n.",
    "what our modules imported": lambda path: b"ctracewatch.judge\npa\n.",
    "a class our modules imported": lambda path: b"ctracewatch.live.state\nJudge\n.",
    "a store": lambda path: b"ctracewatch.stores.sqlite\nSqliteStore\n.",
    "numpy's own way": lambda path: pickle.dumps(np.zeros(3)),
    "an array of objects as bytes": lambda path: _array("|O8", (1,), b"\x00" * 8),
    "an array larger than its bytes": lambda path: _array("<f8", (10**12,), b"\x00" * 8),
    "an array with pointers in a field": lambda path: _array((("a", "|O8"),), (1,), b"\x00" * 8),
    "half a state": lambda path: seal({"a": 1})[:-3],
    "nothing": lambda path: b"",
}


def _array(kind, shape, data):
    """A pickle that asks for an array our writer would not make."""
    return pickle.dumps(Evil(sealing.make_array, kind, shape, "C", data))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_runs_nothing(store, state, tmp_path, name):
    path = tmp_path / "was-here"
    data = HOSTILE[name](path)
    with pytest.raises(pickle.UnpicklingError):
        unseal(data)
    save(store, "default", state, NONE, MONDAY)
    (part,) = parts_of(store)
    compressed = pa.compress(data or b"\0", codec=baselines.CODEC, asbytes=True)
    checksum = blake2b(compressed, digest_size=16).hexdigest()
    store.put([dataclasses.replace(part, state=compressed, size=len(data) or 1, checksum=checksum)])
    assert restore(store, "default").unusable.startswith("it cannot be read")
    assert not path.exists()


def test_an_object_that_is_no_state_is_refused(store, state):
    save(store, "default", state, NONE, MONDAY)
    (part,) = parts_of(store)
    compressed = pa.compress(seal([1]), codec=baselines.CODEC, asbytes=True)
    checksum = blake2b(compressed, digest_size=16).hexdigest()
    store.put([dataclasses.replace(part, state=compressed, size=len(seal([1])), checksum=checksum)])
    assert restore(store, "default").unusable == "it is no state of ours"


def test_a_state_names_our_classes_and_containers_alone(state):
    named = {
        argument.split(" ")[0]
        for operation, argument, _ in pickletools.genops(seal(state))
        if operation.name == "GLOBAL"
    }
    assert not named
    strings = Counter(
        argument for operation, argument, _ in pickletools.genops(seal(state)) if operation.name == "SHORT_BINUNICODE"
    )
    modules = {each for each in strings if each.startswith(("numpy", "tracewatch", "builtins", "collections"))}
    ours = {*sealing.ROOMS, sealing.__name__, "builtins", "collections"}
    assert modules
    assert all(each in ours or each.startswith("tracewatch.detectors.adaptive.") for each in modules)


def test_arrays_and_containers_come_back_as_they_were():
    rows = np.zeros(3, [("tick", "<i4"), ("z", "<f4")])
    rows["z"] = [1.5, np.nan, -0.0]
    shared = np.arange(4.0)
    given = {
        "wide": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "words": np.array(["a", None, 3], object),
        "flags": np.zeros((2, 0), bool),
        "rows": rows,
        "twice": [shared, shared],
        "numbers": (np.float64(0.1), np.int64(-3), np.bool_(True), np.float32(0.1)),
        "others": (deque([1, 2], maxlen=5), Counter("aab"), {1, 2}, frozenset("x"), 1 << 70, slice(1, 2)),
    }
    found = unseal(seal(given))
    assert found["wide"].flags.f_contiguous
    assert found["wide"].tolist() == given["wide"].tolist()
    assert found["words"].tolist() == ["a", None, 3]
    assert found["flags"].shape == (2, 0)
    assert found["rows"].tobytes() == rows.tobytes()
    assert found["rows"].dtype == rows.dtype
    assert found["twice"][0] is found["twice"][1]
    assert [type(each) for each in found["numbers"]] == [np.float64, np.int64, np.bool_, np.float32]
    assert found["numbers"] == given["numbers"]
    assert found["others"] == given["others"]
    found["twice"][0][0] = 7.0  # ours to change


def test_a_baseline_leaves_as_json(state):
    part = Baseline(
        detector="adaptive", part=0, parts=1, revision=1, version="v", checksum="c", size=2, updated_at=MONDAY,
        learned_rows=0, cursor="", state=b"\x00\xff",
    )  # fmt: skip
    assert as_dict(part)["state"] == "AP8="
    assert json_schema(Baseline)["properties"]["state"]["contentEncoding"] == "base64"


def test_the_version_changes_with_the_code(tmp_path, monkeypatch):
    before = sealing.version()
    source = tmp_path / "state.py"
    source.write_text("LIMIT = 5\n")
    monkeypatch.setattr(sealing, "_files", lambda room: [source])
    sealing.version.cache_clear()
    one = sealing.version()
    source.write_text("LIMIT = 6\n")
    sealing.version.cache_clear()
    assert len({before, one, sealing.version()}) == 3
    sealing.version.cache_clear()
