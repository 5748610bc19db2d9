package etcd

import (
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

func TestASidecarHasNoCertificates(t *testing.T) {
	spec := source.Spec{Tools: source.Tools{Image: "etcd:3.5"}}
	for name, tc := range map[string]struct {
		facts engine.Facts
		want  int
	}{
		"plain":               {engine.Facts{}, 0},
		"TLS without clients": {engine.Facts{Args: []string{"etcd", "--listen-client-urls=https://0.0.0.0:2379", "--cert-file=/c", "--key-file=/k"}}, 0},
		"clients' own":        {engine.Facts{Args: []string{"etcd", "--listen-client-urls=https://0.0.0.0:2379", "--cert-file=/c", "--key-file=/k", "--client-cert-auth"}}, 1},
		"by variables":        {engine.Facts{Env: map[string]string{"ETCDCTL_CACERT": "/ca"}}, 1},
	} {
		if list := New().Check(spec, tc.facts); len(list) != tc.want {
			t.Errorf("%s: %+v", name, list)
		}
		if list := New().Check(source.Spec{}, tc.facts); len(list) != 0 {
			t.Errorf("%s, without a side-car: %+v", name, list)
		}
	}
}
