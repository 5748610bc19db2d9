package engine

import (
	"slices"
	"strings"
	"sync"
	"unicode"
)

// mask stands for a secret in what is kept.
const mask = "[hidden]"

// Tail is a writer that keeps the last bytes written to it, with secrets
// masked, also those split over several writes. It may be used concurrently.
type Tail struct {
	mu      sync.Mutex
	limit   int
	secrets []string // longest first, so that a secret within another does not uncover the rest
	kept    []byte   // masked; up to twice limit between two cuts
	pending []byte   // the end of what was written, when a secret may begin there
	cut     bool
}

// NewTail returns a Tail that keeps at most limit bytes. Empty secrets are ignored.
func NewTail(limit int, secrets []string) *Tail {
	t := &Tail{limit: max(limit, 0)}
	for _, s := range secrets {
		if s != "" && !slices.Contains(t.secrets, s) {
			t.secrets = append(t.secrets, s)
		}
	}
	slices.SortFunc(t.secrets, func(a, b string) int { return len(b) - len(a) })
	return t
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const piece = 32 << 10 // bounds the memory that one large write takes
	for rest := p; len(rest) > 0; {
		n := min(len(rest), piece)
		masked, pending := t.hide(append(t.pending, rest[:n]...), false)
		t.kept = append(t.kept, masked...)
		t.pending = slices.Clone(pending)
		if len(t.kept) > 2*t.limit {
			t.cut = true
			t.kept = append(t.kept[:0], t.kept[len(t.kept)-t.limit:]...)
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// String returns what is kept: valid UTF-8 without control characters other
// than line end and tab, at most limit bytes. A line whose beginning was cut
// off is left out when whole lines follow it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, _ := t.hide(slices.Clone(t.pending), true)
	all := string(t.kept) + string(last)
	cut := t.cut
	if len(all) > t.limit {
		all, cut = all[len(all)-t.limit:], true
	}
	if _, rest, ok := strings.Cut(all, "\n"); ok && cut && rest != "" {
		all = rest
	}
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(all, "?"))
}

// hide replaces the secrets in b. Unless final it stops where b ends in what
// may be the beginning of a secret, and returns that as pending.
func (t *Tail) hide(b []byte, final bool) (masked, pending []byte) {
	masked = make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		secret, partial := t.at(string(b[i:min(len(b), i+t.longest())]))
		switch {
		case partial && !final:
			return masked, b[i:]
		case secret > 0:
			masked = append(masked, mask...)
			i += secret
		default:
			masked = append(masked, b[i])
			i++
		}
	}
	return masked, nil
}

// at gives the length of the secret that s begins with, 0 for none; partial
// says that s is the beginning of a longer one.
func (t *Tail) at(s string) (secret int, partial bool) {
	for _, candidate := range t.secrets {
		if strings.HasPrefix(s, candidate) {
			return len(candidate), partial
		}
		partial = partial || strings.HasPrefix(candidate, s)
	}
	return 0, partial
}

func (t *Tail) longest() int {
	if len(t.secrets) == 0 {
		return 0
	}
	return len(t.secrets[0])
}
