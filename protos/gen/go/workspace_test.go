package workspace

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	identityv1 "workspace-management.example/go/workspace/identity/v1"
	_ "workspace-management.example/go/workspace/project/v1"
	_ "workspace-management.example/go/workspace/storage/v1"
	_ "workspace-management.example/go/workspace/sync/v1"
)

// flaky fails its first calls with a code.
type flaky struct {
	identityv1.UnimplementedIdentityServiceServer
	code     codes.Code
	failures int32
	calls    atomic.Int32
	bearer   atomic.Value
}

func (f *flaky) GetSession(
	ctx context.Context, _ *identityv1.GetSessionRequest,
) (*identityv1.GetSessionResponse, error) {
	f.bearer.Store(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if f.calls.Add(1) <= f.failures {
		return nil, status.Error(f.code, "not now")
	}
	return &identityv1.GetSessionResponse{}, nil
}

func serve(t *testing.T, service *flaky) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	identityv1.RegisterIdentityServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func getSession(t *testing.T, target string, more ...grpc.DialOption) error {
	t.Helper()
	connection, err := Dial(target, "secret-token", nil, more...)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = connection.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = identityv1.NewIdentityServiceClient(connection).GetSession(
		ctx, &identityv1.GetSessionRequest{})
	return err
}

func TestRetriesFollowThePublishedPolicy(t *testing.T) {
	for _, test := range []struct {
		code            codes.Code
		failures, calls int32
		want            codes.Code
	}{
		{codes.Unavailable, 3, 4, codes.OK},
		{codes.Unavailable, 9, 4, codes.Unavailable},
		{codes.Aborted, 1, 1, codes.Aborted},
	} {
		t.Run(fmt.Sprint(test.code, test.failures), func(t *testing.T) {
			service := &flaky{code: test.code, failures: test.failures}
			err := getSession(t, serve(t, service))
			if got := status.Code(err); got != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if got := service.calls.Load(); got != test.calls {
				t.Errorf("%d calls, want %d", got, test.calls)
			}
		})
	}
}

func TestEveryMethodHasAPolicy(t *testing.T) {
	var config struct {
		LoadBalancing []map[string]any `json:"loadBalancingConfig"`
		Methods       []struct {
			Names  []struct{ Service, Method string } `json:"name"`
			Policy struct{ MaxAttempts int }          `json:"retryPolicy"`
		} `json:"methodConfig"`
	}
	if err := json.Unmarshal([]byte(ServiceConfig()), &config); err != nil {
		t.Fatal(err)
	}
	if _, ok := config.LoadBalancing[0]["round_robin"]; !ok {
		t.Error("calls are not spread over the addresses")
	}
	attempts := map[string]int{}
	for _, method := range config.Methods {
		for _, name := range method.Names {
			attempts[name.Service+"/"+name.Method] = method.Policy.MaxAttempts
		}
	}
	for _, method := range served() {
		if attempts[method] < 2 {
			t.Errorf("%s is never tried again", method)
		}
		delete(attempts, method)
	}
	if len(attempts) > 0 {
		t.Errorf("policies of methods that do not exist: %v", attempts)
	}
}

// served are the methods of the contract, as "package.Service/Method".
func served() []string {
	var found []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				if strings.HasPrefix(string(service.FullName()), "workspace.") {
					found = append(found, fmt.Sprintf(
						"%s/%s", service.FullName(), service.Methods().Get(j).Name()))
				}
			}
		}
		return true
	})
	return found
}

func TestTheTokenTravels(t *testing.T) {
	service := &flaky{}
	if err := getSession(t, serve(t, service)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(service.bearer.Load()); got != "[Bearer secret-token]" {
		t.Errorf("the server saw %s", got)
	}
}

func TestPlainTextStaysOnThisMachine(t *testing.T) {
	// What is dialled is on this machine, but says that it is not.
	service := &flaky{}
	address := serve(t, service)
	err := getSession(t, "passthrough:///192.0.2.1:50051", grpc.WithContextDialer(
		func(context.Context, string) (net.Conn, error) {
			inner, err := net.Dial("tcp", address)
			return elsewhere{inner}, err
		}))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "non-local") {
		t.Errorf("got %v", err)
	}
	if service.calls.Load() != 0 {
		t.Error("the call went out")
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50051}
}

func TestTheTokenNeedsASafeConnection(t *testing.T) {
	service := &flaky{}
	err := getSession(t, serve(t, service), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil || service.calls.Load() != 0 {
		t.Errorf("got %v after %d calls", err, service.calls.Load())
	}
}

func TestTheTokenIsNotPrinted(t *testing.T) {
	for _, format := range []string{"%s", "%v", "%+v", "%#v", "%q"} {
		if text := fmt.Sprintf(format, Bearer("secret-token")); strings.Contains(text, "secret") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}
