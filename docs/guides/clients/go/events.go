package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	projectv1 "workspace-management.example/go/workspace/project/v1"
)

var eventTypes = []string{
	"document.created", "document.file_attached", "grant.created", "project.assigned",
}

// eventsBegin is the token of what comes from now on: the first message comes at once.
func (s *story) eventsBegin(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	stream, err := s.alice.history.WatchEvents(ctx, s.watched(""))
	if err != nil {
		return "", err
	}
	first, err := stream.Recv()
	return first.GetResumeToken(), err
}

// watch reads what happened since the token until every type was seen, then cancels.
func (s *story) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	stream, err := s.alice.history.WatchEvents(ctx, s.watched(s.resumeToken))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for len(seen) < len(eventTypes) {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if !message.Checkpoint {
			seen[message.Event.Type] = true
		}
	}
	cancel()
	for err == nil { // what was on its way still comes
		_, err = stream.Recv()
	}
	fmt.Println("events:", strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	fmt.Println("stream:", codeName(err))
	return nil
}

func (s *story) watched(token string) *projectv1.WatchEventsRequest {
	return &projectv1.WatchEventsRequest{
		ProjectIds: []string{s.projectID}, EventTypes: eventTypes, ResumeToken: token,
	}
}
