package pki_test

import (
	"crypto/ecdsa"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/pki"
)

const cluster = "01JQXCLUSTER"

var present = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)

func newRoot(t testing.TB) *pki.Root {
	t.Helper()
	root, err := pki.NewRoot(cluster, present)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// asked is a key and a request for a certificate of it.
func asked(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, request
}

// issue has a root issue a certificate as of a moment, and gives its key with it.
func issue(t testing.TB, root *pki.Root, role, name string, at time.Time, hosts ...string) (*ecdsa.PrivateKey, [][]byte) {
	t.Helper()
	key, request := asked(t)
	serial, err := pki.NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := root.Issue(request, pki.Identity{Cluster: cluster, Role: role, Name: name}, hosts, serial, at)
	if err != nil {
		t.Fatal(err)
	}
	return key, chain
}

func credentials(t testing.TB, root *pki.Root, name string) *pki.Credentials {
	t.Helper()
	key, chain := issue(t, root, pki.RoleAgent, name, present)
	c, err := pki.NewCredentials(key, chain, [][]byte{root.DER()}, cluster, 1, present)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
