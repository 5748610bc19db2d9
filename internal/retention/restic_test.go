package retention_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/scrypt"

	"github.com/baktainer/baktainer/internal/retention"
)

// oraclePolicies is how many policies restic is asked about unless the variable
// says another number.
const (
	oraclePolicies = 250
	oracleVariable = "BAKTAINER_ORACLE_POLICIES"
)

// TestResticAgrees asks restic's own program what it would keep. Every policy is
// put to every history in a repository that the test writes itself, since opening
// one that restic made takes half a second for the password alone.
func TestResticAgrees(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("restic"); err != nil {
		t.Fatal("restic is the oracle of this test, and is not installed: run deploy/setup/restic.sh")
	}
	n, seed := oraclePolicies, uint64(1)
	if text := os.Getenv(oracleVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(oracleVariable, err)
		}
	}
	const perRepository = 500 // policies, then other histories
	oldestToo := keepsOldest(t)
	compared, kept, removed, oldest := 0, 0, 0, 0
	for done := 0; done < n; done += perRepository {
		rnd := rand.New(rand.NewPCG(seed, 2))
		seed++
		histories := map[string][]retention.Snapshot{}
		for h := range 8 {
			histories[fmt.Sprintf("host%d", h)] = history(rnd)
		}
		repository := writeRepository(t, histories)
		for range min(perRepository, n-done) {
			p := randomPolicy(rnd)
			theirs := askRestic(t, repository, p)
			for host, snapshots := range histories {
				compared++
				for i, d := range retention.Decide(retention.Question{Policy: p, Snapshots: snapshots, Now: latest(snapshots)}) {
					keep, want := d.Keep && !onlyByDesign(d.Reasons), theirs[host][d.Snapshot.ID]
					switch {
					case keep == want:
					case oldestToo && want && i == len(snapshots)-1:
						oldest++
					default:
						t.Errorf("%s, %s, snapshot of %s (%d of %d): restic keeps it: %v; here: %v, %v", p, host, d.Snapshot.ID, i+1, len(snapshots), want, d.Keep, d.Reasons)
					}
					if keep {
						kept++
					} else {
						removed++
					}
				}
			}
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	t.Logf("%d policies, %d histories judged: %d snapshots kept, %d forgotten, no difference (the oldest kept by restic alone: %d)", n, compared, kept, removed, oldest)
	if kept*20 < removed || removed*20 < kept {
		t.Errorf("%d kept and %d forgotten: too much of one to show anything", kept, removed)
	}
}

// onlyByDesign says whether a snapshot is kept for reasons alone that restic has not.
func onlyByDesign(reasons []string) bool {
	return !slices.ContainsFunc(reasons, func(why string) bool {
		return why != "the newest of its source" && why != "one of the last 1 verified"
	})
}

// keepsOldest says whether this restic keeps a history's oldest snapshot while a
// rule has not been used up, as those after 0.14 do.
func keepsOldest(t *testing.T) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "restic", "version").Output()
	var minor int
	if _, scanErr := fmt.Sscanf(string(out), "restic 0.%d.", &minor); err != nil || scanErr != nil {
		t.Fatalf("restic version: %s, %v, %v", out, err, scanErr)
	}
	return minor > 14
}

func latest(list []retention.Snapshot) (newest time.Time) {
	for _, s := range list {
		if s.Time.After(newest) {
			newest = s.Time
		}
	}
	return newest
}

// history makes snapshots at times of some habit: every few hours or days, with
// bursts and gaps.
func history(rnd *rand.Rand) []retention.Snapshot {
	// All of it is past: restic passes over what is of a time to come.
	at := time.Date(1999+rnd.IntN(8), time.Month(1+rnd.IntN(12)), 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), 0, time.UTC)
	habits := []time.Duration{20 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 31 * 24 * time.Hour}
	habit := habits[rnd.IntN(len(habits))]
	var list []retention.Snapshot
	for i := range 1 + rnd.IntN(60) {
		switch rnd.IntN(12) {
		case 0:
			habit = habits[rnd.IntN(len(habits))]
		case 1:
			at = at.Add(time.Duration(1+rnd.IntN(300)) * 24 * time.Hour)
		}
		step := habit
		if rnd.IntN(2) == 0 {
			step = time.Duration(rnd.Int64N(int64(2 * habit)))
		}
		at = at.Add(step.Truncate(time.Second) + time.Second)
		s := retention.Snapshot{Time: at, Place: uint64(i + 1), Verified: true}
		for _, tag := range []string{"golden", "weekly", "x"} {
			if rnd.IntN(8) == 0 {
				s.Tags = append(s.Tags, tag)
			}
		}
		list = append(list, s)
	}
	return list
}

// randomPolicy makes a policy of one to four rules.
func randomPolicy(rnd *rand.Rand) retention.Policy {
	for {
		var p retention.Policy
		for range 1 + rnd.IntN(4) {
			r := retention.Rule(rnd.IntN(6))
			switch rnd.IntN(5) {
			case 0, 1:
				p.Count[r] = 1 + rnd.IntN(15)
			case 2:
				p.Count[r] = []int{1, 2, 3, 5, 1000, retention.All}[rnd.IntN(6)]
			case 3:
				p.Within[r] = []retention.Span{
					{Hours: 1 + rnd.IntN(200)}, {Days: 1 + rnd.IntN(60)}, {Months: 1 + rnd.IntN(14)}, {Years: 1 + rnd.IntN(3)},
					{Years: rnd.IntN(2), Months: rnd.IntN(13), Days: rnd.IntN(40), Hours: 1 + rnd.IntN(30)},
				}[rnd.IntN(5)]
			case 4:
				p.Tags = append(p.Tags, [][]string{{"golden"}, {"weekly"}, {"golden", "x"}}[rnd.IntN(3)])
			}
		}
		if !p.Empty() {
			return p
		}
	}
}

// askRestic gives the snapshots that restic would keep, by host.
func askRestic(t *testing.T, repository string, p retention.Policy) map[string]map[string]bool {
	t.Helper()
	args := []string{"--repo", repository, "--no-cache", "--no-lock", "--json", "--quiet", "forget", "--dry-run", "--group-by", "host"}
	for r := retention.Last; r <= retention.Yearly; r++ {
		n := p.Count[r]
		if n == retention.All { // restic has no word for it that all its versions know
			n = retention.MaxCount
		}
		if n != 0 {
			args = append(args, fmt.Sprintf("--keep-%s=%d", r, n))
		}
		if s := p.Within[r]; s != (retention.Span{}) {
			flag := "--keep-within"
			if r != retention.Last {
				flag += "-" + r.String()
			}
			args = append(args, fmt.Sprintf("%s=%dy%dm%dd%dh", flag, s.Years, s.Months, s.Days, s.Hours))
		}
	}
	for _, set := range p.Tags {
		args = append(args, "--keep-tag="+strings.Join(set, ","))
	}
	cmd := exec.CommandContext(t.Context(), "restic", args...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+resticPassword, "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("restic %v: %v %s", args, err, out)
	}
	var groups []struct {
		Host string
		Keep []struct{ Time time.Time }
	}
	if err := json.Unmarshal(out, &groups); err != nil {
		t.Fatalf("restic %v: %v: %.300s", args, err, out)
	}
	keep := map[string]map[string]bool{}
	for _, g := range groups {
		keep[g.Host] = map[string]bool{}
		for _, s := range g.Keep {
			keep[g.Host][idOf(s.Time)] = true
		}
	}
	return keep
}

// idOf names a snapshot by its time, of which each history has one.
func idOf(at time.Time) string { return at.UTC().Format(time.DateTime) }

// What follows writes a repository by restic's published format (its design
// document): enough of one for forget to read.

const resticPassword = "oracle"

// resticKey encrypts as restic does: AES-256-CTR, authenticated by Poly1305-AES.
type resticKey struct{ encrypt, k, r []byte }

func (key resticKey) seal(rnd *rand.Rand, plain []byte) []byte {
	iv := randomBytes(rnd, 16)
	block, err := aes.NewCipher(key.encrypt)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(plain))
	cipher.NewCTR(block, iv).XORKeyStream(out, plain)
	return slices.Concat(iv, out, poly1305AES(key.k, key.r, iv, out))
}

// poly1305AES is the authenticator of D. J. Bernstein's paper.
func poly1305AES(k, r, nonce, message []byte) []byte {
	block, err := aes.NewCipher(k)
	if err != nil {
		panic(err)
	}
	s := make([]byte, 16)
	block.Encrypt(s, nonce)
	masked := slices.Clone(r)
	for i, mask := range map[int]byte{3: 15, 7: 15, 11: 15, 15: 15, 4: 252, 8: 252, 12: 252} {
		masked[i] &= mask
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	factor, sum := little(masked), new(big.Int)
	for part := range slices.Chunk(message, 16) {
		sum.Add(sum, little(append(slices.Clone(part), 1)))
		sum.Mod(sum.Mul(sum, factor), prime)
	}
	sum.Add(sum, little(s))
	tag := make([]byte, 17)
	new(big.Int).Mod(sum, new(big.Int).Lsh(big.NewInt(1), 128)).FillBytes(tag)
	slices.Reverse(tag)
	return tag[:16]
}

func little(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// writeRepository makes a repository with the snapshots, and gives them their ids.
func writeRepository(t *testing.T, histories map[string][]retention.Snapshot) string {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(3, 4))
	master := resticKey{randomBytes(rnd, 32), randomBytes(rnd, 16), randomBytes(rnd, 16)}
	write := func(folder string, content []byte) {
		sum := sha256.Sum256(content)
		name := filepath.Join(dir, folder)
		if folder != "config" {
			name = filepath.Join(name, hex.EncodeToString(sum[:]))
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, folder := range []string{"data", "index", "keys", "locks", "snapshots"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	salt := randomBytes(rnd, 64)
	const n, r, p = 2, 8, 1 // as little work as there is: nothing here is a secret
	derived, err := scrypt.Key([]byte(resticPassword), salt, n, r, p, 64)
	if err != nil {
		t.Fatal(err)
	}
	user := resticKey{derived[:32], derived[32:48], derived[48:]}
	type mac struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	}
	inner := encode(struct {
		MAC     mac    `json:"mac"`
		Encrypt []byte `json:"encrypt"`
	}{mac{master.k, master.r}, master.encrypt})
	write("keys", encode(map[string]any{
		"created": "2026-01-01T00:00:00Z", "username": "test", "hostname": "test", "kdf": "scrypt", "N": n, "r": r, "p": p,
		"salt": salt, "data": user.seal(rnd, inner),
	}))
	id := strings.Repeat("ab", 32)
	write("config", master.seal(rnd, encode(map[string]any{"version": 1, "id": id, "chunker_polynomial": "25b468838dcb75"})))
	for host, list := range histories {
		for i := range list {
			list[i].ID = idOf(list[i].Time)
			write("snapshots", master.seal(rnd, encode(map[string]any{
				"time": list[i].Time, "tree": id, "paths": []string{"/db"}, "hostname": host, "username": "test", "tags": list[i].Tags,
			})))
		}
	}
	return dir
}
