package openldap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// state is what a database holds.
type state struct {
	entries int64
	data    int64 // those that are not there from the server's set-up
}

// look counts the entries of a database. The entry of the suffix, and the one of
// the administrator, are what images make at their first start.
func (s *session) look(ctx context.Context, d database) (state, error) {
	var now state
	err := s.read(ctx, ldif.Handler{Entry: func(dn []byte) {
		now.entries++
		if !same(string(dn), d.suffix) && !same(string(dn), d.rootDN) {
			now.data++
		}
	}}, d.args()...)
	if err != nil {
		return now, fmt.Errorf("look into %s: %w", d.suffix, err)
	}
	return now, nil
}

// read has a dump read to its end. One without entries is fine.
func (s *session) read(ctx context.Context, h ldif.Handler, args ...string) error {
	p, err := s.dump(ctx, args...)
	if err != nil {
		return err
	}
	parser := ldif.New(h)
	if err := s.drain(p, parser, "read the output of slapcat"); err != nil {
		return err
	}
	if _, err := parser.Finish(); err != nil && !errors.Is(err, ldif.ErrEmpty) {
		return explainDump(err)
	}
	return nil
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	var full []string
	for _, stream := range streams {
		if stream.Format != format || stream.Kind != kindConfig && stream.Kind != kindDatabase {
			return plan, problem.New(problem.InvalidInput, "the stream %s is not of a directory server", stream.Name).
				WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
		}
		if stream.Kind == kindConfig {
			plan.Steps = append(plan.Steps, "add the schema that the target lacks to its configuration; nothing else of the configuration is restored")
			continue
		}
		d, err := s.find(stream)
		if err != nil {
			return plan, err
		}
		if d.joined {
			return plan, problem.New(problem.Failed, "the database %s has several suffixes, or is part of another one's tree (olcSubordinate)", d.suffix).WithReason(engine.ReasonUnsupported).
				WithHint("Write the snapshot to a file with `baktainer dump` and load it with slapadd while slapd is stopped.")
		}
		now, err := s.look(ctx, d)
		if err != nil {
			return plan, err
		}
		held := fmt.Sprintf("%s with %d entries", d.suffix, now.entries)
		switch {
		case now.data > 0 && !o.Overwrite:
			full = append(full, held)
			continue
		case now.data > 0:
			plan.Replaces = append(plan.Replaces, held)
			plan.Steps = append(plan.Steps, fmt.Sprintf("delete all %d entries of %s", now.entries, d.suffix))
		case now.entries > 0:
			plan.Steps = append(plan.Steps, fmt.Sprintf("delete the entries of %s that the server was set up with", d.suffix))
		}
		plan.Steps = append(plan.Steps, fmt.Sprintf("add the entries of the snapshot to %s in the running server, and compare what it then has", d.suffix))
		if err := s.admit(ctx, d); err != nil {
			return plan, fmt.Errorf("log in to restore %s: %w", d.suffix, err)
		}
	}
	if len(full) > 0 {
		return plan, problem.New(problem.Conflict, "the target is not empty: %s", strings.Join(full, "; ")).WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Permit overwriting (--overwrite): then all entries below the suffix are deleted before the snapshot's are added.")
	}
	return plan, nil
}

// admit finds out whether we may restore: it asks for a change as a restore makes
// them, and for nothing to be changed.
func (s *session) admit(ctx context.Context, d database) error {
	who := s.who(d)
	inside := strings.HasSuffix(","+plain(who), ","+plain(d.suffix))
	if s.credentials.Found && inside && !(d.rootPW && same(who, d.rootDN)) {
		return problem.New(problem.Conflict, "the password of %s is kept in the database that is to be replaced", who).WithReason(engine.ReasonUnsupported).
			WithHint("Give the database an olcRootDN with an olcRootPW, and restore as that one (baktainer.db.user and a password label).")
	}
	var probe bytes.Buffer
	writeDN(&probe, []byte(d.suffix))
	probe.WriteString("changetype: modify\nreplace: modifyTimestamp\nmodifyTimestamp: 20000101000000Z\n")
	cmd := s.client(d, &probe, "ldapmodify", "-M", "-e", "!relax", "-e", "!noop")
	exit, err := engine.Feed(ctx, s.inst, cmd)
	if err != nil {
		return err
	}
	const (
		done        = 0x410e & 0xff // a status has eight bits: "no operation"
		noNoop      = 12
		noSuchEntry = 32
		mayNot      = 50
	)
	switch exit.Status {
	case done, noNoop, noSuchEntry:
		return nil
	case 0:
		return problem.New(problem.Internal, "the server changed something that it was asked not to")
	case mayNot:
		if !s.credentials.Found {
			return engine.NoCredentials(s.credentials, variables)
		}
	}
	return explain("ldapmodify", exit)
}

// Restore adds the entries one after the other: should it fail, those added so far
// stay in the server, and the error says so.
func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	from := bufio.NewReader(r)
	if _, err := from.Peek(1); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the snapshot: %w", err) // before anything is touched
	}
	if stream.Kind == kindConfig {
		return s.restoreSchema(ctx, from)
	}
	d, err := s.find(stream)
	if err != nil {
		return err
	}
	now, err := s.look(ctx, d)
	if err != nil {
		return err
	}
	if now.data > 0 && !o.Overwrite {
		// Prepare has seen to it; something may have filled it since.
		return problem.New(problem.Conflict, "%s is not empty any more", d.suffix).WithReason(engine.ReasonTargetNotEmpty).
			WithHint("Stop the applications that use it and restore again.")
	}
	if now.entries > 0 {
		if _, err := s.output(ctx, s.client(d, nil, "ldapdelete", "-M", "-r", d.suffix), outputLimit); err != nil {
			return partly(fmt.Errorf("delete the entries of %s: %w", d.suffix, err), "what the database held was deleted only in part")
		}
	}
	seed := maphash.MakeSeed()
	want, have := newTally(seed), newTally(seed)
	a := newAdder(from, d.suffix, want)
	err = s.feed(ctx, s.client(d, a, "ldapadd", "-e", "!relax"))
	if err == nil {
		err = a.taken()
	}
	if err != nil {
		return partly(fmt.Errorf("add the entries of %s: %w", d.suffix, err), fmt.Sprintf("the restore broke off after at most %d entries; the database holds only a part of the snapshot", a.sent.Load()))
	}
	if d.memberOf != "" {
		if err := s.touch(ctx, d); err != nil {
			return partly(fmt.Errorf("make memberOf anew: %w", err), "all entries are there, but memberOf is not complete")
		}
	}
	if err := s.read(ctx, have.handler(), d.args()...); err != nil {
		return fmt.Errorf("compare what was restored: %w", err)
	}
	if wrong := have.missing(want); len(wrong) > 0 {
		const shown = 20
		return problem.New(problem.Failed, "what the server now has of %s is not what was restored", d.suffix).WithReason(engine.ReasonToolFailed).
			WithHint("Did somebody write to it meanwhile, or does an overlay change what is added? Stop the applications that use it, and restore again with overwriting permitted.").
			WithDetails(wrong[:min(len(wrong), shown)]...)
	}
	return nil
}

// partly says what a restore that failed has left behind.
func partly(err error, what string) error {
	hint := "Restore again, with overwriting permitted."
	if p, ok := errors.AsType[*problem.Problem](err); ok && p.Hint != "" {
		hint = p.Hint + " Then restore again, with overwriting permitted."
	}
	return problem.Wrap(problem.CodeOf(err), err, "%s", what).WithReason(problem.ReasonOf(err)).WithHint("%s", hint)
}

// touch has the overlay make memberOf anew.
func (s *session) touch(ctx context.Context, d database) error {
	groups, err := s.dump(ctx, append(d.args(), "-a", "("+d.memberOf+"=*)")...)
	if err != nil {
		return err
	}
	m := newMembers(groups, d.memberOf)
	first := bufio.NewReader(m)
	_, none := first.Peek(1)
	if problem.ReasonOf(none) != engine.ReasonEmpty {
		if err = s.feed(ctx, s.client(d, first, "ldapmodify", "-e", "!relax")); err == nil {
			err = m.taken()
		}
	}
	if err != nil {
		groups.Kill()
	}
	exit, waitErr := groups.Wait()
	switch {
	case err != nil:
		return err
	case waitErr != nil:
		return waitErr
	case exit.Status != 0:
		return s.Explain(exit)
	}
	return nil
}

// feed runs a client that reads its stdin, and says at which entry it failed.
func (s *session) feed(ctx context.Context, cmd engine.Command) error {
	p, err := s.inst.Exec(ctx, cmd)
	if err != nil {
		return err
	}
	const most = 4 << 10
	said := engine.NewTail(most, cmd.Secrets)
	_, _ = io.Copy(said, p) // Wait tells what went wrong
	exit, err := p.Wait()
	if err != nil {
		return err
	}
	if exit.Status == 0 {
		return nil
	}
	failed := explain(cmd.Argv[0], exit)
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	return failed.WithDetails(lines[len(lines)-1])
}
