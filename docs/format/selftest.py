"""Compares what the reader finds in the test vectors with what they state."""

from __future__ import annotations

import hmac
import importlib.util
import json
from pathlib import Path
from typing import Any

import baktainer_reader as reader
from baktainer_reader import Entry, Pack, Problem, Repository, Snapshot, derive


def run(folder: Path) -> int:
    """folder has vectors.json, store and streams. Every difference is a line."""
    want = json.loads((folder / "vectors.json").read_text("utf-8"))
    store = reader.Store(str(folder / "store"))
    differences: list[str] = []
    openers = {"key file": reader.key_file(want["key_file"])}
    if importlib.util.find_spec("argon2"):
        openers["passphrase"] = reader.passphrase(want["passphrase"])
    else:
        print("passphrase: not tried, there is no module argon2")
    for name, opener in openers.items():
        try:
            repo = Repository(store, opener)
            got = describe(repo, want, folder)
        except Problem as e:
            differences.append(f"{name}: {e}")
            continue
        differences += [f"{name}: {line}" for line in compare("", got, want)]
        if reader.check(repo):
            differences.append(f"{name}: check finds damage")
    differences += keys(json.loads((folder / "keys.json").read_text("utf-8")))
    for line in differences:
        print(line)
    print(f"{len(want['snapshots'])} snapshots, {len(want['packs'])} packs: {len(differences)} differences")
    return 1 if differences else 0


def keys(want: dict[str, Any]) -> list[str]:
    """The slots of keys.json and what else it has of keys; age slots are not for this reader."""
    repo = object.__new__(Repository)
    repo.id, repo.masters = want["repository"], {}
    got: list[Any] = []
    stated: list[Any] = []
    for slot in want["slots"]:
        fields = json.loads(slot["object"])
        if fields["type"] == "keyfile":
            opener = reader.key_file(slot["key"])
        elif fields["type"] == "passphrase" and importlib.util.find_spec("argon2"):
            opener = reader.passphrase(slot["key"])
        else:
            continue
        name = f"keys/{fields['id']}"
        stated.append([slot["what"], slot["wrap"], {fields["generation"]: slot["master"]}])
        wrap = opener(reader.Fields(slot["object"].encode(), name)) or b""
        opened = repo.open_slot(slot["object"].encode(), name, opener)
        got.append([slot["what"], wrap.hex(), {g: master.hex() for g, master in opened.items()}])
    for e in want["earlier"]:
        repo.masters = {e["generation"]: bytes.fromhex(e["master"])}
        opened = repo.open_earlier(bytes.fromhex(e["object"]), f"keys/earlier/{e['generation']:010}")
        stated.append({e["generation"] - 1: e["earlier"]})
        got.append({g: master.hex() for g, master in opened.items()})
    first = reader.Fields(want["slots"][0]["object"].encode(), "")
    for text in want["key_file_as_typed"]:
        stated.append(want["slots"][0]["wrap"])
        got.append((reader.key_file(text)(first) or b"").hex())
    for s in want["source_keys"]:
        stated.append(s["key"])
        got.append(derive(bytes.fromhex(s["master"]), "baktainer/1 source", s["source"].encode()).hex())
    return compare("keys.json", got, stated)


def compare(path: str, got: Any, want: Any) -> list[str]:
    """Where two JSON values differ."""
    if isinstance(got, dict) and isinstance(want, dict) and got.keys() == want.keys():
        return [line for key in got for line in compare(f"{path}.{key}", got[key], want[key])]
    if isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        return [line for i in range(len(got)) for line in compare(f"{path}[{i}]", got[i], want[i])]
    return [] if got == want else [f"{path} is {str(got)[:100]}, the vectors say {str(want)[:100]}"]


def describe(repo: Repository, want: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The whole of vectors.json, from the store; want tells only what is to be looked for."""
    got: dict[str, Any] = {"key_file": want["key_file"], "passphrase": want["passphrase"], "repository": repo.id}
    got["masters"] = [
        {"generation": g, "key": master.hex(), "sources": [source(repo, g, s["source"]) for s in m["sources"]]}
        for (g, master), m in zip(sorted(repo.masters.items()), want["masters"])
    ]
    got["ledger"], got["snapshots"], got["packs"] = [], [], []
    seen: set[str] = set()
    for (_, entry), stated in zip(reader.entries(repo), want["snapshots"]):
        if not isinstance(entry, Entry):
            raise entry
        got["ledger"].append({"index": entry.index, "entry": entry.json.decode(), "hash": entry.hash})
        snapshot = Snapshot(repo, entry)
        got["snapshots"].append(describe_snapshot(snapshot, entry, stated, folder))
        for ref in snapshot.manifest.packs:
            if ref.id not in seen:
                seen.add(ref.id)
                got["packs"].append(describe_pack(snapshot.reader, snapshot.reader.pack(ref.id)))
    return got


def source(repo: Repository, generation: int, name: str) -> dict[str, Any]:
    key = repo.source_key(name, generation, "")
    gear_key = derive(key, "baktainer/1 gear")
    table, block = b"", b""
    for i in range(2048 // 32):  # HKDF-Expand
        block = hmac.digest(gear_key, block + b"baktainer/1 gear table" + bytes([i + 1]), "sha256")
        table += block
    ends = [f"{int.from_bytes(number, 'little'):016x}" for number in (table[:8], table[-8:])]
    chunk_key = derive(key, "baktainer/1 chunk").hex()
    return {"source": name, "key": key.hex(), "chunk_key": chunk_key, "gear_key": gear_key.hex(), "gear_table_first_and_last": ends}


def describe_snapshot(snapshot: Snapshot, entry: Entry, stated: dict[str, Any], folder: Path) -> dict[str, Any]:
    m = snapshot.manifest
    streams = []
    for stream, s in zip(m.streams, stated["streams"]):
        content = b"".join(snapshot.chunks(stream))  # which compares it with its hash
        fields = stream._asdict() | {"sha256": stream.sha256.hex(), "runs": [list(run) for run in stream.runs]}
        fields["common"] = [list(section) for section in stream.common]
        fields["objects"] = [
            {"kind": kind, "name": name, "rows": rows, "sections": [list(section) for section in sections]}
            for kind, name, rows, sections in stream.objects
        ]
        if "file" in s:
            fields["file"] = s["file"] if content == (folder / s["file"]).read_bytes() else "another content"
        streams.append(fields)
    packs = [ref._asdict() | {"sha256": ref.sha256.hex()} for ref in m.packs]
    return {
        "snapshot": m.snapshot, "source": m.source, "version": m.version, "generation": m.generation, "cipher": m.cipher, "manifest_sha256": entry.manifest,
        "manifest_size": len(m.data), "root": m.root.hex(), "chunking": m.chunking, "packs": packs, "streams": streams,
    }  # fmt: skip


def describe_pack(r: reader.Reader, pack: Pack) -> dict[str, Any]:
    frames = []
    for number, frame in enumerate(pack.frames):
        codec, p = r.open_frame(pack, number)
        runs = r.dictionary(p, frame) if codec == 3 else []
        frames.append({
            "offset": frame.offset, "size": frame.size, "raw": frame.raw, "codec": codec, "depth": frame.depth, "dictionary_packs": frame.packs,
            "dictionary_runs": [[frame.packs.index(i), first, count] for i, first, count in runs],
            "chunks": [f"{chunk_id.hex()} {length}" for chunk_id, length in frame.chunks],
        })  # fmt: skip
    return {"id": pack.id.hex(), "key": pack.key.hex(), "frames": frames}
