#!/usr/bin/env python3
"""An independent reader of Baktainer repositories.

Written from FORMAT.md alone, to prove that FORMAT.md is enough; numbers in
comments are its sections. Needs Python 3.9 and two modules, zstandard and
cryptography (Debian: python3-zstandard, python3-cryptography); to open a
passphrase slot also argon2 (python3-argon2). It only reads.

  baktainer_reader.py ls       STORE                  --key FILE
  baktainer_reader.py dump     STORE SNAPSHOT STREAM  --key FILE   > dump
  baktainer_reader.py check    STORE                  --key FILE
  baktainer_reader.py selftest FOLDER

STORE is the folder that the objects lie in. Instead of --key there is
--passphrase-file. Exit status: 0 fine, 1 damaged or not to be opened, 2 bad usage.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import hmac
import io
import json
import os
import re
import struct
import sys
import unicodedata
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, NamedTuple, NoReturn, Optional

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KIB, MIB, GIB, U32, U64 = 1 << 10, 1 << 20, 1 << 30, (1 << 32) - 1, (1 << 64) - 1
MAX_FORMAT, MAX_SLOT, MAX_LEDGER, MAX_HEADER, MAX_BODY = MIB, 64 * KIB, 16 * MIB, 128 * MIB, 256 * MIB
MAX_PACK, MAX_TAIL, MAX_FRAME, MAX_CHUNK, MAX_DICTIONARY = GIB, 64 * MIB, 4 * MIB, MIB, 4 * MIB
HEADER, TRAILER, TAG = 32, 64, 16  # bytes: of a pack, and of every seal
GROUP, MAX_SECTIONS = 64, 65536  # chunks whose length a manifest tells together; sections of a stream
MAX_OBJECTS = 10000  # of a stream, and notes
CACHE = 64 * MIB  # decoded frames that are kept


class Problem(Exception):
    """Something that cannot be done, in one line."""


class Damage(Problem):
    """An object is not what it should be."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


# --- 1. Conventions -----------------------------------------------------------


class Parser:
    """Takes an object apart; what is too short, too long or too large is damage."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def fail(self, reason: str) -> NoReturn:
        raise Damage(self.name, reason)

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            self.fail("ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def uvarint(self, what: str, low: int = 0, high: int = U64) -> int:
        value = shift = 0
        byte = 0x80
        while byte >= 0x80 and shift < 70:
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            shift += 7
        if value > U64 or byte >= 0x80 or byte == 0 and shift > 7:
            self.fail(f"{what} is too long a number, or not in its shortest form")
        if not low <= value <= high:
            self.fail(f"{what} is {value}, not {low} to {high}")
        return value

    def count(self, what: str, each: int, low: int = 0, high: int = U64) -> int:
        """A number of things of at least so many bytes each: never more than there can be."""
        n = self.uvarint("number of " + what, low, high)
        if n * each > len(self.data) - self.at:
            self.fail(f"{n} {what} cannot be in {len(self.data) - self.at} bytes")
        return n

    def text(self, what: str, high: int = 4096) -> str:
        return self.take(self.uvarint("length of " + what, 0, high)).decode(errors="replace")

    def expect(self, want: bytes, what: str) -> None:
        got = self.take(len(want))
        if got != want:
            self.fail(f"{what} is {got.hex()}, not {want.hex()}")


class Fields:
    """A JSON object, whose fields have to be of the kind asked for."""

    def __init__(self, data: bytes, name: str) -> None:
        try:
            self.name, self.all = name, json.loads(data)
        except (ValueError, RecursionError):
            raise Damage(name, "is not JSON") from None
        if not isinstance(self.all, dict):
            raise Damage(name, "is not a JSON object")

    def text(self, key: str, pattern: str = ".*") -> str:
        got = self.all.get(key)
        if not isinstance(got, str) or not re.fullmatch(pattern, got):
            raise Damage(self.name, f"{key} is {got!r}")
        return got

    def number(self, key: str, low: int, high: int) -> int:
        got = self.all.get(key)
        if type(got) is not int or not low <= got <= high:
            raise Damage(self.name, f"{key} is {got!r}")
        return got

    def bytes(self, key: str) -> bytes:
        return base64.b64decode(self.text(key, r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"))


def derive(secret: bytes, label: str, context: bytes = b"") -> bytes:
    """HKDF-SHA256 without salt, cut to the one block that 32 bytes are."""
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, label.encode() + b"\0" + context + b"\x01", "sha256")


def chunk_name(chunk_key: bytes, chunk: bytes) -> bytes:
    """The id of a chunk (section 4)."""
    return hashlib.blake2b(chunk, digest_size=16, key=chunk_key).digest()


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


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    s = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), *struct.unpack("<4I", nonce)]
    columns = [(i, i + 4, i + 8, i + 12) for i in range(4)]
    diagonals = [(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12) for i in range(4)]
    for a, b, c, d in (columns + diagonals) * 10:
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & U32
            s[z] ^= s[x]
            s[z] = (s[z] << turn | s[z] >> (32 - turn)) & U32
    return struct.pack("<8I", *s[:4], *s[12:])


# --- 2. Objects ---------------------------------------------------------------

SOURCE = r"(?=.{1,128}$)[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?"
SNAPSHOT, HASH = "[0-7][0-9A-HJKMNP-TV-Z]{25}", "[0-9a-f]{64}"


class Store:
    """A folder of objects."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise Problem(f"{root}: not a folder")

    def read(self, name: str, limit: int, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes from offset on, all or exactly size of them."""
        try:
            with open(self.root / name, "rb") as f:
                have = os.fstat(f.fileno()).st_size - offset
                want = have if size is None else size
                if not 0 <= want <= min(have, limit):
                    raise Damage(name, f"has {have + offset} bytes, which is too {'short' if want > have else 'long'}")
                f.seek(offset)
                return f.read(want)
        except FileNotFoundError:
            raise Damage(name, "missing") from None
        except OSError as e:
            raise Damage(name, f"cannot be read: {e.strerror}") from None

    def names(self, folder: str, pattern: str) -> list[str]:
        path = self.root / folder
        return sorted(n for n in (os.listdir(path) if path.is_dir() else []) if re.fullmatch(pattern, n))


def object_name(source: str, kind: str, name: str) -> str:
    return f"sources/{source.replace('/', '~')}/{kind}/{name[:2] + '/' if kind == 'packs' else ''}{name}"


# --- 3. Keys ------------------------------------------------------------------

# What a person brings: gives the wrapping key of a slot, or None if it is not for this one.
Opener = Callable[[Fields], Optional[bytes]]


def key_file(text: str) -> Opener:
    lines = (line.strip() for line in text.splitlines())
    plain = re.sub(r"[\s-]", "", "".join(line for line in lines if not line.startswith("#"))).upper()
    match = re.fullmatch("BAKTAINERKEY1([A-Z2-7]{52})([0-9A-F]{8})", plain)
    if not match:
        raise Problem("the key file has not the one line BAKTAINER-KEY-1-…")
    secret = base64.b32decode(match[1] + "====")
    if hashlib.sha256(b"BAKTAINER-KEY-1" + secret).hexdigest()[:8].upper() != match[2]:
        raise Problem("the key file is damaged: its check digits do not fit")

    def opener(slot: Fields) -> bytes | None:
        if slot.all["type"] != "keyfile" or slot.all.get("key_id") != derive(secret, "baktainer/1 key id")[:8].hex():
            return None
        return derive(secret, "baktainer/1 key slot", slot.bytes("salt"))

    return opener


def passphrase(text: str) -> Opener:
    def opener(slot: Fields) -> bytes | None:
        if slot.all["type"] != "passphrase":
            return None
        try:
            from argon2 import exceptions, low_level
        except ImportError:
            raise Problem("a passphrase slot needs the module argon2, which is not installed") from None
        cost = slot.number("time", 1, 16), slot.number("memory_kib", 8, MIB), slot.number("threads", 1, 16)
        try:
            secret = unicodedata.normalize("NFC", text).encode()
            return bytes(low_level.hash_secret_raw(secret, slot.bytes("salt"), *cost, 32, low_level.Type.ID))
        except exceptions.HashingError as e:
            raise Damage(slot.name, f"Argon2: {e}") from None

    return opener


class Repository:
    """A store that was opened: its id, and the master keys of the generations that could be had."""

    def __init__(self, store: Store, opener: Opener) -> None:
        self.store, self.damaged = store, list[Damage]()
        self.id: str = self.either("format.json", "format.copy.json", self.open_format)
        if not self.id:
            raise self.damaged[0]
        self.masters: dict[int, bytes] = {}
        slots = sorted({n[:16] for n in store.names("keys", r"[0-9a-f]{16}(\.copy)?")})
        for slot in slots:
            opened = self.either(f"keys/{slot}", f"keys/{slot}.copy", lambda data, n: self.open_slot(data, n, opener))
            self.masters.update(opened or {})
        if not self.masters:
            raise Problem("; ".join([f"none of {len(slots)} key slots opens with this key", *map(str, self.damaged)]))
        for generation in range(max(self.masters), 1, -1):
            name = f"keys/earlier/{generation:010}"
            self.masters.update(self.either(name, name + ".copy", self.open_earlier) or {})

    def either(self, name: str, copy: str, opens: Callable[[bytes, str], Any]) -> Any:
        """What the object or its copy says, or None. What is wrong with one of them is kept for check."""
        found, contents = None, set()
        for n in (name, copy):
            try:
                contents.add(self.store.read(n, MAX_FORMAT))
                found = opens(self.store.read(n, MAX_FORMAT), n) or found
            except Damage as e:
                self.damaged.append(e)
        if len(contents) > 1:
            self.damaged.append(Damage(copy, f"differs from {name}"))
        return found

    def open_format(self, data: bytes, name: str) -> str:
        fields = Fields(data, name)
        fields.text("format", "baktainer-repository")
        if fields.number("version", 1, U64) > 1:
            raise Problem(f"{name} is of a version that this reader does not know")
        return fields.text("id", "[0-9a-f]{32}")

    def open_slot(self, data: bytes, name: str, opener: Opener) -> dict[int, bytes]:
        slot = Fields(data, name)
        slot.text("format", "baktainer-key")
        kind, slot_id, generation = slot.text("type"), slot.text("id", name[5:21]), slot.number("generation", 1, U32)
        ours = slot.number("version", 1, U64) == 1 and slot.text("repository", "[0-9a-f]{32}") == self.id
        wrap = opener(slot) if ours and len(data) <= MAX_SLOT else None
        if not wrap:
            return {}
        aad, wrapped = f"baktainer/1 slot {kind} {self.id} {slot_id} {generation}".encode(), slot.bytes("wrapped")
        master = unseal(name, 1, wrap, 0, wrapped, aad)
        texts = [str(slot.all.get(key, "")).encode() for key in ("key_id", "recipient", "label")]
        check_key = derive(master, "baktainer/1 slot check")
        if hmac.digest(check_key, b"\0".join([aad, *texts, wrapped]), "sha256") != slot.bytes("check"):
            raise Damage(name, "was not made, as it is, by somebody who has the master key")
        return {generation: master}

    def open_earlier(self, data: bytes, name: str) -> dict[int, bytes]:
        generation = int(name[13:23])
        key = derive(self.master(generation, name), "baktainer/1 earlier key", data[:32])
        aad = f"baktainer/1 earlier {self.id} {generation}".encode()
        return {generation - 1: unseal(name, 1, key, 0, data[32:], aad)}

    def master(self, generation: int, name: str) -> bytes:
        if generation not in self.masters:
            raise Damage(name, f"is of generation {generation}, whose key is not at hand")
        return self.masters[generation]

    def source_key(self, source: str, generation: int, name: str) -> bytes:
        return derive(self.master(generation, name), "baktainer/1 source", source.encode())


# --- 5. Packs -----------------------------------------------------------------


class PackRef(NamedTuple):
    """What a manifest's header says of a pack."""

    id: str
    sha256: bytes
    size: int
    tail: int
    live: int


class Frame(NamedTuple):
    offset: int
    size: int
    raw: int
    depth: int
    packs: list[str]  # that its dictionary lies in
    first: int  # number in the pack of its first chunk
    chunks: list[tuple[bytes, int]]  # id, length


class Pack:
    """The index of one pack."""

    def __init__(self, store: Store, name: str, key: bytes, cipher: int, generation: int, ref: PackRef) -> None:
        self.name, self.cipher, self.id = name, cipher, bytes.fromhex(ref.id)
        self.key = derive(key, "baktainer/1 pack", self.id)
        header = store.read(name, HEADER, 0, HEADER)
        want = b"BAKTPACK" + struct.pack("<BBHI", 1, cipher, 0, generation) + self.id
        Parser(header, name).expect(want, "the header")
        tail = store.read(name, MAX_TAIL, ref.size - ref.tail, ref.tail)
        index, trailer = tail[:-TRAILER], tail[-TRAILER:]
        p = Parser(trailer, name)
        end, length, frames = p.uint(8), p.uint(4), p.uint(4)
        p.expect(b"\x01" + bytes(7), "version in the trailer")
        self.sum = p.take(32)
        p.expect(b"BAKTPEND", "the end")
        if length != len(index) or end + ref.tail != ref.size:
            p.fail("the trailer does not fit the pack")
        p = Parser(unseal(name, cipher, self.key, U32, index, header + trailer[:24]), name)
        self.frames: list[Frame] = []
        offset, first = HEADER, 0
        for _ in range(frames):
            size, raw = p.uvarint("size of a frame", 16 + TAG, end - offset), p.uvarint("raw length", 1, MAX_FRAME)
            depth = p.uvarint("depth", 0, 8)
            packs = [p.take(16).hex() for _ in range(p.count("packs", 16, 1, 1024))] if depth else []
            count = p.count("chunks", 17, 1)
            chunks = [(p.take(16), p.uvarint("length of a chunk", 1, MAX_CHUNK)) for _ in range(count)]
            if sum(length for _, length in chunks) != raw:
                p.fail("the chunks of a frame do not add up to its raw length")
            self.frames.append(Frame(offset, size, raw, depth, packs, first, chunks))
            offset, first = offset + size, first + len(chunks)
        if offset != end or p.rest():
            p.fail("the frames do not end where the index begins")
        self.firsts, self.chunks = [f.first for f in self.frames], first
        self.leans = {pack for f in self.frames for pack in f.packs}


class Reader:
    """Reads chunks of the packs that one manifest lists."""

    def __init__(self, store: Store, key: bytes, manifest: Manifest) -> None:
        self.store, self.key, self.manifest = store, key, manifest
        self.chunk_key = derive(key, "baktainer/1 chunk")
        self.refs = {ref.id: ref for ref in manifest.packs}
        self.packs: dict[str, Pack] = {}
        self.cache: OrderedDict[tuple[bytes, int], list[bytes]] = OrderedDict()
        self.cached = 0

    def pack(self, pack: str) -> Pack:
        if pack not in self.refs:
            raise Damage(self.manifest.name, f"does not list pack {pack}, which is needed")
        if pack not in self.packs:
            name, m = object_name(self.manifest.source, "packs", pack), self.manifest
            self.packs[pack] = Pack(self.store, name, self.key, m.cipher, m.generation, self.refs[pack])
        return self.packs[pack]

    def chunks(self, pack: str, first: int, count: int) -> Iterator[bytes]:
        for number, begin, end in spans(self.pack(pack), first, count):
            yield from self.frame(self.pack(pack), number)[begin:end]

    def frame(self, pack: Pack, number: int) -> list[bytes]:
        """The chunks of a frame, each checked by its id."""
        at = (pack.id, number)
        if at in self.cache:
            self.cache.move_to_end(at)
            return self.cache[at]
        frame = pack.frames[number]
        codec, p = self.open_frame(pack, number)
        dictionary = b""
        if codec == 3:
            runs = self.dictionary(p, frame)
            dictionary = b"".join(chunk for run in runs for chunk in self.chunks(*run))
        raw, chunks, offset = decode(pack.name, codec, p.rest(), frame.raw, dictionary), [], 0
        for chunk_id, length in frame.chunks:
            chunks.append(raw[offset : offset + length])
            offset += length
            if chunk_name(self.chunk_key, chunks[-1]) != chunk_id:
                p.fail(f"frame {number} holds another chunk than the one named {chunk_id.hex()}")
        self.cache[at], self.cached = chunks, self.cached + frame.raw
        while self.cached > CACHE:
            self.cached -= sum(map(len, self.cache.popitem(last=False)[1]))
        return chunks

    def open_frame(self, pack: Pack, number: int) -> tuple[int, Parser]:
        """The codec of a frame, and what it seals."""
        frame = pack.frames[number]
        data = self.store.read(pack.name, MAX_PACK, frame.offset, frame.size)
        p = Parser(data, pack.name)
        p.expect(b"BF\x01", "begin of a frame")
        codec = p.uint(1)
        p.expect(struct.pack("<III", number, frame.raw, frame.size - 16), "header of a frame")
        plain = unseal(pack.name, pack.cipher, pack.key, number, p.rest(), pack.id + data[:16])
        if (codec == 3) != (frame.depth > 0):
            p.fail(f"frame {number} has codec {codec}, but depth {frame.depth}")
        return codec, Parser(plain, pack.name)

    def dictionary(self, p: Parser, frame: Frame) -> list[tuple[str, int, int]]:
        """The runs of the dictionary of a frame of codec 3: pack, first chunk, number of chunks."""
        packs = [p.take(16).hex() for _ in range(p.count("packs", 16, 1, 1024))]
        if packs != frame.packs:
            p.fail("a dictionary lies in other packs than the index says")
        runs, size, depth = [], 0, 0
        for _ in range(p.count("runs", 3, 1, 65536)):
            run = packs[p.uvarint("pack of a run", 0, len(packs) - 1)], p.uvarint("chunk"), p.uvarint("chunks", 1)
            runs.append(run)
            for number, begin, end in spans(self.pack(run[0]), *run[1:]):
                lies_in = self.packs[run[0]].frames[number]
                depth = max(depth, lies_in.depth)
                size += sum(length for _, length in lies_in.chunks[begin:end])
            if size > MAX_DICTIONARY:
                p.fail("a dictionary is too large")
        if frame.depth != depth + 1:  # so a chain of dictionaries ends, whatever they say
            p.fail(f"a frame of depth {frame.depth} has a dictionary of depth {depth}")
        return runs


def spans(pack: Pack, first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """A run cut by frames: number of the frame, first chunk and end within it."""
    if first + count > pack.chunks:
        raise Damage(pack.name, f"has no chunks {first} to {first + count - 1}")
    at = bisect.bisect_right(pack.firsts, first) - 1
    while count:
        begin = first - pack.firsts[at]
        end = min(begin + count, len(pack.frames[at].chunks))
        yield at, begin, end
        first, count, at = first + end - begin, count - end + begin, at + 1


def decode(name: str, codec: int, data: bytes, raw: int, dictionary: bytes = b"") -> bytes:
    """Decompresses to exactly raw bytes, and never to more."""
    if codec in (1, 3):
        known = zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
        try:
            with zstandard.ZstdDecompressor(known, 8 * MIB).stream_reader(io.BytesIO(data)) as reader:
                data = reader.read(raw + 1)
        except (zstandard.ZstdError, MemoryError) as e:
            raise Damage(name, f"Zstandard: {e}") from None
    elif codec == 2:
        data = snappy(Parser(data, name), raw)
    elif codec != 0:
        raise Damage(name, f"codec {codec} is not known")
    if len(data) != raw:
        raise Damage(name, f"{len(data)} bytes or more after decompression, not {raw}")
    return data


def snappy(p: Parser, raw: int) -> bytes:
    out = bytearray()
    p.uvarint("raw length of Snappy", raw, raw)
    while p.at < len(p.data) and len(out) <= raw:
        tag = p.uint(1)
        kind, length = tag & 3, (tag >> 2) + 1
        if kind == 0:  # a literal
            out += p.take(length if length <= 60 else p.uint(length - 60) + 1)
            continue
        if kind == 1:  # a copy of what came before, which may run into itself
            length, offset = (tag >> 2 & 7) + 4, tag >> 5 << 8 | p.uint(1)
        else:
            offset = p.uint(2 * kind - 2)
        if not 0 < offset <= len(out):
            p.fail("Snappy: a copy of what is not there")
        piece = out[len(out) - offset :][:length]
        out += (piece * (length // len(piece) + 1))[:length]
    return bytes(out)


# --- 6. Manifests -------------------------------------------------------------


class Stream(NamedTuple):
    name: str
    kind: str
    database: str
    format: str
    size: int
    sha256: bytes
    chunks: int
    runs: list[tuple[int, int, int]]  # pack in the list, first chunk, number of chunks
    groups: list[int]  # bytes of each 64 chunks; none in manifests of version 1
    common: list[tuple[int, int]]  # sections, offset and length, that every part has
    objects: list[tuple[str, str, int, list[tuple[int, int]]]]  # kind, name, rows or -1, sections
    notes: list[str]


class Manifest:
    """A manifest. Its header is read at once, its body when it is opened."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name
        p = Parser(data, name)
        p.expect(b"BAKTMANI", "the begin")
        self.version = p.uint(1)
        if self.version not in (1, 2):
            p.fail(f"is of version {self.version}, which this reader does not know")
        self.codec, self.cipher = p.uint(1), p.uint(1)
        p.expect(b"\0", "a reserved byte")
        self.length, self.raw, sealed, self.salt = p.uint(4), p.uint(8), p.uint(8), p.take(16)
        self.chunking, self.generation = [p.uint(4) for _ in range(3)], p.uint(4)
        self.snapshot, self.source = p.take(26).decode(errors="replace"), p.text("source", 128)
        if self.codec > 1 or self.length > MAX_HEADER or self.raw > MAX_BODY or len(data) != self.length + sealed:
            p.fail("the header cannot be that of this manifest")
        self.packs: list[PackRef] = []
        for _ in range(p.uint(4)):
            ref = PackRef(p.take(16).hex(), p.take(32), p.uint(8), p.uint(8), p.uint(8))
            if ref.size > MAX_PACK or not TAG + TRAILER <= ref.tail <= min(MAX_TAIL, ref.size - HEADER):
                p.fail(f"pack {ref.id} cannot be of {ref.size} bytes")
            self.packs.append(ref)
        if p.at != self.length or len({ref.id for ref in self.packs}) != len(self.packs):
            p.fail("the header has another length than it says, or lists a pack twice")

    def open(self, key: bytes) -> None:
        header, sealed = self.data[: self.length], self.data[self.length :]
        key = derive(key, "baktainer/1 manifest", self.salt + self.snapshot.encode())
        body = unseal(self.name, self.cipher, key, 0, sealed, header)
        p = Parser(decode(self.name, self.codec, body, self.raw), self.name)
        self.root, self.chunks = p.take(32), p.uvarint("chunks")
        self.streams = [self.stream(p) for _ in range(p.count("streams", 40))]
        if p.rest() or sum(s.chunks for s in self.streams) != self.chunks:
            p.fail("the streams have not the chunks of the snapshot")
        if len({s.name for s in self.streams}) != len(self.streams):
            p.fail("has two streams of one name")

    def stream(self, p: Parser) -> Stream:
        name = p.text("name of a stream", 255)
        if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f-\x9f\ufffd]", name):
            p.fail(f"{name!r} cannot be the name of a stream")
        texts = p.text("kind"), p.text("database"), p.text("format")
        size, sha256, chunks = p.uvarint("size"), p.take(32), p.uvarint("chunks")
        last = len(self.packs) - 1
        runs = [(p.uvarint("pack of a run", 0, last), p.uvarint("first chunk"), p.uvarint("chunks of a run", 1))
                for _ in range(p.count("runs", 3))]  # fmt: skip
        if sum(count for _, _, count in runs) != chunks:
            p.fail(f"the runs of stream {name!r} have not its number of chunks")
        groups = self.groups(p, chunks, size) if self.version > 1 else []
        sections = (lambda: self.sections(p, size)) if self.version > 1 else list
        common = sections()
        objects = [(p.text("kind"), p.text("name"), p.uvarint("rows") - 1, sections()) for _ in range(p.count("objects", 3, 0, MAX_OBJECTS))]
        notes = [p.text("note") for _ in range(p.count("notes", 1, 0, MAX_OBJECTS))]
        return Stream(name, *texts, size, sha256, chunks, runs, groups, common, objects, notes)

    def groups(self, p: Parser, chunks: int, size: int) -> list[int]:
        number = -(-chunks // GROUP)
        if number > len(p.data) - p.at:
            p.fail(f"{number} groups of chunks cannot be in {len(p.data) - p.at} bytes")
        groups = [p.uvarint("length of a group", 1, GROUP * MAX_CHUNK) for _ in range(number)]
        if sum(groups) != size:
            p.fail("the groups of chunks do not add up to the stream")
        return groups

    def sections(self, p: Parser, size: int) -> list[tuple[int, int]]:
        found, at = [], 0
        for _ in range(p.count("sections", 2, 0, MAX_SECTIONS)):
            offset = at + p.uvarint("distance of a section", 0, size - at)
            found.append((offset, p.uvarint("length of a section", 1, size - offset)))
            at = sum(found[-1])
        return found


class Merkle:
    """The root over leaves as they come: whole trees of falling size are kept."""

    def __init__(self) -> None:
        self.trees: list[tuple[int, bytes]] = []

    def add(self, chunk_id: bytes, length: int) -> None:
        size, node = 1, hashlib.sha256(b"\0" + chunk_id + struct.pack("<I", length)).digest()
        while self.trees and self.trees[-1][0] == size:
            size, node = 2 * size, hashlib.sha256(b"\x01" + self.trees.pop()[1] + node).digest()
        self.trees.append((size, node))

    def root(self) -> bytes:
        root = b""
        for _, tree in reversed(self.trees):
            root = hashlib.sha256(b"\x01" + tree + root).digest() if root else tree
        return root or hashlib.sha256().digest()


# --- 7. Copies of ledger entries, and 8. how to read a snapshot ---------------


class Entry:
    """A ledger entry, from its copy."""

    def __init__(self, repo: Repository, index: int) -> None:
        name = f"ledger/{index:020}"
        p = Parser(repo.store.read(name, MAX_LEDGER), name)
        p.expect(b"BAKTLEDG\x01\0\0\0", "the begin")
        master = repo.master(p.uint(4), name)
        p.expect(struct.pack("<Q", index), "the index")
        self.json = unseal(name, 1, derive(master, "baktainer/1 ledger", p.take(16)), 0, p.rest(), p.data[:40])
        f = Fields(self.json, name)
        self.index, self.snapshot = f.number("index", index, index), f.text("snapshot", SNAPSHOT)
        self.source, self.manifest = f.text("source", SOURCE), f.text("manifest", HASH)
        self.size, self.root = f.number("manifest_size", 0, U64), f.text("root", HASH)
        self.generation = f.number("generation", 0, U32) if "generation" in f.all else 1
        self.previous, self.hash, self.streams = f.text("previous", HASH), f.text("hash", HASH), f.all.get("streams")
        parts = self.json.split(b'"hash":"%s"' % self.hash.encode())
        if hashlib.sha256((b'"hash":"%s"' % (b"0" * 64)).join(parts)).hexdigest() != self.hash:
            raise Damage(name, "the entry has not the hash that it says")


def entries(repo: Repository) -> Iterator[tuple[int, Entry | Damage]]:
    for name in repo.store.names("ledger", "[0-9]{20}"):
        try:
            yield int(name), Entry(repo, int(name))
        except Damage as e:
            yield int(name), e


class Snapshot:
    """A snapshot that a ledger entry records, its manifest compared with the entry and opened."""

    def __init__(self, repo: Repository, entry: Entry) -> None:
        name = object_name(entry.source, "manifests", entry.snapshot)
        data = repo.store.read(name, MAX_HEADER + MAX_BODY + TAG)
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.manifest:
            raise Damage(name, "is not the manifest that the ledger records")
        self.manifest = m = Manifest(data, name)
        if (m.snapshot, m.source, m.generation) != (entry.snapshot, entry.source, entry.generation):
            raise Damage(name, "is of another snapshot, source or generation than the ledger records")
        key = repo.source_key(m.source, m.generation, name)
        m.open(key)
        streams = [{"name": s.name, "size": s.size, "sha256": s.sha256.hex()} for s in m.streams]
        recorded = [{k: s.get(k) for k in ("name", "size", "sha256")} for s in entry.streams or []]
        if m.root.hex() != entry.root or streams != recorded:
            raise Damage(name, "has another Merkle root, or other streams, than the ledger records")
        self.reader = Reader(repo.store, key, m)

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
        m, merkle, used = self.manifest, Merkle(), {ref.id: set[int]() for ref in self.manifest.packs}
        for stream in m.streams:
            lengths = []
            for chunk in self.chunks(stream):
                merkle.add(chunk_name(self.reader.chunk_key, chunk), len(chunk))
                lengths.append(len(chunk))
            groups = [sum(lengths[n : n + GROUP]) for n in range(0, len(lengths), GROUP)]
            if m.version > 1 and groups != stream.groups:
                raise Damage(m.name, "a group of chunks has another length than it says")
            for pack, first, count in stream.runs:
                used[m.packs[pack].id].update(range(first, first + count))
        if merkle.root() != m.root:
            raise Damage(m.name, "has another Merkle root than its chunks")
        for ref in m.packs:
            lengths = [length for frame in self.reader.pack(ref.id).frames for _, length in frame.chunks]
            if sum(lengths[n] for n in used[ref.id]) != ref.live:
                raise Damage(m.name, f"{ref.live} live bytes in pack {ref.id} is wrong")
        needed: set[str] = set()
        todo = {pack for pack, numbers in used.items() if numbers}
        while todo:
            needed |= todo
            todo = set().union(*(self.reader.pack(pack).leans for pack in todo)) - needed
        if needed != used.keys():
            raise Damage(m.name, f"lists {len(used)} packs, but {len(needed)} are needed")


def check_pack(store: Store, name: str, ref: PackRef) -> Damage | None:
    """Both hashes of a whole pack: the manifest's, which proves, and its own, which needs no manifest."""
    try:
        data = store.read(name, MAX_PACK)
    except Damage as e:
        return e
    if len(data) != ref.size or hashlib.sha256(data).digest() != ref.sha256:
        return Damage(name, "is not the pack that the manifest lists: its SHA-256 differs")
    if hashlib.sha256(data[: 24 - TRAILER]).digest() != data[24 - TRAILER : -8]:
        return Damage(name, "the SHA-256 in its trailer is wrong")
    return None


# --- Commands -----------------------------------------------------------------


def ls(repo: Repository) -> None:
    for _, entry in entries(repo):
        if isinstance(entry, Damage):
            print(f"damaged: {entry}", file=sys.stderr)
        else:
            streams = " ".join(f"{s['name']}:{s['size']}" for s in entry.streams or [])
            print(f"{entry.index} {entry.snapshot} {entry.source} {streams}")


def dump(repo: Repository, snapshot: str, name: str, out: BinaryIO) -> None:
    damaged = 0
    for _, entry in entries(repo):
        if isinstance(entry, Damage):
            damaged += 1
        elif entry.snapshot == snapshot:
            opened = Snapshot(repo, entry)
            for stream in opened.manifest.streams:
                if stream.name == name:
                    for chunk in opened.chunks(stream):
                        out.write(chunk)
                    return out.flush()
            raise Problem(f"snapshot {snapshot} has no stream {name!r}")
    raise Problem(f"no ledger entry records snapshot {snapshot}; {damaged} are damaged")


def check(repo: Repository) -> int:
    """Looks at everything, prints one line for each damaged object, and gives their number."""
    damaged: dict[str, tuple[str, dict[str, None]]] = {}

    def note(e: Damage, snapshot: str = "") -> None:
        hits = damaged.setdefault(e.name, (e.reason, {}))[1]
        if snapshot:
            hits[snapshot] = None

    for damage in repo.damaged:
        note(damage)
    packs: dict[tuple[str, bytes], Damage | None] = {}  # what is wrong with them
    before, previous, good, depth = 0, "0" * 64, 0, 0  # the index and the hash of the entry before
    for index, entry in entries(repo):
        for missing in range(before + 1, min(index, before + 100)):
            note(Damage(f"ledger/{missing:020}", "missing"))
        before, follows = index, previous if index == before + 1 else ""
        if isinstance(entry, Damage):
            note(entry)
            previous = ""
            continue
        if follows and entry.previous != follows:
            note(Damage(f"ledger/{index:020}", "does not follow from the entry before"))
        previous = entry.hash
        found: list[Damage] = []
        try:
            snapshot = Snapshot(repo, entry)
            for ref in snapshot.manifest.packs:
                name = object_name(entry.source, "packs", ref.id)
                if (name, ref.sha256) not in packs:
                    packs[name, ref.sha256] = check_pack(repo.store, name, ref)
                found += filter(None, [packs[name, ref.sha256]])
            snapshot.check()
            depth = max([depth, *(f.depth for pack in snapshot.reader.packs.values() for f in pack.frames)])
        except Damage as e:
            if e.name == object_name(entry.source, "manifests", entry.snapshot) and e.reason == "missing":
                print(f"{entry.source} {entry.snapshot}: has no manifest: forgotten and deleted, or lost")
                continue
            found.append(e)
        for damage in found:
            note(damage, entry.snapshot)
        good += not found
        print(f"{entry.source} {entry.snapshot}: {'damaged' if found else 'fine'}")
    for name, (reason, hits) in damaged.items():
        print(f"damaged: {name}: {reason}{'; hits ' if hits else ''}{', '.join(hits)}", file=sys.stderr)
    print(f"{good} snapshots fine, {len(packs)} packs read, dictionaries {depth} deep, {len(damaged)} objects damaged")
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
        key.add_argument("--passphrase-file", metavar="FILE", help="a file whose first line is the passphrase")
    commands.add_parser("selftest").add_argument("folder")
    args = parser.parse_args()
    try:
        if args.command == "selftest":
            sys.dont_write_bytecode, sys.modules["baktainer_reader"] = True, sys.modules[__name__]
            import selftest

            return selftest.run(Path(args.folder))
        text = Path(args.key or args.passphrase_file).read_text("utf-8")
        repo = Repository(Store(args.store), key_file(text) if args.key else passphrase(text.split("\n")[0]))
        if args.command == "ls":
            ls(repo)
        elif args.command == "dump":
            dump(repo, args.snapshot, args.stream, sys.stdout.buffer)
        else:
            return min(check(repo), 1)
    except (Problem, OSError, UnicodeDecodeError) as e:
        print(f"{'damaged: ' if isinstance(e, Damage) else ''}{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
