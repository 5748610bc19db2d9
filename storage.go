package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/forming"
	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/cli"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	fsstore "github.com/baktainer/baktainer/internal/store/fs"
)

// mainStore is the name of the store that a cluster begins with.
const mainStore = "main"

// joinedName marks the data folder of a controller that joined a cluster: it never
// makes a repository of its own.
const joinedName = "joined"

// storage is where snapshots are kept, as this controller has it.
type storage struct {
	store      store.Store
	reach      *member.Reach // nil: the store is this controller's own, and nobody else asks for it
	repository *repo.Repository
	keys       member.Keys
}

// findStore opens the store and the repository in it: the folder of its own for a
// controller that has made the cluster, else whatever it reaches.
func (m *place) findStore(ctx context.Context, o forming.Outcome) (h storage, err error) {
	joined, err := m.joined(o)
	if err != nil {
		return h, err
	}
	var folder store.Store
	if !joined || hasRepository(m.p.Store) {
		if folder, err = fsstore.Open(m.p.Store); err != nil {
			return h, fmt.Errorf("open the store: %w", err)
		}
	}
	id := func() string { return m.repositoryID() }
	if !joined {
		if h.repository, err = openRepository(ctx, folder, m.p.Config, clock.System{}.Now(), m.p.log); err != nil {
			return h, err
		}
		id = func() string { return h.repository.ID }
	}
	if m.port == nil {
		h.store = folder
		return h, nil
	}
	h.reach = member.NewReach(folder, m.peerStore(), id)
	h.store = h.reach
	h.keys = &member.KeyFiles{Store: h.store, Key: cli.KeySourceOf(m.p.Config).Read, Clock: clock.System{}}
	if _, err := h.reach.Look(ctx); err != nil {
		return h, err
	}
	if joined {
		h.repository, err = m.joinRepository(ctx, h.reach)
	}
	return h, err
}

// joined says whether the controller joined a cluster rather than made one, and
// keeps what it got when it did.
func (m *place) joined(o forming.Outcome) (bool, error) {
	mark := filepath.Join(m.dir, joinedName)
	if len(o.KeyFile) > 0 {
		key, err := repo.ParseKeyFile(o.KeyFile)
		if err == nil {
			err = cli.WriteKeyFile(m.p.KeyFile, key)
		}
		if err != nil {
			return false, fmt.Errorf("keep the key of the repository that the cluster gave: %w", err)
		}
		m.p.log.Info("the cluster gave this controller a key of the repository", "key", m.p.KeyFile)
	}
	if !o.Make && !m.kept.State {
		if err := durable.Replace(mark, []byte(o.Cluster+"\n")); err != nil {
			return false, problem.Wrap(problem.Failed, err, "remember that this controller joined a cluster")
		}
	}
	_, err := os.Stat(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// repositoryID is the id of the cluster's repository, as far as it is known here.
func (m *place) repositoryID() string {
	for _, s := range m.tables.View().Stores() {
		if s.GetName() == mainStore {
			return s.GetRepository()
		}
	}
	return ""
}

func (m *place) peerStore() store.Store {
	return member.NewPeer(member.PeerOptions{
		Store: mainStore, Self: m.id, View: func() member.Directory { return m.tables.View() },
		Conn:  func(_, address string) (grpc.ClientConnInterface, error) { return m.peers.Conn(address) },
		Clock: clock.System{},
	})
}

// Pauses between attempts to reach the store, and how long it is tried before
// what was kept of the repository's keys has to do.
const (
	reachFirst   = 200 * time.Millisecond
	reachMost    = 5 * time.Second
	reachEnough  = 5 * time.Second
	keysFolder   = "repository" // in the node's folder
	keysReadOnce = 30 * time.Second
)

// joinRepository opens the cluster's repository as soon as it is known where that
// is and it can be reached. The cluster has to be asked and governed also when the
// controller whose disk it is on is gone: then the keys do that were kept at an
// earlier start.
func (m *place) joinRepository(ctx context.Context, reach *member.Reach) (*repo.Repository, error) {
	key, err := cli.KeySourceOf(m.p.Config).Read()
	if err != nil {
		return nil, fmt.Errorf("read the key of the repository: %w", err)
	}
	kept := filepath.Join(m.dir, keysFolder)
	began := clock.System{}.Now()
	for pause := reachFirst; ; pause = min(2*pause, reachMost) {
		r, err := m.tryRepository(ctx, reach, key)
		if err == nil {
			if err := keepKeys(ctx, reach, kept); err != nil {
				m.log.Warn("the keys of the repository are not kept for a start without the store", "error", err)
			}
			return r, checkPin(m.p.DataDir, r, key, m.p.log)
		}
		if code := problem.CodeOf(err); code != problem.Unavailable && code != problem.NotFound {
			return nil, err
		}
		if hasRepository(kept) && (clock.System{}).Now().Sub(began) > reachEnough {
			m.log.Warn("the store is not reached; the cluster is governed without it until it is", "error", err)
			return m.keptRepository(ctx, kept, key)
		}
		level := slog.LevelDebug
		if pause > reachMost/2 {
			level = slog.LevelWarn
		}
		m.log.Log(ctx, level, "the store is not reached yet", "error", err)
		if clock.Sleep(ctx, pause) != nil {
			return nil, fmt.Errorf("open the repository: %w", ctx.Err())
		}
	}
}

func (m *place) tryRepository(ctx context.Context, reach *member.Reach, key repo.Key) (*repo.Repository, error) {
	ctx, cancel := context.WithTimeout(ctx, keysReadOnce)
	defer cancel()
	if _, err := reach.Look(ctx); err != nil {
		return nil, err
	}
	if m.repositoryID() == "" {
		return nil, problem.New(problem.Unavailable, "it is not known yet where the store is")
	}
	return repo.Open(ctx, reach, key)
}

func (m *place) keptRepository(ctx context.Context, folder string, key repo.Key) (*repo.Repository, error) {
	st, err := fsstore.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("open what was kept of the repository: %w", err)
	}
	r, err := repo.Open(ctx, st, key)
	if err != nil {
		return nil, err
	}
	return r, checkPin(m.p.DataDir, r, key, m.p.log)
}

// keepKeys copies what opens the repository, and nothing else, into a folder.
func keepKeys(ctx context.Context, from store.Store, folder string) error {
	fresh := folder + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	to, err := fsstore.Open(fresh)
	if err != nil {
		return err
	}
	names := []string{repo.FormatName}
	err = from.List(ctx, repo.KeysPrefix, func(o store.Info) error {
		names = append(names, o.Name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the keys of the repository: %w", err)
	}
	for _, name := range names {
		rc, err := from.Get(ctx, name, 0, -1)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		_, err = to.Put(ctx, name, rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.Rename(fresh, folder)
}

func hasRepository(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, repo.FormatName))
	return err == nil
}

func keyIsFile(c config.Config) bool { return cli.KeySourceOf(c).IsKeyFile() }
