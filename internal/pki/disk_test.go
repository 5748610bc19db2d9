package pki_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestCredentialsAreKeptAndReplaced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "agent", "identity")
	if _, err := pki.Load(dir, present); !errors.Is(err, fs.ErrNotExist) || problem.ReasonOf(err) != pki.ReasonNone {
		t.Errorf("where there are none: %v", err)
	}
	old, next := newRoot(t), newRoot(t)
	first := credentials(t, old, "db1")
	if err := first.Save(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "identity.pem")
	// What a crash left behind is in nobody's way, and lends nobody its mode.
	if err := os.WriteFile(file+".new", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	key, chain := issue(t, next, pki.RoleAgent, "db1", present)
	second, err := pki.NewCredentials(key, chain, [][]byte{old.DER(), next.DER()}, cluster, 2, present)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := pki.Load(dir, present); err != nil || !c.Leaf().Equal(first.Leaf()) || c.Version != 1 {
		t.Fatalf("beside half a file: %v", err)
	}
	if err := second.Save(dir); err != nil {
		t.Fatal(err)
	}
	c, err := pki.Load(dir, present)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Leaf().Equal(second.Leaf()) || len(c.Chain) != 2 || len(c.Roots) != 2 || !c.Roots[1].Equal(next.Cert) || c.Version != 2 || c.Cluster != cluster || c.Identity().String() != "agent db1" {
		t.Errorf("%+v", c)
	}
	pair := c.Certificate()
	if len(pair.Certificate) != 2 || pair.PrivateKey != c.Key() || !pair.Leaf.Equal(c.Leaf()) {
		t.Errorf("for TLS: %d certificates", len(pair.Certificate))
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFailedSaveLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := credentials(t, newRoot(t), "db1")
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "identity.pem.new", "x"), 0o700); err != nil { // cannot be written
		t.Fatal(err)
	}
	if err := credentials(t, newRoot(t), "db2").Save(dir); err == nil {
		t.Error("it was saved")
	}
	if again, err := pki.Load(dir, present); err != nil || !again.Leaf().Equal(c.Leaf()) {
		t.Errorf("what is there now: %v", err)
	}
}

func TestExpiryIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := credentials(t, newRoot(t), "db1")
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := pki.Load(dir, present.Add(8*24*time.Hour))
	if again == nil || problem.ReasonOf(err) != pki.ReasonExpired || !strings.Contains(problem.Text(err), "agent db1 expired on 2026-03-08 12:00 UTC") {
		t.Errorf("%v, %v", again, err)
	}
	if again, err = pki.Load(dir, present.Add(-2*time.Hour)); again != nil || err == nil || !strings.Contains(problem.Text(err), "clock") {
		t.Errorf("before its time: %v, %v", again, err)
	}
	if again, err = pki.Load(dir, c.Leaf().NotAfter); err != nil {
		t.Errorf("at the very end: %v, %v", again, err)
	}
}

// Whatever is done to the file: a problem that says what is wrong, all at once.
func TestDamagedCredentials(t *testing.T) {
	t.Parallel()
	root, other := newRoot(t), newRoot(t)
	dir := t.TempDir()
	if err := credentials(t, root, "db1").Save(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "identity.pem")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string // key, certificate, root, trust, root
	for rest := whole; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, string(pem.EncodeToMemory(b)))
	}
	if len(blocks) != 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	otherDir := t.TempDir()
	if err := credentials(t, other, "db1").Save(otherDir); err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(filepath.Join(otherDir, "identity.pem"))
	if err != nil {
		t.Fatal(err)
	}
	theirKey, _ := pem.Decode(theirs)
	key2 := string(pem.EncodeToMemory(theirKey))
	foreign := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.DER()}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("noise")}))
	for what, tc := range map[string]struct {
		text string
		want []string
	}{
		"empty":              {"", []string{"no private key", "no root certificate", "version of the trust", "no certificate"}},
		"half":               {blocks[0] + blocks[1], []string{"no root certificate", "version of the trust", "cluster"}},
		"no key":             {strings.Join(blocks[1:], ""), []string{"no private key"}},
		"another's key":      {key2 + strings.Join(blocks[1:], ""), []string{"the key does not belong to the certificate"}},
		"another's root":     {strings.Join(blocks[:4], "") + foreign, []string{"of none of the roots"}},
		"key and root wrong": {key2 + strings.Join(blocks[1:4], "") + foreign, []string{"the key does not belong", "of none of the roots"}},
		"a broken root":      {strings.Join(blocks, "") + broken, []string{"a certificate is damaged"}},
		"a root for a leaf":  {blocks[0] + blocks[2] + blocks[3] + blocks[4], []string{"the key does not belong", "names nobody"}},
		"another cluster":    {strings.Replace(string(whole), "Cluster: "+cluster, "Cluster: x", 1), []string{`not of "x"`}},
		"no version":         {strings.Replace(string(whole), "Version: 1", "Version: x", 1), []string{"version of the trust is missing"}},
	} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := pki.Load(dir, present)
		p, ok := errors.AsType[*problem.Problem](err)
		if c != nil || !ok || p.Reason != pki.ReasonDamaged || !strings.Contains(p.What, file) {
			t.Errorf("%s: %v, %v", what, c, err)
			continue
		}
		for _, w := range tc.want {
			if !strings.Contains(strings.Join(p.Details, "\n"), w) {
				t.Errorf("%s: %q, want %q", what, p.Details, w)
			}
		}
	}
}

func TestAnswersThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	root, other := newRoot(t), newRoot(t)
	key, chain := issue(t, root, pki.RoleAgent, "db1", present)
	otherKey, _ := asked(t)
	for what, make := range map[string]func() (*pki.Credentials, error){
		"another's key": func() (*pki.Credentials, error) {
			return pki.NewCredentials(otherKey, chain, [][]byte{root.DER()}, cluster, 1, present)
		},
		"another's root": func() (*pki.Credentials, error) {
			return pki.NewCredentials(key, chain, [][]byte{other.DER()}, cluster, 1, present)
		},
		"no roots": func() (*pki.Credentials, error) { return pki.NewCredentials(key, chain, nil, cluster, 1, present) },
		"no chain": func() (*pki.Credentials, error) {
			return pki.NewCredentials(key, nil, [][]byte{root.DER()}, cluster, 1, present)
		},
		"noise": func() (*pki.Credentials, error) {
			return pki.NewCredentials(key, [][]byte{{1}}, [][]byte{root.DER()}, cluster, 1, present)
		},
		"no version": func() (*pki.Credentials, error) {
			return pki.NewCredentials(key, chain, [][]byte{root.DER()}, cluster, 0, present)
		},
		"another clock": func() (*pki.Credentials, error) {
			return pki.NewCredentials(key, chain, [][]byte{root.DER()}, cluster, 1, present.AddDate(1, 0, 0))
		},
	} {
		if c, err := make(); err == nil || c != nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestNothingShowsAKeyByAccident(t *testing.T) {
	t.Parallel()
	c := credentials(t, newRoot(t), "db1")
	der, err := os.ReadFile(func() string { dir := t.TempDir(); _ = c.Save(dir); return filepath.Join(dir, "identity.pem") }())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(der)
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "c", c, "held", struct{ C *pki.Credentials }{c})
	fmt.Fprintf(&out, "%v %+v %s", c, c, c)
	if b, err := json.Marshal(c); err == nil {
		out.Write(b)
	}
	if strings.Contains(out.String(), string(block.Bytes)) || strings.Contains(out.String(), `"D":`) {
		t.Error("the key is shown")
	}
	if !strings.Contains(out.String(), "credentials of agent db1") {
		t.Errorf("shown as %s", out.String())
	}
}
