package audit

import (
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestWhatIsShownOfARequest(t *testing.T) {
	t.Parallel()
	drained := true
	for what, c := range map[string]struct {
		req  proto.Message
		want string
	}{
		"nothing":            {nil, ""},
		"a nil message":      {(*pb.SetAgentRequest)(nil), ""},
		"an empty one":       {&pb.SaveStateRequest{}, `{}`},
		"plain fields":       {&pb.SetAgentRequest{Agent: "db1", Drained: &drained}, `{"agent":"db1","drained":true}`},
		"others within":      {&pb.CreateTokenRequest{Role: pb.Role_ROLE_AGENT, Ttl: durationpb.New(3_600e9)}, `{"role":"ROLE_AGENT","ttl":"3600s"}`},
		"a secret":           {&pb.EnrolRequest{Secret: "hush", Name: "db1"}, `{"name":"db1"}`},
		"a token for its id": {&pb.RevokeTokenRequest{Id: "bktn-1-0-hush"}, `{"id":"BKTN-…"}`},
		"bytes":              {&pb.RestoreStateRequest{Data: []byte("dump"), OtherCluster: true}, `{"otherCluster":true}`},
		"bytes further down": {&pb.CommitRun{Run: "r", Snapshot: &pb.Snapshot{Id: "s", Root: []byte("root")}}, `{"run":"r","snapshot":{"id":"s"}}`},
	} {
		if got := shown(c.req); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// every has a secret, and bytes, in every place where a field can be.
const every = `
name: "every.proto" package: "t" syntax: "proto3"
message_type {
  name: "M"
  field { name: "plain" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "plain" }
  field { name: "secret" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "secret" options { debug_redact: true } }
  field { name: "secrets" number: 3 type: TYPE_STRING label: LABEL_REPEATED json_name: "secrets" options { debug_redact: true } }
  field { name: "blob" number: 4 type: TYPE_BYTES label: LABEL_OPTIONAL json_name: "blob" }
  field { name: "blobs" number: 5 type: TYPE_BYTES label: LABEL_REPEATED json_name: "blobs" }
  field { name: "one" number: 6 type: TYPE_MESSAGE type_name: ".t.M" label: LABEL_OPTIONAL json_name: "one" }
  field { name: "many" number: 7 type: TYPE_MESSAGE type_name: ".t.M" label: LABEL_REPEATED json_name: "many" }
  field { name: "hidden" number: 8 type: TYPE_MESSAGE type_name: ".t.M" label: LABEL_OPTIONAL json_name: "hidden" options { debug_redact: true } }
  field { name: "by_name" number: 9 type: TYPE_MESSAGE type_name: ".t.M.ByNameEntry" label: LABEL_REPEATED json_name: "byName" }
  field { name: "bytes_by_name" number: 10 type: TYPE_MESSAGE type_name: ".t.M.BytesByNameEntry" label: LABEL_REPEATED json_name: "bytesByName" }
  nested_type {
    name: "ByNameEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "key" }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".t.M" label: LABEL_OPTIONAL json_name: "value" }
  }
  nested_type {
    name: "BytesByNameEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "key" }
    field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL json_name: "value" }
  }
}`

func TestNothingSecretIsShownWhereverItIs(t *testing.T) {
	t.Parallel()
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal([]byte(every), file); err != nil {
		t.Fatal(err)
	}
	described, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	desc := described.Messages().ByName("M")
	m := dynamicpb.NewMessage(desc)
	text := `plain: "p" secret: "HUSH" secrets: "HUSH" blob: "HUSH" blobs: "HUSH" hidden { plain: "HUSH" } bytes_by_name { key: "k" value: "HUSH" }`
	text += ` one { ` + text + ` } many { ` + text + ` } by_name { key: "k" value { ` + text + ` } }`
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	m.SetUnknown(protoreflect.RawFields("\xa2\x06\x04HUSH")) // field 100 of a newer version
	got := shown(m)
	if want := `{"plain":"p","one":{"plain":"p"},"many":[{"plain":"p"}],"byName":{"k":{"plain":"p"}}}`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if m.Get(desc.Fields().ByName("secret")).String() != "HUSH" {
		t.Error("the request itself was changed")
	}
}

func TestALongRequestIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		got := shown(&pb.SetAgentRequest{Agent: strings.Repeat("x", n) + strings.Repeat("…", 2_000)})
		if len(got) > maxRequest || len(got) < maxRequest-len(ellipsis) || !utf8.ValidString(got) || !strings.HasSuffix(got, ellipsis) {
			t.Errorf("%d: %d bytes, %q", n, len(got), got[len(got)-10:])
		}
	}
	if got := shown(&pb.SetAgentRequest{Agent: strings.Repeat("x", maxRequest-len(`{"agent":""}`))}); len(got) != maxRequest || strings.HasSuffix(got, ellipsis) {
		t.Errorf("%d bytes that fit were cut", len(got))
	}
}
