// Package condition has the words for what can be wrong: those of settings and
// JSON, and those for people.
package condition

import (
	"github.com/baktainer/baktainer/internal/config"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Words are those for one kind of condition.
type Words struct {
	// Event is what it is called in settings, templates and JSON.
	Event config.Event
	// Of is what it is about: source, store or agent.
	Of string
	// Began and Ended are titles for people; Ended is empty for what ends
	// without a word.
	Began, Ended string
}

var kinds = map[pb.ConditionKind]Words{
	pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED:     {config.EventFailure, "source", "backup failed", "backups succeed again"},
	pb.ConditionKind_CONDITION_KIND_RUN_MISSED:        {config.EventMissed, "source", "backup missed", "backed up again"},
	pb.ConditionKind_CONDITION_KIND_SIZE_ANOMALY:      {config.EventSize, "source", "unusual size", "size is usual again"},
	pb.ConditionKind_CONDITION_KIND_NO_BACKUP:         {config.EventStale, "source", "no backup for too long", "backed up again"},
	pb.ConditionKind_CONDITION_KIND_SNAPSHOT_DAMAGED:  {config.EventDamaged, "source", "damaged snapshot", "no snapshot is damaged any more"},
	pb.ConditionKind_CONDITION_KIND_RETENTION_STOPPED: {config.EventRetention, "source", "retention stopped", "retention goes on"},
	pb.ConditionKind_CONDITION_KIND_DRILL_FAILED:      {config.EventDrill, "source", "drill failed", "a drill succeeded again"},
	pb.ConditionKind_CONDITION_KIND_CONTENTS_STRANGE:  {config.EventContents, "source", "data may be lost", ""},
	pb.ConditionKind_CONDITION_KIND_LOW_SPACE:         {config.EventSpace, "store", "little room left", "there is room again"},
	pb.ConditionKind_CONDITION_KIND_BACKUPS_PAUSED:    {config.EventPaused, "store", "backups pause", "backups go on"},
	pb.ConditionKind_CONDITION_KIND_STORE_FAILING:     {config.EventStore, "store", "cannot be written to", "can be written to again"},
	pb.ConditionKind_CONDITION_KIND_AGENT_SILENT:      {config.EventAgent, "agent", "not connected", "connected again"},
	pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED:  {config.EventSuccess, "source", "backup succeeded", ""},
}

// Of returns the words for a kind of condition, none for one that is not known.
func Of(k pb.ConditionKind) Words { return kinds[k] }
