package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) sourceCommand() *cobra.Command {
	return group("source", "What can be backed up", "", a.sourceList(), a.sourceShow())
}

func (a *app) sourceList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List all sources, also invalid ones and why they are", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.ListSources(ctx, &pb.ListSourcesRequest{})
				if err != nil {
					return err
				}
				all := views(resp.GetSources(), viewSource)
				ids := make([]string, len(all))
				for i, s := range all {
					ids[i] = s.Name
				}
				return a.print(all, ids, func() { a.showSources(all) })
			})
		},
	}
}

func (a *app) showSources(all []*sourceView) {
	if len(all) == 0 {
		a.say("No source yet: give a database container the label baktainer.backup=true.")
		return
	}
	rows := make([][]string, len(all))
	for i, s := range all {
		last, bytes, state := "never", "", s.State
		if s.LastSnapshot != nil {
			last, bytes = a.when(s.LastSnapshot.CommittedAt), size(s.LastSnapshot.RawBytes)
		}
		lastRun := ""
		if s.LastRun != nil {
			lastRun = s.LastRun.State
		}
		rows[i] = []string{s.Name, cmp.Or(s.Engine, "?"), state, last, bytes, strconv.FormatInt(s.Snapshots, 10), lastRun, a.when(s.NextFireAt)}
	}
	a.table([]string{"SOURCE", "ENGINE", "STATE", "LAST SNAPSHOT", "SIZE", "SNAPSHOTS", "LAST BACKUP", "NEXT"}, rows)
	for _, s := range all {
		a.showLabelProblems(s, true)
	}
}

// showLabelProblems tells what is wrong with a source's labels, each on one line.
func (a *app) showLabelProblems(s *sourceView, named bool) {
	for _, p := range s.Problems {
		kind, c := "problem", red
		if p.Warning {
			kind, c = "warning", yellow
		}
		line := fmt.Sprintf("%s=%q: %s", p.Label, p.Value, p.Reason)
		if p.Value == "" {
			line = fmt.Sprintf("%s: %s", p.Label, p.Reason)
		}
		if named {
			line = s.Name + ": " + line
		}
		if p.Suggestion != "" {
			line += "\n  → " + p.Suggestion
		}
		fmt.Fprintf(a.out, "%s %s\n", a.paint(a.out, kind+":", c), printable(line))
	}
}

func (a *app) sourceShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SOURCE", Short: "Show one source", Args: arguments(1, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.GetSource(ctx, &pb.GetSourceRequest{Name: args[0]})
				if err != nil {
					return err
				}
				s := viewSource(resp.GetSource())
				return a.print(s, []string{s.Name}, func() { a.showSource(s) })
			})
		},
	}
}

func (a *app) showSource(s *sourceView) {
	database := s.Database
	if s.AllDatabases {
		database = "all"
	}
	facts := []string{"source", s.Name, "state", s.State, "engine", cmp.Or(s.Engine, "?"), "database", database, "compress", s.Compress}
	if c := s.Container; c != nil {
		facts = append(facts, "container", c.Name, "id", c.ID, "image", c.Image, "digest", c.ImageDigest)
	}
	facts = append(facts, "agent", s.Agent, "reported", a.at(s.ReportedAt), "snapshots", strconv.FormatInt(s.Snapshots, 10), "next", a.at(s.NextFireAt))
	if l := s.LastSnapshot; l != nil {
		facts = append(facts, "last snapshot", l.ID, "committed", a.at(l.CommittedAt), "size", size(l.RawBytes), "new", size(l.NewBytes))
	}
	if r := s.LastRun; r != nil {
		facts = append(facts, "last backup", r.ID, "result", r.State)
	}
	a.facts(facts...)
	if s.LastRun != nil {
		a.showFailure(s.LastRun.Failure)
	}
	a.showLabelProblems(s, false)
}
