package condition_test

import (
	"testing"

	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/config"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestEveryKindHasWords(t *testing.T) {
	told := map[config.Event]bool{config.EventRecovery: true}
	for n, name := range pb.ConditionKind_name {
		w := condition.Of(pb.ConditionKind(n))
		told[w.Event] = true
		silent := n == int32(pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED) || n == int32(pb.ConditionKind_CONDITION_KIND_CONTENTS_STRANGE)
		if n > 0 && (w.Event == "" || w.Of == "" || w.Began == "" || (w.Ended == "") != silent) {
			t.Errorf("%s: %+v", name, w)
		}
	}
	for _, e := range config.Events() {
		if !told[e] {
			t.Errorf("no condition is told as %s", e)
		}
	}
}
