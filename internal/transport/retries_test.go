package transport

import (
	"strings"
	"testing"
)

func TestOnlyReadsAreRepeated(t *testing.T) {
	for name, want := range map[string]bool{
		"AdminService GetStatus": true, "AdminService ListSnapshots": true, "ClusterService GetCluster": true, "ClusterService ListAgents": true,
		"AdminService StartRun": false, "AdminService ForgetSnapshots": false, "ClusterService CreateToken": false, "ClusterService RemoveMember": false,
		"AgentService Heartbeat": false, "IdentityService Enrol": false, "AdminService CheckStore": false,
	} {
		service, method, _ := strings.Cut(name, " ")
		if got := strings.Contains(retries(), `{"service":"baktainer.v1.`+service+`","method":"`+method+`"}`); got != want {
			t.Errorf("%s is repeated: %v", name, got)
		}
	}
	if t.Failed() {
		t.Log(retries())
	}
}
