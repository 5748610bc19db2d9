package report

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/scale"
)

func mebibytes(n int64) string { return fmt.Sprintf("%s MiB", count(int(n>>20))) }

// scaleTables are those of the measurement of scale.
func scaleTables(f *scale.Figures) map[string]string {
	all := map[string]string{"scale": nothing, "scale-machine": nothing, "ledger": nothing, "listings": nothing}
	if f == nil {
		return all
	}
	all["scale-machine"] = fmt.Sprintf("%s agents with %s sources. Made on %s with version %s: %d cores (%s), which leader and agents share; memory setting of the leader: %s.",
		count(f.Agents), count(f.Sources), f.Made, f.Version, f.Machine.Cores, f.Machine.CPU, f.Memory)
	if len(f.Stages) > 0 {
		all["scale"] = stages(f)
	}
	if l := f.Ledger; l != nil {
		t := head("", "")
		t.row("snapshots", count(l.Snapshots))
		t.row("heap of the tables", mebibytes(l.Heap))
		t.row("raft snapshot", fmt.Sprintf("%.1f MB", float64(l.Raft)/1e6))
		t.row("written, read", seconds(l.Write)+", "+seconds(l.Read))
		if p := l.Process; p != nil {
			t.row("the whole controller's memory (peak)", mebibytes(p.RSS))
			t.row("cluster snapshot, cluster restore", seconds(p.Save)+", "+seconds(p.Restore))
			t.row("start to first answer", seconds(p.Restart))
			lists := head("listing over the API", "rows", "p50", "p99")
			for _, list := range p.Lists {
				p50, p99, _ := spread(list.Took)
				lists.row(list.What, count(list.Rows), p50, p99)
			}
			all["listings"] = lists.b.String()
		}
		all["ledger"] = t.b.String()
	}
	return all
}

func stages(f *scale.Figures) string {
	t := head("", "took", "leader's CPU", "of a core", "leader's memory (peak)", "heartbeats p50, p99", "failed", "session p50, p99, last", "assignment p50, p99", "run p50, p99", "failed")
	for _, s := range f.Stages {
		beat50, beat99, _ := spread(s.Beats)
		in50, in99, in := spread(s.Sessions)
		heard50, heard99, _ := spread(s.Assigned)
		made50, made99, _ := spread(s.Done)
		core := "–"
		if s.Wall > 0 {
			core = fmt.Sprintf("%.0f %%", 100*s.CPU/s.Wall)
		}
		t.row(s.Name, seconds(s.Wall), seconds(s.CPU), core, mebibytes(s.RSS),
			beat50+", "+beat99, count(s.BeatsFailed), in50+", "+in99+", "+in, heard50+", "+heard99, made50+", "+made99, count(s.RunsFailed))
	}
	return t.b.String()
}
