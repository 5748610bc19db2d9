package controller

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// attendFirst and attendEvery are how often a controller looks whether the
// cluster knows it as it is: soon after a start, and seldom from then on.
const (
	attendFirst = 500 * time.Millisecond
	attendEvery = 30 * time.Second
)

// attend keeps the cluster told of this controller: where it is reached, and
// whether it reaches the store by itself.
func (c *Controller) attend(ctx context.Context) {
	for pause := attendFirst; ctx.Err() == nil; pause = min(2*pause, attendEvery) {
		if c.Node.LeaderID() != "" {
			if err := c.register(ctx); err != nil && ctx.Err() == nil {
				c.Logger.Warn("the cluster does not know this controller as it is yet", "error", err)
			} else if err == nil {
				pause = attendEvery
			}
		}
		_ = clock.Sleep(ctx, pause) // its only error ends the loop
	}
}

func (c *Controller) register(ctx context.Context) error {
	id := c.Node.ID()
	if known, _ := c.Node.View().Member(id); c.Address != "" && !proto.Equal(known, c.memberRecord()) {
		err := c.propose(ctx, &pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: c.memberRecord()}}})
		if err != nil {
			return err
		}
	}
	own, location := true, c.Store.Describe()
	if c.Reach != nil {
		var err error
		if own, err = c.Reach.Look(ctx); err != nil {
			return err
		}
		location = c.Reach.Describe()
	}
	known := c.storeRecord()
	reaches := slices.Contains(known.GetControllers(), id)
	switch {
	case own && (!reaches || known.GetRepository() != c.Repo.ID || len(known.GetControllers()) == 1 && known.GetLocation() != location):
		return c.propose(ctx, &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{
			Name: c.StoreName, Location: location, Repository: c.Repo.ID, Controller: id,
		}}})
	case !own && reaches:
		return c.propose(ctx, &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{
			Name: c.StoreName, Location: known.GetLocation(), Repository: known.GetRepository(), Controller: id, Lost: true,
		}}})
	}
	return nil
}

// memberRecord is what the cluster should know of this controller.
func (c *Controller) memberRecord() *pb.MemberRecord {
	return &pb.MemberRecord{Id: c.Node.ID(), Address: c.Address, Version: c.Version, CommandVersion: state.CommandVersion}
}

func (c *Controller) propose(ctx context.Context, cmd *pb.Command) error {
	cmd.Actor = "controller/" + c.Node.ID()
	return c.Node.Propose(ctx, cmd)
}

// storeRecord is what the cluster knows of the store; nil: nothing yet.
func (c *Controller) storeRecord() *pb.StoreRecord {
	for _, s := range c.Node.View().Stores() {
		if s.GetName() == c.StoreName {
			return s
		}
	}
	return nil
}

// localStore gives the store of that name when it is on this controller's disk.
func (c *Controller) localStore(name string) store.Store {
	switch {
	case name != c.StoreName:
		return nil
	case c.Reach == nil:
		return c.Store
	}
	return c.Reach.Local()
}
