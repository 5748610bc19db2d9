package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/pki"
)

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func verify(root *pki.Root, leaf *x509.Certificate, host string, at time.Time, use x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AddCert(root.Cert)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

func TestAnAgentsCertificate(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	_, chain := issue(t, root, pki.RoleAgent, "db1", present, "db1.example.com")
	if len(chain) != 2 || !bytes.Equal(chain[1], root.DER()) {
		t.Fatalf("the chain has %d certificates, want its own and the root", len(chain))
	}
	leaf := parse(t, chain[0])
	if id, ok := pki.Of(leaf); !ok || id != (pki.Identity{Cluster: cluster, Role: pki.RoleAgent, Name: "db1"}) {
		t.Errorf("it names %v", id)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) != 0 {
		t.Errorf("it names hosts: %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	issued := present.Truncate(time.Second)
	if !pki.IssuedAt(leaf).Equal(issued) || !leaf.NotBefore.Equal(issued.Add(-time.Hour)) || !leaf.NotAfter.Equal(issued.Add(7*24*time.Hour)) {
		t.Errorf("from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if err := verify(root, leaf, "", present, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("as a client: %v", err)
	}
	for what, err := range map[string]error{
		"as a server":          verify(root, leaf, "", present, x509.ExtKeyUsageServerAuth),
		"of another root":      verify(newRoot(t), leaf, "", present, x509.ExtKeyUsageClientAuth),
		"after it has expired": verify(root, leaf, "", leaf.NotAfter.Add(time.Second), x509.ExtKeyUsageClientAuth),
		"before it is good":    verify(root, leaf, "", leaf.NotBefore.Add(-time.Second), x509.ExtKeyUsageClientAuth),
	} {
		if err == nil {
			t.Errorf("%s it is good", what)
		}
	}
}

func TestAControllersCertificate(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	_, chain := issue(t, root, pki.RoleController, "c1", present, "C1.example.com", "10.0.0.7", "fd00::7", "c1.example.com", "c_1")
	leaf := parse(t, chain[0])
	for _, host := range []string{"c1.example.com", "10.0.0.7", "fd00::7", "localhost", "127.0.0.1", "::1", pki.ControllerHost} {
		if err := verify(root, leaf, host, present, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if want := []string{pki.ControllerHost, "localhost", "c1.example.com", "c_1"}; !slices.Equal(leaf.DNSNames, want) {
		t.Errorf("names %v, want %v", leaf.DNSNames, want)
	}
	if err := verify(root, leaf, "", present, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("as a client: %v", err)
	}
	if err := verify(root, leaf, "c2.example.com", present, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("it is good for a host that it does not name")
	}
}

func TestARootSignsNothingBelowALeaf(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	key, chain := issue(t, root, pki.RoleController, "c1", present)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: present, NotAfter: present.Add(time.Hour), DNSNames: []string{"localhost"}}
	mine, _ := asked(t)
	der, err := x509.CreateCertificate(rand.Reader, template, parse(t, chain[0]), mine.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Cert)
	between.AddCert(parse(t, chain[0]))
	if _, err := parse(t, der).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: present.Add(time.Minute)}); err == nil {
		t.Error("a controller's certificate signs others")
	}
}

func TestALeafEndsWithItsRoot(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	_, chain := issue(t, root, pki.RoleAgent, "a", root.Cert.NotAfter.Add(-time.Hour))
	if end := parse(t, chain[0]).NotAfter; !end.Equal(root.Cert.NotAfter) {
		t.Errorf("it ends at %s, the root at %s", end, root.Cert.NotAfter)
	}
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	good := pki.Identity{Cluster: cluster, Role: pki.RoleController, Name: "c1"}
	_, request := asked(t)
	damaged := bytes.Clone(request)
	damaged[len(damaged)-1] ^= 1 // in the signature
	csr := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for what, tc := range map[string]struct {
		request []byte
		id      pki.Identity
		hosts   []string
	}{
		"a name that is none":       {request, pki.Identity{Cluster: cluster, Role: pki.RoleAgent, Name: "a/b"}, nil},
		"a role that is none":       {request, pki.Identity{Cluster: cluster, Role: "root", Name: "a"}, nil},
		"no request":                {nil, good, nil},
		"noise":                     {[]byte("noise"), good, nil},
		"a signature of another":    {damaged, good, nil},
		"a key of another kind":     {csr(ed), good, nil},
		"a key on another curve":    {csr(p384), good, nil},
		"a host with a wildcard":    {request, good, []string{"*.example.com"}},
		"a host that is an URL":     {request, good, []string{"https://c1"}},
		"a host with a port":        {request, good, []string{"c1:7070"}},
		"an empty host":             {request, good, []string{""}},
		"a host that is too long":   {request, good, []string{strings.Repeat("abcdefgh.", 30) + "x"}},
		"more hosts than anybody's": {request, good, slices.Repeat([]string{"a"}, 51)},
	} {
		if chain, err := root.Issue(tc.request, tc.id, tc.hosts, big.NewInt(1), present); err == nil || chain != nil {
			t.Errorf("%s: issued", what)
		}
	}
}

func TestTheNameInARequestCountsForNothing(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	key, _ := asked(t)
	evil := pki.Identity{Cluster: cluster, Role: pki.RoleAdmin, Name: "root"}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"evil"}, URIs: append(parse(t, root.DER()).URIs, evil.URI())}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := root.Issue(der, pki.Identity{Cluster: cluster, Role: pki.RoleAgent, Name: "db1"}, nil, big.NewInt(1), present)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, chain[0])
	if id, ok := pki.Of(leaf); !ok || id.String() != "agent db1" || len(leaf.DNSNames) != 0 {
		t.Errorf("it names %v and %v", leaf.URIs, leaf.DNSNames)
	}
}

func TestSealedKeys(t *testing.T) {
	t.Parallel()
	root, other := newRoot(t), newRoot(t)
	under := [32]byte{1, 2, 3}
	sealed, err := root.Seal(under)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := root.Seal(under); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("sealed twice to the same bytes: %v", err)
	}
	opened, err := pki.OpenRoot(root.DER(), sealed, under)
	if err != nil {
		t.Fatal(err)
	}
	_, chain := issue(t, opened, pki.RoleAgent, "db1", present)
	if err := verify(root, parse(t, chain[0]), "", present, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("what an opened root signs: %v", err)
	}
	damaged := bytes.Clone(sealed)
	damaged[20] ^= 1
	otherKey, err := other.Seal(under)
	if err != nil {
		t.Fatal(err)
	}
	for what, open := range map[string]func() (*pki.Root, error){
		"another key":           func() (*pki.Root, error) { return pki.OpenRoot(root.DER(), sealed, [32]byte{9}) },
		"another root":          func() (*pki.Root, error) { return pki.OpenRoot(other.DER(), sealed, under) },
		"another root's key":    func() (*pki.Root, error) { return pki.OpenRoot(root.DER(), otherKey, under) },
		"damage":                func() (*pki.Root, error) { return pki.OpenRoot(root.DER(), damaged, under) },
		"nothing":               func() (*pki.Root, error) { return pki.OpenRoot(root.DER(), nil, under) },
		"damage of certificate": func() (*pki.Root, error) { return pki.OpenRoot(root.DER()[1:], sealed, under) },
	} {
		if r, err := open(); err == nil || r != nil {
			t.Errorf("%s: opened", what)
		}
	}
	// A key that does not belong to the certificate it is bound to.
	key, _ := asked(t)
	if sealed, err = pki.SealKey(root.DER(), key, under); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.OpenRoot(root.DER(), sealed, under); err == nil {
		t.Error("a root with a key of another is put together")
	}
}

func TestSerialsAreLongAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		n, err := pki.NewSerial()
		if err != nil || n.Sign() <= 0 || n.BitLen() > 128 || n.BitLen() < 90 || seen[n.String()] {
			t.Fatalf("%s: %v", n, err)
		}
		seen[n.String()] = true
	}
}

func TestRenewAtIsBetweenHalfAndFourFifths(t *testing.T) {
	t.Parallel()
	_, chain := issue(t, newRoot(t), pki.RoleAgent, "a", present)
	leaf := parse(t, chain[0])
	issued := present.Truncate(time.Second)
	for rnd, want := range map[float64]time.Duration{0: 84 * time.Hour, 0.5: 84*time.Hour + 25*time.Hour + 12*time.Minute, 1: 134*time.Hour + 24*time.Minute} {
		if got := pki.RenewAt(leaf, rnd).Sub(issued).Round(time.Second); got != want {
			t.Errorf("at %v: after %v, want %v", rnd, got, want)
		}
	}
}

func TestRevokedInTheSameSecond(t *testing.T) {
	t.Parallel()
	second := present.Truncate(time.Second)
	for what, tc := range map[string]struct {
		issued, revoked time.Time
		want            bool
	}{
		"never":          {second, time.Time{}, false},
		"before":         {second, second.Add(-time.Second), false},
		"at that second": {second, second, false},
		"a moment later": {second, second.Add(time.Millisecond), true},
		"long after":     {second, second.Add(time.Hour), true},
	} {
		if got := pki.Revoked(tc.issued, tc.revoked); got != tc.want {
			t.Errorf("%s: %t", what, got)
		}
	}
	// Whatever the fractions: what is issued after a revocation counts.
	for _, revoked := range []time.Time{{}, second, second.Add(time.Nanosecond), second.Add(999 * time.Millisecond)} {
		for _, later := range []time.Duration{0, time.Nanosecond, time.Millisecond, time.Second, time.Hour} {
			now := second.Add(later)
			if at := pki.Reissue(now, revoked); pki.Revoked(at, revoked) || at.After(now.Add(time.Second)) || !at.Equal(at.Truncate(time.Second)) {
				t.Errorf("revoked %v, now %v: as of %v", revoked, now, at)
			}
		}
	}
}

func TestATemporaryCertificateVouchesForItselfAlone(t *testing.T) {
	t.Parallel()
	cert, err := pki.Temporary(present)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, cert.Certificate[0])
	if _, ok := pki.Of(leaf); ok || pki.HasURI(leaf) {
		t.Error("it names somebody")
	}
	if err := verify(newRoot(t), leaf, "", present, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a root vouches for it")
	}
}
