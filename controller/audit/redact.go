package audit

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxRequest is how much of a request is kept, in bytes.
const maxRequest = 2 << 10

const ellipsis = "…"

// shown is a request as JSON, without its secrets and without bytes, cut to a
// bounded size. A request that cannot be shown is left out, never shown in part.
func shown(req proto.Message) string {
	if req == nil || !req.ProtoReflect().IsValid() {
		return ""
	}
	m := proto.Clone(req)
	strip(m.ProtoReflect())
	text, err := protojson.Marshal(m)
	if err != nil {
		return ""
	}
	var b bytes.Buffer // protojson varies its spaces on purpose
	if err := json.Compact(&b, text); err != nil {
		return ""
	}
	return cut(wholeToken.ReplaceAllString(b.String(), "BKTN-…"), maxRequest)
}

// wholeToken is a token where its id or any other word was asked for.
var wholeToken = regexp.MustCompile(`(?i)bktn-[^"\s\\]*`)

// strip takes out of a message, and out of those within, what must not be kept.
// Fields that are not known here might be secrets of a newer version.
func strip(m protoreflect.Message) {
	m.SetUnknown(nil)
	var out []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case hidden(f) || f.IsMap() && hidden(f.MapValue()):
			out = append(out, f)
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				strip(v.Message())
				return true
			})
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				strip(v.List().Get(i).Message())
			}
		default:
			strip(v.Message())
		}
		return true
	})
	for _, f := range out {
		m.Clear(f)
	}
}

// hidden says whether a field is a secret, or bytes, which nobody can read.
func hidden(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o.GetDebugRedact() || f.Kind() == protoreflect.BytesKind
}

// cut makes s at most most bytes long, between characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most-len(ellipsis)]
	for i := 0; i < utf8.UTFMax && !utf8.ValidString(s); i++ {
		s = s[:len(s)-1]
	}
	return strings.ToValidUTF8(s, "") + ellipsis
}
