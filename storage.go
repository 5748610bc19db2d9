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
		if err := os.WriteFile(mark, []byte(o.Cluster+"\n"), 0o600); err != nil {
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

// joinRepository opens the cluster's repository, once it is known where that is
// and it can be reached.
func (m *place) joinRepository(ctx context.Context, reach *member.Reach) (*repo.Repository, error) {
	key, err := cli.KeySourceOf(m.p.Config).Read()
	if err != nil {
		return nil, fmt.Errorf("read the key of the repository: %w", err)
	}
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		_, err := reach.Look(ctx)
		if err == nil && m.repositoryID() == "" {
			err = problem.New(problem.Unavailable, "it is not known yet where the store is")
		}
		if err == nil {
			var r *repo.Repository
			if r, err = repo.Open(ctx, reach, key); err == nil {
				return r, checkPin(m.p.DataDir, r, key, m.p.log)
			}
		}
		if code := problem.CodeOf(err); code != problem.Unavailable && code != problem.NotFound || ctx.Err() != nil {
			return nil, err
		}
		level := slog.LevelDebug
		if pause > 2*time.Second {
			level = slog.LevelWarn
		}
		m.log.Log(ctx, level, "the store is not reached yet", "error", err)
		if clock.Sleep(ctx, pause) != nil {
			return nil, err
		}
	}
}

func hasRepository(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, repo.FormatName))
	return err == nil
}

func keyIsFile(c config.Config) bool { return cli.KeySourceOf(c).IsKeyFile() }
