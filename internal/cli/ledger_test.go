package cli

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestParseHead(t *testing.T) {
	t.Parallel()
	hash := ledger.Hash{1, 2, 3}
	index, got, err := parseHead(ledgerHead(77, hash))
	if err != nil || index != 77 || got != hash {
		t.Errorf("%d, %s, %v", index, got, err)
	}
	for _, text := range []string{"", ":", "77", "77:", "77:abc", "0:" + hash.String(), "-1:" + hash.String(), "x:" + hash.String(), "77:" + strings.Repeat("g", 64), "77:" + hash.String() + "0"} {
		if _, _, err := parseHead(text); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("%q: %v", text, err)
		}
	}
}
