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
	LedgerPrefix  = "ledger/"
	SourcesPrefix = "sources/"
)

// Kind is what an object is.
type Kind string

// The kinds.
const (
	KindFormat      Kind = "format"
	KindFormatCopy  Kind = "format-copy"
	KindDescription Kind = "description"
	KindPack        Kind = "pack"
	KindManifest    Kind = "manifest"
	KindLedger      Kind = "ledger"
)

// ObjectName is an object's name, understood.
type ObjectName struct {
	Kind   Kind
	Source string // of a pack or manifest
	// ID is the pack id, or the snapshot of a manifest.
	ID    string
	Index uint64 // of a ledger copy
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

func packsPrefix(name string) string { return SourcesPrefix + source.PathKey(name) + "/packs/" }

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
	switch {
	case len(seg) == 2 && seg[0] == "ledger" && len(seg[1]) == 20:
		n, err := strconv.ParseUint(seg[1], 10, 64)
		return ObjectName{Kind: KindLedger, Index: n}, err == nil && n > 0
	case len(seg) == 5 && seg[0] == "sources" && seg[2] == "packs":
		src := source.NameFromPathKey(seg[1])
		return ObjectName{Kind: KindPack, Source: src, ID: seg[4]}, source.CheckName(src) == nil && isPackID(seg[4])
	case len(seg) == 4 && seg[0] == "sources" && seg[2] == "manifests":
		src := source.NameFromPathKey(seg[1])
		return ObjectName{Kind: KindManifest, Source: src, ID: seg[3]}, source.CheckName(src) == nil && isSnapshotID(seg[3])
	}
	return ObjectName{}, false
}

func (o ObjectName) name() string {
	switch o.Kind {
	case KindFormat:
		return FormatName
	case KindDescription:
		return DescriptionName
	case KindPack:
		return PackName(o.Source, o.ID)
	case KindManifest:
		return ManifestName(o.Source, o.ID)
	}
	return LedgerName(o.Index)
}

func isPackID(s string) bool { return len(s) == 2*packIDSize && only(s, "0123456789abcdef") }

// isSnapshotID says whether s is a ULID as it is written: 26 characters of Crockford's base 32.
func isSnapshotID(s string) bool {
	return len(s) == 26 && s[0] <= '7' && only(s, "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
}

func only(s, alphabet string) bool { return strings.Trim(s, alphabet) == "" }
