package postgres

import (
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// patterns tell what PostgreSQL's tools say. The order matters: the first that
// matches counts. "password" and "postgres" are likely passwords, hence masked:
// no pattern leans on them alone.
var patterns = []engine.Pattern{
	{
		Any:    []string{"server version mismatch"},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "pg_dump in the container is older than the server. Use an image whose tools match its server, usually by not mixing packages of two PostgreSQL versions, or name one in baktainer.tools.image.",
	},
	{
		Any: []string{
			"authentication failed for user", "no password supplied", "fe_sendauth", "password authentication failed",
			"SCRAM authentication requires", "is not permitted to log in",
		},
		Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "The server refused user and password. Set baktainer.db.user and baktainer.db.password_file (or another password label); the variables of the container count only when its data was first made.",
	},
	{
		Any:    []string{"no pg_hba.conf entry", "pg_hba.conf rejects"},
		Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "pg_hba.conf does not let this user in from inside the container. Allow it on the local socket, or name another user in baktainer.db.user.",
	},
	{
		Any:    []string{`FATAL:  role "`},
		Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "The server has no such user. Name one in baktainer.db.user; POSTGRES_USER counts only when the data was first made.",
	},
	{
		Any:    []string{`FATAL:  database "`},
		Reason: engine.ReasonNoDatabase, Code: problem.NotFound,
		Hint: "Name a database that exists in baktainer.db.name, or back up all with baktainer.db.all=true.",
	},
	{
		Any: []string{
			"could not connect to server", "connection refused", "is the server running", "the database system is",
			"too many clients already", "remaining connection slots", "server closed the connection unexpectedly",
			"timeout expired", "terminating connection",
		},
		Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "The server in the container does not answer, is starting or stopping, or has no connection left. Look at the container's log.",
	},
	{
		Any:    []string{"permission denied for"},
		Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The user may not read everything. Name a superuser, or the owner of the database, in baktainer.db.user.",
	},
}

// restorePatterns come before patterns when something was being restored.
var restorePatterns = append([]engine.Pattern{
	{
		Any:    []string{"CREATE TABLESPACE cannot run inside"},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The backup has a tablespace that this server lacks. Make its directory, owned by the server's user, run the CREATE TABLESPACE that the dump shows, and restore again.",
	},
	{
		Any:    []string{"invalid command \\restrict", "invalid command \\unrestrict"},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "psql in this container is older than the pg_dump that made the backup. Restore into an image with the latest minor version.",
	},
	{
		Any:    []string{"invalid locale name", "invalid LC_COLLATE", "invalid LC_CTYPE", "is not compatible with the encoding", "could not create locale"},
		Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The database's locale does not exist in this container. Restore into an image with the same locales, or create the empty database yourself with a locale that exists and restore again.",
	},
	{
		Any:    []string{"is not available", "could not open extension control file", "could not access file"},
		Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The database needs an extension that this image lacks. Restore into the image that the backup was made in.",
	},
	{
		Any:    []string{"unrecognized configuration parameter", "syntax error at or near"},
		Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The dump says something that this server does not know: most likely the server is older than the one that was backed up. Restore into the same or a newer version.",
	},
	{
		Any:    []string{`ERROR:  type "`, "ERROR:  function ", `ERROR:  relation "`},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The dump needs something that the database lacks, or has already. Of a single table that is a type, a function or another table that it uses: restore that table too, or the whole database under another name (--as), and copy from there.",
	},
	{
		Any:    []string{"out of shared memory"},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The restore is one transaction and needs a lock for each table. Raise max_locks_per_transaction of the server and restore again.",
	},
	{
		Any:    []string{"is being accessed by other users"},
		Reason: engine.ReasonToolFailed, Code: problem.Conflict,
		Hint: "Stop the applications that use the database and restore again.",
	},
	{
		Any:    []string{`ERROR:  role "`},
		Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "Something in the dump belongs to a role that this server lacks. Create the role, restore the globals first (a backup with baktainer.db.all=true has them), or restore without ownership (--no-owner).",
	},
}, patterns...)
