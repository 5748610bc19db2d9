package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// coverageView is what `coverage -o json` prints.
type coverageView struct {
	Sources    []*coveredView    `json:"sources" doc:"name, state, restorable (the newest verified snapshot), restorable_at (when it was dumped), age_seconds, drilled (the newest snapshot that a drill has restored), drilled_from (when that was dumped), recovery_seconds, gaps (kind, message, hint)"`
	Unlabelled []*unlabelledView `json:"unlabelled" doc:"databases that run and carry no label: agent, container, image, engine"`
	Conditions []*conditionView  `json:"conditions" doc:"what is wrong with agents and stores, as in notify ls"`
	Covered    bool              `json:"covered" doc:"every database that runs can be brought back, and nothing is amiss"`
}

type coveredView struct {
	Name         string     `json:"name"`
	State        string     `json:"state"`
	Restorable   string     `json:"restorable"`
	RestorableAt *time.Time `json:"restorable_at,omitempty"`
	AgeSeconds   *int64     `json:"age_seconds,omitempty"`
	Drilled      string     `json:"drilled"`
	DrilledFrom  *time.Time `json:"drilled_from,omitempty"`
	Recovery     *float64   `json:"recovery_seconds,omitempty"`
	Gaps         []gapView  `json:"gaps"`
}

type gapView struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

type unlabelledView struct {
	Agent     string         `json:"agent"`
	Container *containerView `json:"container"`
	Engine    string         `json:"engine"`
}

func (a *app) coverageCommand() *cobra.Command {
	return &cobra.Command{
		Use: "coverage", Short: "Tell which databases could be brought back, from when, and which could not",
		Long: "Tell which databases could be brought back, from when, and which could not: those that nobody has labelled, those with wrong labels, those " +
			"that were never backed up or never verified, those whose backups or drills fail or are overdue, or that no schedule backs up.\n\n" +
			"RESTORABLE is when the newest verified snapshot was dumped: what was changed since would be lost. DRILLED is the same of the newest that a drill has " +
			"restored, and RECOVERY how long that took. Containers without a label are judged by their image, " +
			"so one whose name says nothing is missed; `baktainer.backup=false` says that a database needs no backup.\n\n" +
			"Exit status: 0 everything is covered, 1 something is not.",
		Example: examples("baktainer coverage", "baktainer coverage -o json"),
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				resp, err := client.GetCoverage(ctx, &pb.GetCoverageRequest{})
				if err != nil {
					return err
				}
				v := viewCoverage(resp, a.clock.Now())
				if err := a.print(v, v.open(), func() { a.showCoverage(v) }); err != nil {
					return err
				}
				if !v.Covered {
					return problem.New(problem.Failed, "%s", v.verdict())
				}
				return nil
			})
		},
	}
}

func viewCoverage(resp *pb.GetCoverageResponse, now time.Time) coverageView {
	v := coverageView{Sources: []*coveredView{}, Unlabelled: []*unlabelledView{}, Conditions: views(resp.GetConditions(), viewCondition)}
	for _, s := range resp.GetSources() {
		c := &coveredView{
			Name: s.GetSource(), State: word(s.GetState().String(), "SOURCE_STATE_"), Restorable: s.GetRestorable(),
			RestorableAt: moment(s.GetRestorableAt()), Drilled: s.GetDrilled(), DrilledFrom: moment(s.GetDrilledFrom()), Recovery: secondsOf(s.GetRecovery()), Gaps: []gapView{},
		}
		if c.RestorableAt != nil {
			age := int64(now.Sub(*c.RestorableAt).Seconds())
			c.AgeSeconds = &age
		}
		for _, g := range s.GetGaps() {
			c.Gaps = append(c.Gaps, gapView{g.GetKind(), g.GetMessage(), g.GetHint()})
		}
		v.Sources = append(v.Sources, c)
	}
	for _, u := range resp.GetUnlabelled() {
		c := u.GetContainer()
		v.Unlabelled = append(v.Unlabelled, &unlabelledView{u.GetAgent(), &containerView{c.GetId(), c.GetName(), c.GetImage(), c.GetImageDigest()}, u.GetEngine()})
	}
	v.Covered = len(v.open()) == 0 && len(v.Conditions) == 0
	return v
}

// open names what is not covered: sources with gaps, and containers without a label.
func (v coverageView) open() []string {
	var names []string
	for _, s := range v.Sources {
		if len(s.Gaps) > 0 {
			names = append(names, s.Name)
		}
	}
	for _, u := range v.Unlabelled {
		names = append(names, u.Container.Name)
	}
	return names
}

func (v coverageView) verdict() string {
	amiss := len(v.open()) - len(v.Unlabelled)
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{amiss, "of " + several(int64(len(v.Sources)), "source") + " not covered"}, {len(v.Unlabelled), "without a label"}, {len(v.Conditions), "amiss with agents or stores"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

func (a *app) showCoverage(v coverageView) {
	var rows [][]string
	for _, s := range v.Sources {
		restorable := a.when(s.RestorableAt)
		if s.Restorable == "" {
			restorable = "never"
		}
		drilled := a.when(s.DrilledFrom)
		if s.Drilled == "" {
			drilled = "never"
		}
		if len(s.Gaps) == 0 {
			rows = append(rows, []string{s.Name, s.State, restorable, drilled, seconds(s.Recovery), "", ""})
		}
		for _, g := range s.Gaps {
			rows = append(rows, []string{s.Name, s.State, restorable, drilled, seconds(s.Recovery), g.Kind, a.hinted(g.Message, g.Hint)})
		}
	}
	if len(rows) == 0 {
		a.say("No source yet: give a database container the label baktainer.backup=true.")
	} else {
		a.table([]string{"SOURCE", "STATE", "RESTORABLE", "DRILLED", "RECOVERY", "GAP", "WHY"}, rows)
	}
	if len(v.Unlabelled) > 0 {
		fmt.Fprintln(a.out)
		rows = nil
		for _, u := range v.Unlabelled {
			rows = append(rows, []string{u.Container.Name, u.Engine, u.Container.Image, u.Agent})
		}
		a.table([]string{"WITHOUT A LABEL", "ENGINE", "IMAGE", "AGENT"}, rows)
	}
	if len(v.Conditions) > 0 {
		fmt.Fprintln(a.out)
		a.table([]string{"OF", "NAME", "WHAT", "SINCE", "DETAIL"}, a.conditionRows(v.Conditions))
	}
}
