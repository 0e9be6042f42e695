package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	projectv1 "workspace-management.example/go/workspace/project/v1"
)

// refusals shows what an error says to a program: code, reason, field.
func (s *story) refusals(ctx context.Context) error {
	answer, err := call(ctx, s.alice.documents.GetDocument, &projectv1.GetDocumentRequest{
		DocumentId: s.drawing,
	})
	if err != nil {
		return err
	}
	read := answer.Document
	changed, err := call(ctx, s.alice.documents.UpdateDocument, titled(read, read.Etag, "Plan"))
	if err != nil {
		return err
	}
	fmt.Println("title:", changed.Document.Title)
	_, err = call(ctx, s.alice.documents.UpdateDocument, titled(read, read.Etag, "Stale"))
	fmt.Println("stale etag:", refusal(err))
	_, err = call(ctx, s.alice.documents.CreateDocument, &projectv1.CreateDocumentRequest{
		ProjectId: s.projectID, RequestId: requestID(),
	})
	fmt.Println("bad field:", refusal(err))
	_, err = call(ctx, s.bob.documents.UpdateDocument, titled(read, "", "Bob"))
	fmt.Println("Bob writes:", refusal(err))
	return nil
}

// titled is a new title for exactly the version with that etag.
func titled(read *projectv1.Document, etag, title string) *projectv1.UpdateDocumentRequest {
	return &projectv1.UpdateDocumentRequest{
		Document: &projectv1.Document{
			DocumentId: read.DocumentId, Etag: etag, Title: title,
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}},
		RequestId:  requestID(),
	}
}

// refusal is the code, the reason of ErrorInfo and the fields of BadRequest.
func refusal(err error) string {
	if err == nil {
		return "not refused"
	}
	words := []string{codeName(err)}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			words = append(words, detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				words = append(words, violation.Field)
			}
		}
	}
	return strings.Join(words, " ")
}

// codeName is the name in the standard: codes.Code prints Canceled for CANCELLED.
func codeName(err error) string { return code.Code(status.Code(err)).String() }

// withoutURL keeps signed URLs out of messages.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
