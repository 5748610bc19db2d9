package cli

import (
	"encoding/hex"
	"strings"
	"time"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The views are what -o json prints. Names of fields are stable: they are only
// ever added. Times are RFC 3339 in UTC and left out when unset, sizes are
// bytes, hashes hexadecimal.

type sourceView struct {
	Name         string         `json:"name" doc:"identifies the source"`
	State        string         `json:"state" doc:"ready, invalid (see problems), stopped or gone"`
	Engine       string         `json:"engine" doc:"kind of database, empty when it could not be told"`
	Database     string         `json:"database" doc:"the database asked for, empty when the engine decides"`
	AllDatabases bool           `json:"all_databases" doc:"all databases of the server are backed up"`
	Compress     string         `json:"compress" doc:"default, off, fast or better"`
	Agent        string         `json:"agent" doc:"the agent that reports it"`
	ReportedAt   *time.Time     `json:"reported_at,omitempty" doc:"when it last did"`
	Container    *containerView `json:"container,omitempty" doc:"where the source runs at present: id, name, image, image_digest"`
	Problems     []labelView    `json:"problems" doc:"what is wrong with its labels: label, value, reason, suggestion, warning"`
	Snapshots    int64          `json:"snapshots" doc:"how many snapshots there are"`
	NextFireAt   *time.Time     `json:"next_fire_at,omitempty" doc:"when it is backed up next"`
	LastSnapshot *snapshotView  `json:"last_snapshot,omitempty" doc:"the newest snapshot"`
	LastRun      *runView       `json:"last_run,omitempty" doc:"the newest run that backed it up, or tried to"`
}

type containerView struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Image       string `json:"image"`
	ImageDigest string `json:"image_digest"`
}

type labelView struct {
	Label      string `json:"label"`
	Value      string `json:"value"`
	Reason     string `json:"reason"`
	Suggestion string `json:"suggestion"`
	Warning    bool   `json:"warning"`
}

type runView struct {
	ID              string       `json:"id" doc:"identifies the run; empty in a dry run"`
	Kind            string       `json:"kind" doc:"backup, restore or drill"`
	State           string       `json:"state" doc:"queued, running, succeeded, failed or cancelled"`
	Source          string       `json:"source" doc:"the source backed up, or whose snapshot is restored or drilled"`
	Trigger         string       `json:"trigger" doc:"schedule or manual"`
	Agent           string       `json:"agent" doc:"the agent that carries it out"`
	FireTime        *time.Time   `json:"fire_time,omitempty" doc:"when the schedule fired, or when it was asked for"`
	QueuedAt        *time.Time   `json:"queued_at,omitempty" doc:"when it was queued"`
	StartedAt       *time.Time   `json:"started_at,omitempty" doc:"when an agent began"`
	EndedAt         *time.Time   `json:"ended_at,omitempty" doc:"when it ended"`
	Epoch           uint64       `json:"epoch" doc:"how often it was given to an agent"`
	Snapshot        string       `json:"snapshot" doc:"the snapshot made, restored or drilled"`
	CancelRequested bool         `json:"cancel_requested" doc:"somebody asked for it to be cancelled"`
	Failure         *failureView `json:"failure,omitempty" doc:"why it failed: code, reason, message, hint, details, source"`
	Restore         *restoreView `json:"restore,omitempty" doc:"what is restored where: target_source, target_container, target_agent, select, tables, as, overwrite, dry_run, no_owner, new_container, image"`
	DrillResult     *drillView   `json:"drill_result,omitempty" doc:"what came of a drill: passed, ready_seconds (until the server answered), restored_seconds (after that), objects, rows, assertions, image"`
	Report          []string     `json:"report" doc:"what a restore or a drill did, or would do, in sentences"`
	Warnings        []string     `json:"warnings,omitempty" doc:"what a restore found in its target, before it touched it, that may make the data other than it was"`
	BytesDone       int64        `json:"bytes_done" doc:"bytes of dumps so far"`
	BytesTotal      int64        `json:"bytes_total" doc:"bytes of dumps in all, 0 when not known"`
	BytesSent       int64        `json:"bytes_sent" doc:"bytes sent to the store so far"`
	Phase           string       `json:"phase" doc:"what it is at"`
}

type failureView struct {
	Code    string   `json:"code"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
	Details []string `json:"details"`
	Source  string   `json:"source"`
}

type restoreView struct {
	TargetSource    string   `json:"target_source"`
	TargetContainer string   `json:"target_container"`
	TargetAgent     string   `json:"target_agent"`
	Select          []string `json:"select"`
	Tables          []string `json:"tables"`
	As              string   `json:"as"`
	Overwrite       bool     `json:"overwrite"`
	DryRun          bool     `json:"dry_run"`
	NoOwner         bool     `json:"no_owner"`
	NewContainer    string   `json:"new_container"`
	Image           string   `json:"image"`
}

type snapshotView struct {
	ID             string       `json:"id" doc:"identifies the snapshot"`
	Source         string       `json:"source" doc:"the source that it is of"`
	Run            string       `json:"run" doc:"the run that made it"`
	Engine         string       `json:"engine" doc:"kind of database"`
	Server         string       `json:"server" doc:"version of the database server"`
	Image          string       `json:"image" doc:"image of the container"`
	FireTime       *time.Time   `json:"fire_time,omitempty" doc:"when the schedule fired, or when it was asked for"`
	StartedAt      *time.Time   `json:"started_at,omitempty" doc:"when its dump began"`
	CommittedAt    *time.Time   `json:"committed_at,omitempty" doc:"when it came to exist"`
	VerifiedAt     *time.Time   `json:"verified_at,omitempty" doc:"when its bytes were last re-read and found right"`
	DamagedAt      *time.Time   `json:"damaged_at,omitempty" doc:"when some of it was found damaged or missing"`
	Strange        []string     `json:"strange,omitempty" doc:"what looked like an accident beside the snapshot before: tables that are gone, or have lost nine tenths of their rows"`
	DrilledAt      *time.Time   `json:"drilled_at,omitempty" doc:"when a drill last restored it and found everything in it"`
	DrillFailedAt  *time.Time   `json:"drill_failed_at,omitempty" doc:"when a drill found that it cannot be restored"`
	Recovery       *float64     `json:"recovery_seconds,omitempty" doc:"how long the drill needed until everything was restored"`
	ForgottenAt    *time.Time   `json:"forgotten_at,omitempty" doc:"when it was forgotten"`
	ForgetReason   string       `json:"forget_reason,omitempty" doc:"why its policy let it go; absent when somebody asked for it"`
	UndoUntil      *time.Time   `json:"undo_until,omitempty" doc:"until when it is sure that a forgotten one can be taken back"`
	HoldUntil      *time.Time   `json:"hold_until,omitempty" doc:"until when a hold keeps it"`
	HoldReason     string       `json:"hold_reason,omitempty" doc:"what the hold is for"`
	HoldBy         string       `json:"hold_by,omitempty" doc:"who put it on hold"`
	Tags           []string     `json:"tags" doc:"words that a policy may keep it for"`
	Schedule       string       `json:"schedule,omitempty" doc:"the schedule that it comes from; absent when somebody asked for it"`
	Streams        []streamView `json:"streams" doc:"its dumps: name, kind, database, format, size, sha256 (of the dump as the tool wrote it)"`
	RawBytes       int64        `json:"raw_bytes" doc:"size of all its dumps"`
	NewBytes       int64        `json:"new_bytes" doc:"what it added to the store"`
	ManifestSHA256 string       `json:"manifest_sha256" doc:"hash of its manifest object"`
	ManifestSize   int64        `json:"manifest_size" doc:"size of that"`
	Root           string       `json:"root" doc:"Merkle root over its chunks"`
	Stores         []string     `json:"stores" doc:"the stores that hold it"`
	LedgerIndex    uint64       `json:"ledger_index" doc:"its place in the ledger"`
	Hash           string       `json:"hash" doc:"hash of its ledger entry"`
	Contents       []objectView `json:"contents,omitempty" doc:"with snapshot show, what is in it: stream, kind, name, rows (absent where nobody counted)"`
	Notes          []string     `json:"notes,omitempty" doc:"with snapshot show, what else was seen in its streams"`
}

type streamView struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Database string `json:"database"`
	Format   string `json:"format"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
}

// word makes the short word of an enum's name: SOURCE_STATE_READY → ready.
func word(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func viewSource(s *pb.SourceStatus) *sourceView {
	src := s.GetSource()
	v := &sourceView{
		Name: src.GetName(), State: word(src.GetState().String(), "SOURCE_STATE_"), Engine: src.GetEngine(),
		Database: src.GetDatabase(), AllDatabases: src.GetAllDatabases(), Compress: src.GetCompress(), Agent: src.GetAgent(),
		ReportedAt: moment(src.GetReportedAt()), Problems: []labelView{}, Snapshots: s.GetSnapshots(),
		NextFireAt: moment(s.GetNextFireAt()), LastSnapshot: viewSnapshot(s.GetLastSnapshot()), LastRun: viewRun(s.GetLastRun()),
	}
	if c := src.GetContainer(); c != nil {
		v.Container = &containerView{c.GetId(), c.GetName(), c.GetImage(), c.GetImageDigest()}
	}
	for _, p := range src.GetProblems() {
		v.Problems = append(v.Problems, labelView{p.GetLabel(), p.GetValue(), p.GetReason(), p.GetSuggestion(), p.GetWarning()})
	}
	return v
}

func viewRun(r *pb.Run) *runView {
	if r == nil {
		return nil
	}
	v := &runView{
		ID: r.GetId(), Kind: word(r.GetKind().String(), "RUN_KIND_"), State: word(r.GetState().String(), "RUN_STATE_"),
		Source: r.GetSource(), Trigger: r.GetTrigger(), Agent: r.GetAgent(), FireTime: moment(r.GetFireTime()),
		QueuedAt: moment(r.GetQueuedAt()), StartedAt: moment(r.GetStartedAt()), EndedAt: moment(r.GetEndedAt()), Epoch: r.GetEpoch(),
		Snapshot: r.GetSnapshot(), CancelRequested: r.GetCancelRequested(), Failure: viewFailure(r.GetFailure()), Report: list(r.GetReport()), Warnings: r.GetWarnings(),
		BytesDone: r.GetProgress().GetBytesDone(), BytesTotal: r.GetProgress().GetBytesTotal(), BytesSent: r.GetProgress().GetBytesSent(),
		Phase: r.GetProgress().GetPhase(),
	}
	v.DrillResult = viewDrill(r.GetDrillResult())
	if q := r.GetRestore(); q != nil {
		v.Restore = &restoreView{q.GetTargetSource(), q.GetTargetContainer(), q.GetTargetAgent(), list(q.GetSelect()), list(q.GetTables()), q.GetAs(), q.GetOverwrite(), q.GetDryRun(), q.GetNoOwner(), q.GetNewContainer(), q.GetImage()}
	}
	return v
}

func viewFailure(f *pb.Failure) *failureView {
	if f == nil {
		return nil
	}
	return &failureView{f.GetCode(), f.GetReason(), f.GetMessage(), f.GetHint(), list(f.GetDetails()), f.GetSource()}
}

func viewSnapshot(s *pb.Snapshot) *snapshotView {
	if s == nil {
		return nil
	}
	v := &snapshotView{
		ID: s.GetId(), Source: s.GetSource(), Run: s.GetRun(), Engine: s.GetEngine(), Server: s.GetServer(), Image: s.GetImage(),
		FireTime: moment(s.GetFireTime()), StartedAt: moment(s.GetStartedAt()), CommittedAt: moment(s.GetCommittedAt()),
		VerifiedAt: moment(s.GetVerifiedAt()), DamagedAt: moment(s.GetDamagedAt()), ForgottenAt: moment(s.GetForgottenAt()),
		ForgetReason: s.GetForgetReason(), UndoUntil: moment(s.GetUndoUntil()), HoldUntil: moment(s.GetHoldUntil()), HoldReason: s.GetHoldReason(), HoldBy: s.GetHoldBy(),
		Tags: list(s.GetTags()), Schedule: s.GetSchedule(), Streams: []streamView{}, RawBytes: s.GetRawBytes(), NewBytes: s.GetNewBytes(),
		ManifestSHA256: hex.EncodeToString(s.GetManifestSha256()), ManifestSize: s.GetManifestSize(),
		Root: hex.EncodeToString(s.GetRoot()), Stores: list(s.GetStores()), LedgerIndex: s.GetLedgerIndex(), Hash: hex.EncodeToString(s.GetHash()),
	}
	v.Strange = s.GetStrange()
	v.DrilledAt, v.DrillFailedAt, v.Recovery = moment(s.GetDrilledAt()), moment(s.GetDrillFailedAt()), secondsOf(s.GetRecovery())
	for _, st := range s.GetStreams() {
		v.Streams = append(v.Streams, streamView{st.GetName(), st.GetKind(), st.GetDatabase(), st.GetFormat(), st.GetSize(), hex.EncodeToString(st.GetSha256())})
	}
	return v
}

// list is never nil, so that JSON shows [] and not null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// views applies a view to each of a list.
func views[P, V any](all []P, view func(P) *V) []*V {
	out := make([]*V, len(all))
	for i, p := range all {
		out[i] = view(p)
	}
	return out
}
