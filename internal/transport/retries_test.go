package transport

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoregistry"
)

func TestOnlyReadsAreRepeated(t *testing.T) {
	known := describe(protoregistry.GlobalFiles)
	for name, want := range map[string]bool{
		"AdminService GetStatus": true, "AdminService ListSnapshots": true, "ClusterService GetCluster": true, "ClusterService ListAgents": true,
		"AdminService StartBackup": false, "AdminService ForgetSnapshots": false, "ClusterService CreateToken": false, "ClusterService RemoveMember": false,
		"AgentService Heartbeat": false, "IdentityService Enrol": false, "AdminService CheckStore": false,
	} {
		service, method, _ := strings.Cut(name, " ")
		if _, ok := known["/baktainer.v1."+service+"/"+method]; !ok {
			t.Errorf("there is no %s", name)
		}
		if got := strings.Contains(retries(), `{"service":"baktainer.v1.`+service+`","method":"`+method+`"}`); got != want {
			t.Errorf("%s is repeated: %v", name, got)
		}
	}
	if t.Failed() {
		t.Log(retries())
	}
}
