package repo

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/source"
)

// Names of the objects that a store holds once.
const (
	FormatName      = "format.json"
	FormatCopyName  = "format.copy.json" // the same bytes: without them nothing can be read
	DescriptionName = "FORMAT.md"
)

// Prefixes of the objects that a store holds many of.
const (
	KeysPrefix        = "keys/"
	EarlierKeysPrefix = "keys/earlier/"
	LedgerPrefix      = "ledger/"
	PlansPrefix       = "plans/"
	SourcesPrefix     = "sources/"
)

// copySuffix ends the name of an object of the same bytes, for when the other is damaged.
const copySuffix = ".copy"

// Kind is what an object is.
type Kind string

// The kinds.
const (
	KindFormat      Kind = "format"
	KindFormatCopy  Kind = "format-copy"
	KindDescription Kind = "description"
	KindPack        Kind = "pack"
	KindManifest    Kind = "manifest"
	KindDamaged     Kind = "damaged" // marks a pack that is not to be built upon
	KindKeySlot     Kind = "key-slot"
	KindEarlierKey  Kind = "earlier-key"
	KindLedger      Kind = "ledger"
	KindPlan        Kind = "plan"
)

// ObjectName is an object's name, understood.
type ObjectName struct {
	Kind   Kind
	Source string // of a pack, its mark of damage, or a manifest
	// ID is that of a pack (also of one marked damaged), key slot or plan, or the
	// snapshot of a manifest.
	ID         string
	Index      uint64 // of a ledger copy
	Generation uint32 // of an earlier key: the one that opens it
	Copy       bool   // of a key slot or earlier key
}

// PackName names the pack with an id (32 hexadecimal digits) of a source.
func PackName(source, packID string) string {
	return packsPrefix(source) + packID[:min(2, len(packID))] + "/" + packID
}

// ManifestName names the manifest of a snapshot (ULID).
func ManifestName(source, snapshot string) string { return ManifestsPrefix(source) + snapshot }

// ManifestsPrefix is what the names of a source's manifests begin with.
func ManifestsPrefix(name string) string {
	return SourcesPrefix + source.PathKey(name) + "/manifests/"
}

// DamagedName names the object that marks a pack as damaged.
func DamagedName(source, packID string) string { return DamagedPrefix(source) + packID }

// DamagedPrefix is what the names of such marks begin with.
func DamagedPrefix(name string) string {
	return SourcesPrefix + source.PathKey(name) + "/damaged/"
}

func packsPrefix(name string) string { return SourcesPrefix + source.PathKey(name) + "/packs/" }

// KeySlotName names the key slot with an id (16 hexadecimal digits).
func KeySlotName(id string) string { return KeysPrefix + id }

// EarlierKeyName names the object that gives whoever has the master key of a
// generation, from 2, that of the one before.
func EarlierKeyName(generation uint32) string {
	return fmt.Sprintf("%s%010d", EarlierKeysPrefix, generation)
}

// CopyName names the copy of a key slot or of an earlier key.
func CopyName(name string) string { return name + copySuffix }

// PlanName names the plan of a prune (ULID).
func PlanName(id string) string { return PlansPrefix + id }

// LedgerName names the copy of the ledger entry with an index.
func LedgerName(index uint64) string { return fmt.Sprintf("%s%020d", LedgerPrefix, index) }

// ParseName understands an object's name. It is strict: what it accepts, the
// functions above would build, byte for byte.
func ParseName(name string) (ObjectName, error) {
	switch name {
	case FormatName:
		return ObjectName{Kind: KindFormat}, nil
	case FormatCopyName:
		return ObjectName{Kind: KindFormatCopy}, nil
	case DescriptionName:
		return ObjectName{Kind: KindDescription}, nil
	}
	if o, ok := parseName(strings.Split(name, "/")); ok && o.name() == name {
		return o, nil
	}
	return ObjectName{}, fmt.Errorf("%.200q is not the name of an object of a repository", name)
}

func parseName(seg []string) (ObjectName, bool) {
	last, isCopy := strings.CutSuffix(seg[len(seg)-1], copySuffix)
	switch {
	case len(seg) == 2 && seg[0] == "keys":
		return ObjectName{Kind: KindKeySlot, ID: last, Copy: isCopy}, isSlotID(last)
	case len(seg) == 3 && seg[0] == "keys" && seg[1] == "earlier" && len(last) == 10:
		n, err := strconv.ParseUint(last, 10, 32)
		return ObjectName{Kind: KindEarlierKey, Generation: uint32(n), Copy: isCopy}, err == nil && n >= 2
	case len(seg) == 2 && seg[0] == "plans":
		return ObjectName{Kind: KindPlan, ID: seg[1]}, isSnapshotID(seg[1])
	case len(seg) == 2 && seg[0] == "ledger" && len(seg[1]) == 20:
		n, err := strconv.ParseUint(seg[1], 10, 64)
		return ObjectName{Kind: KindLedger, Index: n}, err == nil && n > 0
	case len(seg) == 5 && seg[0] == "sources" && seg[2] == "packs":
		src := source.NameFromPathKey(seg[1])
		return ObjectName{Kind: KindPack, Source: src, ID: seg[4]}, source.CheckName(src) == nil && isPackID(seg[4])
	case len(seg) == 4 && seg[0] == "sources" && seg[2] == "damaged":
		src := source.NameFromPathKey(seg[1])
		return ObjectName{Kind: KindDamaged, Source: src, ID: seg[3]}, source.CheckName(src) == nil && isPackID(seg[3])
	case len(seg) == 4 && seg[0] == "sources" && seg[2] == "manifests":
		src := source.NameFromPathKey(seg[1])
		return ObjectName{Kind: KindManifest, Source: src, ID: seg[3]}, source.CheckName(src) == nil && isSnapshotID(seg[3])
	}
	return ObjectName{}, false
}

func (o ObjectName) name() string {
	name := ""
	switch o.Kind {
	case KindFormat:
		return FormatName
	case KindFormatCopy:
		return FormatCopyName
	case KindDescription:
		return DescriptionName
	case KindPack:
		return PackName(o.Source, o.ID)
	case KindDamaged:
		return DamagedName(o.Source, o.ID)
	case KindManifest:
		return ManifestName(o.Source, o.ID)
	case KindLedger:
		return LedgerName(o.Index)
	case KindPlan:
		return PlanName(o.ID)
	case KindKeySlot:
		name = KeySlotName(o.ID)
	case KindEarlierKey:
		name = EarlierKeyName(o.Generation)
	}
	if o.Copy {
		name = CopyName(name)
	}
	return name
}

func isPackID(s string) bool { return len(s) == 2*packIDSize && only(s, lowerHex) }

func isSlotID(s string) bool { return len(s) == 2*slotIDSize && only(s, lowerHex) }

// slotIDSize is the bytes of a key slot's id.
const slotIDSize = 8

const lowerHex = "0123456789abcdef"

// isSnapshotID says whether s is a ULID as it is written: 26 characters of Crockford's base 32.
func isSnapshotID(s string) bool {
	return len(s) == 26 && s[0] <= '7' && only(s, "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
}

func only(s, alphabet string) bool { return strings.Trim(s, alphabet) == "" }
