package transport

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// method is what a method's descriptor says of it.
type method struct {
	access        *pb.Access
	input, output protoreflect.FullName
	stream        bool // of messages, one way or both
}

// foreign are the services that are not ours and say nothing of themselves.
// Whether somebody is well may be asked by anybody; what there is, by all who
// have a certificate.
var foreign = map[string]*pb.Access{
	"grpc.health.v1.Health":                    {Anyone: true},
	"grpc.reflection.v1.ServerReflection":      {Roles: everybody},
	"grpc.reflection.v1alpha.ServerReflection": {Roles: everybody},
}

var everybody = []pb.Role{pb.Role_ROLE_AGENT, pb.Role_ROLE_CONTROLLER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_VIEWER}

// describe reads what all methods of this program say of themselves, by their
// full names as gRPC has them.
func describe(files *protoregistry.Files) map[string]method {
	methods := map[string]method{}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for k := range s.Methods().Len() {
				m := s.Methods().Get(k)
				if a := accessOf(s, m); a != nil {
					methods[fmt.Sprintf("/%s/%s", s.FullName(), m.Name())] = method{a, m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient() || m.IsStreamingServer()}
				}
			}
		}
		return true
	})
	return methods
}

// accessOf is who may call a method; nil when nobody has said.
func accessOf(s protoreflect.ServiceDescriptor, m protoreflect.MethodDescriptor) *pb.Access {
	if a, ok := foreign[string(s.FullName())]; ok {
		return a
	}
	a, ok := proto.GetExtension(m.Options(), pb.E_Access).(*pb.Access)
	if !ok || a == nil || len(a.GetRoles()) == 0 && !a.GetAnyone() {
		return nil
	}
	return a
}

// CheckAccess looks whether every method that the server has says who may call
// it, and names those that do not. A server is not to be started with one.
func CheckAccess(server *grpc.Server) error {
	known := describe(protoregistry.GlobalFiles)
	var silent []string
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			if name := "/" + service + "/" + m.Name; known[name].access == nil {
				silent = append(silent, name)
			}
		}
	}
	if len(silent) == 0 {
		return nil
	}
	slices.Sort(silent)
	return problem.New(problem.Internal, "methods do not say who may call them").WithDetails(silent...).
		WithHint("Give each the option (access) in its proto.")
}

// refuse says why the caller may not call the method, if so. Over the unix
// socket an agent speaks that is part of the same process.
func (m method) refuse(c Caller, name string) error {
	roles := m.access.GetRoles()
	if m.access.GetAnyone() || slices.Contains(roles, c.Role) || c.Local && slices.Contains(roles, pb.Role_ROLE_AGENT) {
		return nil
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	var needed []string
	for _, r := range roles {
		needed = append(needed, RoleName(r))
	}
	takes := "It takes the role " + strings.Join(needed, " or ")
	if len(needed) == 0 {
		takes = "Nobody may"
	}
	if c.Role == pb.Role_ROLE_UNSPECIFIED {
		return problem.New(problem.Denied, "%s is not for callers without a certificate", name).WithReason(ReasonNoCertificate).
			WithHint("%s; you come from %s without a certificate that names anybody. Enrol first with a token, which `baktainer token create` makes.", takes, c.Origin)
	}
	return problem.New(problem.Denied, "%s is not for the %s", name, c).WithReason(ReasonNotAllowed).
		WithHint("%s; you are the %s, from %s.", takes, c, c.Origin)
}
