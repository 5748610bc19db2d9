// Package victoriametrics is the engine for the single-node VictoriaMetrics. A
// source is all that a server has: every series with every sample.
//
// Its image holds the server and nothing else, so the tool is our own program, in
// a helper container in the server's network (see package helper). The dump is
// what the server exports as lines of JSON, which every version of it reads, with
// a last line of ours that counts them: an HTTP answer that was cut is none. It is
// not of one instant: a series is as it was when its turn came.
//
// A restore writes the samples by the protocol of Prometheus' remote write, and
// counts in the end what the server has, since it does not tell what it leaves
// out. What is not in a dump are the cache, metadata and downsampling rules.
package victoriametrics

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type victoria struct{}

// New returns the engine.
func New() engine.Engine { return victoria{} }

func (victoria) Name() string      { return "victoriametrics" }
func (victoria) Aliases() []string { return []string{"victoria-metrics"} }

// server is the program's name in the official image.
const server = "/victoria-metrics-prod"

// Detect knows the image of the single server. The parts of a cluster, and what
// else there is of that name (vmagent, vmalert, vmauth, vmbackup …), are none.
func (victoria) Detect(f engine.Facts) bool {
	_, last := engine.ImagePath(f.Image)
	return slices.Contains([]string{"victoria-metrics", "victoriametrics"}, last) || runs(f)
}

// runs says whether the command is the server itself, whatever its image.
func runs(f engine.Facts) bool {
	if len(f.Args) == 0 {
		return false
	}
	name := path.Base(f.Args[0])
	return name == "victoria-metrics" || name == path.Base(server)
}

func (victoria) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	list := engine.NoSidecar(s, "the tool is a program of Baktainer's own")
	if s.Database != "" {
		list = append(list, engine.Complaint{
			Label: "baktainer.db.name", Reason: "the victoriametrics engine backs up all series together", Suggestion: "leave the label out",
		})
	}
	return list
}

// limits are what a server can be told of how much it takes; what the source may
// hold, its copy may.
var limits = []string{"maxLabelsPerTimeseries", "maxLabelNameLen", "maxLabelValueLen", "futureRetention"}

// Blank is a server by itself that keeps everything for ever, whatever the
// retention of the source, and neither scrapes nor is asked for a password.
func (victoria) Blank(f engine.Facts, spec source.Spec, _ source.Secret) engine.Blank {
	program := server
	if runs(f) {
		program = f.Args[0]
	}
	args := []string{program, "-retentionPeriod=100y", "-httpListenAddr=127.0.0.1:8428"}
	given := settingsOf(f)
	for _, name := range limits {
		if value := given.get(name); value != "" {
			args = append(args, "-"+name+"="+value)
		}
	}
	spec.User, spec.Password, spec.PasswordFile, spec.PasswordEnv = "", "", "", ""
	return engine.Blank{Args: args, Spec: spec, Notes: []string{
		"VictoriaMetrics was run with a retention of 100 years, and without the flags of the source.",
	}}
}

func (v victoria) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	facts := inst.Facts()
	if list := v.Check(spec, facts); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonNoDatabase).WithHint("%s", list[0].Suggestion)
	}
	given := settingsOf(facts)
	s := &session{inst: inst}
	s.access.URL = given.url()
	var err error
	if s.access.Retention, err = given.retention(); err != nil {
		return nil, err
	}
	credentials, err := engine.ResolveCredentials(ctx, inst, spec, engine.Variables{})
	if err != nil {
		return nil, err
	}
	if s.access.User = spec.User; s.access.User == "" {
		s.access.User = given.get("httpAuth.username")
	}
	if s.access.Password = credentials.Password.Reveal(); !credentials.Found {
		if s.access.Password, err = given.secret(ctx, inst, "httpAuth.password"); err != nil {
			return nil, err
		}
	}
	if s.access.DeleteKey, err = given.secret(ctx, inst, "deleteAuthKey"); err != nil {
		return nil, err
	}
	state, err := s.look(ctx)
	s.version = state.Version
	return s, err
}

func (s *session) Server() string { return strings.TrimSpace("VictoriaMetrics " + s.version) }
