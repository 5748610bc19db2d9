package openldap

import (
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
	glued    bool   // it is part of another database's tree
	memberOf string // the attribute of groups whose values an overlay turns round; empty: there is none
}

// configLimit bounds what of the configuration is held in memory.
const configLimit = 4 << 20

// readConfig lists the databases that can be dumped, or the one that is asked for.
func (s *session) readConfig(ctx context.Context, wanted string) ([]database, error) {
	out, err := s.output(ctx, s.slapcat("-n", "0", "-a", "(|(objectClass=olcDatabaseConfig)(objectClass=olcOverlayConfig))"), configLimit)
	if err != nil {
		return nil, fmt.Errorf("read the configuration in %s: %w", s.config, err)
	}
	all, logs, err := parseConfig(out)
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "understand the configuration in %s", s.config).WithReason(engine.ReasonMalformed)
	}
	var list []database
	var have []string
	for _, d := range all {
		if logs[strings.ToLower(d.suffix)] {
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

// parseConfig reads databases from their entries and those of their overlays, and
// which suffixes are logs of other databases.
func parseConfig(text []byte) (list []database, logs map[string]bool, err error) {
	logs = map[string]bool{}
	var dn, class string
	values := map[string]string{} // the first of each attribute
	number := func(rdn string) (int, string) {
		before, name, _ := strings.Cut(rdn, "}")
		n, err := strconv.Atoi(strings.TrimPrefix(before[strings.IndexByte(before, '=')+1:], "{"))
		if err != nil {
			return -1, ""
		}
		return n, name
	}
	end := func() {
		first := string(ldif.First([]byte(dn)))
		_, class = number(first)
		if db, ok := values["olcdatabase"]; ok {
			n, backend := number(db)
			if n > 0 && values["olcsuffix"] != "" {
				list = append(list, database{number: n, backend: backend, suffix: values["olcsuffix"], rootDN: values["olcrootdn"], glued: strings.EqualFold(values["olcsubordinate"], "TRUE")})
			}
			return
		}
		logs[strings.ToLower(values["olcaccesslogdb"])] = true
		n, _ := number(string(ldif.Parent([]byte(dn))))
		for i := range list {
			if list[i].number != n || class != "memberof" {
				continue
			}
			list[i].memberOf = values["olcmemberofmemberad"]
			if list[i].memberOf == "" {
				list[i].memberOf = "member"
			}
		}
	}
	err = readValues(text, func(name string) { dn = name; clear(values) }, func(name, value string) {
		if _, ok := values[name]; !ok {
			values[name] = value
		}
	}, end)
	delete(logs, "")
	return list, logs, err
}

// readValues parses a small piece of LDIF, without an end mark: names of attributes
// are told in lower case, values decoded.
func readValues(text []byte, entry func(dn string), value func(name, value string), end func()) error {
	var name string
	var line []byte
	flush := func() {
		if name != "" {
			value(name, decode(string(line)))
		}
		name = ""
	}
	p := ldif.New(ldif.Handler{
		Entry: func(dn []byte) { entry(string(dn)) },
		Line: func(l []byte, n int) {
			if n == 0 {
				line = append(line, l[1:]...)
				return
			}
			flush()
			name, line = strings.ToLower(string(l[:n])), append(line[:0], l[n+1:]...)
		},
		End: func() { flush(); end() },
	})
	_, _ = p.Write(text) // never fails
	if len(text) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
	return p.Err()
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

// same says whether two DNs are written alike but for case and blanks.
func same(a, b string) bool {
	plain := func(dn string) string {
		var parts []string
		for rest := []byte(dn); len(rest) > 0; rest = ldif.Parent(rest) {
			name, value, _ := strings.Cut(strings.TrimSpace(string(ldif.First(rest))), "=")
			parts = append(parts, strings.TrimSpace(name)+"="+strings.TrimSpace(value))
		}
		return strings.ToLower(strings.Join(parts, ","))
	}
	return plain(a) == plain(b)
}
