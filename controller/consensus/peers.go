package consensus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/problem"
)

// Peer is a member that a cluster is recovered with.
type Peer struct {
	ID      string
	Address string
	Voter   bool
}

const peersForm = `Write it as [{"id":"c1","address":"c1:8468","voter":true}], with one entry for each controller that is left.`

// ParsePeers reads peers.json, and names all that is wrong with it at once. A
// peer of which nothing is said of a vote has one.
func ParsePeers(data []byte) ([]Peer, error) {
	var entries []struct {
		ID      string `json:"id"`
		Address string `json:"address"`
		Voter   *bool  `json:"voter"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&entries)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = fmt.Errorf("there is something after the list")
		}
	}
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the list of peers").WithHint(peersForm)
	}
	peers := make([]Peer, len(entries))
	for i, e := range entries {
		peers[i] = Peer{e.ID, e.Address, e.Voter == nil || *e.Voter}
	}
	return peers, checkPeers(peers)
}

func checkPeers(peers []Peer) error {
	var wrong []string
	ids, addresses, voters := map[string]bool{}, map[string]bool{}, 0
	for i, p := range peers {
		say := func(what string) { wrong = append(wrong, fmt.Sprintf("entry %d: %s", i+1, what)) }
		if err := checkID(p.ID); err != nil {
			say(err.Error())
		} else if ids[p.ID] {
			say(fmt.Sprintf("there is another %s", p.ID))
		}
		if err := checkAddress(p.Address); err != nil {
			say(err.Error())
		} else if addresses[p.Address] {
			say(fmt.Sprintf("there is another at %s", p.Address))
		}
		ids[p.ID], addresses[p.Address] = true, true
		if p.Voter {
			voters++
		}
	}
	if voters == 0 {
		wrong = append(wrong, "nobody has a vote")
	}
	if len(wrong) == 0 {
		return nil
	}
	return problem.New(problem.InvalidInput, "the list of peers is wrong").WithDetails(wrong...).WithHint(peersForm)
}
