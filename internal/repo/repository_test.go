package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

var slotID = regexp.MustCompile(`[0-9a-f]{16}`)

func newKey(t testing.TB) KeyFile {
	t.Helper()
	k, err := GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sameRepository(a, b *Repository) bool {
	return a.ID == b.ID && a.Generation == b.Generation && maps.Equal(a.keys.masters, b.keys.masters)
}

func TestCreateAndOpen(t *testing.T) {
	st, key := mem.New(), newKey(t)
	if _, err := Open(t.Context(), st, key); problem.ReasonOf(err) != ReasonNoRepository || problem.CodeOf(err) != problem.NotFound {
		t.Errorf("open an empty store: %v", err)
	}
	r, err := Create(t.Context(), st, key, testTime)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), st, key)
	if err != nil || !sameRepository(again, r) {
		t.Errorf("opened %v, created %v, %v", again, r, err)
	}
	if _, err := Create(t.Context(), st, key, testTime); !errors.Is(err, store.ErrExists) || problem.CodeOf(err) != problem.Conflict {
		t.Errorf("created twice: %v", err)
	}
	_, err = Open(t.Context(), st, newKey(t))
	if problem.CodeOf(err) != problem.Denied || problem.ReasonOf(err) != ReasonWrongKey || !strings.Contains(problem.Text(err), key.id()) {
		t.Errorf("another key: %s", problem.Text(err))
	}
	var names []string
	_ = st.List(t.Context(), "", func(i store.Info) error {
		names = append(names, slotID.ReplaceAllString(i.Name, "<slot>"))
		if _, err := ParseName(i.Name); err != nil {
			t.Error(err)
		}
		return nil
	})
	if fmt.Sprint(names) != "[FORMAT.md format.copy.json format.json keys/<slot> keys/<slot>.copy]" {
		t.Errorf("objects: %v", names)
	}
}

func TestFormatIsGuarded(t *testing.T) {
	key := newKey(t)
	change := func(fn func(*formatFile)) func([]byte) []byte {
		return func(b []byte) []byte {
			var f formatFile
			_ = json.Unmarshal(b, &f)
			fn(&f)
			b, _ = json.Marshal(f)
			return b
		}
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   problem.Code
	}{
		"gone":           {func([]byte) []byte { return nil }, problem.NotFound},
		"empty":          {func([]byte) []byte { return []byte{} }, problem.Corrupt},
		"cut short":      {func(b []byte) []byte { return b[:len(b)/2] }, problem.Corrupt},
		"large":          {func(b []byte) []byte { return append(b, make([]byte, maxFormatFile)...) }, problem.Corrupt},
		"newer":          {change(func(f *formatFile) { f.Version = 2 }), problem.InvalidInput},
		"version 0":      {change(func(f *formatFile) { f.Version = 0 }), problem.Corrupt},
		"another format": {change(func(f *formatFile) { f.Format = "x" }), problem.Corrupt},
		"another id":     {change(func(f *formatFile) { f.ID = strings.Repeat("ab", 16) }), problem.Corrupt}, // has no slot
		"no id":          {change(func(f *formatFile) { f.ID = "" }), problem.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			st := mem.New()
			r, err := Create(t.Context(), st, key, testTime)
			if err != nil {
				t.Fatal(err)
			}
			st.Change(FormatName, c.change)
			healed, err := Open(t.Context(), st, key)
			if c.want == problem.NotFound || c.want == problem.Corrupt {
				if err != nil || !sameRepository(healed, r) { // the copy serves
					t.Errorf("with a good copy: %v", err)
				}
			}
			st.Change(FormatCopyName, c.change)
			if _, err := Open(t.Context(), st, key); problem.CodeOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// badSectors is a store on a disk that cannot read some objects any more.
type badSectors struct {
	store.Store
	bad map[string]bool
}

func (b badSectors) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if b.bad[name] {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EIO}
	}
	return b.Store.Get(ctx, name, offset, length)
}

// What the disk cannot read is as good as damaged: its copy serves.
func TestBadSectors(t *testing.T) {
	st, k := keysOf(t, vectorKey)
	if _, err := k.NewGeneration(t.Context(), true, testTime); err != nil {
		t.Fatal(err)
	}
	whole, err := Open(t.Context(), st, vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	slot := KeySlotName(slotIDs(t, st, SlotKeyFile)[0])
	for _, name := range []string{FormatName, slot, EarlierKeyName(2)} {
		b := badSectors{st, map[string]bool{name: true}}
		r, err := Open(t.Context(), b, vectorKey)
		if err != nil || !sameRepository(r, whole) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if flaws, _, err := r.CheckCopies(t.Context(), b); err != nil || len(flaws) != 1 || flaws[0].Object != name || flaws[0].Whole == nil {
			t.Errorf("%s: %+v, %v", name, flaws, err)
		}
	}
	b := badSectors{st, map[string]bool{FormatName: true, FormatCopyName: true}}
	if _, err := Open(t.Context(), b, vectorKey); !errors.Is(err, syscall.EIO) {
		t.Errorf("neither can be read: %v", err)
	}
}

// A store keeps the description of the version that made it.
func TestADescriptionOfAnotherVersion(t *testing.T) {
	st, _ := keysOf(t, vectorKey)
	r, err := Open(t.Context(), st, vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	earlier := describing([]byte("# As it was described once\n"))
	for _, tc := range []struct {
		text []byte
		fine bool
	}{{description, true}, {earlier, true}, {earlier[1:], false}, {earlier[:len(earlier)-1], false}, {formatText, false}} {
		if err := st.Delete(t.Context(), DescriptionName); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Put(t.Context(), DescriptionName, bytes.NewReader(tc.text)); err != nil {
			t.Fatal(err)
		}
		if flaws, _, err := r.CheckCopies(t.Context(), st); err != nil || (len(flaws) == 0) != tc.fine {
			t.Errorf("%.40q: %+v, %v", tc.text, flaws, err)
		}
	}
}

// A creation that was cut short can be done again; a store that has lost its
// format.json never gets a second key.
func TestCreateAgain(t *testing.T) {
	key := newKey(t)
	for nth := 1; nth <= 5; nth++ {
		inner := mem.New()
		st := faulty.Wrap(inner, faulty.Fault{Op: faulty.Put, Nth: nth})
		if _, err := Create(t.Context(), st, key, testTime); !errors.Is(err, faulty.ErrFault) {
			t.Errorf("put %d fails: %v", nth, err)
		}
		_, openErr := Open(t.Context(), inner, key)
		_, err := Create(t.Context(), inner, key, testTime)
		if (openErr == nil) == (err == nil) {
			t.Errorf("put %d failed: open %v, create again %v", nth, openErr, err)
		}
	}
	for _, name := range []string{PackName(testSource, strings.Repeat("0", 32)), LedgerName(1), FormatCopyName, EarlierKeyName(2)} {
		st := mem.New()
		if _, err := st.Put(t.Context(), name, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(t.Context(), st, key, testTime); problem.CodeOf(err) != problem.Conflict {
			t.Errorf("create in a store with %s: %v", name, err)
		}
	}
}

func TestLedgerCopies(t *testing.T) {
	r := &Repository{Generation: 2, keys: newKeyring(2, MasterKey{1})}
	object, err := r.SealLedger(7, []byte(`{"index":7}`))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.OpenLedger(7, object); err != nil || string(plain) != `{"index":7}` {
		t.Errorf("%s, %v", plain, err)
	}
	twin, _ := r.SealLedger(7, []byte(`{"index":7}`))
	if bytes.Equal(object, twin) {
		t.Error("sealed twice alike")
	}
	if _, err := r.OpenLedger(8, object); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("as entry 8: %v", err)
	}
	if _, err := (&Repository{keys: newKeyring(2, MasterKey{2})}).OpenLedger(7, object); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("under another key: %v", err)
	}
	for i := range object {
		bad := bytes.Clone(object)
		bad[i] ^= 4
		if _, err := r.OpenLedger(7, bad); problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := r.OpenLedger(7, object[:i]); problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

// typed is a key as a person types it from paper.
func typed(k KeyFile, between, end string) string {
	prefix, groups := k.Groups()
	text := strings.ToLower(prefix) + end
	for i, g := range groups {
		text += g + between
		if i%4 == 3 {
			text += end
		}
	}
	return text
}

func TestKeyFile(t *testing.T) {
	k := newKey(t)
	text := string(k.Encode())
	lines := strings.SplitAfter(text, "\n")
	line := strings.TrimSpace(lines[1])
	for name, in := range map[string]string{
		"lower case": strings.ToLower(line), "space inside": line[:40] + " " + line[40:], "grouped": typed(k, " ", "\n"), "no dashes": strings.ReplaceAll(line, "-", ""), "digits for letters": keyFilePrefix + strings.NewReplacer("O", "0", "B", "8").Replace(line[len(keyFilePrefix):len(line)-8]) + line[len(line)-8:],
		"as written": text, "windows": strings.ReplaceAll(text, "\n", "\r\n"), "bare": line, "spaces": "\n\n  " + line + " \n# end\n", "bom": "\ufeff" + line,
	} {
		if got, err := ParseKeyFile([]byte(in)); err != nil || got != k {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "comment only": lines[0], "cut": line[:len(line)-1], "cut more": line[:30], "twice": line + "\n" + line, "other version": strings.Replace(line, "KEY-1", "KEY-2", 1),
		"foreign": "hello", "long": strings.Repeat("#\n", 40_000) + line, "checksum": line[:len(line)-8] + "00000000",
		"digit": strings.Replace(line, line[20:21], map[bool]string{true: "B", false: "A"}[line[20] == 'A'], 1), "a digit too many": line + "0", "a one": line[:20] + "1" + line[21:], "foreign letter": line[:20] + "ß" + line[21:],
	} {
		_, err := ParseKeyFile([]byte(in))
		if problem.CodeOf(err) != problem.InvalidInput || problem.ReasonOf(err) != ReasonDamagedKey {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(problem.Text(err), line[20:40]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestKeysHideThemselves(t *testing.T) {
	secret := [32]byte(bytes.Repeat([]byte{0x41}, 32))
	for _, v := range []any{KeyFile{secret}, MasterKey(secret), SourceKey{secret, 1}, Passphrase{strings.Repeat("A", 32), usualCost}, ageIdentity(t), &Repository{keys: newKeyring(1, secret)}, WriterOptions{Key: SourceKey{secret, 1}}} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		j, _ := json.Marshal(v)
		for _, out := range []string{fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s", v, v, v, v), log.String(), string(j)} {
			// Long enough that no time and no address of memory looks like it.
			for _, shape := range []string{"AAAA", "65 65", "65,65", "0x41, 0x41", "41414141", "QUFB", "AGE-SECRET"} {
				if strings.Contains(out, shape) {
					t.Errorf("%T shows itself: %s", v, out)
				}
			}
		}
	}
}

func TestNames(t *testing.T) {
	id := strings.Repeat("0a", 16)
	for name, want := range map[string]ObjectName{
		PackName("shop/db", id):             {Kind: KindPack, Source: "shop/db", ID: id},
		ManifestName("shop/db", snap1):      {Kind: KindManifest, Source: "shop/db", ID: snap1},
		LedgerName(42):                      {Kind: KindLedger, Index: 42},
		DamagedName("shop/db", id):          {Kind: KindDamaged, Source: "shop/db", ID: id},
		PlanName(snap1):                     {Kind: KindPlan, ID: snap1},
		KeySlotName(id[:16]):                {Kind: KindKeySlot, ID: id[:16]},
		CopyName(KeySlotName(id[:16])):      {Kind: KindKeySlot, ID: id[:16], Copy: true},
		EarlierKeyName(2):                   {Kind: KindEarlierKey, Generation: 2},
		CopyName(EarlierKeyName(1<<32 - 1)): {Kind: KindEarlierKey, Generation: 1<<32 - 1, Copy: true},
		"format.json":                       {Kind: KindFormat},
		"format.copy.json":                  {Kind: KindFormatCopy},
		"FORMAT.md":                         {Kind: KindDescription},
	} {
		if got, err := ParseName(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if got, _ := ParseName(name); got.name() != name {
			t.Errorf("%s became %s", name, got.name())
		}
		if err := store.CheckName(name); err != nil {
			t.Error(err)
		}
	}
	if PackName("shop/db", id) != "sources/shop~db/packs/0a/"+id || LedgerName(42) != "ledger/00000000000000000042" {
		t.Error(PackName("shop/db", id), LedgerName(42))
	}
	for _, name := range []string{
		"", "sources", "sources/a/packs/0b/" + id, "sources/a/packs/" + id, "sources/../packs/0a/" + id, "sources/a/b/packs/0a/" + id, "sources/a~b~c/packs/0a/" + id,
		"sources/a/manifests/" + strings.ToLower(snap1), "sources/a/manifests/8" + snap1[1:], "ledger/0", "ledger/00000000000000000000", "ledger/99999999999999999999", "ledger/0000000000000000004x",
		"keys/", "keys/" + id, "keys/0A0A0A0A0A0A0A0A", "keys/" + id[:16] + ".copy.copy", "keys/earlier", "keys/earlier/2", "keys/earlier/0000000001", "keys/earlier/4294967296", "keys/earlier/+000000002",
		"plans/" + strings.ToLower(snap1), "plans/" + snap1 + ".copy", "sources/a/damaged/" + id[:30], "sources/a/damaged/" + id + ".copy", "ledger/00000000000000000042.copy",
		"sources/a/packs/0A/" + strings.ToUpper(id), "format.json/", "./format.json",
	} {
		if o, err := ParseName(name); err == nil {
			t.Errorf("%q is accepted as %+v", name, o)
		}
	}
}
