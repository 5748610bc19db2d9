package retain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// CheckOptions say how to check the store.
type CheckOptions struct {
	// ReadData reads every pack that a snapshot needs.
	ReadData bool
	// Repair rebuilds what can be derived, and marks what cannot; with DryRun it
	// says so and changes nothing.
	Repair, DryRun bool
	// Progress, if not nil, hears of objects looked at and bytes of packs read.
	Progress func(phase string, objects, bytes int64)
}

// maxFindings bounds what one report lists.
const maxFindings = 5000

// Check compares the store with what the state knows of it. What is wrong is in
// the report; an error means that the check could not be made to its end.
func (r *Retain) Check(ctx context.Context, o CheckOptions) (*pb.StoreReport, error) {
	c := &check{Retain: r, o: o, view: r.Node.View(), report: &pb.StoreReport{Store: r.Store.Describe()}, streams: map[string][]string{}, hit: map[string]bool{}}
	if r.Copy != nil { // an entry may be so new that its copy is still on its way
		if err := r.Copy(ctx); err != nil {
			r.Logger.Warn("ledger copies are missing from the store", "error", err)
		}
	}
	for _, part := range []func(context.Context) error{c.names, c.copies, c.ledger, c.sources, c.record} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("check the store: %w", err)
		}
	}
	return c.report, nil
}

// check is one check under way.
type check struct {
	*Retain
	o      CheckOptions
	view   *state.View
	held   *repo.StoreInventory
	report *pb.StoreReport
	phase  string
	done   Progress
	// streams are those that cannot be read, of each snapshot that was read; hit are
	// the snapshots that have any, or cannot be opened.
	streams map[string][]string
	hit     map[string]bool
}

func (c *check) progress(phase string, objects, bytes int64) {
	c.phase = phase
	c.done.Objects += objects
	c.done.Bytes += bytes
	if c.o.Progress != nil {
		c.o.Progress(phase, c.done.Objects, c.done.Bytes)
	}
}

// found takes a finding. fix, if there is one, is what a repair does, how in words.
func (c *check) found(f *pb.StoreFinding, how string, fix func() error) error {
	f.Repairable = fix != nil && how != ""
	if c.o.Repair && fix != nil {
		if !c.o.DryRun {
			if err := fix(); err != nil {
				return fmt.Errorf("repair %s: %w", f.GetObject(), err)
			}
		}
		f.Repair = how
	}
	switch n := len(c.report.Findings); {
	case n < maxFindings:
		c.report.Findings = append(c.report.Findings, f)
	case n == maxFindings:
		c.report.Findings = append(c.report.Findings, &pb.StoreFinding{Problem: fmt.Sprintf("there is more than these %d findings", maxFindings)})
	}
	return nil
}

// replaceLimit is how long it may take to put an object in another's place.
const replaceLimit = time.Minute

// replace puts what belongs under a name in place of what is there. Once that is
// begun it is finished, whoever is gone: in between there is nothing.
func (c *check) replace(ctx context.Context, name string, b []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceLimit)
	defer cancel()
	if err := c.Store.Delete(ctx, name); err != nil {
		return err
	}
	if _, err := c.Store.Put(ctx, name, bytes.NewReader(b)); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	return nil // when it exists, somebody else has put it there meanwhile
}

// names takes stock of all names.
func (c *check) names(ctx context.Context) (err error) {
	c.progress("listing objects", 0, 0)
	if c.held, err = repo.Inventory(ctx, c.Store); err != nil {
		return err
	}
	for _, t := range c.held.Kinds {
		c.report.Objects += int64(t.Objects)
		c.report.Bytes += t.Bytes
	}
	c.report.Unknown, c.report.UnknownObjects = c.held.UnknownNames, int64(c.held.Unknown.Objects)
	return nil
}

// copies checks the format file, the keys, and their copies.
func (c *check) copies(ctx context.Context) error {
	c.progress("format and keys", 0, 0)
	flaws, objects, err := c.Repo.CheckCopies(ctx, c.Store)
	if err != nil {
		return err
	}
	c.progress(c.phase, int64(objects), 0)
	for _, f := range flaws {
		var fix func() error
		if f.Whole != nil {
			fix = func() error { return c.replace(ctx, f.Object, f.Whole) }
		}
		if err := c.found(&pb.StoreFinding{Object: f.Object, Problem: f.Problem}, "written anew", fix); err != nil {
			return err
		}
	}
	return nil
}

// ledger compares the copy of each ledger entry with the entry.
func (c *check) ledger(ctx context.Context) error {
	head := c.view.LedgerHead().GetLedgerIndex()
	for i := uint64(1); i <= head; i++ {
		c.progress("ledger", 1, 0)
		s, ok := c.view.LedgerEntry(i)
		if !ok {
			return problem.New(problem.Internal, "ledger entry %d is missing", i)
		}
		entry, err := state.EntryOf(s)
		if err != nil {
			return problem.Wrap(problem.Internal, err, "read ledger entry %d", i)
		}
		text, err := json.Marshal(entry)
		if err != nil {
			return problem.Wrap(problem.Internal, err, "encode ledger entry %d", i)
		}
		wrong, err := c.wrongCopy(ctx, i, text)
		if err != nil {
			return err
		}
		if wrong == "" {
			continue
		}
		err = c.found(&pb.StoreFinding{Object: repo.LedgerName(i), Problem: wrong}, "sealed anew", func() error {
			sealed, err := c.Repo.SealLedger(i, text)
			if err != nil {
				return err
			}
			return c.replace(ctx, repo.LedgerName(i), sealed)
		})
		if err != nil {
			return err
		}
	}
	// What was committed since the check began is no finding.
	for _, held := range c.held.Ledger {
		if _, ok := c.Node.View().LedgerEntry(held.Index); !ok {
			err := c.found(&pb.StoreFinding{Object: repo.LedgerName(held.Index), Problem: "the ledger has no such entry: the controller's state is older than the store, or another controller writes to it"}, "", nil)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// wrongCopy says what is wrong with the copy of an entry, empty when nothing is.
func (c *check) wrongCopy(ctx context.Context, index uint64, want []byte) (string, error) {
	object, err := repo.ReadLedger(ctx, c.Store, index)
	if errors.Is(err, store.ErrNotExist) {
		return "it is missing", nil
	}
	if err != nil {
		return "", err
	}
	switch plain, err := c.Repo.OpenLedger(index, object); {
	case err != nil:
		return err.Error(), nil
	case !bytes.Equal(plain, want):
		return "it is not the entry that the ledger has", nil
	}
	return "", nil
}

// sources checks what the store has of each source.
func (c *check) sources(ctx context.Context) error {
	there := map[string]bool{}
	for _, name := range c.held.Sources {
		there[name] = true
	}
	for _, s := range append(c.view.Snapshots("", 0), c.view.Forgotten("", 0)...) {
		there[s.GetSource()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if err := c.source(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// record has the state remember which snapshots have lost something.
func (c *check) record(ctx context.Context) error {
	if !c.o.Repair || c.o.DryRun || len(c.hit) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(c.hit))
	return c.Node.Propose(ctx, &pb.Command{Actor: "retain", Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: ids[:min(len(ids), maxSnapshots)]}}})
}
