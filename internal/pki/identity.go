package pki

import (
	"crypto/x509"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The roles that a certificate can give.
const (
	RoleAgent      = "agent"
	RoleController = "controller"
	RoleAdmin      = "admin"
	RoleViewer     = "viewer"
)

var roles = []string{RoleAgent, RoleController, RoleAdmin, RoleViewer}

// Identity is who a certificate says its holder is: spiffe://CLUSTER/ROLE/NAME.
type Identity struct{ Cluster, Role, Name string }

// URI is the identity as a certificate carries it.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.Cluster, Path: "/" + i.Role + "/" + i.Name}
}

// String is the identity as people read it: "agent db1".
func (i Identity) String() string { return i.Role + " " + i.Name }

// ParseURI is the inverse of URI. It takes any name that certificates of a
// user's own authority may have; Check is for those of ours.
func ParseURI(u *url.URL) (Identity, bool) {
	if u.Scheme != "spiffe" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" {
		return Identity{}, false
	}
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || name == "" || strings.Contains(name, "/") || !slices.Contains(roles, role) {
		return Identity{}, false // a name in a form of somebody else's
	}
	return Identity{Cluster: u.Host, Role: role, Name: name}, true
}

// Of gives the identity that a certificate names. One that names several names
// none: nobody could say which of them is meant.
func Of(cert *x509.Certificate) (Identity, bool) {
	var found []Identity
	for _, u := range cert.URIs {
		if id, ok := ParseURI(u); ok && !slices.Contains(found, id) {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return Identity{}, false
	}
	return found[0], true
}

// HasURI says whether a certificate gives names by SPIFFE URIs at all, whatever
// they say. Its common name is then no name.
func HasURI(cert *x509.Certificate) bool {
	return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" })
}

var (
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	errName      = errors.New("want 1 to 64 letters, digits, '_', '.' and '-', first a letter or digit")
	errNoRole    = errors.New("the role is none of " + strings.Join(roles, ", "))
	errNoCluster = errors.New("the id of the cluster is not in the form of a name")
)

// CheckName says what is wrong with a name that a certificate is asked for.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return errName
	}
	return nil
}

// Check says whether our authority may issue a certificate for the identity.
func (i Identity) Check() error {
	switch {
	case !nameForm.MatchString(i.Cluster):
		return errNoCluster
	case !slices.Contains(roles, i.Role):
		return errNoRole
	}
	return CheckName(i.Name)
}
