// Package workspace opens connections to a workspace server. The generated stubs
// are in the packages below workspace/: identityv1, projectv1, storagev1, syncv1.
package workspace

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/keepalive"
)

// Finds dead peers behind NAT while calls are open. The server refuses more than
// one ping in 30 s.
var alive = keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}

//go:embed workspace/*/v1/*_service_config.json
var published embed.FS

var serviceConfig = sync.OnceValue(joined)

// ServiceConfig is the published retry policy of every method as one gRPC service
// config (JSON), with round_robin over all addresses of the server. A call that
// changes something is safe to repeat only with a request_id.
func ServiceConfig() string { return serviceConfig() }

// Dial opens a connection to target ("host:port", "dns:///name:port"), on which
// every call carries token as its bearer. With a nil tls it is plain text, and every
// call to what is not this machine fails with UNAVAILABLE. More options come last
// and win. Nothing is sent before the first call.
func Dial(
	target, token string, tls credentials.TransportCredentials, more ...grpc.DialOption,
) (*grpc.ClientConn, error) {
	if tls == nil {
		tls = local.NewCredentials()
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(tls),
		grpc.WithPerRPCCredentials(Bearer(token)),
		grpc.WithDefaultServiceConfig(ServiceConfig()),
		grpc.WithKeepaliveParams(alive),
	}
	return grpc.NewClient(target, append(options, more...)...)
}

// Bearer is a token of a person or a machine, as credentials of calls. It travels
// over TLS, and on this machine over grpc/credentials/local.
type Bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials. It fails over
// connections that others can read.
func (b Bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if info.AuthInfo == nil || info.AuthInfo.AuthType() != "local" {
		err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity)
		if err != nil {
			return nil, fmt.Errorf("a token needs TLS: %w", err)
		}
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: it depends on
// the connection, see GetRequestMetadata.
func (b Bearer) RequireTransportSecurity() bool { return false }

// String keeps the token out of logs.
func (b Bearer) String() string { return "Bearer ***" }

// GoString keeps it out of %#v.
func (b Bearer) GoString() string { return b.String() }

func joined() string {
	type config struct {
		LoadBalancing []map[string]struct{} `json:"loadBalancingConfig"`
		Methods       []json.RawMessage     `json:"methodConfig"`
	}
	all := config{LoadBalancing: []map[string]struct{}{{"round_robin": {}}}}
	for _, file := range must(fs.Glob(published, "workspace/*/v1/*.json")) {
		var one config
		if err := json.Unmarshal(must(published.ReadFile(file)), &one); err != nil {
			panic(file + ": " + err.Error())
		}
		all.Methods = append(all.Methods, one.Methods...)
	}
	return string(must(json.Marshal(all)))
}

// The files are part of this package: only a broken build of it can fail.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
