package cluster_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// save gives a raft snapshot, and in how many messages it came.
func (w *world) save() (data []byte, messages int) {
	w.t.Helper()
	stream, err := w.client.SaveState(w.t.Context(), &pb.SaveStateRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return data, messages
		}
		if err != nil {
			w.t.Fatal(err)
		}
		data = append(data, m.GetData()...)
		messages++
	}
}

func (w *world) restore(data []byte, other bool) (*pb.RestoreStateResponse, error) {
	w.t.Helper()
	stream, err := w.client.RestoreState(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for i, part := range slices.Collect(slices.Chunk(data, 100_000)) {
		if err := stream.Send(&pb.RestoreStateRequest{Data: part, OtherCluster: other && i == 0}); err != nil {
			break // CloseAndRecv tells why
		}
	}
	return stream.CloseAndRecv()
}

func TestTheStateIsSavedAndRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 400 { // enough for several messages
		w.propose(&pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{
			Name: "s" + time.Duration(i).String(), Location: strings.Repeat("x", 4_000),
		}}})
	}
	data, messages := w.save()
	if len(data) < 1_500_000 || messages < 3 || messages > 10 {
		t.Fatalf("%d bytes in %d messages", len(data), messages)
	}
	var direct bytes.Buffer
	if _, err := w.node.Save(t.Context(), &direct); err != nil || direct.Len() < len(data) {
		t.Errorf("%d bytes came of %d, %v", len(data), direct.Len(), err)
	}
	w.propose(&pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: 5}}}})

	for what, damaged := range map[string][]byte{"cut": data[:len(data)-10], "noise": []byte("noise"), "changed": append(slices.Clone(data[:1000]), data[1001:]...)} {
		_, err := w.restore(damaged, false)
		told(t, what, err, problem.InvalidInput, "")
	}
	stream, err := w.client.RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.CloseAndRecv()
	told(t, "nothing", err, problem.InvalidInput, "")
	if w.node.View().Limits().GetTotal() != 5 {
		t.Fatal("a restore that was refused has changed something")
	}

	resp, err := w.restore(data, false)
	if err != nil || resp.GetIndex() == 0 {
		t.Fatalf("%v, %v", resp, err)
	}
	view := w.node.View()
	if view.Limits().GetTotal() != 0 || len(view.Stores()) != 400 {
		t.Errorf("limits %v, %d stores", view.Limits(), len(view.Stores()))
	}
	// The restore itself is recorded in the state that it brought back.
	if all := view.Audit(1); len(all) != 1 || !strings.HasSuffix(all[0].GetMethod(), "RestoreState") || all[0].GetEndedAt() == nil || all[0].GetFailure() != nil {
		t.Errorf("newest record: %v", all)
	}
}

func TestTheStateOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	data, _ := newWorld(t).save()
	w := newWorld(t)
	_, err := w.restore(data, false)
	told(t, "unasked", err, problem.Conflict, state.ReasonOtherClust)
	if _, err := w.restore(data, true); err != nil {
		t.Error(err)
	}
}
