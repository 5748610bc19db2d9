#!/usr/bin/env python3
"""An independent reader of Baktainer repositories.

Written from FORMAT.md alone, to prove that FORMAT.md is enough; the numbers in
the comments are its sections. Needs Python 3.9 and two modules, zstandard and
cryptography (Debian: python3-zstandard, python3-cryptography); to open a
passphrase slot also argon2 (python3-argon2). It only reads.

  baktainer_reader.py ls       STORE                   --key FILE
  baktainer_reader.py dump     STORE SNAPSHOT STREAM   --key FILE   > dump
  baktainer_reader.py check    STORE                   --key FILE
  baktainer_reader.py selftest FOLDER

STORE is the folder in which the objects lie. Instead of --key there is
--passphrase-file. Exit status: 0 fine, 1 damaged or not to be opened, 2 bad usage.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import collections
import hashlib
import hmac
import io
import json
import os
import re
import struct
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, NoReturn

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_FORMAT, MAX_SLOT, MAX_LEDGER = MIB, 64 * KIB, 16 * MIB
MAX_PACK, MAX_TAIL, MAX_FRAME, MAX_CHUNK, MAX_DICTIONARY = GIB, 64 * MIB, 4 * MIB, MIB, 4 * MIB
MAX_DEPTH, MAX_DICTIONARY_PACKS, MAX_DICTIONARY_RUNS = 8, 1024, 65536
MAX_HEADER, MAX_BODY, MAX_NAME, MAX_STRING = 128 * MIB, 256 * MIB, 255, 4096
HEADER, TRAILER, TAG = 32, 64, 16  # bytes: of a pack, and of every seal
INDEX_NUMBER = 0xFFFFFFFF
CACHE = 64 * MIB  # decoded frames kept, for dictionaries and for runs that share a frame


class Problem(Exception):
    """Something that cannot be done, in one line."""


class Damage(Problem):
    """An object is not what it should be."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


# --- 1. Conventions -----------------------------------------------------------


class Parser:
    """Takes an object apart; whatever is too short, too long or too large is damage."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def fail(self, reason: str) -> NoReturn:
        raise Damage(self.name, reason)

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            self.fail("ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def uvarint(self, what: str, low: int = 0, high: int = (1 << 64) - 1) -> int:
        value = shift = 0
        while True:
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                self.fail("a uvarint of more than 64 bits")
        if byte == 0 and shift > 7 or value >> 64:
            self.fail("a uvarint that is not in its shortest form, or too large")
        if not low <= value <= high:
            self.fail(f"{what} is {value}, not {low} to {high}")
        return value

    def count(self, what: str, each: int, low: int = 0, high: int = (1 << 64) - 1) -> int:
        """A number of things, each of at least so many bytes: never more than there can be."""
        n = self.uvarint("number of " + what, low, high)
        if n * each > len(self.data) - self.at:
            self.fail(f"{n} {what} cannot be in {len(self.data) - self.at} bytes")
        return n

    def string(self, what: str, high: int) -> str:
        try:
            return self.take(self.uvarint("length of " + what, 0, high)).decode()
        except UnicodeDecodeError:
            self.fail(f"{what} is not UTF-8")

    def expect(self, want: bytes, what: str) -> None:
        got = self.take(len(want))
        if got != want:
            self.fail(f"{what} is {got.hex()}, not {want.hex()}")

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self) -> None:
        if self.at != len(self.data):
            self.fail(f"{len(self.data) - self.at} bytes too many")


def derive(secret: bytes, label: str, context: bytes = b"") -> bytes:
    """HKDF-SHA256 without salt, cut to the one block that 32 bytes are."""
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, label.encode() + b"\0" + context + b"\x01", "sha256")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    s = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), *struct.unpack("<4I", nonce)]
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):  # fmt: skip
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[x] = (s[x] + s[y]) & 0xFFFFFFFF
                s[z] ^= s[x]
                s[z] = (s[z] << turn | s[z] >> (32 - turn)) & 0xFFFFFFFF
    return struct.pack("<8I", *s[:4], *s[12:])


def unseal(name: str, cipher: int, key: bytes, number: int, sealed: bytes, aad: bytes) -> bytes:
    nonce = struct.pack("<I", number)
    try:
        if cipher == 1:
            return AESGCM(key).decrypt(nonce.ljust(12, b"\0"), sealed, aad)
        if cipher == 2:
            nonce = nonce.ljust(24, b"\0")
            return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], sealed, aad)
    except (InvalidTag, ValueError):
        raise Damage(name, "does not open: damaged, or sealed under another key") from None
    raise Damage(name, f"cipher {cipher} is not known")


# --- Codecs (5) ---------------------------------------------------------------


def decode(name: str, codec: int, data: bytes, raw: int, dictionary: bytes = b"") -> bytes:
    """Decompresses to exactly raw bytes, and never to more."""
    if codec == 2:
        plain = snappy(name, data, raw)
    elif codec in (1, 3):
        plain = zstd(name, data, raw, dictionary)
    elif codec == 0:
        plain = data
    else:
        raise Damage(name, f"codec {codec} is not known")
    if len(plain) != raw:
        raise Damage(name, f"{len(plain)} bytes after decompression, not {raw}")
    return plain


def zstd(name: str, data: bytes, raw: int, dictionary: bytes) -> bytes:
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
    try:
        with zstandard.ZstdDecompressor(dict_data=known).stream_reader(io.BytesIO(data)) as reader:
            return reader.read(raw + 1)
    except (zstandard.ZstdError, MemoryError) as e:
        raise Damage(name, f"Zstandard: {e}") from None


def snappy(name: str, data: bytes, raw: int) -> bytes:
    p, out = Parser(data, name), bytearray()
    p.uvarint("raw length of Snappy", raw, raw)
    while p.at < len(data):
        tag = p.uint(1)
        kind, length = tag & 3, (tag >> 2) + 1
        if kind == 0:  # a literal
            if length > 60:
                length = p.uint(length - 60) + 1
            out += p.take(length)
        else:  # a copy of what came before, which may run into itself
            if kind == 1:
                length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | p.uint(1)
            else:
                offset = p.uint(2 if kind == 2 else 4)
            if not 0 < offset <= len(out):
                p.fail("Snappy: a copy from before the beginning")
            piece = bytes(out[len(out) - offset :][:length])
            out += (piece * (length // len(piece) + 1))[:length]
        if len(out) > raw:
            p.fail("Snappy: more than its raw length")
    return bytes(out)


# --- 2. Objects ---------------------------------------------------------------


class Store:
    """A folder of objects. What begins with a dot was never finished."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise Problem(f"{root}: not a folder")

    def read(self, name: str, limit: int, offset: int = 0, size: int = -1) -> bytes:
        """The bytes from offset on, all or exactly size of them."""
        try:
            with open(self.root / name, "rb") as f:
                have = os.fstat(f.fileno()).st_size
                want = have - offset if size < 0 else size
                if want > limit or want > have - offset:
                    raise Damage(name, f"has {have} bytes: too {'large' if want > limit else 'short'}")
                f.seek(offset)
                data = f.read(want)
        except FileNotFoundError:
            raise Damage(name, "missing") from None
        except OSError as e:
            raise Damage(name, f"cannot be read: {e.strerror}") from None
        if len(data) != want:
            raise Damage(name, "cannot be read to its end")
        return data

    def names(self, prefix: str, pattern: str) -> list[str]:
        """Names below the prefix whose rest is the pattern, in order."""
        folder, found = self.root / prefix, []
        for at, _, files in os.walk(folder):
            found += [Path(at, f).relative_to(folder).as_posix() for f in files]
        return sorted(n for n in found if re.fullmatch(pattern, n))


SEGMENT = r"(?!\.\.?(?:/|$))[A-Za-z0-9_.-]+"
SNAPSHOT = r"[0-9A-HJKMNP-TV-Z]{26}"


def source_folder(name: str) -> str:
    if not re.fullmatch(f"{SEGMENT}(/{SEGMENT})?", name):
        raise Problem(f"{name!r} cannot be the name of a source")
    return "sources/" + name.replace("/", "~")


def pack_name(source: str, pack: bytes) -> str:
    return f"{source_folder(source)}/packs/{pack.hex()[:2]}/{pack.hex()}"


# --- 3. Keys ------------------------------------------------------------------


@dataclass(frozen=True)
class SourceKey:
    """What opens one source in one generation."""

    source: str
    generation: int
    secret: bytes

    def chunk_id(self, chunk: bytes) -> bytes:
        return hmac.digest(self.chunk, chunk, "sha256")[:16]

    @property
    def chunk(self) -> bytes:
        return derive(self.secret, "baktainer/1 chunk")

    def pack(self, pack: bytes) -> bytes:
        return derive(self.secret, "baktainer/1 pack", pack)

    def manifest(self, salt: bytes, snapshot: str) -> bytes:
        return derive(self.secret, "baktainer/1 manifest", salt + snapshot.encode())


def parse_key_file(text: str) -> bytes:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    match = re.fullmatch(r"BAKTAINER-KEY-1-([A-Z2-7]{52})-([0-9a-f]{8})", lines[0]) if len(lines) == 1 else None
    if not match:
        raise Problem("the key file has not the one line BAKTAINER-KEY-1-…")
    secret = base64.b32decode(match[1] + "====")
    if hashlib.sha256(b"BAKTAINER-KEY-1" + secret).hexdigest()[:8] != match[2]:
        raise Problem("the key file is damaged: its check digits do not fit")
    return secret


def load_json(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Damage(name, "is not JSON") from None
    if not isinstance(value, dict):
        raise Damage(name, "is not a JSON object")
    return value


def json_value(value: dict[str, Any], name: str, key: str, kind: type, pattern: str = "") -> Any:
    """One field, of the kind that it must have; a text in the shape that it must have."""
    got = value.get(key)
    if type(got) is not kind or pattern and not re.fullmatch(pattern, got):
        raise Damage(name, f"{key} is {got!r}")
    return got


def json_bytes(value: dict[str, Any], name: str, key: str) -> bytes:
    try:
        return base64.b64decode(json_value(value, name, key, str), validate=True)
    except ValueError:
        raise Damage(name, f"{key} is not base 64") from None


# What a person brings: gives the wrapping key for a slot, or None if it is not for this one.
Opener = Callable[[dict[str, Any], str], "bytes | None"]


def key_file_opener(secret: bytes) -> Opener:
    def opener(slot: dict[str, Any], name: str) -> bytes | None:
        if slot.get("type") != "keyfile" or slot.get("key_id") != derive(secret, "baktainer/1 key id")[:8].hex():
            return None
        return derive(secret, "baktainer/1 key slot", json_bytes(slot, name, "salt"))

    return opener


def passphrase_opener(passphrase: str) -> Opener:
    def opener(slot: dict[str, Any], name: str) -> bytes | None:
        if slot.get("type") != "passphrase":
            return None
        try:
            from argon2 import exceptions, low_level
        except ImportError:
            raise Problem("a passphrase slot needs the module argon2, which is not installed") from None
        cost = [json_value(slot, name, key, int) for key in ("time", "memory_kib", "threads")]
        if any(not 1 <= n <= high for n, high in zip(cost, (64, 4 << 20, 64))):
            raise Damage(name, "asks for too much work")
        text = unicodedata.normalize("NFC", passphrase).encode()
        try:
            return low_level.hash_secret_raw(text, json_bytes(slot, name, "salt"), *cost, 32, low_level.Type.ID)
        except exceptions.HashingError as e:
            raise Damage(name, f"Argon2: {e}") from None

    return opener


class Repository:
    """A store that was opened: its id, and the master keys of the generations that could be had."""

    def __init__(self, store: Store, opener: Opener) -> None:
        self.store, self.damaged = store, list[Damage]()
        self.id = self.either("format.json", "format.copy.json", self.parse_format)
        self.masters: dict[int, bytes] = {}
        tried = 0
        for slot in sorted({n[:16] for n in store.names("keys", r"[0-9a-f]{16}(\.copy)?")}):
            tried += 1
            try:
                opened = self.either(f"keys/{slot}", f"keys/{slot}.copy", lambda b, n: self.open_slot(b, n, opener))
                if opened:
                    self.masters[opened[0]] = opened[1]
            except Damage as e:
                self.damaged.append(e)
        if not self.masters:
            why = f" ({self.damaged[0]})" if self.damaged else ""
            raise Problem(f"none of the {tried} key slots opens with this key{why}")
        for generation in range(max(self.masters), 1, -1):
            name = f"keys/earlier/{generation:010}"
            try:
                earlier = self.either(name, name + ".copy", lambda b, n: self.open_earlier(b, n, generation))
                if self.masters.setdefault(generation - 1, earlier) != earlier:
                    raise Damage(name, "holds another master key than a slot")
            except Damage as e:
                self.damaged.append(e)
                break

    def either(self, name: str, copy: str, parse: Callable[[bytes, str], Any]) -> Any:
        """What the object or its copy says. What is wrong with one of them is kept for check."""
        found, wrong, contents = [], [], []
        for n in (name, copy):
            try:
                contents.append(self.store.read(n, MAX_FORMAT))
                found.append(parse(contents[-1], n))
            except Damage as e:
                wrong.append(e)
        if not found:
            raise wrong[0]
        self.damaged += wrong
        if len(contents) == 2 and not wrong and contents[0] != contents[1]:
            self.damaged.append(Damage(copy, "differs from " + name))
        return found[0]

    def parse_format(self, data: bytes, name: str) -> str:
        value = load_json(data, name)
        json_value(value, name, "format", str, "baktainer-repository")
        if json_value(value, name, "version", int) != 1:
            raise Problem(f"{name}: version {value['version']} is not known to this reader")
        return json_value(value, name, "id", str, "[0-9a-f]{32}")

    def open_slot(self, data: bytes, name: str, opener: Opener) -> tuple[int, bytes] | None:
        if len(data) > MAX_SLOT:
            raise Damage(name, "too large")
        slot, slot_id = load_json(data, name), name[5:21]
        for key, want in (("format", "baktainer-key"), ("repository", self.id), ("id", slot_id)):
            json_value(slot, name, key, str, want)
        if json_value(slot, name, "version", int) != 1:
            return None
        kind, generation = json_value(slot, name, "type", str), json_value(slot, name, "generation", int)
        wrap = opener(slot, name)
        if wrap is None:
            return None
        aad = f"baktainer/1 slot {kind} {self.id} {slot_id} {generation}".encode()
        master = unseal(name, 1, wrap, 0, json_bytes(slot, name, "wrapped"), aad)
        if len(master) != 32 or not 1 <= generation < 1 << 32:
            raise Damage(name, "holds no master key")
        return generation, master

    def open_earlier(self, data: bytes, name: str, generation: int) -> bytes:
        p = Parser(data, name)
        key = derive(self.masters[generation], "baktainer/1 earlier key", p.take(32))
        master = unseal(name, 1, key, 0, p.rest(), f"baktainer/1 earlier {self.id} {generation}".encode())
        if len(master) != 32:
            raise Damage(name, "holds no master key")
        return master

    def master(self, generation: int, name: str) -> bytes:
        if generation not in self.masters:
            raise Damage(name, f"is of generation {generation}, whose key is not at hand")
        return self.masters[generation]

    def source_key(self, source: str, generation: int, name: str) -> SourceKey:
        secret = derive(self.master(generation, name), "baktainer/1 source", source.encode())
        return SourceKey(source, generation, secret)


# --- 5. Packs -----------------------------------------------------------------


@dataclass
class Frame:
    offset: int
    size: int
    raw: int
    depth: int
    packs: list[bytes]  # those of its dictionary
    first: int  # number in the pack of its first chunk
    chunks: list[tuple[bytes, int]] = field(default_factory=list)  # id, length


@dataclass(frozen=True)
class PackRef:
    """What a manifest's header says of a pack."""

    id: bytes
    sha256: bytes
    size: int
    tail: int
    live: int


class Pack:
    """The index of one pack."""

    def __init__(self, store: Store, key: SourceKey, cipher: int, ref: PackRef) -> None:
        self.id, self.name, self.cipher = ref.id, pack_name(key.source, ref.id), cipher
        self.key = key.pack(ref.id)
        header = store.read(self.name, HEADER, 0, HEADER)
        want = struct.pack("<8sBBHI16s", b"BAKTPACK", 1, cipher, 0, key.generation, ref.id)
        Parser(header, self.name).expect(want, "the header")
        tail = store.read(self.name, MAX_TAIL, ref.size - ref.tail, ref.tail)
        p = Parser(tail[-TRAILER:], self.name)
        at, length, frames = p.uint(8), p.uint(4), p.uint(4)
        p.expect(b"\x01" + bytes(7), "the version of the trailer")
        self.sum = p.take(32)
        p.expect(b"BAKTPEND", "the end")
        if at < HEADER or length + TRAILER != ref.tail or at + ref.tail != ref.size:
            p.fail("the trailer does not fit the pack")
        index = unseal(self.name, cipher, self.key, INDEX_NUMBER, tail[:-TRAILER], header + tail[-TRAILER:][:24])
        self.frames: list[Frame] = []
        self.parse_index(Parser(index, self.name), frames, at)
        self.firsts = [f.first for f in self.frames]

    def parse_index(self, p: Parser, frames: int, end: int) -> None:
        offset, first = HEADER, 0
        for _ in range(frames):
            size = p.uvarint("size of a frame", 16 + TAG, end - offset)
            raw, depth = p.uvarint("raw length", 1, MAX_FRAME), p.uvarint("depth", 0, MAX_DEPTH)
            packs = [p.take(16) for _ in range(p.count("packs", 16, 1, MAX_DICTIONARY_PACKS))] if depth else []
            frame = Frame(offset, size, raw, depth, packs, first)
            for _ in range(p.count("chunks", 17, 1)):
                frame.chunks.append((p.take(16), p.uvarint("length of a chunk", 1, MAX_CHUNK)))
            if sum(length for _, length in frame.chunks) != raw:
                p.fail("the chunks of a frame do not add up to its raw length")
            self.frames.append(frame)
            offset, first = offset + size, first + len(frame.chunks)
        p.end()
        if offset != end:
            p.fail("the frames do not end where the index begins")
        self.chunks = first


class Reader:
    """Reads chunks of the packs that one manifest lists."""

    def __init__(self, store: Store, key: SourceKey, cipher: int, refs: list[PackRef]) -> None:
        self.store, self.key, self.cipher = store, key, cipher
        self.refs = {ref.id: ref for ref in refs}
        self.packs: dict[bytes, Pack] = {}
        self.cache: collections.OrderedDict[tuple[bytes, int], list[bytes]] = collections.OrderedDict()
        self.cached = 0

    def pack(self, pack: bytes) -> Pack:
        if pack not in self.packs:
            self.packs[pack] = Pack(self.store, self.key, self.cipher, self.refs[pack])
        return self.packs[pack]

    def spans(self, pack: Pack, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """The run cut by frames: number of the frame, first chunk and end within it."""
        if count < 1 or first + count > pack.chunks:
            raise Damage(pack.name, f"has no chunks {first} to {first + count - 1}")
        at = bisect.bisect_right(pack.firsts, first) - 1
        while count:
            frame = pack.frames[at]
            begin = first - frame.first
            end = min(begin + count, len(frame.chunks))
            yield at, begin, end
            first, count, at = first + end - begin, count - end + begin, at + 1

    def chunks(self, pack_id: bytes, first: int, count: int) -> Iterator[bytes]:
        pack = self.pack(pack_id)
        for number, begin, end in self.spans(pack, first, count):
            yield from self.frame(pack, number)[begin:end]

    def frame(self, pack: Pack, number: int) -> list[bytes]:
        """The chunks of a frame, each checked by its id."""
        at = (pack.id, number)
        if at in self.cache:
            self.cache.move_to_end(at)
            return self.cache[at]
        frame, where = pack.frames[number], f"{pack.name}: frame {number}"
        data = self.store.read(pack.name, MAX_PACK, frame.offset, frame.size)
        p = Parser(data, pack.name)
        p.expect(b"BF\x01", "begin of a frame")
        codec = p.uint(1)
        p.expect(struct.pack("<III", number, frame.raw, frame.size - 16), "header of a frame")
        plain = unseal(pack.name, pack.cipher, pack.key, number, p.rest(), pack.id + data[:16])
        dictionary = b""
        if (codec == 3) != (frame.depth > 0):
            p.fail(f"frame {number} has codec {codec}, but depth {frame.depth}")
        if codec == 3:
            dictionary, plain = self.dictionary(Parser(plain, pack.name), frame)
        raw, chunks, offset = decode(pack.name, codec, plain, frame.raw, dictionary), [], 0
        chunk_key = self.key.chunk
        for chunk_id, length in frame.chunks:
            chunks.append(raw[offset : offset + length])
            offset += length
            if hmac.digest(chunk_key, chunks[-1], "sha256")[:16] != chunk_id:
                raise Damage(pack.name, f"{where} holds a chunk that is not the one named {chunk_id.hex()}")
        self.cache[at] = chunks
        self.cached += frame.raw
        while self.cached > CACHE:
            (old, gone), _ = self.cache.popitem(last=False), None
            self.cached -= sum(map(len, gone))
        return chunks

    def dictionary(self, p: Parser, frame: Frame) -> tuple[bytes, bytes]:
        """The dictionary of a frame of codec 3, and its Zstandard frame."""
        packs = [p.take(16) for _ in range(p.count("packs", 16, 1, MAX_DICTIONARY_PACKS))]
        if packs != frame.packs:
            p.fail("a dictionary lies in other packs than the index says")
        runs, size, depth = [], 0, 0
        for _ in range(p.count("runs", 3, 1, MAX_DICTIONARY_RUNS)):
            ref = packs[p.uvarint("pack of a run", 0, len(packs) - 1)]
            first, count = p.uvarint("first chunk"), p.uvarint("number of chunks", 1)
            if ref not in self.refs:
                p.fail(f"a dictionary lies in pack {ref.hex()}, which the manifest does not list")
            pack = self.pack(ref)
            for number, begin, end in self.spans(pack, first, count):
                depth = max(depth, pack.frames[number].depth)
                size += sum(length for _, length in pack.frames[number].chunks[begin:end])
                if size > MAX_DICTIONARY:
                    p.fail("a dictionary is too large")
            runs.append((ref, first, count))
        if frame.depth != depth + 1:  # so a chain of dictionaries ends, whatever they say
            p.fail(f"a frame of depth {frame.depth} has a dictionary of depth {depth}")
        return b"".join(chunk for run in runs for chunk in self.chunks(*run)), p.rest()


# --- 6. Manifests -------------------------------------------------------------


@dataclass
class Stream:
    name: str
    kind: str
    database: str
    format: str
    size: int
    sha256: bytes
    chunks: int
    runs: list[tuple[int, int, int]] = field(default_factory=list)  # pack in the list, first, count
    objects: list[tuple[str, str, int]] = field(default_factory=list)  # kind, name, rows or -1
    notes: list[str] = field(default_factory=list)


class Manifest:
    """The manifest of one snapshot, opened."""

    def __init__(self, data: bytes, name: str, snapshot: str, source: str) -> None:
        self.data, self.name = data, name
        p = Parser(data, name)
        p.expect(b"BAKTMANI\x01", "the begin")
        self.codec, self.cipher = p.uint(1), p.uint(1)
        p.expect(b"\0", "reserved")
        self.length, self.raw, sealed = p.uint(4), p.uint(8), p.uint(8)
        self.salt, self.chunking, self.generation = p.take(16), [p.uint(4) for _ in range(3)], p.uint(4)
        self.snapshot = p.take(26).decode("latin-1")
        self.source = p.string("source", MAX_NAME)
        if (self.snapshot, self.source) != (snapshot, source):
            p.fail(f"is the manifest of snapshot {self.snapshot!r} of {self.source!r}")
        if self.codec > 1 or self.length > MAX_HEADER or self.raw > MAX_BODY or len(data) != self.length + sealed:
            p.fail("the header asks for too much, or is not of this manifest")
        self.packs = []
        for _ in range(p.uint(4)):
            self.packs.append(PackRef(p.take(16), p.take(32), p.uint(8), p.uint(8), p.uint(8)))
            ref = self.packs[-1]
            if ref.size > MAX_PACK or not TAG + TRAILER <= ref.tail <= min(MAX_TAIL, ref.size - HEADER):
                p.fail(f"pack {ref.id.hex()} cannot be of {ref.size} bytes")
        if p.at != self.length:
            p.fail("the header has another length than it says")
        if len({ref.id for ref in self.packs}) != len(self.packs):
            p.fail("lists a pack twice")

    def open(self, key: SourceKey) -> None:
        header, sealed = self.data[: self.length], self.data[self.length :]
        body = unseal(self.name, self.cipher, key.manifest(self.salt, self.snapshot), 0, sealed, header)
        p = Parser(decode(self.name, self.codec, body, self.raw), self.name)
        self.root, self.chunks, self.streams = p.take(32), p.uvarint("chunks"), list[Stream]()
        for _ in range(p.count("streams", 40)):
            name = p.string("name of a stream", MAX_NAME)
            texts = [p.string(what, MAX_STRING) for what in ("kind", "database", "format")]
            stream = Stream(name, *texts, p.uvarint("size"), p.take(32), p.uvarint("chunks"))
            for _ in range(p.count("runs", 3)):
                pack = p.uvarint("pack of a run", 0, len(self.packs) - 1)
                stream.runs.append((pack, p.uvarint("first chunk"), p.uvarint("number of chunks", 1)))
            for _ in range(p.count("objects", 3)):
                kind, thing = p.string("kind", MAX_STRING), p.string("name", MAX_STRING)
                stream.objects.append((kind, thing, p.uvarint("rows") - 1))
            stream.notes = [p.string("note", MAX_STRING) for _ in range(p.count("notes", 1))]
            if sum(count for _, _, count in stream.runs) != stream.chunks:
                p.fail(f"the runs of stream {name!r} have not its number of chunks")
            self.streams.append(stream)
        p.end()
        if sum(s.chunks for s in self.streams) != self.chunks:
            p.fail("the streams have not the number of chunks of the snapshot")
        if len({s.name for s in self.streams}) != len(self.streams):
            p.fail("has two streams of one name")


class Merkle:
    """The root over leaves as they come: whole trees of falling size are kept."""

    def __init__(self) -> None:
        self.trees: list[tuple[int, bytes]] = []

    def add(self, chunk_id: bytes, length: int) -> None:
        size, node = 1, hashlib.sha256(b"\0" + chunk_id + struct.pack("<I", length)).digest()
        while self.trees and self.trees[-1][0] == size:
            node = hashlib.sha256(b"\x01" + self.trees.pop()[1] + node).digest()
            size *= 2
        self.trees.append((size, node))

    def root(self) -> bytes:
        if not self.trees:
            return hashlib.sha256().digest()
        node = self.trees[-1][1]
        for _, left in reversed(self.trees[:-1]):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node


# --- 7. Ledger copies, and 8. reading a snapshot ------------------------------


@dataclass(frozen=True)
class Entry:
    index: int
    snapshot: str
    source: str
    generation: int
    manifest: str
    size: int
    root: str
    streams: Any
    previous: str
    hash: str
    text: bytes


def open_entry(repo: Repository, index: int) -> Entry:
    name = f"ledger/{index:020}"
    p = Parser(repo.store.read(name, MAX_LEDGER), name)
    p.expect(b"BAKTLEDG\x01\0\0\0", "the begin")
    generation = p.uint(4)
    p.expect(struct.pack("<Q", index), "index")
    key = derive(repo.master(generation, name), "baktainer/1 ledger", p.take(16))
    text = unseal(name, 1, key, 0, p.data[40:], p.data[:40])
    value = load_json(text, name)
    digits = {key: json_value(value, name, key, str, "[0-9a-f]{64}") for key in ("manifest", "root", "previous", "hash")}
    entry = Entry(json_value(value, name, "index", int), json_value(value, name, "snapshot", str, SNAPSHOT),
                  json_value(value, name, "source", str, f"{SEGMENT}(/{SEGMENT})?"), value.get("generation", 1),
                  digits["manifest"], json_value(value, name, "manifest_size", int), digits["root"],
                  value.get("streams"), digits["previous"], digits["hash"], text)  # fmt: skip
    parts = text.split(b'"hash":"%s"' % entry.hash.encode())
    if len(parts) != 2 or hashlib.sha256((b'"hash":"%s"' % (b"0" * 64)).join(parts)).hexdigest() != entry.hash:
        raise Damage(name, "the entry has not the hash that it says")
    if entry.index != index:
        raise Damage(name, f"is entry {entry.index}")
    return entry


def entries(repo: Repository) -> Iterator[Entry | Damage]:
    for name in repo.store.names("ledger", "[0-9]{20}"):
        try:
            yield open_entry(repo, int(name))
        except Damage as e:
            yield e


class Snapshot:
    """A snapshot that a ledger entry records, its manifest compared with the entry and opened."""

    def __init__(self, repo: Repository, entry: Entry) -> None:
        name = f"{source_folder(entry.source)}/manifests/{entry.snapshot}"
        data = repo.store.read(name, MAX_HEADER + MAX_BODY + TAG)
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.manifest:
            raise Damage(name, "is not the manifest that the ledger records")
        self.manifest = Manifest(data, name, entry.snapshot, entry.source)
        if self.manifest.generation != entry.generation:
            raise Damage(name, f"is of another generation than ledger entry {entry.index} says")
        key = repo.source_key(entry.source, entry.generation, name)
        self.manifest.open(key)
        if self.manifest.root.hex() != entry.root:
            raise Damage(name, "has another Merkle root than the ledger records")
        self.reader = Reader(repo.store, key, self.manifest.cipher, self.manifest.packs)

    def chunks(self, stream: Stream) -> Iterator[bytes]:
        """The chunks of a stream, the last one only when size and hash of the whole are right."""
        size, digest, held = 0, hashlib.sha256(), b""
        for pack, first, count in stream.runs:
            for chunk in self.reader.chunks(self.manifest.packs[pack].id, first, count):
                if held:
                    yield held
                held, size = chunk, size + len(chunk)
                digest.update(chunk)
        if size != stream.size or digest.digest() != stream.sha256:
            raise Damage(self.manifest.name, f"stream {stream.name!r} is not what was backed up")
        if held:
            yield held

    def check(self) -> None:
        """All that the manifest says, but for the hashes of packs."""
        manifest, merkle, used = self.manifest, Merkle(), {ref.id: set[int]() for ref in self.manifest.packs}
        for stream in manifest.streams:
            for chunk in self.chunks(stream):
                merkle.add(self.reader.key.chunk_id(chunk), len(chunk))
            for pack, first, count in stream.runs:
                used[manifest.packs[pack].id].update(range(first, first + count))
        if merkle.root() != manifest.root:
            raise Damage(manifest.name, "has another Merkle root than its chunks")
        needed = {pack for pack, numbers in used.items() if numbers}
        for ref in manifest.packs:
            lengths = [length for f in self.reader.pack(ref.id).frames for _, length in f.chunks]
            if sum(lengths[n] for n in used[ref.id]) != ref.live:
                raise Damage(manifest.name, f"says {ref.live} live bytes for pack {ref.id.hex()}, which is wrong")
        todo = list(needed)
        while todo:
            pack = self.reader.pack(todo.pop())
            leans = {p for f in pack.frames for p in f.packs} - needed
            if leans - used.keys():
                raise Damage(manifest.name, f"does not list a pack that dictionaries of {pack.id.hex()} lie in")
            needed |= leans
            todo += leans
        if used.keys() - needed:
            raise Damage(manifest.name, "lists a pack that it does not need")


def check_pack(store: Store, source: str, ref: PackRef) -> None:
    """The hashes of a whole pack: its own, which finds damage, and the manifest's, which proves."""
    name = pack_name(source, ref.id)
    data = store.read(name, MAX_PACK)
    if len(data) != ref.size:
        raise Damage(name, f"has {len(data)} bytes, not {ref.size}")
    if hashlib.sha256(data).digest() != ref.sha256:
        raise Damage(name, "is not the pack that the manifest lists: its SHA-256 differs")
    if hashlib.sha256(data[: -TRAILER + 24]).digest() != data[-TRAILER + 24 : -8]:
        raise Damage(name, "the SHA-256 in its trailer is wrong")


# --- Commands -----------------------------------------------------------------


def ls(repo: Repository) -> None:
    for entry in entries(repo):
        if isinstance(entry, Damage):
            print(f"damaged: {entry}", file=sys.stderr)
            continue
        try:
            streams = " ".join(f"{s.name}:{s.size}" for s in Snapshot(repo, entry).manifest.streams)
        except Damage as e:
            streams = f"({e})"
        print(f"{entry.index} {entry.snapshot} {entry.source} {streams}")


def dump(repo: Repository, snapshot: str, stream: str, out: BinaryIO) -> None:
    damaged = 0
    for entry in entries(repo):
        if isinstance(entry, Damage):
            damaged += 1
        elif entry.snapshot == snapshot:
            opened = Snapshot(repo, entry)
            for s in opened.manifest.streams:
                if s.name == stream:
                    for chunk in opened.chunks(s):
                        out.write(chunk)
                    return out.flush()
            raise Problem(f"snapshot {snapshot} has no stream {stream!r}")
    raise Problem(f"no ledger entry records snapshot {snapshot} ({damaged} entries are damaged)")


def check(repo: Repository) -> int:
    """Looks at everything; prints one line for each damaged object. Gives their number."""
    damaged: dict[str, str] = {}
    hits: dict[str, list[str]] = {}

    def note(e: Damage, snapshot: str = "") -> None:
        damaged.setdefault(e.name, e.reason)
        if snapshot and snapshot not in hits.setdefault(e.name, []):
            hits[e.name].append(snapshot)

    for e in repo.damaged:
        note(e)
    packs: dict[tuple[str, PackRef], Damage | None] = {}
    index, previous, good, gone = 0, "0" * 64, 0, 0
    for entry in entries(repo):
        if isinstance(entry, Damage):
            note(entry)
            previous, index = "", int(entry.name[-20:])
            continue
        if index + 1 != entry.index:
            note(Damage(f"ledger/{index + 1:020}", "missing"))
        elif previous and previous != entry.previous:
            note(Damage(f"ledger/{entry.index:020}", "does not follow from the entry before"))
        previous, index = entry.hash, entry.index
        try:
            snapshot = Snapshot(repo, entry)
        except Damage as e:
            if e.reason == "missing":
                gone += 1
                print(f"snapshot {entry.snapshot} of {entry.source}: no manifest: forgotten and pruned, or lost")
            else:
                note(e, entry.snapshot)
            continue
        before = len(damaged), sum(map(len, hits.values()))
        for ref in snapshot.manifest.packs:
            if (entry.source, ref) not in packs:
                try:
                    packs[entry.source, ref] = check_pack(repo.store, entry.source, ref)
                except Damage as e:
                    packs[entry.source, ref] = e
            found = packs[entry.source, ref]
            if found:
                note(found, entry.snapshot)
        try:
            snapshot.check()
        except Damage as e:
            note(e, entry.snapshot)
        if before == (len(damaged), sum(map(len, hits.values()))):
            good += 1
            print(f"snapshot {entry.snapshot} of {entry.source}: fine")
    for name, reason in damaged.items():
        hit = f" (hits {', '.join(hits[name])})" if name in hits else ""
        print(f"damaged: {name}: {reason}{hit}", file=sys.stderr)
    print(f"{good} snapshots fine, {gone} without manifest, {len(packs)} packs read, {len(damaged)} objects damaged")
    return len(damaged)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in {"ls": ["store"], "dump": ["store", "snapshot", "stream"], "check": ["store"]}.items():
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument)
        key = command.add_mutually_exclusive_group(required=True)
        key.add_argument("--key", metavar="FILE", help="the key file")
        key.add_argument("--passphrase-file", metavar="FILE", help="a file with the passphrase in its first line")
    commands.add_parser("selftest").add_argument("folder")
    args = parser.parse_args()
    try:
        if args.command == "selftest":
            return selftest(Path(args.folder))
        if args.key:
            opener = key_file_opener(parse_key_file(Path(args.key).read_text("utf-8")))
        else:
            opener = passphrase_opener(Path(args.passphrase_file).read_text("utf-8").split("\n")[0])
        repo = Repository(Store(args.store), opener)
        if args.command == "ls":
            ls(repo)
        elif args.command == "dump":
            dump(repo, args.snapshot, args.stream, sys.stdout.buffer)
        elif check(repo):
            return 1
    except (Problem, OSError, UnicodeDecodeError) as e:
        print(f"{'damaged: ' if isinstance(e, Damage) else ''}{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
