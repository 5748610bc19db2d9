package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/rescue"
	"github.com/baktainer/baktainer/internal/store"
)

// foundView is what `rescue ls -o json` prints of each snapshot.
type foundView struct {
	ID           string     `json:"id" doc:"the snapshot"`
	Source       string     `json:"source" doc:"the source that it is of"`
	Confirmed    bool       `json:"confirmed" doc:"its ledger entry and its manifest are there; without the entry its run may have failed"`
	Note         string     `json:"note" doc:"what is wrong with it, empty when nothing is"`
	Engine       string     `json:"engine" doc:"kind of database"`
	Server       string     `json:"server" doc:"version of the database server"`
	CommittedAt  *time.Time `json:"committed_at,omitempty" doc:"when it came to exist"`
	Streams      int        `json:"streams" doc:"how many dumps it has"`
	RawBytes     int64      `json:"raw_bytes" doc:"size of all its dumps"`
	ManifestSize int64      `json:"manifest_size" doc:"size of its manifest object, 0 when it is missing"`
}

func (a *app) rescueCommand() *cobra.Command {
	var l lifeline
	cmd := group("rescue", "Restore from a store and its key alone, without a controller",
		`Restore from a store and a key to it alone, when no controller is left.

The key is a key file, a passphrase or an age identity: whatever the store has a key slot for. Without --store,
or without a key, those that the settings name are used.`,
		a.rescueList(&l), a.rescueCheck(&l), a.rescueRestore(&l), a.rescueDump(&l))
	l.add(cmd.PersistentFlags())
	return cmd
}

// opened is a repository reached without a controller.
type opened struct {
	*rescue.Rescue
	store store.Store
	key   repo.Key
}

func (a *app) openRescue(cmd *cobra.Command, l *lifeline) (opened, error) {
	st, key, err := a.reach(cmd, l)
	if err != nil {
		return opened{}, err
	}
	r, err := rescue.Open(cmd.Context(), st, key)
	if err != nil {
		return opened{}, fmt.Errorf("open the repository in %s: %w", l.store, err)
	}
	return opened{r, st, key}, nil
}

func (a *app) rescueList(l *lifeline) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List what a store holds", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.openRescue(cmd, l)
			if err != nil {
				return err
			}
			listing, err := r.List(cmd.Context())
			if err != nil {
				return err
			}
			found := listing.Snapshots
			all := make([]foundView, len(found))
			ids := make([]string, len(found))
			rows := make([][]string, len(found))
			for i, f := range found {
				v := viewFound(f)
				all[i], ids[i] = v, v.ID
				rows[i] = []string{v.ID, v.Source, a.when(v.CommittedAt), "", "", cmp.Or(v.Server, v.Engine), v.Note}
				if f.Entry != nil {
					rows[i][3], rows[i][4] = size(v.RawBytes), strconv.Itoa(v.Streams)
				}
			}
			for _, d := range listing.Damaged {
				a.say("damaged: %s", d)
			}
			return a.print(all, ids, func() {
				if len(all) == 0 {
					a.say("The store holds no snapshot.")
					return
				}
				a.table([]string{"SNAPSHOT", "SOURCE", "MADE", "SIZE", "STREAMS", "SERVER", "NOTE"}, rows)
			})
		},
	}
}

func viewFound(f rescue.Found) foundView {
	v := foundView{ID: f.Snapshot, Source: f.Source, Note: f.Note, ManifestSize: f.ManifestSize}
	if e := f.Entry; e != nil {
		v.Confirmed, v.Engine, v.Server, v.CommittedAt = f.Confirmed(), e.Engine, e.Server, &e.CommitTime
		v.Streams, v.RawBytes = len(e.Streams), e.RawBytes
	}
	return v
}

// openFound opens a snapshot by id, prefix, SOURCE@latest or SOURCE, and says what
// is to be known of it.
func (a *app) openFound(ctx context.Context, r opened, ref string) (*repo.Snapshot, rescue.Found, error) {
	snap, found, err := r.OpenSnapshot(ctx, ref)
	if problem.CodeOf(err) == problem.NotFound {
		if s, f, latestErr := r.OpenSnapshot(ctx, ref+"@latest"); latestErr == nil {
			snap, found, err = s, f, nil
		}
	}
	if err == nil && found.Note != "" {
		a.warn([]string{"snapshot " + found.Snapshot + ": " + found.Note})
	}
	return snap, found, err
}

func fromStore(snap *repo.Snapshot, found rescue.Found) dumps {
	// The list comes from the manifest that Open holds the stream against.
	d := dumps{snapshot: found.Snapshot, source: found.Source, checks: true, copy: func(ctx context.Context, stream string, w io.Writer) (err error) {
		r, err := snap.Open(ctx, stream)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		_, err = io.Copy(w, r)
		return err
	}}
	d.copyPart = func(ctx context.Context, chosen, tables []string, sized func(int64), w io.Writer) (err error) {
		stream, part, err := repo.FindPart(snap.Streams(), chosen, tables)
		if err != nil {
			return err
		}
		r, err := snap.OpenSections(ctx, stream.Name, part.Sections)
		if err != nil {
			return err
		}
		sized(part.Bytes)
		defer func() { err = errors.Join(err, r.Close()) }()
		_, err = io.Copy(w, r)
		return err
	}
	d.contents = func(context.Context) (all []contents.Object, _ error) {
		for _, s := range snap.Streams() {
			for _, o := range s.Contents.Objects {
				all = append(all, contents.Object{Stream: s.Name, Kind: o.Kind, Name: o.Name, Rows: o.Rows})
			}
		}
		return all, nil
	}
	for _, s := range snap.Streams() {
		d.streams = append(d.streams, streamView{s.Name, s.Kind, s.Database, s.Format, s.Size, s.SHA256.String()})
	}
	return d
}

func (a *app) rescueDump(l *lifeline) *cobra.Command {
	var force, salvage bool
	var tables []string
	cmd := &cobra.Command{
		Use: "dump SNAPSHOT|SOURCE [STREAM]", Short: "Write a dump to stdout, as the dump tool wrote it", Args: arguments(1, 2),
		Long: `Write a dump to stdout, as the dump tool wrote it.

When the store is damaged, nothing is written that was not checked, and the dump ends with an error. With --salvage all of it that is
intact is written, without what is not; where that belongs is said on stderr (with -o json as JSON), and the exit status is 3.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.refuseTerminal(force); err != nil {
				return err
			}
			r, err := a.openRescue(cmd, l)
			if err != nil {
				return err
			}
			snap, found, err := a.openFound(cmd.Context(), r, args[0])
			if err != nil {
				return err
			}
			if salvage && len(tables) > 0 {
				return problem.New(problem.InvalidInput, "--salvage is of a whole dump, and --table of a part").WithHint("Leave one of the two out.")
			}
			if salvage {
				return a.salvage(cmd.Context(), snap, fromStore(snap, found), args[1:])
			}
			return a.export(cmd.Context(), "-", restoreFlags{selected: args[1:], tables: tables}, fromStore(snap, found))
		},
	}
	cmd.Flags().StringArrayVar(&tables, "table", nil, tableUsage)
	cmd.Flags().BoolVar(&salvage, "salvage", false, "of a damaged dump, write what is left")
	cmd.Flags().BoolVar(&force, "force", false, "write to a terminal")
	return cmd
}

func (a *app) rescueRestore(l *lifeline) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use: "restore SNAPSHOT|SOURCE --to WHERE", Short: "Restore from a store, into files or into a container",
		Example: examples(
			"baktainer rescue restore shop/db --to file:shop.sql --store /mnt/store --key-file repository.key",
			"baktainer rescue restore shop/db --to container:new-db --overwrite",
			"baktainer rescue restore shop/db --to container:new-db --table orders",
		),
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseTarget(f.to)
			switch {
			case err != nil:
				return err
			case to.made != "":
				return problem.New(problem.InvalidInput, "--to new:%s: without a controller no container is made", to.made).
					WithHint("Start one from the image that the source had, and restore with --to container:NAME.")
			case to.file == "" && to.container == "":
				return problem.New(problem.InvalidInput, "say where to restore").WithHint("Want --to file:PATH, --to - for stdout, or --to container:NAME.")
			}
			if err := f.checkAs(to); err != nil {
				return err
			}
			r, err := a.openRescue(cmd, l)
			if err != nil {
				return err
			}
			snap, found, err := a.openFound(cmd.Context(), r, args[0])
			if err != nil {
				return err
			}
			if to.file != "" {
				return a.export(cmd.Context(), to.file, f, fromStore(snap, found))
			}
			return a.rescueInto(cmd, r, found, to.container, f)
		},
	}
	f.add(cmd, "where to: file:PATH, - for stdout, or container:NAME")
	return cmd
}

func (a *app) rescueInto(cmd *cobra.Command, r opened, found rescue.Found, container string, f restoreFlags) error {
	c, _, err := a.settings(cmd)
	if err != nil {
		return err
	}
	if err := a.confirm(f, "container "+container); err != nil {
		return err
	}
	show := a.board(container)
	report, warnings, err := a.roof.RestoreInto(cmd.Context(), Rescue{
		Config: c, Store: r.store, Key: r.key, Snapshot: found, Container: container, Select: f.selected, Tables: f.tables, As: f.as,
		Options: engine.RestoreOptions{Overwrite: f.overwrite, DryRun: f.dry, NoOwner: f.noOwner},
		Phase:   func(phase string) { show.update(0, boardRow{phase: phase}) },
	})
	show.clear()
	var ids []string
	if err == nil {
		ids = []string{found.Snapshot}
	}
	printErr := a.print(rescuedView{found.Snapshot, found.Source, container, list(report), list(warnings)}, ids, func() {
		a.showReport(report, warnings, "")
		if err == nil && !f.dry {
			a.say("Restored snapshot %s into container %s.", found.Snapshot, container)
		}
	})
	return cmp.Or(err, printErr)
}

// rescuedView is what `rescue restore -o json` prints of a restore into a container.
type rescuedView struct {
	Snapshot  string   `json:"snapshot" doc:"the snapshot"`
	Source    string   `json:"source" doc:"the source that it is of"`
	Container string   `json:"container" doc:"the container that it was restored into"`
	Report    []string `json:"report" doc:"what was done, or would be done, in sentences"`
	Warnings  []string `json:"warnings" doc:"what was found in the container, before anything in it was touched, that may make the data other than it was"`
}
