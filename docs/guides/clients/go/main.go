// Story tells the story of ../README.md in Go.
//
//	WM_SERVER=host:port WM_TOKEN=... WM_OTHER_TOKEN=... WM_CA=ca.pem go run .
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	workspace "workspace-management.example/go"
	identityv1 "workspace-management.example/go/workspace/identity/v1"
	projectv1 "workspace-management.example/go/workspace/project/v1"
	storagev1 "workspace-management.example/go/workspace/storage/v1"
)

const (
	callTime   = 10 * time.Second
	streamTime = 30 * time.Second
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	config, err := trust(os.Getenv("WM_CA"))
	if err != nil {
		return err
	}
	server := os.Getenv("WM_SERVER")
	alice, err := dial(server, os.Getenv("WM_TOKEN"), config)
	if err != nil {
		return err
	}
	defer alice.close()
	bob, err := dial(server, os.Getenv("WM_OTHER_TOKEN"), config)
	if err != nil {
		return err
	}
	defer bob.close()
	return (&story{alice: alice, bob: bob, objects: newObjects(config)}).tell(context.Background())
}

// trust is nil without a file: then the server is on this machine and speaks plain text.
func trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// person is the stubs of somebody, on a connection that bears their token.
type person struct {
	identity    identityv1.IdentityServiceClient
	accounts    identityv1.AccountServiceClient
	teams       identityv1.TeamServiceClient
	projects    projectv1.ProjectServiceClient
	grants      projectv1.GrantServiceClient
	permissions projectv1.PermissionServiceClient
	documents   projectv1.DocumentServiceClient
	history     projectv1.HistoryServiceClient
	storage     storagev1.StorageServiceClient
	close       func()
}

func dial(server, token string, config *tls.Config) (*person, error) {
	var safe credentials.TransportCredentials
	if config != nil {
		safe = credentials.NewTLS(config)
	}
	// Dial brings the published retry policy along.
	connection, err := workspace.Dial(server, token, safe)
	if err != nil {
		return nil, err
	}
	return &person{
		identity:    identityv1.NewIdentityServiceClient(connection),
		accounts:    identityv1.NewAccountServiceClient(connection),
		teams:       identityv1.NewTeamServiceClient(connection),
		projects:    projectv1.NewProjectServiceClient(connection),
		grants:      projectv1.NewGrantServiceClient(connection),
		permissions: projectv1.NewPermissionServiceClient(connection),
		documents:   projectv1.NewDocumentServiceClient(connection),
		history:     projectv1.NewHistoryServiceClient(connection),
		storage:     storagev1.NewStorageServiceClient(connection),
		close:       func() { _ = connection.Close() },
	}, nil
}

// call makes one unary call under a deadline.
func call[Request, Answer proto.Message](
	ctx context.Context, rpc unary[Request, Answer], request Request,
) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return rpc(ctx, request)
}
