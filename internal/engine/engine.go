// Package engine is the contract between Baktainer and one kind of database.
//
// An Engine recognises its database and opens a Session on a running instance
// of it. The Session lists the streams that a backup consists of, starts the
// database's own dump tool for each, supplies an Inspector that checks the
// dump's content to its end mark while it flows by, and restores streams again.
// Engines know nothing of chunks, wires or stores; what carries them (Docker,
// Kubernetes …) is behind Instance. Every engine passes the suite in enginetest.
package engine

import (
	"context"
	"io"

	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// Engine is the code for one kind of database. Implementations hold no state.
type Engine interface {
	// Name is the canonical name, as in baktainer.db.engine: "postgres".
	Name() string
	// Aliases are further names that users give it: "postgresql".
	Aliases() []string
	// Detect says whether an instance with these facts runs this kind of database.
	Detect(Facts) bool
	// Check lists what is wrong with a spec for this engine, from spec and facts
	// alone, without I/O. An empty list means that Open may be tried. Labels on what to
	// dump are no part of it: see the function Check and Selector.
	Check(source.Spec, Facts) []Complaint
	// Open finds the credentials, the databases and the tools that spec and
	// instance call for. Errors are *problem.Problem with a reason of this package.
	// The session is of use, with the inspectors that it gives, until the context ends.
	Open(context.Context, Instance, source.Spec) (Session, error)
	// Blank says how to run an empty instance of the database like the one with
	// these facts, with secret for its passwords, to which the spec's backups can be
	// restored. An instance that is gone has no facts but its image.
	Blank(f Facts, spec source.Spec, secret source.Secret) Blank
}

// Complaint is one thing that is wrong with a spec: the label at fault (its
// full key, "baktainer.db.name"), the reason, and what to write instead.
type Complaint struct {
	Label, Reason, Suggestion string
}

// Session is an engine at work on one instance. It is used by one goroutine at
// a time and holds nothing that needs closing.
type Session interface {
	// Server is the version of server and tools, for people: "PostgreSQL 15.18".
	Server() string
	// Streams lists what a backup consists of, in the order in which a restore
	// needs them. Names are unique within the list.
	Streams(context.Context) ([]Stream, error)
	// Dump starts the tool that writes the stream. See Process for how to end it.
	Dump(context.Context, Stream) (Process, error)
	// Explain says in the user's words why a process of Dump ended with a status
	// other than 0. The caller of Dump asks it; Wait reports only the status.
	Explain(Exit) *problem.Problem
	// Inspect returns the content check for a stream.
	Inspect(Stream) Inspector
	// Prepare is called once before Restore, with the streams to come in order.
	// It says what stands in the way and what would be done. Unless options.DryRun
	// it then makes the target ready, for example creates missing databases.
	// It touches nothing and fails with ReasonTargetNotEmpty when data would be
	// overwritten and options.Overwrite is not set.
	Prepare(context.Context, []Stream, RestoreOptions) (RestorePlan, error)
	// Restore feeds one stream to the database and returns when it is there. When
	// r fails, the tool is killed rather than shown a normal end of input, so that
	// half a stream is never taken for a whole one; the error wraps r's.
	Restore(context.Context, Stream, io.Reader, RestoreOptions) error
}

// Stream is one dump inside a snapshot. It is recorded in the snapshot, so a
// restore sees what the backup wrote, whichever version of us wrote it.
type Stream struct {
	// Name is unique within the snapshot and usable as a file name: "shop.sql".
	Name string
	// Kind is the engine's own word for what the stream holds: "globals", "database", "file".
	Kind string
	// Database is the database that the stream holds, empty for "globals" and the like.
	Database string
	// Format names the dump's format, with a version where it has one: "pg_dump-plain".
	Format string
}

// Called says whether somebody who gives a name means the stream: by its own, or by
// that of its database.
func (s Stream) Called(name string) bool {
	return name == s.Name || name != "" && name == s.Database
}

// RestoreOptions say how to restore.
type RestoreOptions struct {
	// Overwrite permits replacing data that is there.
	Overwrite bool
	// DryRun: say what would happen, change nothing.
	DryRun bool
	// NoOwner leaves out ownership and grants where the engine knows them (PostgreSQL).
	NoOwner bool
	// Only names objects, as an inspector did: the one stream that is restored is
	// their Part, and everything else in its database stays as it is. Empty: streams
	// are whole. Only engines whose inspectors note sections are asked.
	Only []string
	// As is another name that the database of the one stream gets; empty: its own.
	// Only sessions that are Renamers are asked.
	As string
	// LeftOut is what the backup is without, by the names of its streams, in words: see Lost.
	LeftOut map[string][]string
}

// Renamer is a session that can restore a database under another name.
type Renamer interface {
	// MayRename says why that of a stream cannot be, if so.
	MayRename(Stream) error
}

// RestorePlan is what a restore will do, in sentences for a person, in order,
// and what in the target it will replace.
type RestorePlan struct {
	Steps    []string
	Replaces []string
}

// Inspector sees every byte of a stream, in order, as it flows by.
type Inspector interface {
	// Write never fails for content: what it finds wrong it keeps for Finish. It
	// must not keep p and must be cheap: it is in the path of every byte.
	io.Writer
	// Finish is called once, after the last byte, and says whether the stream is a
	// whole dump: it fails with ReasonEmpty or ReasonTruncated (a *problem.Problem).
	Finish() (Contents, error)
}

// Contents is what an inspector saw in a stream.
type Contents struct {
	// Objects are the tables, collections, key spaces … in the order of the stream;
	// at most MaxObjects are kept.
	Objects []Object
	// Common are the sections that every part of the stream has, such as settings and
	// the end mark: see Part. Empty: the stream cannot be taken apart. With the sections of the
	// objects there are at most MaxSections.
	Common []Section
	// Notes are further facts worth recording: "dumped by pg_dump version 15.18".
	Notes []string
}

// In lists the objects as those of a stream, for comparing.
func (c Contents) In(stream string) []contents.Object {
	list := make([]contents.Object, len(c.Objects))
	for i, o := range c.Objects {
		list[i] = contents.Object{Stream: stream, Kind: o.Kind, Name: o.Name, Rows: o.Rows}
	}
	return list
}

// MaxObjects bounds Contents.Objects, so that a dump with a million tables does
// not make memory depend on it.
const MaxObjects = 10_000

// Object is one thing in a stream. Rows is -1 when it cannot be told cheaply.
type Object struct {
	Kind, Name string
	Rows       int64
	// Sections are where in the stream all of it is, in order, for what can be had
	// alone; empty for what cannot.
	Sections []Section
}

// Instance is a running container (or its like) that an engine works in. It is
// implemented by providers. All of its methods may be used concurrently.
type Instance interface {
	Facts() Facts
	// Exec starts argv inside the instance, without a shell. A missing program is
	// ReasonToolMissing, an instance that is not running ReasonNotRunning: both may
	// come from Exec or from the Process's Wait.
	Exec(context.Context, Command) (Process, error)
	// Helper starts this program's own binary (argv without the program's name, a
	// hidden subcommand) in a throw-away container that sees the instance's volumes
	// at the same paths, as root, without network; or, if Command.Network says so, has
	// the instance's network and no volumes. Env can be read by whoever may inspect
	// containers: secrets go by Stdin. For databases whose image lacks a tool.
	Helper(context.Context, Command) (Process, error)
	// Sidecar starts a throw-away container of an image that is on the host, with the
	// instance's network and so many bytes of memory. One that is not there is
	// ReasonNoImage. It ends by itself when this process does.
	Sidecar(ctx context.Context, image string, memory int64) (Sidecar, error)
	// ReadFile reads a file inside the instance; more than limit bytes, or anything
	// other than a regular file (links are followed), is an error. A missing file
	// is fs.ErrNotExist.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)
}

// Facts are what is known of an instance from outside.
type Facts struct {
	// Image as the user wrote it ("postgres:16-alpine"), and its content digest
	// when known ("sha256:…").
	Image, ImageDigest string
	// Env is the instance's environment as configured. It may hold secrets.
	Env map[string]string
	// Args are entrypoint and command as configured.
	Args []string
	// Mounts are the paths of volumes and bind mounts inside the instance.
	Mounts  []string
	Running bool
}

// Command is a program to run in an instance.
type Command struct {
	// Argv is the program and its arguments. Never a secret.
	Argv []string
	// Env are additional variables, NAME=value. The place for secrets.
	Env []string
	// User to run as, empty for the instance's own.
	User string
	// Stdin is fed to the program and then closed. nil means none. When reading it
	// fails with anything but io.EOF, the program is killed and Wait reports that error.
	Stdin io.Reader
	// Network has a helper in the network of the instance, instead of with its volumes.
	Network bool
	// Secrets are values that must not appear in what is kept of stderr.
	Secrets []string
}

// Process is a program that runs in an instance. Its stdout is read through
// Read; its stderr is kept, bounded and masked. Whoever starts one must call
// Wait exactly once, and may call Kill at any time before.
type Process interface {
	// Read reads stdout. io.EOF means that the stream was closed in order, which
	// does not yet mean that the program succeeded: Wait tells.
	io.Reader
	// Wait waits for the end (unread output is discarded) and says how it was. An
	// error means that it is not known how, or if, the program ended: the stream or
	// the instance was lost (ReasonStreamLost, ReasonNotRunning). When the context
	// given to Exec ends, the program is killed and Wait returns the context's error.
	Wait() (Exit, error)
	// Kill ends the program inside the instance, not merely our connection to it.
	Kill()
}

// Exit is how a program ended.
type Exit struct {
	Status int
	// Stderr is the last part of what it said, at most StderrLimit bytes, secrets masked.
	Stderr string
}

// StderrLimit bounds what is kept of a tool's stderr, in bytes.
const StderrLimit = 8 << 10
