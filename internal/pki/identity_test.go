package pki_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/pki"
)

func TestAnIdentityIsItsURI(t *testing.T) {
	t.Parallel()
	for _, role := range []string{pki.RoleAgent, pki.RoleController, pki.RoleAdmin, pki.RoleViewer} {
		id := pki.Identity{Cluster: cluster, Role: role, Name: "db-1.example_x"}
		u, err := url.Parse(id.URI().String())
		if err != nil {
			t.Fatal(err)
		}
		if again, ok := pki.ParseURI(u); !ok || again != id || u.String() != "spiffe://"+cluster+"/"+role+"/db-1.example_x" {
			t.Errorf("%s became %v, %t", u, again, ok)
		}
	}
}

func TestWhomACertificateNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what   string
		uris   []string
		want   string // empty: nobody
		hasURI bool
	}{
		{"nothing", nil, "", false},
		{"a web page", []string{"https://a/agent/db1"}, "", false},
		{"an agent", []string{"spiffe://a/agent/db1"}, "agent db1", true},
		{"an agent and a web page", []string{"https://a/x/y", "spiffe://a/agent/db1"}, "agent db1", true},
		{"the same twice", []string{"spiffe://a/agent/db1", "spiffe://a/agent/db1"}, "agent db1", true},
		{"two", []string{"spiffe://a/agent/db1", "spiffe://a/controller/c1"}, "", true},
		{"one beside one of somebody else's", []string{"spiffe://mesh/ns/x/sa/y", "spiffe://a/viewer/v"}, "viewer v", true},
		{"a longer path", []string{"spiffe://a/b/agent/db1"}, "", true},
		{"a path below", []string{"spiffe://a/agent/db1/x"}, "", true},
		{"no name", []string{"spiffe://a/agent/"}, "", true},
		{"no path", []string{"spiffe://a"}, "", true},
		{"another role", []string{"spiffe://a/root/db1"}, "", true},
		{"a query", []string{"spiffe://a/agent/db1?x=y"}, "", true},
		{"a user", []string{"spiffe://me@a/agent/db1"}, "", true},
		{"opaque", []string{"spiffe:agent/db1"}, "", true},
	} {
		cert := &x509.Certificate{}
		for _, text := range tc.uris {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		id, ok := pki.Of(cert)
		if ok != (tc.want != "") || ok && id.String() != tc.want {
			t.Errorf("%s: %v, %t, want %q", tc.what, id, ok, tc.want)
		}
		if pki.HasURI(cert) != tc.hasURI {
			t.Errorf("%s: HasURI is %t", tc.what, !tc.hasURI)
		}
	}
}

func TestNamesThatMayBeIssued(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"db1": true, "a": true, "0": true, "DB-1.example_com": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "-a": false, ".a": false, "a/b": false, "a b": false, "ä": false, "a\n": false, "a%2fb": false, "..": false,
	} {
		if err := pki.CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		if err := (pki.Identity{Cluster: cluster, Role: pki.RoleAdmin, Name: name}).Check(); (err == nil) != ok {
			t.Errorf("identity %q: %v", name, err)
		}
	}
	for _, id := range []pki.Identity{{Role: pki.RoleAgent, Name: "a"}, {Cluster: "x y", Role: pki.RoleAgent, Name: "a"}, {Cluster: cluster, Name: "a"}, {Cluster: cluster, Role: "root", Name: "a"}} {
		if id.Check() == nil {
			t.Errorf("%+v may be issued", id)
		}
	}
}
