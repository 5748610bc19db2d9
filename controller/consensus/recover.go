package consensus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
)

// Recovered is what Recover did.
type Recovered struct {
	// Node is the node whose folder it was, Cluster its cluster.
	Node, Cluster string
	// Copy is the folder as it was before.
	Copy string
	// Index is the place in the log of the newest command that was found.
	Index uint64
	Peers []Peer
}

// Recover makes the node of a data folder a member of a cluster of the peers
// given, when so many members are lost for good that the others cannot elect a
// leader any more. The node must not run, and its whole log counts as committed.
// The folder is copied first.
//
// Members that are left out must never be started with their old state again, and
// those that are not recovered from a copy of the same folder, or with an equal
// list, join with empty folders: what they have may contradict this node.
func Recover(dir string, peers []Peer, now time.Time) (Recovered, error) {
	if err := checkPeers(peers); err != nil {
		return Recovered{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, logFile)); err != nil {
		return Recovered{}, problem.Wrap(problem.NotFound, err, "find a controller's state in %s", dir).
			WithHint("Give the data folder of a controller that is left.")
	}
	store, err := openLog(dir)
	if err != nil {
		return Recovered{}, err
	}
	done, err := recoverFrom(dir, store, peers, now)
	if err := errors.Join(err, store.Close()); err != nil {
		return done, err
	}
	return done, nil
}

func recoverFrom(dir string, store *raftboltdb.BoltStore, peers []Peer, now time.Time) (Recovered, error) {
	id, err := readFile(dir, nodeFile)
	if err != nil {
		return Recovered{}, err
	}
	servers := make([]raft.Server, len(peers))
	for i, p := range peers {
		servers[i] = raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address), Suffrage: raft.Nonvoter}
		if p.Voter {
			servers[i].Suffrage = raft.Voter
		}
	}
	if s := serverOf(servers, id); s == nil || s.Suffrage != raft.Voter {
		return Recovered{}, problem.New(problem.InvalidInput, "the data folder is controller %s's, which is not among the peers that have a vote", id).WithHint(peersForm)
	}
	done := Recovered{Node: id, Copy: filepath.Clean(dir) + ".before-recover-" + now.UTC().Format("20060102T150405Z"), Peers: peers}
	if err := copyFolder(dir, done.Copy); err != nil {
		return Recovered{}, problem.Wrap(problem.Failed, err, "copy the data folder to %s; nothing was changed", done.Copy)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, quiet())
	if err != nil {
		return done, fmt.Errorf("open raft snapshots: %w", err)
	}
	config := raft.DefaultConfig()
	config.LocalID, config.Logger = raft.ServerID(id), quiet()
	_, transport := raft.NewInmemTransport(raft.ServerAddress(id))
	var unknown error
	m := &machine{tables: state.New(), fatal: func(err error) { unknown = err }}
	if err := raft.RecoverCluster(config, m, store, store, snapshots, transport, raft.Configuration{Servers: servers}); err != nil {
		return done, problem.Wrap(problem.Failed, errors.Join(err, unknown), "recover the cluster").
			WithHint("The data folder as it was is in %s.", done.Copy)
	}
	done.Cluster, done.Index = m.tables.View().Cluster(), m.tables.View().Index()
	return done, nil
}

// copyFolder makes a durable copy of the regular files in a folder. to must not exist.
func copyFolder(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		within, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch target := filepath.Join(to, within); {
		case entry.IsDir():
			return os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			return copyFile(path, target)
		}
		return nil // sockets
	})
	if err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return errors.Join(out.Sync(), out.Close())
}
