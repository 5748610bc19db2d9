package openldap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// schema is one entry of the schema in a configuration.
type schema struct {
	name    string
	lines   bytes.Buffer // its definitions, as LDIF
	defines []string     // names of classes and attributes, in lower case
}

// schemaLimit bounds the schema of a snapshot, which is held in memory, and that
// of the target.
const schemaLimit = 16 << 20

// restoreSchema reads a configuration, and adds those entries of its schema to the
// running server of which the server knows nothing. It refuses a server that
// knows only parts of one: to change schema is for people.
func (s *session) restoreSchema(ctx context.Context, r io.Reader) error {
	list, err := readSchema(r)
	if err != nil {
		return err
	}
	known, err := s.knownSchema(ctx)
	if err != nil || len(known) == 0 { // a server may keep that to itself
		return err
	}
	var add bytes.Buffer
	var names, partial []string
	for _, one := range list {
		missing := slices.DeleteFunc(slices.Clone(one.defines), func(name string) bool { return known[name] })
		switch {
		case len(missing) == 0:
		case len(missing) < len(one.defines):
			partial = append(partial, fmt.Sprintf("%s: %s", one.name, strings.Join(missing[:min(len(missing), 20)], ", ")))
		default:
			names = append(names, one.name)
			fmt.Fprintf(&add, "dn: cn=%s,cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: %s\n", one.name, one.name)
			add.Write(one.lines.Bytes())
			add.WriteByte('\n')
		}
	}
	if len(partial) > 0 {
		return problem.New(problem.Failed, "the target's schema lacks some of what the source's has").WithReason(engine.ReasonUnsupported).WithDetails(partial...).
			WithHint("Nothing was changed. Add these classes and attributes to the target's schema; or, if no entry uses them, restore the databases of the snapshot alone, by their names.")
	}
	if len(names) == 0 {
		return nil
	}
	err = s.feed(ctx, engine.Command{Argv: []string{"ldapadd", "-H", s.url, "-Q", "-Y", "EXTERNAL"}, Stdin: &add})
	if err != nil {
		return problem.Wrap(problem.CodeOf(err), err, "the target lacks the schema %s, and it could not be added", strings.Join(names, ", ")).WithReason(engine.ReasonUnsupported).
			WithHint("No entry was changed. Add it to the target's configuration; or, if no entry uses it, restore the databases of the snapshot alone, by their names.")
	}
	return nil
}

var plainName = regexp.MustCompile(`^(\{[0-9]+\})?([A-Za-z0-9_.-]+)$`)

// readSchema reads a whole configuration and gives its schema.
func readSchema(r io.Reader) ([]*schema, error) {
	var list []*schema
	var now *schema
	var value []byte // the definition that is being read
	var size int
	flush := func() {
		if now != nil && len(value) > 0 {
			now.defines = append(now.defines, definitionName(string(value))...)
		}
		value = value[:0]
	}
	takes := false
	p := ldif.New(ldif.Handler{
		Entry: func(dn []byte) {
			now = nil
			name := plainName.FindSubmatch(bytes.TrimPrefix(ldif.First(dn), []byte("cn=")))
			if strings.EqualFold(string(ldif.Parent(dn)), "cn=schema,cn=config") && name != nil {
				now = &schema{name: string(name[2])}
				list = append(list, now)
			}
		},
		Line: func(l []byte, n int) {
			if now == nil || size > schemaLimit {
				return
			}
			if n > 0 {
				flush()
				takes = true
				switch string(l[:n]) {
				case "olcAttributeTypes", "olcObjectClasses":
					value = append(value, l[n+1:]...)
				case "olcObjectIdentifier", "olcLdapSyntaxes", "olcDitContentRules":
				default:
					takes = false
				}
			} else if len(value) > 0 {
				value = append(value, l[1:]...)
			}
			if takes {
				size += len(l)
				now.lines.Write(l)
				now.lines.WriteByte('\n')
			}
		},
		End: flush,
	})
	if _, err := io.Copy(p, r); err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	if _, err := p.Finish(); err != nil {
		return nil, explainDump(err)
	}
	if size > schemaLimit {
		return nil, problem.New(problem.Failed, "the schema in the snapshot exceeds %d MiB", schemaLimit>>20).WithReason(engine.ReasonMalformed)
	}
	return list, nil
}

var definition = regexp.MustCompile(`\sNAME\s+(?:'([^']+)'|\(\s*'([^']+)')`)

// definitionName is the first name of a class or attribute: none or one.
func definitionName(value string) []string {
	value = decode(value)
	m := definition.FindStringSubmatch(value)
	if m == nil {
		return nil
	}
	return []string{strings.ToLower(m[1] + m[2])}
}

// knownSchema gives the names of all classes and attributes that the server knows,
// those of its modules included. Where it does not show them there are none.
func (s *session) knownSchema(ctx context.Context) (map[string]bool, error) {
	cmd := s.client(s.databases[0], nil, "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", "cn=Subschema",
		"(objectClass=subschema)", "objectClasses", "attributeTypes")
	out, exit, err := engine.Output(ctx, s.inst, cmd, schemaLimit)
	if err != nil {
		return nil, fmt.Errorf("read the target's schema: %w", err)
	}
	const noSuchEntry, mayNot = 32, 50
	if exit.Status != 0 && exit.Status != noSuchEntry && exit.Status != mayNot {
		return nil, fmt.Errorf("read the target's schema: %w", explain("ldapsearch", exit))
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ":"); name == "objectClasses" || name == "attributeTypes" {
			for _, n := range definitionName(value) {
				known[n] = true
			}
		}
	}
	return known, nil
}
