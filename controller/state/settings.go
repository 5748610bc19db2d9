package state

import (
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (w *writer) setSchedule(c *pb.SetSchedule) error {
	s := c.GetSchedule()
	if !idPattern.MatchString(s.GetId()) || s.GetCron() == "" {
		return bad("the schedule has no id or no expression")
	}
	if s.GetNextFireAt() != nil && !valid(s.GetNextFireAt()) {
		return bad("schedule %s: the next fire time is out of range", s.GetId())
	}
	w.putSchedule(s)
	return nil
}

func (w *writer) setCluster(c *pb.SetCluster) error {
	if !idPattern.MatchString(c.GetId()) {
		return bad("the cluster's id is %.40q", c.GetId())
	}
	if known, ok := first[*pb.ClusterRecord](w.table, tableCluster, indexID, "cluster"); ok && known.GetId() != c.GetId() {
		return refuse(ReasonOtherClust, "this is cluster %s, not %s", known.GetId(), c.GetId())
	}
	w.put(tableCluster, &pb.ClusterRecord{Id: c.GetId()})
	return nil
}
