package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	commonv1 "workspace-management.example/go/workspace/common/v1"
	identityv1 "workspace-management.example/go/workspace/identity/v1"
	projectv1 "workspace-management.example/go/workspace/project/v1"
)

type unary[Request, Answer any] = func(context.Context, Request, ...grpc.CallOption) (Answer, error)

type story struct {
	alice, bob  *person
	objects     *objects
	projectID   string
	resumeToken string
	drawing     string
}

func (s *story) tell(ctx context.Context) error {
	steps := []func(context.Context) error{
		s.session, s.makeProject, s.share, s.files, s.list, s.refusals, s.repeat, s.watch, s.end,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) session(ctx context.Context) error {
	answer, err := call(ctx, s.alice.identity.GetSession, &identityv1.GetSessionRequest{})
	if err != nil {
		return err
	}
	fmt.Println("session:", answer.Session.User.Email)
	return nil
}

// makeProject makes an account, a team and a project, and remembers where its events begin.
func (s *story) makeProject(ctx context.Context) error {
	account, err := call(ctx, s.alice.accounts.CreateAccount, &identityv1.CreateAccountRequest{
		Name: "Bridge Works", Type: "client_org", RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	fmt.Printf("account: %s (%s)\n", account.Account.Name, account.Account.Type)
	accountID := account.Account.AccountId
	team, err := call(ctx, s.alice.teams.CreateTeam, &identityv1.CreateTeamRequest{
		Home: &identityv1.CreateTeamRequest_AccountId{AccountId: accountID},
		Name: "Structures", RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	fmt.Println("team:", team.Team.Name)
	made, err := call(ctx, s.alice.projects.CreateProject, &projectv1.CreateProjectRequest{
		Name: "North bridge", AccountId: accountID, RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	s.projectID = made.Project.ProjectId
	if s.resumeToken, err = s.eventsBegin(ctx); err != nil {
		return err
	}
	return s.assign(ctx, team.Team.TeamId)
}

func (s *story) assign(ctx context.Context, teamID string) error {
	answer, err := call(ctx, s.alice.projects.AssignProject, &projectv1.AssignProjectRequest{
		ProjectId: s.projectID, RequestId: requestID(),
		Target: &projectv1.AssignProjectRequest_TeamId{TeamId: teamID},
	})
	if err != nil {
		return err
	}
	fmt.Printf("project: %s, assigned to the team: %s\n",
		answer.Project.Name, yes(answer.Project.TeamId == teamID))
	return nil
}

// share lets Bob look; he asks what he may do, as fresh as the grant.
func (s *story) share(ctx context.Context) error {
	bob, err := call(ctx, s.bob.identity.GetSession, &identityv1.GetSessionRequest{})
	if err != nil {
		return err
	}
	given, err := call(ctx, s.alice.grants.CreateGrant, &projectv1.CreateGrantRequest{
		ProjectId:  s.projectID,
		TargetType: projectv1.GrantTargetType_GRANT_TARGET_TYPE_USER,
		TargetId:   bob.Session.User.UserId,
		Preset:     commonv1.PermissionPreset_PERMISSION_PRESET_VIEWER,
		RequestId:  requestID(),
	})
	if err != nil {
		return err
	}
	var names []string
	for _, permission := range given.Grant.Permissions {
		names = append(names, permission.String())
	}
	fmt.Println("grant:", strings.Join(names, ", "))
	return s.check(ctx, given.ConsistencyToken)
}

func (s *story) check(ctx context.Context, token string) error {
	fresh := &commonv1.Consistency{Requirement: &commonv1.Consistency_AtLeastAsFresh_{
		AtLeastAsFresh: &commonv1.Consistency_AtLeastAsFresh{Tokens: []string{token}},
	}}
	for _, permission := range []commonv1.Permission{
		commonv1.Permission_PERMISSION_VIEW, commonv1.Permission_PERMISSION_WRITE,
	} {
		answer, err := call(ctx, s.bob.permissions.CheckPermission,
			&projectv1.CheckPermissionRequest{
				ProjectId: s.projectID, Permission: permission, Consistency: fresh,
			})
		if err != nil {
			return err
		}
		fmt.Println("check:", permission, yes(answer.Allowed))
	}
	return nil
}

// list reads pages of two until there is no token; the order is the server's.
func (s *story) list(ctx context.Context) error {
	var names []string
	request := &projectv1.ListDocumentsRequest{ProjectId: s.projectID, PageSize: 2}
	for {
		page, err := call(ctx, s.alice.documents.ListDocuments, request)
		if err != nil {
			return err
		}
		fmt.Println("page:", len(page.Documents))
		for _, document := range page.Documents {
			names = append(names, document.Name)
		}
		if page.NextPageToken == "" {
			break
		}
		request.PageToken = page.NextPageToken
	}
	slices.Sort(names)
	fmt.Println("documents:", strings.Join(names, ", "))
	return nil
}

// repeat makes one document by two calls with one request_id.
func (s *story) repeat(ctx context.Context) error {
	request := &projectv1.CreateDocumentRequest{
		ProjectId: s.projectID, Name: "once.txt", RequestId: requestID(),
	}
	first, err := call(ctx, s.alice.documents.CreateDocument, request)
	if err != nil {
		return err
	}
	second, err := call(ctx, s.alice.documents.CreateDocument, request)
	if err != nil {
		return err
	}
	fmt.Println("repeated: same document:",
		yes(first.Document.DocumentId == second.Document.DocumentId))
	return nil
}

func (s *story) end(ctx context.Context) error {
	answer, err := call(ctx, s.alice.projects.DeleteProject, &projectv1.DeleteProjectRequest{
		ProjectId: s.projectID, RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	fmt.Println("deleted:", answer.Project.Name)
	return nil
}

// requestID makes a mutating call safe to repeat, and so the retry policy safe to have.
func requestID() string { return uuid.NewString() }

func yes(value bool) string {
	if value {
		return "yes"
	}
	return "no"
}
