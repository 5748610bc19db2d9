package mysql

import (
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// patterns tell what the tools say, by the server's error numbers where they
// have one: words such as "root" and "password" may be masked. Tools write
// "error: 1045:", "error: '…' (1045)" and "ERROR 1045 (28000)".
var patterns = []engine.Pattern{
	{
		Any:    numbered("1045", "1698", "1251", "2059", "1820", "1862", "1130"),
		Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "The server refused user and password. Set baktainer.db.user and baktainer.db.password_file (or another password label); the variables of the container count only when its data was first made.",
	},
	{
		Any:    numbered("1049"),
		Reason: engine.ReasonNoDatabase, Code: problem.NotFound,
		Hint: "Name a database that exists in baktainer.db.name, or back up all with baktainer.db.all=true.",
	},
	{
		Any:    numbered("2002", "2003", "2006", "2013", "1040", "1053", "1203"),
		Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "The server in the container does not answer, is starting or stopping, or has no connection left. Look at the container's log.",
	},
	{
		Any:    append(numbered("1044", "1142", "1143", "1227", "1370", "1419"), "insuffic" /* mysqldump misspells it */),
		Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The user lacks a right. Name root in baktainer.db.user with its password, or grant SELECT, SHOW VIEW, TRIGGER, EVENT and LOCK TABLES.",
	},
	{
		Any:    append(numbered("1231", "1273", "1115", "1064", "1193"), "Unknown command"),
		Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The dump says something that this server does not know: most likely it is older, or MySQL where MariaDB was backed up, or the other way round. Restore into the same kind of server, the same version or newer.",
	},
	{
		Any:    numbered("1146", "1054"),
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "Something names a table or a column that is not there. Servers keep grants on tables that were dropped, and refuse to give them again: while accounts are restored, find it in the message, take the grant back at the source (REVOKE), and back up again.",
	},
	{
		Any:    numbered("1153", "2020"),
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "A row is larger than the server takes. Raise max_allowed_packet of the server.",
	},
}

// numbered gives the ways in which the tools write error numbers.
func numbered(numbers ...string) []string {
	var all []string
	for _, n := range numbers {
		all = append(all, "error: "+n+":", "ERROR "+n+" (", "("+n+")", "error "+n+":")
	}
	return all
}
