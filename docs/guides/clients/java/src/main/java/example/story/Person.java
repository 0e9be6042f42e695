package example.story;

import example.workspace.identity.v1.AccountServiceGrpc;
import example.workspace.identity.v1.AccountServiceGrpc.AccountServiceBlockingStub;
import example.workspace.identity.v1.IdentityServiceGrpc;
import example.workspace.identity.v1.IdentityServiceGrpc.IdentityServiceBlockingStub;
import example.workspace.identity.v1.TeamServiceGrpc;
import example.workspace.identity.v1.TeamServiceGrpc.TeamServiceBlockingStub;
import example.workspace.project.v1.DocumentServiceGrpc;
import example.workspace.project.v1.DocumentServiceGrpc.DocumentServiceBlockingStub;
import example.workspace.project.v1.GrantServiceGrpc;
import example.workspace.project.v1.GrantServiceGrpc.GrantServiceBlockingStub;
import example.workspace.project.v1.HistoryServiceGrpc;
import example.workspace.project.v1.HistoryServiceGrpc.HistoryServiceBlockingStub;
import example.workspace.project.v1.PermissionServiceGrpc;
import example.workspace.project.v1.PermissionServiceGrpc.PermissionServiceBlockingStub;
import example.workspace.project.v1.ProjectServiceGrpc;
import example.workspace.project.v1.ProjectServiceGrpc.ProjectServiceBlockingStub;
import example.workspace.storage.v1.StorageServiceGrpc;
import example.workspace.storage.v1.StorageServiceGrpc.StorageServiceBlockingStub;
import io.grpc.CallCredentials;
import io.grpc.Channel;
import io.grpc.Metadata;
import io.grpc.stub.AbstractStub;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** The stubs of one channel, with the bearer token of one person and a deadline on every call. */
final class Person {
  private static final long CALL_SECONDS = 10;
  private static final long STREAM_SECONDS = 30;

  private final Channel channel;
  private final CallCredentials bearer;

  Person(Channel channel, String token) {
    this.channel = channel;
    this.bearer = new Bearer(token);
  }

  AccountServiceBlockingStub accounts() {
    return within(CALL_SECONDS, AccountServiceGrpc.newBlockingStub(channel));
  }

  DocumentServiceBlockingStub documents() {
    return within(CALL_SECONDS, DocumentServiceGrpc.newBlockingStub(channel));
  }

  GrantServiceBlockingStub grants() {
    return within(CALL_SECONDS, GrantServiceGrpc.newBlockingStub(channel));
  }

  /** For its streams only. */
  HistoryServiceBlockingStub history() {
    return within(STREAM_SECONDS, HistoryServiceGrpc.newBlockingStub(channel));
  }

  IdentityServiceBlockingStub identity() {
    return within(CALL_SECONDS, IdentityServiceGrpc.newBlockingStub(channel));
  }

  PermissionServiceBlockingStub permissions() {
    return within(CALL_SECONDS, PermissionServiceGrpc.newBlockingStub(channel));
  }

  ProjectServiceBlockingStub projects() {
    return within(CALL_SECONDS, ProjectServiceGrpc.newBlockingStub(channel));
  }

  StorageServiceBlockingStub storage() {
    return within(CALL_SECONDS, StorageServiceGrpc.newBlockingStub(channel));
  }

  TeamServiceBlockingStub teams() {
    return within(CALL_SECONDS, TeamServiceGrpc.newBlockingStub(channel));
  }

  /** A stub is cheap, and the deadline of one runs from here: a new one for each call. */
  private <S extends AbstractStub<S>> S within(long seconds, S stub) {
    return stub.withCallCredentials(bearer).withDeadlineAfter(seconds, TimeUnit.SECONDS);
  }

  /** {@code authorization: Bearer TOKEN}. */
  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Metadata headers = new Metadata();

    Bearer(String token) {
      headers.put(AUTHORIZATION, "Bearer " + token);
    }

    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      applier.apply(headers);
    }
  }
}
