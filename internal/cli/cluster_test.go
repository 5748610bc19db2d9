package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/version"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestGoldenCluster(t *testing.T) {
	version.Version = "v1.2.3"
	refused := map[string]error{
		"RemoveMember": problem.New(problem.Conflict, "c1 leads").WithHint("`baktainer cluster transfer-leadership` first."),
		"GetCluster":   problem.New(problem.Unavailable, "there is no leader").WithReason("no-leader"),
	}
	for _, tc := range []struct {
		name string
		fake *clustered
		args string
	}{
		{"cluster-status", &clustered{}, "cluster status"},
		{"cluster-status-alone", &clustered{alone: true}, "cluster status"},
		{"cluster-status-json", &clustered{}, "cluster status -o json"},
		{"cluster-status-quiet", &clustered{}, "cluster status -q"},
		{"cluster-members", &clustered{}, "cluster members"},
		{"cluster-members-json", &clustered{alone: true}, "cluster members -o json"},
		{"cluster-no-leader", &clustered{fails: refused}, "cluster members"},
		{"cluster-remove", &clustered{}, "cluster remove c3 --yes"},
		{"cluster-remove-unasked", &clustered{}, "cluster remove c3"},
		{"cluster-remove-missing", &clustered{}, "cluster remove c9 --yes"},
		{"cluster-remove-refused", &clustered{fails: map[string]error{"RemoveMember": refused["RemoveMember"]}}, "cluster remove c1 --yes"},
		{"cluster-transfer", &clustered{}, "cluster transfer-leadership"},
		{"cluster-transfer-json", &clustered{}, "cluster transfer-leadership c3 -o json"},
		{"cluster-limits", &clustered{}, "cluster limits"},
		{"cluster-limits-none", &clustered{alone: true}, "cluster limits"},
		{"cluster-limits-set", &clustered{}, "cluster limits --total 20"},
		{"cluster-limits-json", &clustered{}, "cluster limits --per-host 0 -o json"},
		{"cluster-limits-wrong", &clustered{}, "cluster limits --per-host -1"},
		{"cluster-unknown", &clustered{}, "cluster statos"},
		{"status-clustered", &clustered{}, "status"},
		{"status-clustered-alone", &clustered{alone: true}, "status"},
		{"token-create-agent", &clustered{}, "token create --role agent"},
		{"token-create-agents", &clustered{alone: true}, "token create --role agent --uses 20 --ttl 24h"},
		{"token-create-controller", &clustered{}, "token create --role controller --name c4"},
		{"token-create-admin", &clustered{}, "token create --role admin --name alice"},
		{"token-create-viewer", &clustered{fails: map[string]error{"GetCluster": refused["GetCluster"]}}, "token create --role viewer"},
		{"token-create-quiet", &clustered{}, "token create --role agent -q"},
		{"token-create-json", &clustered{}, "token create --role agent -o json"},
		{"token-create-what", &clustered{}, "token create"},
		{"token-create-role", &clustered{}, "token create --role root"},
		{"token-ls", &clustered{}, "token ls"},
		{"token-ls-all", &clustered{}, "token ls --all"},
		{"token-ls-json", &clustered{}, "token ls -o json"},
		{"token-ls-none", &clustered{empty: true}, "token ls"},
		{"token-revoke", &clustered{}, "token revoke 0a1b2c3d4e5f"},
		{"agent-ls", &clustered{}, "agent ls"},
		{"agent-ls-json", &clustered{}, "agent ls -o json"},
		{"agent-ls-quiet", &clustered{}, "agent ls -q"},
		{"agent-ls-none", &clustered{empty: true}, "agent ls"},
		{"agent-show", &clustered{}, "agent show db1"},
		{"agent-show-away", &clustered{}, "agent show db2"},
		{"agent-show-missing", &clustered{}, "agent show db9"},
		{"agent-drain", &clustered{}, "agent drain db1"},
		{"agent-undrain", &clustered{}, "agent undrain db1"},
		{"agent-set", &clustered{}, "agent set db1 --concurrency 9"},
		{"agent-set-own", &clustered{}, "agent set db1 --concurrency 0"},
		{"agent-set-what", &clustered{}, "agent set db1"},
		{"agent-set-wrong", &clustered{}, "agent set db1 --concurrency 51"},
		{"agent-revoke", &clustered{}, "agent revoke db1 --yes"},
		{"agent-logs", &clustered{}, "agent logs db1"},
		{"agent-logs-json", &clustered{}, "agent logs db1 -n 2 -o json"},
		{"agent-unknown", &clustered{}, "agent lss"},
		{"identity-ls", &clustered{}, "identity ls"},
		{"identity-ls-json", &clustered{}, "identity ls -o json"},
		{"identity-ls-none", &clustered{empty: true}, "identity ls"},
		{"identity-revoke", &clustered{}, "identity revoke viewer/bob --yes"},
		{"identity-revoke-unasked", &clustered{}, "identity revoke viewer/bob"},
		{"identity-revoke-wrong", &clustered{}, "identity revoke bob --yes"},
		{"identity-revoke-nameless", &clustered{}, "identity revoke viewer/ --yes"},
		{"ca-show", &clustered{}, "ca show"},
		{"ca-show-json", &clustered{}, "ca show -o json"},
		{"ca-show-none", &clustered{alone: true}, "ca show"},
		{"ca-rotate", &clustered{}, "ca rotate"},
		{"ca-rotate-json", &clustered{}, "ca rotate -o json"},
		{"ca-rotate-finish", &clustered{}, "ca rotate --finish --yes"},
		{"ca-rotate-finish-unasked", &clustered{}, "ca rotate --finish"},
		{"audit-ls", &clustered{}, "audit ls"},
		{"audit-ls-verbose", &clustered{}, "audit ls -v"},
		{"audit-ls-json", &clustered{}, "audit ls -o json"},
		{"audit-ls-none", &clustered{}, "audit ls --match nobody"},
		{"audit-ls-wrong", &clustered{}, "audit ls -n 10001"},
		{"complete-members", &clustered{}, "__complete cluster remove "},
		{"complete-agents", &clustered{}, "__complete agent drain "},
		{"complete-tokens", &clustered{}, "__complete token revoke "},
		{"complete-identities", &clustered{}, "__complete identity revoke "},
		{"complete-roles", &clustered{}, "__complete token create --role "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := strings.Fields(tc.args)
			if strings.HasSuffix(tc.args, " ") {
				args = append(args, "")
			}
			t.Setenv("BAKTAINER_SOCKET", serve(t, tc.fake)) // completion takes no flags before
			r := cli(t, Roof{}, "", args...)
			golden(t, tc.name, fmt.Sprintf("$ baktainer %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", tc.args, r.status, r.out, r.err))
		})
	}
}

// What is asked of the controller is what was said, and nothing is that was not.
func TestWhatIsAskedOfTheCluster(t *testing.T) {
	whole := pki.NewUnpinned()
	yes, no := true, false
	number := func(n int32) *int32 { return &n }
	for args, want := range map[string]proto.Message{
		"cluster remove c3 -y":                                        &pb.RemoveMemberRequest{Id: "c3"},
		"cluster remove c3":                                           nil,
		"cluster transfer-leadership":                                 &pb.TransferLeadershipRequest{},
		"cluster transfer-leadership c3":                              &pb.TransferLeadershipRequest{Id: "c3"},
		"cluster limits":                                              nil,
		"cluster limits --total 0":                                    &pb.SetLimitsRequest{Limits: &pb.Limits{PerHost: 2}},
		"cluster limits --per-host 3":                                 &pb.SetLimitsRequest{Limits: &pb.Limits{Total: 8, PerHost: 3}},
		"cluster limits --total -1":                                   nil,
		"token create --role agent":                                   &pb.CreateTokenRequest{Role: pb.Role_ROLE_AGENT, Ttl: durationpb.New(time.Hour), Uses: 1},
		"token create --role viewer --ttl 48h --uses 3 --name bob -q": &pb.CreateTokenRequest{Role: pb.Role_ROLE_VIEWER, Ttl: durationpb.New(48 * time.Hour), Uses: 3, Name: "bob"},
		"token create --role agent --ttl 721h":                        nil,
		"token create --role agent --ttl 0s":                          nil,
		"token create --role agent --uses 0":                          nil,
		"token create --role agent --uses 10001":                      nil,
		"token create --role agent --name a/b":                        nil,
		"token create --role unspecified":                             nil,
		"token revoke " + whole.String():                              &pb.RevokeTokenRequest{Id: whole.ID()},
		"token revoke 0a1b":                                           &pb.RevokeTokenRequest{Id: "0a1b"},
		"agent drain db1":                                             &pb.SetAgentRequest{Agent: "db1", Drained: &yes},
		"agent undrain db1":                                           &pb.SetAgentRequest{Agent: "db1", Drained: &no},
		"agent set db1 --concurrency 3":                               &pb.SetAgentRequest{Agent: "db1", Concurrency: number(3)},
		"agent set db1 --concurrency 0":                               &pb.SetAgentRequest{Agent: "db1", Concurrency: number(0)},
		"agent set db1 --concurrency -1":                              nil,
		"agent revoke db1 -y":                                         &pb.RevokeIdentityRequest{Role: pb.Role_ROLE_AGENT, Name: "db1"},
		"agent revoke db1":                                            nil,
		"agent revoke agent/db1 -y":                                   nil,
		"agent logs db1":                                              &pb.GetAgentLogsRequest{Agent: "db1", Lines: 200},
		"agent logs db1 -n 2000":                                      &pb.GetAgentLogsRequest{Agent: "db1", Lines: 2000},
		"agent logs db1 -n 2001":                                      nil,
		"identity revoke controller/c3 -y":                            &pb.RevokeIdentityRequest{Role: pb.Role_ROLE_CONTROLLER, Name: "c3"},
		"identity revoke unspecified/x -y":                            nil,
		"ca rotate":                                                   &pb.RotateAuthorityRequest{},
		"ca rotate --finish -y":                                       &pb.RotateAuthorityRequest{Finish: true},
		"ca rotate --finish":                                          nil,
		"audit ls":                                                    &pb.ListAuditRequest{Limit: 100},
		"audit ls -n 10000 --match alice":                             &pb.ListAuditRequest{Limit: 10_000, Match: "alice"},
		"audit ls -n 0":                                               nil,
	} {
		f := &clustered{}
		r := cli(t, Roof{}, serve(t, f), strings.Fields(args)...)
		got := f.last()
		if want == nil {
			if got != nil || (r.status == 0 && args != "cluster limits") {
				t.Errorf("%s: status %d, asked for %v", args, r.status, got)
			}
			continue
		}
		if m, ok := got.(proto.Message); !ok || r.status != 0 || !proto.Equal(m, want) {
			t.Errorf("%s: status %d, asked for %v, want %v", args, r.status, got, want)
		}
	}
}

func TestWhatIsLeftWithoutAController(t *testing.T) {
	for _, tc := range []struct {
		voters, others int
		gone           string // role
		want           string
	}{
		{2, 0, "voter", "1 controller is left, and it may not fail"},
		{3, 0, "voter", "2 controllers are left, of which none may fail"},
		{3, 1, "nonvoter", "3 controllers are left, of which 1 may fail"},
		{5, 0, "voter", "4 controllers are left, of which 1 may fail"},
		{6, 0, "voter", "5 controllers are left, of which 2 may fail"},
	} {
		c := &clusterView{}
		for i := range tc.voters + tc.others {
			role := "voter"
			if i >= tc.voters {
				role = "nonvoter"
			}
			c.Members = append(c.Members, &memberView{Role: role})
		}
		gone := c.Members[0]
		if tc.gone == "nonvoter" {
			gone = c.Members[len(c.Members)-1]
		}
		if got := without(c, gone); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// A controller of the version before has no such service; its status is shown all the same.
func TestStatusOfAnOlderController(t *testing.T) {
	r := cli(t, Roof{}, serve(t, &fake{}), "status")
	if r.status != 0 || strings.Contains(r.out, "controllers") {
		t.Errorf("%+v", r)
	}
	r = cli(t, Roof{}, serve(t, &clustered{fails: map[string]error{"GetCluster": problem.New(problem.Denied, "not for you")}}), "status")
	if r.status != 1 || !strings.Contains(r.err, "not for you") {
		t.Errorf("%+v", r)
	}
}

func TestGeneratedTokens(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		r := cli(t, Roof{}, "", "token", "generate", "-q")
		text := strings.TrimSuffix(r.out, "\n")
		secret, ok := strings.CutPrefix(text, "BKTN-1-0-")
		if r.status != 0 || !ok || len(secret) != 26 || strings.Trim(secret, "abcdefghijklmnopqrstuvwxyz234567") != "" || r.err != "" || seen[text] {
			t.Fatalf("%+v", r)
		}
		seen[text] = true
	}
	if r := cli(t, Roof{}, "", "token", "generate"); !strings.Contains(r.err, "--bootstrap-expect 3") || strings.Contains(r.err, "BKTN") {
		t.Errorf("%+v", r)
	}
}
