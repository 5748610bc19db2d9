package engine

import "github.com/baktainer/baktainer/internal/problem"

// Reasons for which a run fails. They are stable: scripts and metrics use them.
const (
	ReasonToolMissing    problem.Reason = "tool-missing"     // the image has no dump or restore tool
	ReasonNoImage        problem.Reason = "no-image"         // an image that is asked for is not on this host
	ReasonWrongPassword  problem.Reason = "wrong-password"   // the server refused the credentials
	ReasonNoDatabase     problem.Reason = "no-database"      // the database does not exist
	ReasonNoConnection   problem.Reason = "no-connection"    // the server does not answer inside its container
	ReasonNoCredentials  problem.Reason = "no-credentials"   // none given and none found
	ReasonToolFailed     problem.Reason = "tool-failed"      // the tool ended with a status other than 0
	ReasonEmpty          problem.Reason = "dump-empty"       // the tool said success and wrote nothing
	ReasonTruncated      problem.Reason = "dump-truncated"   // the end mark is missing
	ReasonMalformed      problem.Reason = "dump-malformed"   // the content is not what the tool writes
	ReasonStreamLost     problem.Reason = "stream-lost"      // the connection to the exec'd tool broke
	ReasonNotRunning     problem.Reason = "not-running"      // the container is stopped or gone
	ReasonTargetNotEmpty problem.Reason = "target-not-empty" // a restore would overwrite data
	ReasonTargetUnfit    problem.Reason = "target-unfit"     // the target lacks what a restore needs
	ReasonUnsupported    problem.Reason = "unsupported"      // this engine cannot do that
	ReasonPluginFailed   problem.Reason = "plugin-failed"    // an engine that is a plugin did not do its part
)
