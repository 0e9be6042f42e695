package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"

	projectv1 "workspace-management.example/go/workspace/project/v1"
	storagev1 "workspace-management.example/go/workspace/storage/v1"
)

var texts = []struct{ name, text string }{
	{"beams.txt", "12 m of steel"},
	{"drawing.txt", "see north side"},
	{"ümlaut.txt", "größer"},
}

// files uploads all of them and downloads the first.
func (s *story) files(ctx context.Context) error {
	var ids []string
	for _, file := range texts {
		made, err := call(ctx, s.alice.documents.CreateDocument, &projectv1.CreateDocumentRequest{
			ProjectId: s.projectID, Name: file.name, RequestId: requestID(),
		})
		if err != nil {
			return err
		}
		ids = append(ids, made.Document.DocumentId)
		err = s.upload(ctx, made.Document.DocumentId, file.name, []byte(file.text))
		if err != nil {
			return err
		}
	}
	if err := s.download(ctx, ids[0]); err != nil {
		return err
	}
	s.drawing = ids[1]
	return nil
}

func (s *story) upload(ctx context.Context, documentID, name string, data []byte) error {
	announced, err := call(ctx, s.alice.storage.CreateUpload, &storagev1.CreateUploadRequest{
		DocumentId:  documentID,
		Filename:    name,
		ContentType: "text/plain",
		SizeBytes:   int64(len(data)),
		Sha256:      digest(data),
		RequestId:   requestID(),
	})
	if err != nil {
		return err
	}
	if _, err := s.objects.do(ctx, announced.Transfer, data); err != nil {
		return err
	}
	done, err := call(ctx, s.alice.storage.CompleteUpload, &storagev1.CompleteUploadRequest{
		UploadId: announced.Upload.UploadId, RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	fmt.Printf("upload: %s, %d bytes, %s\n", name, done.File.SizeBytes, done.File.Status)
	return nil
}

func (s *story) download(ctx context.Context, documentID string) error {
	signed, err := call(ctx, s.alice.storage.CreateDownload, &storagev1.CreateDownloadRequest{
		DocumentId: documentID,
	})
	if err != nil {
		return err
	}
	data, err := s.objects.do(ctx, signed.Transfer, nil)
	if err != nil {
		return err
	}
	fmt.Printf("download: %s, %s, same SHA-256: %s\n",
		signed.Filename, data, yes(digest(data) == signed.Sha256))
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// objects moves bytes to and from the object store directly, as a Transfer says.
type objects struct{ client *http.Client }

func newObjects(config *tls.Config) *objects {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &objects{&http.Client{Transport: transport, Timeout: callTime}}
}

func (o *objects) do(
	ctx context.Context, transfer *storagev1.Transfer, data []byte,
) ([]byte, error) {
	request, err := http.NewRequestWithContext(
		ctx, transfer.Method, transfer.Url, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the transfer has no usable URL") // the URL is a secret
	}
	for name, value := range transfer.Headers {
		request.Header.Set(name, value)
	}
	answer, err := o.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", transfer.Method, withoutURL(err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s: %s", transfer.Method, answer.Status)
	}
	return io.ReadAll(answer.Body)
}
