package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/durable"
)

// contactsName is the file in which an agent, or an operator's login, keeps where
// its controllers are.
const contactsName = "controllers.json"

// contacts are the controllers that were learned of, kept in a file: those that
// the user named may be gone one day.
type contacts struct {
	path string
	log  *slog.Logger

	mu  sync.Mutex
	now []uplink.Controller
}

// newContacts reads the file. What cannot be read is learned anew.
func newContacts(path string, log *slog.Logger) *contacts {
	c := &contacts{path: path, log: log}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &c.now)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("what was known of the controllers cannot be read", "file", path, "error", err)
		c.now = nil
	}
	return c
}

func (c *contacts) controllers() []uplink.Controller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *contacts) addresses() []string {
	var all []string
	for _, k := range c.controllers() {
		all = append(all, k.Address)
	}
	return all
}

// remember keeps a new list.
func (c *contacts) remember(list []uplink.Controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = list
	text, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.path), 0o700)
	}
	if err == nil {
		err = durable.Replace(c.path, append(text, '\n'))
	}
	if err != nil {
		c.log.Warn("where the controllers are is not remembered", "file", c.path, "error", err)
	}
}
