package openldap

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// database is one that slapd serves.
type database struct {
	number   int
	backend  string // "mdb"
	suffix   string
	rootDN   string
	rootPW   bool   // the configuration has the password of the administrator
	joined   bool   // it is part of another database's tree (olcSubordinate), or has several suffixes
	memberOf string // the attribute of groups whose values an overlay turns round; empty: there is none
}

// args have slapcat dump the database, without those that are glued to it.
func (d database) args() []string { return []string{"-g", "-n", strconv.Itoa(d.number)} }

// readConfig lists the databases that can be dumped, or the one that is asked for.
func (s *session) readConfig(ctx context.Context, wanted string) ([]database, error) {
	found := &configuration{logs: map[string]bool{}, values: map[string]string{}}
	if err := s.read(ctx, found.handler(), "-n", "0", "-a", "(|(objectClass=olcDatabaseConfig)(objectClass=olcOverlayConfig))"); err != nil {
		return nil, fmt.Errorf("read the configuration in %s: %w", s.config, err)
	}
	var list []database
	var have []string
	for _, d := range found.databases {
		if found.logs[strings.ToLower(d.suffix)] {
			continue // of changes to another database: not data of its own
		}
		have = append(have, d.suffix)
		if wanted != "" && !same(d.suffix, wanted) && !strings.EqualFold(ldif.Domain(d.suffix), wanted) {
			continue
		}
		switch d.backend {
		case "mdb", "hdb", "bdb":
			list = append(list, d)
		case "ldif", "wt", "ndb":
			return nil, problem.New(problem.Failed, "the database %s is of the kind %s, which slapcat cannot dump while slapd runs", d.suffix, d.backend).
				WithReason(engine.ReasonUnsupported).WithHint("Name the databases to back up with %s, or use one of the kind mdb.", labelName)
		}
	}
	if len(list) == 0 {
		p := problem.New(problem.NotFound, "the server has no database %s", wanted).WithReason(engine.ReasonNoDatabase).
			WithHint("Name one by its suffix in %s, or leave the label out to back up all.", labelName)
		if wanted == "" {
			p.What, p.Hint = "the server has no database of its own to back up", ""
		}
		return nil, p.WithDetails("databases: " + strings.Join(have, "; "))
	}
	return list, nil
}

// configuration is what we need to know of the entries of databases and their overlays.
type configuration struct {
	databases []database
	logs      map[string]bool // suffixes of databases that are logs of others

	dn     string
	name   string // of the attribute that is being read
	line   []byte
	values map[string]string // of the entry, the first of each attribute

	suffixes int // of the entry
}

// maxValue bounds a value of the configuration: what is beyond it is not looked at.
const maxValue = 64 << 10

func (c *configuration) handler() ldif.Handler {
	return ldif.Handler{
		Entry: func(dn []byte) {
			c.dn, c.suffixes = string(dn), 0
			clear(c.values)
		},
		Line: func(l []byte, n int) {
			if n == 0 {
				c.line = append(c.line, l[1:min(len(l), 1+maxValue-min(len(c.line), maxValue))]...)
				return
			}
			c.value()
			c.name, c.line = strings.ToLower(string(l[:n])), append(c.line[:0], l[n+1:]...)
		},
		End: func() {
			c.value()
			c.entry()
		},
	}
}

func (c *configuration) value() {
	if c.name == "olcsuffix" {
		c.suffixes++
	}
	if _, ok := c.values[c.name]; !ok && strings.HasPrefix(c.name, "olc") {
		c.values[c.name] = decode(string(c.line))
	}
	c.name = ""
}

func (c *configuration) entry() {
	if db := c.values["olcdatabase"]; db != "" {
		number, backend := numbered(db)
		if suffix := c.values["olcsuffix"]; number > 0 && suffix != "" {
			c.databases = append(c.databases, database{number: number, backend: backend, suffix: suffix, rootDN: c.values["olcrootdn"], rootPW: c.values["olcrootpw"] != "", joined: c.suffixes > 1 || strings.EqualFold(c.values["olcsubordinate"], "TRUE")})
		}
		return
	}
	if log := c.values["olcaccesslogdb"]; log != "" {
		c.logs[strings.ToLower(log)] = true
	}
	if _, overlay := numbered(c.values["olcoverlay"]); overlay != memberOfOverlay {
		return
	}
	// An overlay stands below its database: olcOverlay={0}memberof,olcDatabase={1}mdb,cn=config
	_, of, _ := strings.Cut(string(ldif.First(ldif.Parent([]byte(c.dn)))), "=")
	number, _ := numbered(of)
	for i := range c.databases {
		if d := &c.databases[i]; d.number == number {
			d.memberOf = cmp.Or(c.values["olcmemberofmemberad"], "member")
		}
	}
}

const memberOfOverlay = "memberof"

// numbered takes "{1}mdb" apart; the number is -1 when there is none.
func numbered(s string) (number int, name string) {
	before, name, ok := strings.Cut(strings.TrimPrefix(s, "{"), "}")
	if number, err := strconv.Atoi(before); ok && err == nil {
		return number, name
	}
	return -1, s
}

// decode gives the value behind the name of an attribute and its colon.
func decode(s string) string {
	coded, ok := strings.CutPrefix(s, ":")
	if !ok {
		return strings.TrimLeft(s, " ")
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(coded))
	if err != nil {
		return ""
	}
	return string(plain)
}

// plain is a DN in lower case without the blanks between its parts.
func plain(dn string) string {
	var parts []string
	for rest := []byte(dn); len(rest) > 0; rest = ldif.Parent(rest) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(ldif.First(rest))), "=")
		parts = append(parts, strings.TrimSpace(name)+"="+strings.TrimSpace(value))
	}
	return strings.ToLower(strings.Join(parts, ","))
}

// same says whether two DNs are written alike but for case and blanks.
func same(a, b string) bool { return plain(a) == plain(b) }
