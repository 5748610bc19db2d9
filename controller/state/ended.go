package state

import (
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// end writes a run that has ended, counts it, and forgets the oldest ended runs
// of its source.
func (w *writer) end(r *pb.Run, failure *pb.Failure, logs []*pb.LogLine) {
	r.EndedAt, r.Failure, r.Logs = w.at, failure, BoundedLogs(logs)
	r.LeaseExpiresAt, r.Progress = nil, nil
	if r.GetKind() == pb.RunKind_RUN_KIND_BACKUP && r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		r.Snapshot = ""
	}
	w.put(tableRuns, r)
	w.count(r, nil)
	w.prune(r.GetSource())
}

// count adds an ended run, and the snapshot it made, to the totals.
func (w *writer) count(r *pb.Run, s *pb.Snapshot) {
	total := &pb.RunTotal{Kind: r.GetKind(), State: r.GetState()}
	if before, ok := first[*pb.RunTotal](w.table, tableTotals, indexID, totalKey(r.GetKind(), r.GetState())); ok {
		total = proto.CloneOf(before)
	}
	if s == nil {
		total.Runs++
	}
	total.RawBytes += s.GetRawBytes()
	total.NewBytes += s.GetNewBytes()
	w.put(tableTotals, total)
}

// prune keeps the newest KeptRuns ended runs of a source, and those that made
// the newest entry of the source and of the ledger: a commit that is sent again
// finds its run.
func (w *writer) prune(source string) {
	needed := map[string]bool{}
	for s := range rows[*pb.Snapshot](w.table, tableSnapshots, indexSource, sourceKey(source), true) {
		needed[s.GetRun()] = true
		break
	}
	for s := range rows[*pb.Snapshot](w.table, tableSnapshots, indexTime, "", true) {
		needed[s.GetRun()] = true
		break
	}
	kept := 0
	var old []*pb.Run
	for r := range rows[*pb.Run](w.table, tableRuns, indexSource, sourceKey(source), true) {
		if !Ended(r) {
			continue
		}
		if kept++; kept > KeptRuns && !needed[r.GetId()] {
			old = append(old, r)
		}
	}
	for _, r := range old {
		w.drop(tableRuns, r)
	}
}

// BoundedLogs keeps the last MaxLogLines lines, each cut to MaxLogLine bytes.
func BoundedLogs(logs []*pb.LogLine) []*pb.LogLine {
	logs = logs[max(0, len(logs)-MaxLogLines):]
	kept := make([]*pb.LogLine, 0, len(logs))
	for _, l := range logs {
		kept = append(kept, &pb.LogLine{Time: l.GetTime(), Level: cut(l.GetLevel(), 10), Message: cut(l.GetMessage(), MaxLogLine)})
	}
	return kept
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
